/** What a client sees of a row: the fields of its microversion, of the view, and that its role may see. */
import type { Convention, RequestContext } from '../http/service.ts';
import { apiName, type BaseRow, isStored, type Resource } from './resource.ts';

export type View = 'summary' | 'detail';

interface Column {
  readonly name: string;
  readonly alias: string | undefined;
  readonly value: (row: Record<string, unknown>, context: RequestContext) => unknown;
  readonly rule: string | undefined;
}

const cache = new WeakMap<Resource, Map<string, readonly Column[]>>();

/**
 * A function that renders rows of a resource for one request; make it once a request, not once a row.
 * @param fields Neutron's `fields=`: only these names; empty for all
 */
export function renderer<R extends BaseRow>(
  resource: Resource,
  convention: Convention,
  context: RequestContext,
  view: View,
  fields: readonly string[] = [],
): (row: R) => Record<string, unknown> {
  const wanted = new Set(fields);
  const keep = resource.unknownAttributes === 'keep';
  const columns = plan(resource, convention, context.version, view)
    .filter((column) => column.rule === undefined || context.allowed(column.rule))
    .flatMap(({ name, alias, ...column }) =>
      [name, alias].flatMap((shown) =>
        shown === undefined || (wanted.size > 0 && !wanted.has(shown)) ? [] : [{ ...column, name: shown }],
      ),
    );
  return (row) => {
    const out: Record<string, unknown> = keep ? { ...(row as { extra?: Record<string, unknown> }).extra } : {};
    for (const column of columns) {
      const value = column.value(row as unknown as Record<string, unknown>, context);
      if (value === undefined) continue;
      out[column.name] = value;
    }
    return out;
  };
}

/** What a row shows under one attribute's name; undefined where it has no such attribute. */
export function shownValue(resource: Resource, name: string, row: BaseRow, context: RequestContext): unknown {
  const found = Object.entries(resource.fields).find(([key, f]) => apiName(key, f) === name && f.show !== 'never');
  if (found === undefined) return undefined;
  const [key, f] = found;
  return isStored(f) ? (row as unknown as Record<string, unknown>)[key] : f.compute(row as never, context);
}

/**
 * The answers that a rendering in this view depends on, by rule: those of fields that not everybody sees, and those
 * that computed fields ask for.
 */
export function rulesAsked(
  resource: Resource,
  convention: Convention,
  context: RequestContext,
  view: View,
): ReadonlyMap<string, boolean> {
  const rules = plan(resource, convention, context.version, view).flatMap(({ rule }) => rule ?? []);
  return new Map([...rules, ...resource.asks].map((rule) => [rule, context.allowed(rule)]));
}

function plan(resource: Resource, convention: Convention, version: number, view: View): readonly Column[] {
  const key = `${convention.name} ${version} ${view}`;
  let plans = cache.get(resource);
  if (plans === undefined) {
    plans = new Map();
    cache.set(resource, plans);
  }
  let columns = plans.get(key);
  if (columns === undefined) {
    columns = columnsOf(resource, convention, version, view);
    plans.set(key, columns);
  }
  return columns;
}

function columnsOf(resource: Resource, convention: Convention, version: number, view: View): Column[] {
  const columns: Column[] = [];
  for (const [key, f] of Object.entries(resource.fields)) {
    const show = f.show ?? 'detail';
    if (show === 'never' || (show === 'detail' && view === 'summary')) continue;
    if (version < (f.since ?? 0) || version > (f.until ?? Number.MAX_SAFE_INTEGER)) continue;
    const name = apiName(key, f);
    columns.push({
      name,
      alias: convention.aliases[name],
      value: valueOf(key, f, convention),
      rule: f.visibleTo === undefined ? undefined : `get_${resource.name}:${name}`,
    });
  }
  return columns;
}

function valueOf(key: string, f: Resource['fields'][string], convention: Convention): Column['value'] {
  if (!isStored(f)) return f.compute as Column['value'];
  if (isTimestamp(f.schema)) {
    return (row) => {
      const value = row[key];
      return typeof value === 'string' ? convention.timestamp(value) : (value ?? null);
    };
  }
  const fallback = f.default === undefined ? null : f.default;
  return (row) => row[key] ?? fallback;
}

function isTimestamp(schema: object): boolean {
  if ('timestamp' in schema) return true;
  return (
    'anyOf' in schema && Array.isArray(schema.anyOf) && schema.anyOf.some((option: object) => 'timestamp' in option)
  );
}
