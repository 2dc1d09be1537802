/** Which limits show at which microversion, and reading and writing them. */
import { type TSchema, Type } from 'typebox';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest } from '../../http/fault.ts';
import type { QuotaUsage } from '../../resource/quota.ts';
import { BOOLEAN, numberOf } from '../parameters.ts';
import { computeQuotas, keptLimits, NETWORK_LIMITS } from './quotas.ts';

const NETWORK_NAMES = Object.keys(NETWORK_LIMITS);
const INJECTED_NAMES = new Set(['injected_files', 'injected_file_content_bytes', 'injected_file_path_bytes']);
const GROUP_NAMES = new Set(['server_groups', 'server_group_members']);
const INJECTED_UNTIL = 56;

/** Where a resource's limits are shown: quota sets and classes dropped the networks' at different times. */
export type Kind = 'set' | 'class';

const NETWORK_UNTIL = { set: 35, class: 49 } as const;
const GROUPS_SINCE = { set: 0, class: 50 } as const;

/** Names of the limits that a quota set or class shows at a microversion. */
export function shownNames(kind: Kind, version: number): string[] {
  return [...NETWORK_NAMES, ...Object.keys(computeQuotas().defaults)].filter(
    (name) =>
      (version <= NETWORK_UNTIL[kind] || !NETWORK_NAMES.includes(name)) &&
      (version <= INJECTED_UNTIL || !INJECTED_NAMES.has(name)) &&
      (version >= GROUPS_SINCE[kind] || !GROUP_NAMES.has(name)),
  );
}

const LIMIT = numberOf(-1, 0x7fffffff);

const schemas = new Map<string, TSchema>();

/** The body that sets limits: `{ "quota_set": {...} }` or `{ "quota_class_set": {...} }`. */
export function limitsBody(kind: Kind, version: number): TSchema {
  const withNetworks = version <= NETWORK_UNTIL[kind];
  const withInjected = version <= INJECTED_UNTIL;
  const cached = `${kind} ${withNetworks} ${withInjected}`;
  let schema = schemas.get(cached);
  if (schema === undefined) {
    const names = Object.keys(computeQuotas().defaults).filter((name) => withInjected || !INJECTED_NAMES.has(name));
    const networks = withNetworks ? [...NETWORK_NAMES, 'networks'] : [];
    const limits = Object.fromEntries([...names, ...networks].map((name) => [name, Type.Optional(LIMIT)]));
    const force = kind === 'set' ? { force: Type.Optional(BOOLEAN) } : {};
    const inner = Type.Object({ ...limits, ...force }, { additionalProperties: false });
    schema = Type.Object(
      { [kind === 'set' ? 'quota_set' : 'quota_class_set']: inner },
      { additionalProperties: false },
    );
    schemas.set(cached, schema);
  }
  return schema;
}

/** Limits that a body sets, as numbers. @throws Fault 400 */
export function givenLimits(body: Readonly<Record<string, unknown>>): Record<string, number> {
  if ('networks' in body) throw badRequest('The networks quota has been removed');
  const limits: Record<string, number> = {};
  for (const [name, value] of Object.entries(body)) {
    if (name === 'force') continue;
    limits[name] = Number(value);
    if (limits[name] < -1 || limits[name] > 0x7fffffff) {
      throw badRequest(`Invalid input for field/attribute ${name}. Value: ${String(value)}.`);
    }
  }
  return limits;
}

/** The row of the limits of one user in a project: shown and kept, while the project's are those that are counted. */
export const ownerOf = (projectId: string, userId: string | undefined): string =>
  userId === undefined || userId === '' ? projectId : `${projectId}/${userId}`;

/** Limits and usage of a project, or of a user in it. */
export async function usageOf(
  query: Queryable,
  projectId: string,
  userId?: string,
): Promise<Record<string, QuotaUsage>> {
  const usage = await computeQuotas().usage(query, projectId);
  Object.assign(usage, await keptLimits().usage(query, projectId));
  if (userId === undefined || userId === '') return usage;
  const own = await query
    .selectFrom('quotas')
    .select(['resource', 'hard_limit'])
    .where('project_id', '=', ownerOf(projectId, userId))
    .where('service', '=', 'compute')
    .execute();
  for (const { resource, hard_limit } of own) {
    const project = usage[resource];
    if (project !== undefined && hard_limit !== null) usage[resource] = { ...project, limit: hard_limit };
  }
  return usage;
}

/**
 * Sets limits of a project, or of a user in it.
 * @throws Fault 400 for a limit below what is in use, unless forced
 */
export async function setLimits(
  tx: Tx,
  projectId: string,
  limits: Readonly<Record<string, number>>,
  options: { readonly force: boolean; readonly userId?: string | undefined },
): Promise<void> {
  if (!options.force) {
    const usage = await usageOf(tx, projectId, options.userId);
    for (const [resource, limit] of Object.entries(limits)) {
      const minimum = usage[resource]?.in_use ?? 0;
      if (limit === -1 || limit >= minimum) continue;
      throw badRequest(
        `Quota limit ${limit} for ${resource} must be greater than or equal to already used and reserved ${minimum}.`,
      );
    }
  }
  const owner = ownerOf(projectId, options.userId);
  for (const { book, part } of byBook(limits)) await book.set(tx, owner, part);
}

/** Brings limits of a project, or of a user in it, back to the defaults. */
export async function resetLimits(tx: Tx, owner: string): Promise<void> {
  for (const book of [computeQuotas(), keptLimits()]) await book.reset(tx, owner);
}

/** The limits of who has none of their own. */
export async function defaultLimits(query: Queryable): Promise<Record<string, number>> {
  return { ...(await computeQuotas().defaultLimits(query)), ...(await keptLimits().defaultLimits(query)) };
}

/** Sets them. */
export async function setDefaultLimits(tx: Tx, limits: Readonly<Record<string, number>>): Promise<void> {
  for (const { book, part } of byBook(limits)) await book.setDefaults(tx, part);
}

function byBook(limits: Readonly<Record<string, number>>) {
  const part = (isKept: boolean) =>
    Object.fromEntries(Object.entries(limits).filter(([name]) => NETWORK_NAMES.includes(name) === isKept));
  return [
    { book: computeQuotas(), part: part(false) },
    { book: keptLimits(), part: part(true) },
  ].filter((one) => Object.keys(one.part).length > 0);
}
