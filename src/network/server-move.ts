/**
 * Servers that move to another child, and their ports with them. A port keeps MAC and addresses; its copy in the child
 * that it leaves stays there until the server is gone from it (`leaveChild`), so that a move that fails finds it again.
 */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Queryable, Tx } from '../db/database.ts';
import { conflict } from '../http/fault.ts';
import { networkStore } from './network-resource.ts';
import { bindNetwork } from './networks.ts';
import type { PortEvents } from './port-events.ts';
import { lockPorts } from './port-make.ts';
import { portStore } from './port-resource.ts';
import { type MemberChange, membersChanged } from './remote-member/members.ts';
import { isStretched, joinedBy, physicalOf, type StretchedParts } from './stretched/place.ts';

export interface MoveParts extends StretchedParts {
  readonly events: PortEvents;
}

interface HeldPort {
  readonly id: string;
  readonly network_id: string;
  /** What ties it to its child, in a tenant's words. */
  readonly held_by: string | null;
}

const ofServer = (serverId: string) =>
  sql<SqlBool>`device_id = ${serverId} and device_id <> '' and starts_with(device_owner, 'compute:')`;

/** See `ServerNetworks.obstacle`. */
export async function obstacle(
  query: Queryable,
  { topology }: Pick<StretchedParts, 'topology'>,
  serverId: string,
  child: string,
): Promise<string | undefined> {
  const ports = await sql<HeldPort>`select id, network_id, case
      when exists (select 1 from floating_ips f where f.port_id = ports.id) then 'a floating IP'
      when exists (select 1 from port_forwardings f where f.internal_port_id = ports.id) then 'a port forwarding'
      when exists (select 1 from trunks t where t.port_id = ports.id) then 'a trunk' end as held_by
    from ports where ${ofServer(serverId)} order by boot_index, created_at, id`.execute(query);
  const held = ports.rows.find(({ held_by }) => held_by !== null);
  if (held !== undefined) {
    return `port ${held.id} has ${held.held_by}, which belongs to the availability zone that the server is in.`;
  }
  const networks = await networkStore.findMany(query, [...new Set(ports.rows.map(({ network_id }) => network_id))]);
  for (const network of networks) {
    if (!isStretched(network)) {
      if (network.child === child) continue;
      return `network ${network.id} is in the availability zone that the server is in, and nowhere else.`;
    }
    const { able, refusals } = await joinedBy(query, physicalOf(topology, network));
    if (able.includes(child)) continue;
    const refusal = refusals.get(child)?.tenant;
    return refusal === undefined
      ? `network ${network.id} does not reach it.`
      : `network ${network.id} cannot be used there: ${refusal}.`;
  }
  return undefined;
}

/** See `ServerNetworks.move`. */
export async function movePorts(
  tx: Tx,
  parts: MoveParts,
  serverId: string,
  to: { readonly child: string; readonly zone: string },
): Promise<void> {
  const { rows } = await sql<{ network_id: string }>`select distinct network_id from ports
    where ${ofServer(serverId)} order by network_id`.execute(tx);
  for (const { network_id } of rows) {
    if (await bindNetwork(tx, parts, network_id, to.child)) continue;
    throw conflict(`Network ${network_id} does not reach the availability zone ${to.zone}.`);
  }
  await placePorts(tx, parts, serverId, to);
}

/** See `ServerNetworks.moveBack`. */
export async function movePortsBack(
  tx: Tx,
  parts: MoveParts,
  serverId: string,
  to: { readonly child: string; readonly zone: string },
): Promise<void> {
  // What was tied to them since belongs to the child that they do not come to.
  const tied = await lockPorts(
    tx,
    sql<SqlBool>`${ofServer(serverId)} and (exists (select 1 from floating_ips f where f.port_id = ports.id)
      or exists (select 1 from port_forwardings f where f.internal_port_id = ports.id))`,
  );
  if (tied.length > 0) await parts.events.removing(tx, tied);
  await placePorts(tx, parts, serverId, to);
}

async function placePorts(
  tx: Tx,
  { cascade }: MoveParts,
  serverId: string,
  { child, zone }: { readonly child: string; readonly zone: string },
): Promise<void> {
  const members: MemberChange[] = [];
  // Whose it is, and where, is told by the child's Nova: to the copies it is no change.
  const place = { child, host_id: child, device_owner: `compute:${zone}`, status: 'DOWN' };
  for (const before of await lockPorts(tx, ofServer(serverId))) {
    members.push({ before, after: await portStore.update(tx, before.id, place, { revise: false }) });
  }
  await membersChanged(tx, cascade, members);
}

/** See `ServerNetworks.leaveChild`. */
export async function leaveChild(tx: Tx, cascade: Cascade, portIds: readonly string[], child: string): Promise<void> {
  const { rows } = await sql<{ id: string }>`select id from ports
    where id = any(${[...portIds]}::text[]) and child is distinct from ${child} order by id for update`.execute(tx);
  for (const { id } of rows) await cascade.retire(tx, 'port', id, { child });
}
