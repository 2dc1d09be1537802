/** A network shows the address scopes that its subnets come from: read for a whole page at once. */
import { sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';

interface Shown {
  readonly id: string;
  readonly subnets: readonly string[];
  ipv4_address_scope: string | null;
  ipv6_address_scope: string | null;
}

/**
 * Fills in the address scopes of all networks in an answer that show them.
 * @param answer whatever an operation on networks answers; anything else in it is left as it is
 */
export async function withAddressScopes(query: Queryable, answer: unknown): Promise<unknown> {
  if (answer === null || typeof answer !== 'object') return answer;
  const networks = Object.values(answer).flat().filter(isNetwork);
  const ids = networks.filter(({ subnets }) => subnets.length > 0).map(({ id }) => id);
  if (ids.length === 0) return answer;
  const found = await sql<{ network_id: string; ip_version: number; scope: string }>`
    select distinct s.network_id, s.ip_version, p.address_scope_id as scope
    from subnets s join subnet_pools p on p.id = s.subnetpool_id
    where s.network_id = any(${ids}::text[]) and p.address_scope_id is not null`.execute(query);
  const byId = new Map(networks.map((network) => [network.id, network]));
  for (const { network_id, ip_version, scope } of found.rows) {
    const network = byId.get(network_id);
    if (network !== undefined) network[ip_version === 4 ? 'ipv4_address_scope' : 'ipv6_address_scope'] = scope;
  }
  return answer;
}

const isNetwork = (item: unknown): item is Shown =>
  typeof item === 'object' &&
  item !== null &&
  'id' in item &&
  'ipv4_address_scope' in item &&
  'subnets' in item &&
  Array.isArray(item.subnets);
