/** Request schemas, read off a resource's description: one for each purpose and bracket of microversions. */
import { type TSchema, Type } from 'typebox';
import { apiName, type Field, isStored, type Resource } from './resource.ts';

export type Purpose = 'create' | 'update';

const cache = new WeakMap<Resource, Map<string, TSchema>>();

/**
 * The schema of a body `{ "<name>": {...} }` at a microversion.
 * @param bulk also take `{ "<collection>": [{...}, ...] }` (Neutron)
 */
export function bodySchema(
  resource: Resource,
  purpose: Purpose,
  version: number,
  options: { readonly bulk?: boolean; readonly aliases?: Readonly<Record<string, string>> } = {},
): TSchema {
  const bracket = brackets(resource).findLast((since) => since <= version) ?? 0;
  const key = `${purpose} ${bracket} ${options.bulk === true}`;
  let schemas = cache.get(resource);
  if (schemas === undefined) {
    schemas = new Map();
    cache.set(resource, schemas);
  }
  let schema = schemas.get(key);
  if (schema === undefined) {
    const one = attributes(resource, purpose, version, options.aliases ?? {});
    const single = Type.Object({ [resource.name]: one }, { additionalProperties: false });
    const bulk = Type.Object(
      { [resource.collection]: Type.Array(one, { minItems: 1, maxItems: 1000 }) },
      { additionalProperties: false },
    );
    schema = options.bulk === true ? either(resource.collection, bulk, single) : single;
    schemas.set(key, schema);
  }
  return schema;
}

/** Chosen by the key that is there, and not `anyOf`: a fault should speak of the attribute, not of two forms that did not fit. */
function either(collection: string, bulk: TSchema, single: TSchema): TSchema {
  return { if: { type: 'object', required: [collection] }, then: bulk, else: single } as unknown as TSchema;
}

/** The microversions at which a request schema of the resource changes, ascending. */
function brackets(resource: Resource): number[] {
  const points = new Set([0]);
  for (const f of Object.values(resource.fields)) {
    if (!isStored(f)) continue;
    const since = f.inputSince ?? f.since;
    const until = f.inputUntil ?? f.until;
    if (since !== undefined) points.add(since);
    if (until !== undefined) points.add(until + 1);
    // An input that depends on the version may change at any; it is cheap to keep one schema for each.
    if (typeof f.input === 'function') for (let version = 1; version <= 100; version++) points.add(version);
  }
  return [...points].sort((one, other) => one - other);
}

function attributes(
  resource: Resource,
  purpose: Purpose,
  version: number,
  aliases: Readonly<Record<string, string>>,
): TSchema {
  const properties: Record<string, TSchema> = {};
  for (const [key, f] of Object.entries(resource.fields)) {
    if (!isStored(f) || !takes(f, purpose, version)) continue;
    const name = apiName(key, f);
    const schema = typeof f.input === 'function' ? f.input(version) : (f.input ?? f.schema);
    const alias = aliases[name];
    properties[name] =
      purpose === 'create' && f.create === 'required' && alias === undefined ? schema : Type.Optional(schema);
    if (alias !== undefined) properties[alias] = Type.Optional(schema);
  }
  return Type.Object(properties, {
    additionalProperties: resource.unknownAttributes !== 'reject',
    // Keystone's kinds, which keep whatever they are given, want to be given something.
    ...(purpose === 'update' && resource.unknownAttributes === 'keep' ? { minProperties: 1 } : {}),
  });
}

/** Whether a request of this purpose may carry the field at this microversion. */
export function takes(f: Field, purpose: Purpose, version: number): boolean {
  const since = f.inputSince ?? f.since ?? 0;
  const until = f.inputUntil ?? f.until ?? Number.MAX_SAFE_INTEGER;
  return (purpose === 'create' ? f.create !== undefined : f.update === true) && version >= since && version <= until;
}
