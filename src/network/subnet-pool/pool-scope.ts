/** What address scopes demand of subnet pools, and both of the subnets of one network. */
import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { badRequest, conflict } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { addressScopeStore } from '../address-scope/address-scope-resource.ts';
import { addressScopeNotFound } from '../address-scope/address-scopes.ts';
import { ownOrAdmin } from '../network-project.ts';
import { ownOrShared } from '../sharing.ts';
import { meets } from './prefix-set.ts';
import type { SubnetPoolRow } from './subnet-pool-resource.ts';
import { badPoolUpdate, setOfTexts } from './subnet-pool-rules.ts';

const scopeAffinity = () =>
  badRequest(
    'Subnets of the same address family hosted on the same network must all participate in the same address scope.',
    'NetworkAddressScopeAffinityError',
  );
const poolAffinity = () =>
  badRequest(
    'Subnets hosted on the same network must be allocated from the same subnet pool.',
    'NetworkSubnetPoolAffinityError',
  );

/**
 * Holds a pool that is new or changed against the scope that it is to be in, and that it is in. Nobody else enters or
 * leaves the scope, nor is it deleted, until the transaction ends.
 * @param wanted null to be in none
 * @throws Fault 404 for an unknown scope, 400 for one of the other IP version, for a pool in another's scope, and for
 *   networks with subnets that would be in other scopes; 409 for prefixes that another pool of the scope has
 */
export async function enterScope(
  tx: Tx,
  context: RequestContext,
  pool: Pick<SubnetPoolRow, 'id' | 'ip_version' | 'prefixes'>,
  wanted: string | null,
  before: string | null = null,
): Promise<void> {
  if (before !== null) {
    const held = await addressScopeStore.find(tx, before);
    if (held !== undefined && !ownOrAdmin(held, context)) {
      throw badPoolUpdate(
        `subnetpool ${pool.id} cannot be updated when associated with shared address scope ${before}`,
      );
    }
  }
  if (wanted === null) return;
  const scope = await addressScopeStore.lock(tx, wanted, ownOrShared(context));
  if (scope === undefined) throw addressScopeNotFound(wanted);
  if (scope.ip_version !== pool.ip_version) {
    throw badRequest(
      `Illegal subnetpool association: subnetpool ${pool.id} cannot associate with address scope ${wanted} because subnetpool ip_version is not ${scope.ip_version}.`,
      'IllegalSubnetPoolIpVersionAssociationToAddressScope',
    );
  }
  await refuseMixedNetworks(tx, pool);
  const others = await sql<{ prefixes: string[] }>`
    select prefixes from subnet_pools where address_scope_id = ${wanted} and id <> ${pool.id}`.execute(tx);
  const own = setOfTexts(pool.prefixes);
  if (others.rows.some(({ prefixes }) => meets(own, setOfTexts(prefixes)))) {
    throw conflict(
      'Failed to associate address scope: subnetpools within an address scope must have unique prefixes.',
      'AddressScopePrefixConflict',
    );
  }
}

/** All subnets of the IP version on the pool's networks have to come from the pool. */
async function refuseMixedNetworks(tx: Tx, pool: Pick<SubnetPoolRow, 'id' | 'ip_version'>): Promise<void> {
  const mixed = await sql`select 1 from subnets s join subnets other on other.network_id = s.network_id
    where s.subnetpool_id = ${pool.id} and other.ip_version = ${pool.ip_version}
      and other.subnetpool_id is distinct from ${pool.id} limit 1`.execute(tx);
  if (mixed.rows.length > 0) throw scopeAffinity();
}

/**
 * Whether a new subnet, from this pool or from none, may be on the network. The network must be locked; the pools that
 * it has subnets of, and the new one, stay as they are until the transaction ends.
 * @throws Fault 400 where the network's other subnets come from elsewhere
 */
export async function checkAffinity(
  tx: Tx,
  networkId: string,
  ipVersion: number,
  poolId: string | null,
): Promise<void> {
  const { rows: subnets } = await sql<{ subnetpool_id: string | null }>`
    select distinct subnetpool_id from subnets where network_id = ${networkId} and ip_version = ${ipVersion}`.execute(
    tx,
  );
  const ids = [...new Set([poolId, ...subnets.map(({ subnetpool_id }) => subnetpool_id)])].filter((id) => id !== null);
  if (ids.length === 0) return;
  // In one order for all, so that two transactions do not wait for each other.
  const { rows: pools } = await sql<{ id: string; address_scope_id: string | null }>`
    select id, address_scope_id from subnet_pools where id = any(${ids}::text[]) order by id for no key update`.execute(
    tx,
  );
  const scopeOf = (id: string | null) => pools.find((pool) => pool.id === id)?.address_scope_id ?? null;
  const scope = subnets.map(({ subnetpool_id }) => scopeOf(subnetpool_id)).find((one) => one !== null);
  if (poolId === null) {
    if (subnets.some(({ subnetpool_id }) => subnetpool_id !== null)) throw poolAffinity();
  } else if (scope !== undefined) {
    if (scopeOf(poolId) !== scope) throw scopeAffinity();
  } else if (subnets.some(({ subnetpool_id }) => subnetpool_id !== poolId)) throw poolAffinity();
}
