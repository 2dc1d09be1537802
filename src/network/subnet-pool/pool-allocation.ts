/** Prefixes out of subnet pools. A pool's row is locked while one is chosen; what is free is what no subnet of it has. */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { type Cidr, type IpVersion, parseCidr } from '../address-range.ts';
import { invalidAttribute } from '../network-fault.ts';
import { ownOrShared } from '../sharing.ts';
import { checkAffinity } from './pool-scope.ts';
import { firstFree, isWithin, type PrefixSet, setOf, without } from './prefix-set.ts';
import { type SubnetPoolRow, subnetPoolStore } from './subnet-pool-resource.ts';
import { setOfTexts, subnetPoolNotFound } from './subnet-pool-rules.ts';

/** Neutron's name of the pool that stands for prefixes by DHCPv6 from a provider. */
const PREFIX_DELEGATION = 'prefix_delegation';
const UUID = /^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$/;

/** What a request for a subnet says of where its prefix comes from. */
export interface PrefixWish {
  readonly subnetpool_id?: string | null | undefined;
  readonly use_default_subnetpool?: boolean | undefined;
  readonly cidr?: string | null | undefined;
  readonly prefixlen?: number | undefined;
  readonly ip_version: number;
  readonly hasPools: boolean;
}

const badSubnet = (reason: string): Fault => badRequest(`Bad subnets request: ${reason}.`, 'BadRequest');
// Neutron answers 500 to this, which is no fault of the service.
const noRoom = (reason: string): Fault => conflict(`Failed to allocate subnet: ${reason}.`, 'SubnetAllocationError');

/**
 * The pool that a subnet is to come from; undefined for none.
 * @throws Fault 400 for a request that contradicts itself, for prefix delegation, and where there is no default pool
 */
export async function poolOf(query: Queryable, context: RequestContext, wish: PrefixWish): Promise<string | undefined> {
  const hasCidr = wish.cidr != null;
  if (hasCidr && wish.prefixlen !== undefined) throw badSubnet('cidr and prefixlen must not be supplied together');
  const { subnetpool_id } = wish;
  if (wish.use_default_subnetpool === true && subnetpool_id != null) {
    throw badSubnet('subnetpool_id and use_default_subnetpool cannot both be specified');
  }
  if (subnetpool_id === PREFIX_DELEGATION) throw badSubnet('prefix delegation is not supported');
  if (subnetpool_id != null && !UUID.test(subnetpool_id)) {
    throw invalidAttribute('subnetpool_id', `'${subnetpool_id}' is not a valid UUID.`);
  }
  const chosen =
    subnetpool_id ?? (wish.use_default_subnetpool === true ? await defaultPool(query, context, wish) : undefined);
  if (chosen === undefined && !hasCidr) throw badSubnet('a subnetpool must be specified in the absence of a cidr');
  if (chosen !== undefined && !hasCidr && wish.hasPools) {
    throw badSubnet('allocation_pools allowed only for specific subnet requests.');
  }
  return chosen;
}

async function defaultPool(query: Queryable, context: RequestContext, { cidr, ip_version }: PrefixWish) {
  const version = cidr == null ? ip_version : (parseCidr(cidr)?.version ?? ip_version);
  const found = await defaultPoolOf(query, context, version);
  if (found === undefined) throw badSubnet(`No default subnetpool found for IPv${version}`);
  return found;
}

/** The default pool of an IP version, where there is one that the caller may use. */
export async function defaultPoolOf(
  query: Queryable,
  context: RequestContext,
  version: number,
): Promise<string | undefined> {
  const [pool] = await subnetPoolStore.select(query, [
    sql<boolean>`ip_version = ${version} and is_default`,
    ...ownOrShared(context),
  ]);
  return pool?.id;
}

/**
 * Chooses a prefix of a pool for a subnet that the transaction stores; the network must be locked.
 * @throws Fault 404 for an unknown pool; 400 for the other IP version, lengths that the pool does not give, and networks
 *   with subnets from elsewhere; 409 for a prefix that is taken, no room, and more than the project may have of the pool
 */
export async function allocatePrefix(
  tx: Tx,
  context: RequestContext,
  at: { readonly pool: string; readonly network: string; readonly project_id: string },
  wish: PrefixWish,
): Promise<Cidr> {
  const seen = await subnetPoolStore.find(tx, at.pool, ownOrShared(context));
  if (seen === undefined) throw subnetPoolNotFound(at.pool);
  const version = seen.ip_version as IpVersion;
  if (wish.ip_version !== version) {
    throw badSubnet(`Cannot allocate IPv${wish.ip_version} subnet from IPv${version} subnet pool`);
  }
  await checkAffinity(tx, at.network, version, at.pool);
  const pool = await subnetPoolStore.find(tx, at.pool, ownOrShared(context));
  if (pool === undefined) throw subnetPoolNotFound(at.pool);
  const asked = wish.cidr == null ? undefined : parseCidr(wish.cidr);
  const prefixlen = asked?.prefix ?? wish.prefixlen ?? pool.default_prefixlen;
  checkLength(pool, prefixlen);
  const { rows: given } = await sql<{ cidr: string; project_id: string }>`
    select cidr, project_id from subnets where subnetpool_id = ${pool.id}`.execute(tx);
  refusePastQuota(
    pool,
    given.filter(({ project_id }) => project_id === at.project_id),
    prefixlen,
  );
  const left = without(setOfTexts(pool.prefixes), setOfTexts(given.map(({ cidr }) => cidr)));
  return asked === undefined ? anyOf(left, prefixlen, version) : thisOne(left, asked);
}

function anyOf(left: PrefixSet, prefixlen: number, version: IpVersion): Cidr {
  const free = firstFree(left, prefixlen, version);
  if (free === undefined) throw noRoom(`Insufficient prefix space to allocate subnet size /${prefixlen}`);
  return free;
}

function thisOne(left: PrefixSet, asked: Cidr): Cidr {
  if (isWithin(setOf([asked]), left)) return asked;
  throw noRoom('Cannot allocate requested subnet from the available set of prefixes');
}

function checkLength({ min_prefixlen, max_prefixlen }: SubnetPoolRow, prefixlen: number): void {
  const refuse = (word: string, limit: number, type: string): Fault =>
    badRequest(`Unable to allocate subnet with prefix length ${prefixlen}, ${word} allowed prefix is ${limit}.`, type);
  if (prefixlen > max_prefixlen) throw refuse('maximum', max_prefixlen, 'MaxPrefixSubnetAllocationError');
  if (prefixlen < min_prefixlen) throw refuse('minimum', min_prefixlen, 'MinPrefixSubnetAllocationError');
}

/** Counted in addresses of IPv4 and in /64 of IPv6. */
function refusePastQuota(pool: SubnetPoolRow, held: readonly { readonly cidr: string }[], prefixlen: number): void {
  if (pool.default_quota === null || pool.default_quota === 0) return;
  const unit = pool.ip_version === 4 ? 32 : 64;
  const units = (length: number): number => 2 ** (unit - length);
  const used = held.reduce((sum, { cidr }) => sum + units(parseCidr(cidr)?.prefix ?? unit), 0);
  if (used + units(prefixlen) <= pool.default_quota) return;
  throw conflict('Per-tenant subnet pool prefix quota exceeded.', 'SubnetPoolQuotaExceeded');
}
