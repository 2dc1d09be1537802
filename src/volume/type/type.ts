/** Volume types: named choices of storage, of the whole cloud. A child's type is matched by its name. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable } from '../../db/database.ts';
import { notFound } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { computed, field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { isTrue, Boolish, Description } from '../shapes.ts';

/** The type of who asks for none. */
export const DEFAULT_TYPE = '__DEFAULT__';

export const SPECS = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9-_:. ]{1,255}$' }),
  Type.String({ maxLength: 255 }),
  {
    additionalProperties: false,
    maxProperties: 128,
  },
);

/** Of the extra specs, those that a tenant sees: what may be done with a volume, not how it is stored. */
const TENANTS_SEE = new Set(['RESKEY:availability_zones', 'multiattach', 'replication_enabled']);

export const volumeType = resource({
  name: 'volume_type',
  table: 'volume_types',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    name: field(Type.String({ minLength: 1, maxLength: 255 }), {
      create: 'required',
      update: true,
      sort: true,
      show: 'always',
    }),
    is_public: field(Type.Boolean(), {
      input: Boolish,
      update: true,
      default: true,
      column: true,
      show: 'always',
      filter: (values) => (values[0] === 'None' ? sql<SqlBool>`true` : sql<SqlBool>`is_public = ${isTrue(values[0])}`),
    }),
    description: field(Description, { create: 'optional', update: true, show: 'always' }),
    extra_specs: field(SPECS, { create: 'optional', default: {}, show: 'never' }),
    shown_specs: computed<{ extra_specs: Record<string, string> }>(
      ({ extra_specs }, { identity }) =>
        identity.isAdmin
          ? extra_specs
          : Object.fromEntries(Object.entries(extra_specs).filter(([key]) => TENANTS_SEE.has(key))),
      { name: 'extra_specs', show: 'always' },
    ),
    qos_specs_id: computed((_row, { identity }) => (identity.isAdmin ? null : undefined), { show: 'always' }),
    access: field(Type.Boolean(), {
      name: 'os-volume-type-access:is_public',
      input: Boolish,
      create: 'optional',
      show: 'never',
    }),
    shown_access: computed<{ is_public: boolean }>((row) => row.is_public, {
      name: 'os-volume-type-access:is_public',
      show: 'always',
    }),
  },
});

export type VolumeType = Row<typeof volumeType>;

declare module '../../db/tables.ts' {
  interface Tables {
    volume_types: TableOf<typeof volumeType>;
    volume_type_access: { volume_type_id: string; project_id: string };
  }
}

export const volumeTypes = createStore<typeof volumeType, VolumeType>(volumeType);

/** Types that a caller may use: the public ones, and those its project was given. */
export const usable = (context: RequestContext) =>
  context.identity.isAdmin
    ? []
    : [
        sql<SqlBool>`(is_public or exists (select 1 from volume_type_access a
          where a.volume_type_id = volume_types.id and a.project_id = ${context.identity.project?.id ?? '-'}))`,
      ];

/**
 * The type a create asks for, by id or name.
 * @throws Fault 404 where there is none or the caller may not use it
 */
export async function typeFor(query: Queryable, context: RequestContext, asked: string): Promise<VolumeType> {
  const named = [sql<SqlBool>`(id = ${asked} or name = ${asked})`, ...usable(context)];
  const [found] = await volumeTypes.select(query, named);
  if (found === undefined) throw notFound(`Volume type with name ${asked} could not be found.`);
  return found;
}

/** The name of a type that a volume has, whoever asks. */
export async function typeName(query: Queryable, id: string): Promise<string> {
  return (await volumeTypes.find(query, id))?.name ?? DEFAULT_TYPE;
}

export const isMultiattach = (type: VolumeType): boolean =>
  isTrue((type.extra_specs as Record<string, string>).multiattach?.replace('<is>', '').trim() ?? false);

export const Nothing = nullable(Type.Unknown());
