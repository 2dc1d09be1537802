/** What a floating IP's row says of its port forwardings, and what becomes of them when ports change or go. */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import { type FloatingIp, floatingIps } from '../floating-ip-resource.ts';
import type { PortRow } from '../port-resource.ts';
import { type Forwarding, type PortForwarding, portForwardings } from './port-forwarding-resource.ts';

type Because = { readonly requestId?: string };

/** @throws Fault 409 where the floating IP forwards ports, and so cannot be tied to one or go */
export function refuseForwarding(row: Pick<FloatingIp, 'id' | 'forwardings'>): void {
  if (row.forwardings.length === 0) return;
  throw conflict(`Floating IP ${row.id} in use by Port Forwarding resources.`, 'FipInUseByPortForwarding');
}

/** Brings a locked floating IP's own copy of its forwardings, its router and its replica up to date. */
export async function copyForwardings(
  tx: Tx,
  cascade: Cascade,
  row: Pick<FloatingIp, 'id'>,
  router_id: string | null,
  because: Because = {},
): Promise<void> {
  const found = await portForwardings.select(tx, [sql<SqlBool>`floatingip_id = ${row.id}`]);
  const forwardings = found.sort((one, other) => (one.id < other.id ? -1 : 1)).map(copyOf);
  // The last one frees the floating IP for another router.
  const state = forwardings.length > 0 ? { router_id } : { router_id: null, status: 'DOWN' };
  await floatingIps.update(tx, row.id, { forwardings, ...state });
  await cascade.revise(tx, 'floating_ip', row.id, because);
}

function copyOf(one: PortForwarding): Forwarding {
  const { id, protocol, external_port_range, internal_port_range, internal_port_id, internal_ip_address } = one;
  return { id, protocol, external_port_range, internal_port_range, internal_port_id, internal_ip_address };
}

/** To be called in the transaction in which ports go: what was forwarded to them goes too. */
export function dropForwardingsOfPorts(tx: Tx, cascade: Cascade, portIds: readonly string[]): Promise<void> {
  return drop(tx, cascade, sql<SqlBool>`internal_port_id = any(${[...portIds]}::text[])`);
}

/** The same where a port has other addresses than before. */
export function dropForwardingsOfAddresses(tx: Tx, cascade: Cascade, port: PortRow): Promise<void> {
  const kept = port.fixed_ips.map(({ ip_address }) => ip_address);
  const gone = sql<SqlBool>`internal_port_id = ${port.id} and internal_ip_address <> all(${kept}::text[])`;
  return drop(tx, cascade, gone);
}

async function drop(tx: Tx, cascade: Cascade, condition: ReturnType<typeof sql<SqlBool>>): Promise<void> {
  const named = await sql<{ floatingip_id: string }>`
    select distinct floatingip_id from port_forwardings where ${condition} order by floatingip_id`.execute(tx);
  for (const { floatingip_id } of named.rows) {
    const row = await floatingIps.lock(tx, floatingip_id);
    if (row === undefined) continue;
    await sql`delete from port_forwardings where floatingip_id = ${floatingip_id} and ${condition}`.execute(tx);
    await copyForwardings(tx, cascade, row, row.router_id);
  }
}
