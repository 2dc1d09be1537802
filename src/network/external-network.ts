/** Which external networks and subnets of the children stand behind the parent's. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';

/** A subnet of one of the parent's external networks, and the child whose it is. */
export interface ExternalSubnet {
  readonly subnet_id: string;
  readonly network_id: string;
  readonly child: string;
  /** The child's own id of it. */
  readonly child_id: string;
}

/** The children's subnets behind an external network. */
export async function externalSubnets(query: Queryable, networkId: string): Promise<readonly ExternalSubnet[]> {
  const found = await sql<ExternalSubnet>`
    select e.subnet_id, e.network_id, e.child, e.child_id from external_subnets e
    join subnets s on s.id = e.subnet_id where e.network_id = ${networkId} order by e.child, e.subnet_id`.execute(
    query,
  );
  return found.rows;
}

/** A child's own id of an external network, or undefined where it has no part in it. */
export async function childExternalNetwork(
  query: Queryable,
  child: string,
  networkId: string,
): Promise<string | undefined> {
  const found = await sql<{ child_id: string }>`
    select child_id from external_networks where child = ${child} and network_id = ${networkId}`.execute(query);
  return found.rows[0]?.child_id;
}
