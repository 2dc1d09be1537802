/** Which address of a parent's port each child should show. Reads alone: what a child was not given yet is not given now. */
import { sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';
import type { PortRow } from '../port-resource.ts';
import { isOnStretched } from '../stretched/address.ts';
import type { SubnetRow } from '../subnet-resource.ts';

/** By child, of one port on one subnet; undefined: not given yet. */
export type AddressIn = (child: string) => string | undefined;

/** The addresses that a port has on a subnet in the children. */
export async function addressesOf(
  query: Queryable,
  port: Pick<PortRow, 'id' | 'network_id' | 'device_owner' | 'fixed_ips'>,
  subnetId: string,
): Promise<AddressIn> {
  const own = port.fixed_ips.find(({ subnet_id }) => subnet_id === subnetId)?.ip_address;
  const isRouters = port.device_owner.startsWith('network:router');
  if (!isRouters || !(await isOnStretched(query, port.network_id))) return () => own;
  const found = await sql<{ child: string; ip: string }>`select child, host(ip_address) as ip from stretched_addresses
    where port_id = ${port.id} and subnet_id = ${subnetId}`.execute(query);
  const given = new Map(found.rows.map(({ child, ip }) => [child, ip]));
  return (child) => given.get(child);
}

/** The gateway of a subnet's copy in a child: of a stretched one that a router has, the router's address there. */
export async function gatewaysOf(query: Queryable, subnet: SubnetRow): Promise<(child: string) => string | null> {
  const { gateway_ip } = subnet;
  if (gateway_ip === null || !(await isOnStretched(query, subnet.network_id))) return () => gateway_ip;
  const found = await sql<{ child: string; ip: string }>`
    select s.child, host(s.ip_address) as ip from ip_allocations a
    join ports p on p.id = a.port_id join stretched_addresses s on s.port_id = p.id and s.subnet_id = a.subnet_id
    where a.subnet_id = ${subnet.id} and a.ip_address = ${gateway_ip}::inet
      and starts_with(p.device_owner, 'network:router')`.execute(query);
  const routed = new Map(found.rows.map(({ child, ip }) => [child, ip]));
  return (child) => routed.get(child) ?? gateway_ip;
}
