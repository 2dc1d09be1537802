/**
 * Addresses on subnets that several children have at once. Each router has one of its own in every child: the first
 * child to have it keeps the address that the parent shows, each further one uses an address set aside for it. And an
 * address that the parent gave back stays set aside until the child that had it has let go of it, since another child
 * would take it at once.
 *
 * Rows of `ip_allocations` with such a `port_id`: `router:CHILD:PORT`, a router's address in a further child;
 * `held:CHILD:PORT`, of a port that is gone in the parent; `seen:CHILD`, used in the child by what the parent does not
 * know. Beside them `child:CHILD`, as on every subnet.
 */
import { sql } from 'kysely';
import type { Db, Queryable, Tx } from '../../db/database.ts';
import { CloudError } from '../../openstack/error.ts';
import { takeFromEnd } from '../address-allocation.ts';
import type { FixedIp, PortRow } from '../port-resource.ts';
import { type SubnetRow, subnetStore } from '../subnet-resource.ts';

/** A subnet, with whether its network stretches over several children. */
export interface SubnetPlace {
  readonly subnet: SubnetRow;
  readonly child: string;
}

/** Whether the subnet's network lies on a physical network of several children. */
export async function isOnStretched(query: Queryable, networkId: string): Promise<boolean> {
  const found = await sql`select 1 from networks
    where id = ${networkId} and provider_physical_network is not null`.execute(query);
  return found.rows.length > 0;
}

/**
 * What the copy of a stretched subnet in a child has as its gateway: while a router of the parent has the gateway's
 * address, that router's address in this child; else what the subnet says, which may be a router outside of all clouds.
 * @throws CloudError `refused` where no address is left to set aside
 */
export async function gatewayIn(db: Db, { subnet, child }: SubnetPlace): Promise<string | null> {
  const { gateway_ip } = subnet;
  if (gateway_ip === null) return null;
  const routed = await sql<{ id: string }>`select p.id from ip_allocations a join ports p on p.id = a.port_id
    where a.subnet_id = ${subnet.id} and a.ip_address = ${gateway_ip}::inet
      and starts_with(p.device_owner, 'network:router')`.execute(db.query);
  const portId = routed.rows[0]?.id;
  return portId === undefined ? gateway_ip : interfaceAddress(db, { subnet, child }, portId, gateway_ip);
}

/**
 * The address that a router's interface on a stretched subnet has in a child. Twice: the same.
 * @param own the address that the parent shows for the interface
 * @throws CloudError `refused` where no address is left to set aside
 */
export async function interfaceAddress(
  db: Db,
  { subnet, child }: SubnetPlace,
  portId: string,
  own: string,
): Promise<string> {
  return db.transaction(async (tx) => {
    // Two children at once: the second waits here, and then finds what the first took.
    await sql`select 1 from subnets where id = ${subnet.id} for no key update`.execute(tx);
    const known = await sql<{ child: string; ip: string }>`select child, host(ip_address) as ip
      from stretched_addresses where port_id = ${portId} and subnet_id = ${subnet.id}`.execute(tx);
    const mine = known.rows.find((row) => row.child === child);
    if (mine !== undefined) return mine.ip;
    const ip = known.rows.length === 0 ? own : await takeFromEnd(tx, subnet, `router:${child}:${portId}`);
    if (ip === undefined) throw exhausted(child, subnet);
    await sql`insert into stretched_addresses (port_id, subnet_id, child, ip_address)
      values (${portId}, ${subnet.id}, ${child}, ${ip}::inet)`.execute(tx);
    return ip;
  });
}

/**
 * What the copy of a port has as an address in a child: of a router's interface on a stretched subnet, the router's
 * address there; of any other port the one that the parent shows.
 * @throws CloudError `refused` where no address is left to set aside
 */
export async function addressIn(
  db: Db,
  child: string,
  port: Pick<PortRow, 'id' | 'network_id' | 'device_owner'>,
  { subnet_id, ip_address }: FixedIp,
): Promise<string> {
  if (!port.device_owner.startsWith('network:router') || !(await isOnStretched(db.query, port.network_id))) {
    return ip_address;
  }
  const subnet = await subnetStore.find(db.query, subnet_id);
  return subnet === undefined ? ip_address : interfaceAddress(db, { subnet, child }, port.id, ip_address);
}

function exhausted(child: string, subnet: SubnetRow): CloudError {
  const tenantMessage = `No more IP addresses available on network ${subnet.network_id}.`;
  return new CloudError(`${child}: no address is left on subnet ${subnet.id} for a router`, {
    failure: 'refused',
    stage: 'not-sent',
    status: 409,
    tenantMessage,
  });
}

/**
 * To be called in the transaction in which ports go from the parent, after their addresses were given back: what
 * children still have of them stays set aside until they let go. Ports of other networks: nothing.
 */
export async function holdLeaving(tx: Tx, ports: readonly Pick<PortRow, 'id' | 'network_id' | 'fixed_ips'>[]) {
  for (const port of await onStretched(tx, ports)) {
    await holdAddresses(tx, port, port.fixed_ips);
    await sql`update ip_allocations set port_id = replace(port_id, 'router:', 'held:')
      where port_id like 'router:%' and port_id = any(
        select 'router:' || child || ':' || port_id from stretched_addresses where port_id = ${port.id})`.execute(tx);
    await sql`delete from stretched_addresses where port_id = ${port.id}`.execute(tx);
  }
}

/** The same for single addresses of a port that stays. */
export async function holdGivenBack(tx: Tx, port: Pick<PortRow, 'id' | 'network_id'>, fixedIps: readonly FixedIp[]) {
  if (fixedIps.length === 0 || !(await isOnStretched(tx, port.network_id))) return;
  await holdAddresses(tx, port, fixedIps);
}

async function onStretched<P extends Pick<PortRow, 'network_id'>>(tx: Tx, ports: readonly P[]): Promise<P[]> {
  const ids = [...new Set(ports.map(({ network_id }) => network_id))];
  const found = await sql<{ id: string }>`select id from networks
    where id = any(${ids}::text[]) and provider_physical_network is not null`.execute(tx);
  const stretched = new Set(found.rows.map(({ id }) => id));
  return ports.filter(({ network_id }) => stretched.has(network_id));
}

/** For the child that has the port, or of a router's copies the one that has this very address. */
async function holdAddresses(tx: Tx, port: Pick<PortRow, 'id'>, fixedIps: readonly FixedIp[]): Promise<void> {
  for (const { subnet_id, ip_address } of fixedIps) {
    await sql`insert into ip_allocations (subnet_id, ip_address, port_id)
      select ${subnet_id}, ${ip_address}::inet, 'held:' || holder.child || ':' || ${port.id}::text
      from (select coalesce(
        (select child from stretched_addresses
          where port_id = ${port.id} and subnet_id = ${subnet_id} and ip_address = ${ip_address}::inet),
        (select child from replicas where kind = 'port' and resource_id = ${port.id} limit 1)) as child) as holder
      where holder.child is not null on conflict do nothing`.execute(tx);
  }
}

/** To be called when a child has let go of a port. Twice: nothing is held any more. */
export async function letGo(query: Queryable, child: string, portId: string): Promise<void> {
  await sql`delete from ip_allocations where port_id = ${`held:${child}:${portId}`}`.execute(query);
}
