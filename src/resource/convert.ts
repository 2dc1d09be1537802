/** Values as clients send them who know no types: Neutron takes `"4"` for a number and `"yes"` for a truth value. */
import type { TSchema } from 'typebox';
import { badRequest } from '../http/fault.ts';
import { apiName, isStored, type Resource } from './resource.ts';
import { type Purpose, takes } from './schema.ts';

type Kind = 'boolean' | 'integer';

const TRUE = new Set(['true', '1', 'yes', 'on', 't', 'y']);
const FALSE = new Set(['false', '0', 'no', 'off', 'f', 'n']);

/**
 * A request's body with the values of plain truth values and whole numbers in their own types; all else as it is.
 * @throws Fault 400 in Neutron's words for a text or number that is neither
 */
export function converted(resource: Resource, purpose: Purpose, body: unknown): unknown {
  if (!isMapping(body)) return body;
  const kinds = new Map<string, Kind>();
  for (const [key, f] of Object.entries(resource.fields)) {
    if (!isStored(f) || !takes(f, purpose, 0)) continue;
    const kind = kindOf(typeof f.input === 'function' ? f.input(0) : (f.input ?? f.schema));
    if (kind !== undefined) kinds.set(apiName(key, f), kind);
  }
  const convertOne = (value: unknown): unknown => {
    if (!isMapping(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, given]) => [name, convertValue(kinds.get(name), given)]),
    );
  };
  const { name, collection } = resource;
  return {
    ...body,
    ...(name in body ? { [name]: convertOne(body[name]) } : {}),
    ...(Array.isArray(body[collection])
      ? { [collection]: body[collection].map((one) => convertOne(bare(one, name))) }
      : {}),
  };
}

/** In a list of many, each may stand below its name as one alone does. */
const bare = (value: unknown, name: string): unknown =>
  isMapping(value) && isMapping(value[name]) && Object.keys(value).length === 1 ? value[name] : value;

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function convertValue(kind: Kind | undefined, value: unknown): unknown {
  if (kind === undefined || (typeof value !== 'string' && typeof value !== 'number')) return value;
  const text = String(value).trim().toLowerCase();
  if (kind === 'integer') {
    if (typeof value === 'number') return Math.trunc(value);
    if (/^[+-]?\d{1,15}$/.test(text)) return Number(text);
    throw badRequest(`Invalid input for operation: '${value}' is not an integer.`, 'InvalidInput');
  }
  if (TRUE.has(text)) return true;
  if (FALSE.has(text)) return false;
  throw badRequest(`Invalid input for operation: '${value}' cannot be converted to boolean.`, 'InvalidInput');
}

/** Of a schema that is one of both, or it and null. */
function kindOf(schema: TSchema): Kind | undefined {
  const { type, enum: values, anyOf } = schema as { type?: unknown; enum?: unknown[]; anyOf?: TSchema[] };
  if (type === 'boolean' || type === 'integer') return type;
  if (values?.every((value) => Number.isInteger(value)) === true) return 'integer';
  const others = anyOf?.filter((one) => (one as { type?: unknown }).type !== 'null') ?? [];
  return others.length === 1 && others[0] !== undefined ? kindOf(others[0]) : undefined;
}
