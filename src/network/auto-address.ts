/**
 * Subnets of automatic IPv6 addresses: every port of the network has the address that its MAC makes, from when there is
 * such a subnet until there is none, whichever was first.
 */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Tx } from '../db/database.ts';
import { releaseSome, takeAutoAddress } from './address-allocation.ts';
import type { PortEvents } from './port-events.ts';
import { lockPorts } from './port-make.ts';
import { type FixedIp, type PortRow, portStore } from './port-resource.ts';
import type { SubnetRow } from './subnet-resource.ts';

interface Parts {
  readonly cascade: Cascade;
  readonly events: PortEvents;
}

/** Gives the ports that the network has already an address of a new subnet; routers' and the network's own get none. */
export async function addAutoAddresses(tx: Tx, parts: Parts, subnet: SubnetRow): Promise<void> {
  const ports = await lockPorts(
    tx,
    sql<SqlBool>`network_id = ${subnet.network_id} and not starts_with(device_owner, 'network:')`,
  );
  for (const port of ports) {
    await change(tx, parts, port, [...port.fixed_ips, await takeAutoAddress(tx, subnet, port)]);
  }
}

/**
 * Takes the addresses of a subnet that goes from the ports that have them.
 * @returns false where a router has an interface on it; nothing is changed then
 */
export async function removeAutoAddresses(tx: Tx, parts: Parts, subnet: SubnetRow): Promise<boolean> {
  const ports = await lockPorts(
    tx,
    sql<SqlBool>`id in (select a.port_id from ip_allocations a where a.subnet_id = ${subnet.id})`,
  );
  if (ports.some(({ device_owner }) => device_owner.startsWith('network:router'))) return false;
  for (const port of ports) {
    const gone = port.fixed_ips.filter(({ subnet_id }) => subnet_id === subnet.id);
    await releaseSome(tx, port.id, gone);
    await change(
      tx,
      parts,
      port,
      port.fixed_ips.filter((one) => !gone.includes(one)),
    );
  }
  return true;
}

async function change(tx: Tx, { cascade, events }: Parts, port: PortRow, fixed_ips: readonly FixedIp[]): Promise<void> {
  const after = await portStore.update(tx, port.id, { fixed_ips: [...fixed_ips] });
  await cascade.revise(tx, 'port', port.id);
  await events.updated(tx, after ?? port);
  await events.changed(tx, [port]);
}
