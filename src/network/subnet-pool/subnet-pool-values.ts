/** A subnet pool's row, out of what a request says of it. */
import { sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import type { Tx } from '../../db/database.ts';
import { badRequest } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import type { Given } from '../../resource/crud.ts';
import type { IpVersion } from '../address-range.ts';
import { invalidInput } from '../network-fault.ts';
import { projectOf } from '../network-project.ts';
import { NOT_SHARED } from '../sharing.ts';
import { enterScope } from './pool-scope.ts';
import { isWithin, setOf } from './prefix-set.ts';
import type { SubnetPoolRow } from './subnet-pool-resource.ts';
import { badPrefixes, checkBounds, checkPrefixes, countOf, nameOf, setOfTexts } from './subnet-pool-rules.ts';

/**
 * Completes a new pool.
 * @throws Fault as Neutron: 400 for what does not fit together, 404 and 409 for its address scope
 */
export async function newPool(given: Given<SubnetPoolRow>, context: RequestContext, tx: Tx) {
  const id = randomUUID();
  const { version, prefixes } = checkPrefixes(given.prefixes ?? []);
  const bounds = checkBounds(version, given);
  const texts = prefixes.map(({ text }) => text);
  if (given.is_default === true) await refuseSecondDefault(tx, version);
  const address_scope_id = given.address_scope_id ?? null;
  if (address_scope_id !== null) {
    await enterScope(tx, context, { id, ip_version: version, prefixes: texts }, address_scope_id);
  }
  return {
    id,
    project_id: projectOf(context, given.project_id),
    name: nameOf(given.name ?? ''),
    description: given.description ?? '',
    ip_version: version,
    prefixes: texts,
    ...bounds,
    default_quota: given.default_quota === undefined ? null : countOf('default_quota', given.default_quota),
    address_scope_id,
    is_default: given.is_default ?? false,
    ...NOT_SHARED,
    shared: given.shared ?? false,
    tags: [],
  };
}

/**
 * What of a pool's row changes; the pool must be locked.
 * @throws Fault as Neutron: 400 for prefixes that leave others out, bounds and scopes that do not fit; 409 for prefixes
 *   that another pool of the scope has
 */
export async function changedPool(
  row: SubnetPoolRow,
  given: Given<SubnetPoolRow>,
  context: RequestContext,
  tx: Tx,
): Promise<Given<SubnetPoolRow>> {
  const patch: Given<SubnetPoolRow> = { ...given };
  if (given.name !== undefined) patch.name = nameOf(given.name);
  if (given.prefixes !== undefined) {
    const { version, prefixes } = checkPrefixes(given.prefixes);
    if (version !== row.ip_version) {
      throw badRequest('Cannot mix IPv4 and IPv6 prefixes in a subnet pool.', 'PrefixVersionMismatch');
    }
    if (!isWithin(setOfTexts(row.prefixes), setOf(prefixes))) {
      throw badPrefixes('Existing prefixes must be a subset of the new prefixes');
    }
    patch.prefixes = prefixes.map(({ text }) => text);
  }
  const { min_prefixlen, max_prefixlen, default_prefixlen } = { ...row, ...given };
  const version = row.ip_version as IpVersion;
  Object.assign(patch, checkBounds(version, { min_prefixlen, max_prefixlen, default_prefixlen }));
  if (given.default_quota !== undefined) patch.default_quota = countOf('default_quota', given.default_quota);
  if (given.is_default === true && !row.is_default) await refuseSecondDefault(tx, version);
  const after = { ...row, ...patch };
  if (row.address_scope_id !== null || after.address_scope_id !== null) {
    await enterScope(tx, context, after, after.address_scope_id, row.address_scope_id);
  }
  return patch;
}

async function refuseSecondDefault(tx: Tx, version: IpVersion): Promise<void> {
  // Two at once: the second waits here for what the first says.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`default subnet pool ${version}`}, 0))`.execute(tx);
  const other = await sql`select 1 from subnet_pools where ip_version = ${version} and is_default`.execute(tx);
  if (other.rows.length === 0) return;
  throw invalidInput(
    'A default subnetpool for this IP family has already been set. Only one default may exist per IP family.',
  );
}
