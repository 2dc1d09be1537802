/**
 * External networks. Most are the children's own, which appear in the parent by their names; others are made in the
 * parent, and live in one child as any network of a project does: in the one where they are first used.
 */
import { sql } from 'kysely';
import type { ChildContext } from '../cascade/contract.ts';
import type { Queryable } from '../db/database.ts';
import { refuseUnable, unableFor } from './able.ts';
import { networkStore } from './network-resource.ts';

/** A subnet of an external network, and a child that gateways and floating IPs have its addresses in. */
export interface ExternalSubnet {
  readonly subnet_id: string;
  readonly network_id: string;
  readonly child: string;
  /** Whether it is the child's own, so that others may use its addresses, too. */
  readonly adopted: boolean;
}

/** The subnets of an external network by child; one that was made here may come to live in any, until it is in one. */
export async function externalSubnets(query: Queryable, networkId: string): Promise<readonly ExternalSubnet[]> {
  const found = await sql<ExternalSubnet>`
    select e.subnet_id, e.network_id, e.child, true as adopted from external_subnets e
    join subnets s on s.id = e.subnet_id where e.network_id = ${networkId}
    union all
    select s.id, s.network_id, c.name, false from subnets s
    join networks n on n.id = s.network_id and n.external
    join children c on c.name = coalesce(n.child, c.name)
    where s.network_id = ${networkId} and not exists (select 1 from external_networks o where o.network_id = n.id)
    order by child, subnet_id`.execute(query);
  return found.rows;
}

/** The children whose own an external network is, whether they show subnets of it or not. */
export async function childrenWithExternal(query: Queryable, networkId: string): Promise<string[]> {
  const found = await sql<{ child: string }>`
    select distinct child from external_networks where network_id = ${networkId} order by child`.execute(query);
  return found.rows.map(({ child }) => child);
}

/** Whether an external network is no child's own. */
export async function isMadeHere(query: Queryable, networkId: string): Promise<boolean> {
  const found = await sql`select 1 from external_networks where network_id = ${networkId} limit 1`.execute(query);
  return found.rows.length === 0;
}

/**
 * An external network that was made here and is nowhere yet comes to live where a router first leads out by it.
 * @throws Fault 409 where it can live in none of the children that the router is in
 */
export async function refuseNoWayOut(
  query: Queryable,
  networkId: string | null,
  children: readonly string[],
): Promise<void> {
  if (networkId === null || children.length === 0 || !(await isMadeHere(query, networkId))) return;
  const network = await networkStore.find(query, networkId);
  if (network === undefined || network.child !== null) return;
  const { able } = await unableFor(query, [{ makes_external: true }]);
  if (able === undefined || children.some((child) => able.includes(child))) return;
  await refuseUnable(query, children, { makes_external: true });
}

/** What a child has of an external network of the parent's. */
export interface ExternalNetworkThere {
  /** The child's own id. */
  readonly network_id: string;
  /** The child's own ids by the parent's. */
  readonly subnets: ReadonlyMap<string, string>;
}

/** What this child has of an external network, brought there where it was made here; undefined where it has no part in it. */
export async function externalNetworkIn(
  context: ChildContext,
  networkId: string,
): Promise<ExternalNetworkThere | undefined> {
  const { child, db } = context;
  const own = await sql<{ child_id: string }>`
    select child_id from external_networks where child = ${child} and network_id = ${networkId}`.execute(db.query);
  const network_id = own.rows[0]?.child_id;
  if (network_id !== undefined) {
    const mapped = await sql<{ subnet_id: string; child_id: string }>`
      select e.subnet_id, e.child_id from external_subnets e join subnets s on s.id = e.subnet_id
      where e.network_id = ${networkId} and e.child = ${child}`.execute(db.query);
    return { network_id, subnets: new Map(mapped.rows.map((row) => [row.subnet_id, row.child_id])) };
  }
  const row = await networkStore.find(db.query, networkId);
  if (row === undefined || row.child !== child) return undefined;
  const copy = await context.ensure('network', networkId);
  const subnets = await Promise.all(
    row.subnets.map(async (id) => [id, (await context.ensure('subnet', id)).child_id] as const),
  );
  return { network_id: copy.child_id, subnets: new Map(subnets) };
}
