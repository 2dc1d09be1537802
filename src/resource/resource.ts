/**
 * The description of a resource: its fields once, and for each field all that anyone asks of it. Request schemas,
 * rendering, filters, sorting, storage, the row's type and the reference page are read off this one description.
 * Nothing here knows an OpenStack noun.
 */
import type { RawBuilder, SqlBool } from 'kysely';
import { type Static, type TSchema, Type } from 'typebox';
import type { PolicyRule, RequestContext } from '../http/service.ts';

/** A moment, ISO 8601 in UTC with microseconds; written in the service's own form when rendered. */
export const Timestamp = Type.String({ format: 'date-time', timestamp: true });

/** A schema that also takes null. */
export const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

/** A filter's condition in SQL, from the values that the query gave (at least one). */
export type FilterCondition = (values: readonly string[], context: RequestContext) => RawBuilder<SqlBool>;

export interface FieldOptions {
  /** Its name in the API where that differs from the key here (`OS-EXT-STS:task_state`). */
  readonly name?: string;
  /** Has a column of its own; implied by `filter: true` and `sort`. Else it lives in the row's `body`. */
  readonly column?: boolean;
  /** May, or must, be given when the resource is made. Neither: only read. */
  readonly create?: 'required' | 'optional';
  readonly update?: boolean;
  /** What a request may say, where that is not what is shown; may depend on the microversion. */
  readonly input?: TSchema | ((version: number) => TSchema);
  /** Stored where a create does not say. */
  readonly default?: unknown;
  /** Microversions (minor numbers) in which it is shown and taken. */
  readonly since?: number;
  readonly until?: number;
  /** Microversions in which it is taken, where that is not when it is shown. */
  readonly inputSince?: number;
  readonly inputUntil?: number;
  /** In which views it stands: every one, only the detailed one, or none (write-only). */
  readonly show?: 'always' | 'detail' | 'never';
  /** May be filtered by: equal to any of the values; containing one; or by a condition of its own. */
  readonly filter?: boolean | 'contains' | FilterCondition;
  /** May be sorted by: the column, or what is said in place of it, which is never null. */
  readonly sort?: boolean | RawBuilder<unknown>;
  /** oslo.policy check of who sees it; others get the resource without it. */
  readonly visibleTo?: string;
  /** oslo.policy check of who may set it; others are refused. */
  readonly settableBy?: string;
  /** For the reference page. */
  readonly description?: string;
}

export interface Field<S extends TSchema = TSchema> extends FieldOptions {
  readonly schema: S;
}

/** Shown but not stored: made from the row at each rendering. */
export interface ComputedField {
  readonly compute: (row: never, context: RequestContext) => unknown;
  readonly name?: string;
  readonly since?: number;
  readonly until?: number;
  readonly show?: 'always' | 'detail';
  readonly visibleTo?: string;
  readonly description?: string;
}

export type Fields = Readonly<Record<string, Field | ComputedField>>;

/** What every stored resource has, whether it shows it or not. */
export interface BaseRow {
  id: string;
  /** Empty for what belongs to the whole cloud. */
  project_id: string;
  created_at: string;
  updated_at: string;
  /** Counts what the parent wants; a replica at the same revision needs nothing. */
  revision: number;
}

type StoredKeys<F extends Fields> = { [K in keyof F]: F[K] extends Field ? K : never }[keyof F];

export type RowOf<F extends Fields> = BaseRow & {
  -readonly [K in Exclude<StoredKeys<F>, keyof BaseRow>]: F[K] extends Field<infer S> ? Static<S> : never;
};

export interface Resource<F extends Fields = Fields> {
  /** Key of one in a body (`server`) and of many (`servers`). */
  readonly name: string;
  readonly collection: string;
  readonly table: string;
  readonly fields: F;
  /** Keys with columns of their own, beside those of BaseRow. */
  readonly columns: readonly string[];
  /** Filters that are no field (`changes-since`). */
  readonly filters: Readonly<Record<string, FilterCondition>>;
  /** What becomes of attributes that nobody knows: refused, left out silently, or kept in `extra` and shown (Keystone). */
  readonly unknownAttributes: 'reject' | 'ignore' | 'keep';
  /** Policy rules that computed fields ask for, where renderings are to be kept (`createRenderings`). */
  readonly asks: readonly string[];
  /** Rules of single fields (`create_network:shared`), to be registered with the policy. */
  readonly fieldRules: readonly PolicyRule[];
}

/** The row type of a resource: `type Flavor = Row<typeof flavor>`. */
export type Row<R> = R extends Resource<infer F> ? RowOf<F> : never;

/** The Kysely table of a resource, for module augmentation of `Tables`. */
export type TableOf<R> = R extends Resource<infer F> ? RowOf<F> & { body: Record<string, unknown> } : never;

/** A stored field: its type, and what may be done with it. */
export function field<const S extends TSchema>(schema: S, options: FieldOptions = {}): Field<S> {
  return { schema, ...options };
}

/**
 * A field that is only shown, made from the row.
 * @param compute takes the stored row and the request it is rendered for
 */
export function computed<R>(
  compute: (row: R, context: RequestContext) => unknown,
  options: Omit<ComputedField, 'compute'> = {},
): ComputedField {
  return { compute: compute as ComputedField['compute'], ...options };
}

export const isStored = (candidate: Field | ComputedField): candidate is Field => 'schema' in candidate;

const BASE_COLUMNS = new Set(['id', 'project_id', 'created_at', 'updated_at', 'revision']);

/** Declares a resource. The table's columns are those fields that are filtered, sorted or marked `column`. */
export function resource<const F extends Fields>(definition: {
  readonly name: string;
  readonly collection?: string;
  readonly table: string;
  readonly fields: F;
  readonly filters?: Readonly<Record<string, FilterCondition>>;
  readonly unknownAttributes?: 'reject' | 'ignore' | 'keep';
  readonly asks?: readonly string[];
}): Resource<F> {
  const entries = Object.entries(definition.fields);
  const columns = entries
    .filter(([key, f]) => isStored(f) && !BASE_COLUMNS.has(key))
    .filter(
      ([, f]) => isStored(f) && (f.column === true || f.sort === true || f.filter === true || f.filter === 'contains'),
    )
    .map(([key]) => key);
  return {
    name: definition.name,
    collection: definition.collection ?? `${definition.name}s`,
    table: definition.table,
    fields: definition.fields,
    columns,
    filters: definition.filters ?? {},
    unknownAttributes: definition.unknownAttributes ?? 'reject',
    asks: definition.asks ?? [],
    fieldRules: entries.flatMap(([key, f]) => fieldRules(definition.name, f.name ?? key, f)),
  };
}

/** The API name of a field. */
export const apiName = (key: string, f: Field | ComputedField): string => f.name ?? key;

function fieldRules(name: string, attribute: string, f: Field | ComputedField): PolicyRule[] {
  const rules: PolicyRule[] = [];
  if (f.visibleTo !== undefined) rules.push({ name: `get_${name}:${attribute}`, check: f.visibleTo });
  if (isStored(f) && f.settableBy !== undefined) {
    if (f.create !== undefined) rules.push({ name: `create_${name}:${attribute}`, check: f.settableBy });
    if (f.update === true) rules.push({ name: `update_${name}:${attribute}`, check: f.settableBy });
  }
  return rules;
}
