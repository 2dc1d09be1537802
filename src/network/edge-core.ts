/** What routers, floating IPs and external networks do with ports and addresses: few things, each in one place. */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Queryable, Tx } from '../db/database.ts';
import { allocateAddresses, type FixedIpRequest } from './address-allocation.ts';
import { countQuota } from './network-quota.ts';
import type { PortEvents } from './port-events.ts';
import { completePort, removePorts, storePort } from './port-make.ts';
import { type FixedIp, type PortRow, portStore } from './port-resource.ts';
import type { NetworkTopology } from './topology.ts';

export interface EdgeParts {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly events: PortEvents;
  /** What joins the children's networks. */
  readonly topology: NetworkTopology;
  /** Says that a network which is nowhere yet lives in this child; false where it lives in another. */
  readonly bindNetwork: (tx: Tx, networkId: string, child: string) => Promise<boolean>;
}

export const ROUTER_INTERFACE = 'network:router_interface';
export const ROUTER_GATEWAY = 'network:router_gateway';
export const FLOATING_IP = 'network:floatingip';

/** A port that the service makes: no security groups, not counted by the quota unless a project owns it. */
export interface NewEdgePort {
  readonly network_id: string;
  readonly project_id: string;
  readonly device_id: string;
  readonly device_owner: string;
  readonly status: string;
  readonly fixed_ips: readonly FixedIpRequest[];
}

/**
 * Takes the addresses, stores the port and counts it.
 * @throws Fault as Neutron has it for addresses that are taken, used up or of no subnet, and for the quota
 */
export async function addPort(tx: Tx, wanted: NewEdgePort): Promise<PortRow> {
  const { network_id, ...rest } = wanted;
  const network = { id: network_id, port_security_enabled: false };
  const port = await storePort(tx, await completePort(tx, { ...rest, network }));
  if (wanted.project_id !== '') await countQuota(tx, wanted.project_id, { port: 1 });
  return port;
}

/** One more address for a port. @throws Fault as `addPort` */
export async function addAddress(tx: Tx, port: PortRow, fixedIp: FixedIpRequest): Promise<PortRow> {
  const { id, network_id, mac_address, device_owner } = port;
  const added = await allocateAddresses(tx, {
    network_id,
    port_id: id,
    mac_address,
    fixed_ips: [fixedIp],
    device_owner,
  });
  return (await portStore.update(tx, id, { fixed_ips: [...port.fixed_ips, ...added] })) as PortRow;
}

/** The port goes, with its addresses, its quota and its copies in children. */
export async function removePort(tx: Tx, parts: EdgeParts, port: PortRow): Promise<void> {
  await removePorts(tx, parts, [port]);
}

/** Ports of a device with this owner, oldest first. */
export async function portsOfDevice(query: Queryable, deviceIds: readonly string[], owner: string): Promise<PortRow[]> {
  if (deviceIds.length === 0) return [];
  const found = await portStore.select(query, [
    sql<SqlBool>`device_id = any(${[...deviceIds]}::text[])`,
    sql<SqlBool>`device_id <> ''`,
    sql<SqlBool>`device_owner = ${owner}`,
  ]);
  return found.sort((one, other) => (one.created_at < other.created_at ? -1 : 1));
}

/** Router interfaces on a subnet, of any router. */
export async function interfacesOn(query: Queryable, networkId: string, subnetId: string): Promise<PortRow[]> {
  const found = await portStore.select(query, [
    sql<SqlBool>`network_id = ${networkId}`,
    sql<SqlBool>`device_owner = ${ROUTER_INTERFACE}`,
  ]);
  return found.filter((port) => port.fixed_ips.some((fixedIp) => fixedIp.subnet_id === subnetId));
}

/** Children in which each network lives; a network that lives nowhere yet is absent. */
export async function childrenOfNetworks(
  query: Queryable,
  networkIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  if (networkIds.length === 0) return new Map();
  const found = await sql<{ id: string; child: string }>`
    select id, child from networks where id = any(${[...networkIds]}::text[]) and child is not null
    union
    select resource_id as id, child from replicas
    where kind = 'network' and not retiring and resource_id = any(${[...networkIds]}::text[])
    order by id, child`.execute(query);
  const places = new Map<string, string[]>();
  for (const { id, child } of found.rows) places.set(id, [...(places.get(id) ?? []), child]);
  return places;
}

/** Tells those who keep servers' addresses that floating IPs of these ports changed. */
export async function portsChanged(tx: Tx, parts: EdgeParts, portIds: readonly (string | null)[]): Promise<void> {
  const ids = portIds.filter((id) => id !== null);
  if (ids.length === 0) return;
  const ports = await portStore.findMany(tx, ids);
  await parts.events.changed(tx, ports);
}

/**
 * Keeps addresses that were just given back set aside until the child has let go of them, too: else the next one to get
 * one would find it still taken there.
 */
export async function holdAddresses(tx: Tx, child: string, fixedIps: readonly FixedIp[]): Promise<void> {
  for (const { subnet_id, ip_address } of fixedIps) {
    await sql`insert into ip_allocations (subnet_id, ip_address, port_id)
      values (${subnet_id}, ${ip_address}::inet, ${`held:${child}`}) on conflict do nothing`.execute(tx);
  }
}
