/**
 * Changes of a server's row that several paths share: its record of actions, its work queue, its end. All of them run
 * in a transaction that the caller owns, on a row that it has locked.
 */
import { sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import { ADMINISTRATORS_ONLY, mayAdminister } from '../../cascade/rights.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import type { ServerPort } from '../../network/server-networks.ts';
import { clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { leaveBehind } from './leaving.ts';
import { type PendingAction, type ServerAddress, type ServerFlavor, type ServerRow, serverStore } from './resource.ts';
import { statusOf } from './state.ts';

/** Who asked for something, for the record. */
export interface Asker {
  readonly request_id: string;
  readonly user_id: string;
  readonly project_id: string;
}

/** What a record of an action says where the server is moved by it. */
export interface MigrationRecord {
  readonly type: 'resize' | 'migration' | 'live-migration' | 'evacuation';
  readonly old_flavor?: string;
  readonly new_flavor?: string;
}

/** Writes down that an action was asked for; returns the record's id. */
export async function recordAction(
  tx: Tx,
  serverId: string,
  action: string,
  asker: Asker,
  migration?: MigrationRecord,
): Promise<number> {
  const moved = migration === undefined ? null : JSON.stringify({ uuid: randomUUID(), ...migration });
  const { rows } = await sql<{ id: number }>`
    insert into server_actions (server_id, action, request_id, user_id, project_id, migration)
    values (${serverId}, ${action}, ${asker.request_id}, ${asker.user_id}, ${asker.project_id}, ${moved}::jsonb)
    returning id`.execute(tx);
  return rows[0]?.id ?? 0;
}

/** Remembers under which id the child keeps its own record of an action. Twice: the last one stands. */
export async function rememberChildRequest(
  query: Queryable,
  recordId: number,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const id = headers['x-compute-request-id'] ?? headers['x-openstack-request-id'];
  if (id === undefined || id.length > 255) return;
  await sql`update server_actions set child_request_id = ${id} where id = ${recordId}`.execute(query);
}

/** Writes down how one action ended. Twice: the first ending stands. */
export async function closeAction(tx: Queryable, recordId: number, failure?: string): Promise<void> {
  await sql`update server_actions set finish_time = clock_timestamp(), updated_at = clock_timestamp(),
      result = ${failure === undefined ? 'Success' : 'Error'}, message = ${failure ?? null}
    where id = ${recordId} and finish_time is null`.execute(tx);
}

/** Ends whatever is still open of a server, except what has not been sent to the child yet. */
export async function closeOpenActions(tx: Tx, row: ServerRow, failure?: string): Promise<void> {
  const waiting = row.pending.map(({ record_id }) => record_id);
  await sql`update server_actions set finish_time = clock_timestamp(), updated_at = clock_timestamp(),
      result = ${failure === undefined ? 'Success' : 'Error'}, message = ${failure ?? null}
    where server_id = ${row.id} and finish_time is null and not (id = any(${waiting}::bigint[]))`.execute(tx);
}

/** A change of states; the status follows from them. */
export function states(vmState: string, taskState: string | null): Partial<ServerRow> {
  return { vm_state: vmState, task_state: taskState, status: statusOf(vmState, taskState) };
}

/** Whether a server is yet to be made in the row's child: at its boot, or where it moves there. */
export const isComing = ({ child_id, vm_state, origin }: ServerRow): boolean =>
  child_id === null && (vm_state === 'building' || origin !== null);

/** Whether the row wants something of its child. */
export function wantsAttention(row: ServerRow): boolean {
  if (row.deleted_at !== null || row.child === null) return false;
  if (row.task_state === 'deleting') return true;
  if (row.child_id === null) return isComing(row);
  return row.pending.length > 0 || row.facts > row.facts_pushed;
}

/** Stores a change of what the parent knows or wants, keeping `attention` true to it. */
export async function change(tx: Tx, row: ServerRow, patch: Partial<ServerRow>): Promise<ServerRow> {
  const attention = wantsAttention({ ...row, ...patch });
  return (await serverStore.update(tx, row.id, { ...patch, attention }, { revise: false })) as ServerRow;
}

/** The same for what no tenant would call a change of the server: `updated` stays. */
export async function changeQuietly(tx: Tx, row: ServerRow, patch: Partial<ServerRow>): Promise<ServerRow> {
  return change(tx, row, { ...patch, updated_at: row.updated_at });
}

/** What Nova lets only administrators do, so that a child's lets the account do it only where it is one. */
const ADMINISTRATORS_ACTIONS: ReadonlySet<string> = new Set([
  'migrate',
  'os-migrateLive',
  'evacuate',
  'end_migration',
  'injectNetworkInfo',
  'os-resetState',
  'shelveOffload',
  'swap_volume',
]);

/**
 * Puts something into the server's queue for its child, with the change that shows at once.
 * @throws Fault 409 for what the child lets only administrators do, where the account is none
 */
export async function enqueue(
  tx: Tx,
  dependencies: ServerDependencies,
  row: ServerRow,
  asker: Asker,
  wanted: {
    readonly action: string;
    /** What the record of actions calls it; null for what stands in none. */
    readonly record: string | null;
    readonly body: unknown;
    readonly stateful: boolean;
    readonly patch?: Partial<ServerRow>;
    readonly migration?: MigrationRecord;
  },
): Promise<ServerRow> {
  if (ADMINISTRATORS_ACTIONS.has(wanted.action) && !(await mayAdminister(tx, row.child))) {
    throw conflict(`Cannot '${wanted.record ?? wanted.action}' instance ${row.id}: ${ADMINISTRATORS_ONLY}.`);
  }
  const record_id = wanted.record === null ? 0 : await recordAction(tx, row.id, wanted.record, asker, wanted.migration);
  const entry: PendingAction = {
    key: randomUUID(),
    action: wanted.action,
    body: wanted.body,
    request_id: asker.request_id,
    record_id,
    stateful: wanted.stateful,
    sent_at: null,
  };
  const after = await change(tx, row, { ...wanted.patch, pending: [...row.pending, entry] });
  await wake(tx, dependencies, after, asker.request_id);
  return after;
}

/** Tells the proxy of the server's child that there is something to do. */
export async function wake(
  tx: Tx,
  { cascade }: ServerDependencies,
  row: ServerRow,
  requestId: string | undefined,
): Promise<void> {
  if (row.child === null) return;
  await cascade.want(tx, row.child, 'server', row.id, requestId === undefined ? {} : { requestId });
}

/** What one server counts in its project's quota; while it is resized, the larger of both flavors. */
export function footprint(row: Pick<ServerRow, 'flavor_copy' | 'resize'>): Record<string, number> {
  const flavors = row.resize === null ? [row.flavor_copy] : [row.resize.from, row.resize.to];
  return {
    instances: 1,
    cores: Math.max(...flavors.map(({ vcpus }) => vcpus)),
    ram: Math.max(...flavors.map(({ ram }) => ram)),
  };
}

/** The difference between two footprints, as quota changes. */
export function difference(before: Record<string, number>, after: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after).map(([resource, value]) => [resource, value - (before[resource] ?? 0)]),
  );
}

/** A resize ended: the server has this flavor now, and the quota of the other is given back. */
export async function settleResize(
  tx: Tx,
  { quotas }: ServerDependencies,
  row: ServerRow,
  flavor: ServerFlavor,
): Promise<Partial<ServerRow>> {
  const patch = { flavor_id: flavor.id, flavor_copy: flavor, resize: null };
  await quotas.reserve(tx, row.project_id, difference(footprint(row), footprint(patch)));
  return patch;
}

/** What was still to be done for a server is done with: what waited for it elsewhere is told. */
export async function dropPending(tx: Tx, { images }: ServerDependencies, row: ServerRow): Promise<void> {
  for (const { action, body, record_id } of row.pending) {
    if (action === 'createImage') await images.abandonSnapshot(tx, (body as { image_id: string }).image_id);
    await closeAction(tx, record_id, 'The server was deleted.');
  }
}

/**
 * The server is gone, or never came to be: its ports, volumes and quota go with it, and the row stays as a tombstone.
 * Twice: the second does nothing.
 */
export async function bury(tx: Tx, dependencies: ServerDependencies, id: string): Promise<void> {
  const row = await serverStore.lock(tx, id);
  if (row === undefined || row.deleted_at !== null) return;
  await dropPending(tx, dependencies, row);
  if (row.shelved_image !== null) await dependencies.images.remove(tx, row.shelved_image);
  if (row.kept_image !== null) await dependencies.images.release(tx, row.kept_image);
  if (row.origin !== null) await leaveBehind(tx, dependencies, row, { ...row.origin, create_sent_at: null });
  await dependencies.network.detach(tx, id);
  await dependencies.volumes.release(tx, id);
  const now = await clock(tx);
  await closeOpenActions(tx, { ...row, pending: [] });
  await change(tx, row, {
    ...states('deleted', null),
    power_state: 0,
    deleted_at: now,
    terminated_at: row.terminated_at ?? now,
    address_list: {},
    ips: [],
    groups: [],
    volumes: [],
    pending: [],
    boot: null,
    user_data: null,
    resize: null,
    shelved_image: null,
    kept_image: null,
    origin: null,
  });
  // Ports, volumes, quota: in the order of a boot, so that the two never wait for each other.
  const counted = Object.entries(footprint(row)).map(([resource, value]) => [resource, -value]);
  await dependencies.quotas.reserve(tx, row.project_id, Object.fromEntries(counted) as Record<string, number>);
}

/** The boot failed for good: ERROR with the fault, and nothing is kept for it but the row and its quota, as in Nova. */
export async function failBoot(tx: Tx, dependencies: ServerDependencies, id: string, message: string): Promise<void> {
  const row = await serverStore.lock(tx, id);
  if (row === undefined || row.deleted_at !== null || row.child_id !== null) return;
  await closeOpenActions(tx, row, message);
  if (row.task_state === 'deleting') {
    await changeQuietly(tx, row, { create_sent_at: null });
    return;
  }
  await dependencies.network.detach(tx, id);
  await dependencies.volumes.release(tx, id);
  await change(tx, row, {
    ...states('error', null),
    fault_record: faultOf(message, await clock(tx)),
    create_sent_at: null,
    address_list: {},
    ips: [],
    groups: [],
    volumes: [],
    boot: null,
  });
}

/** A fault as it is stored; Nova's code for whatever happened out of the tenant's hands. */
export const faultOf = (message: string, created: string, code = 500) => ({ code, created, message });

/** Ports as a server keeps them beside it: addresses in Nova's form, all of them for the `ip` filter, group names. */
export function addressesOf(ports: readonly ServerPort[]): Pick<ServerRow, 'address_list' | 'ips' | 'groups'> {
  const list: Record<string, ServerAddress[]> = {};
  const ips: string[] = [];
  const groups = new Set<string>();
  for (const port of ports) {
    const entries = (list[port.network_name] ??= []);
    const add = (addr: string, type: 'fixed' | 'floating'): void => {
      ips.push(addr);
      entries.push({
        version: addr.includes(':') ? 6 : 4,
        addr,
        'OS-EXT-IPS:type': type,
        'OS-EXT-IPS-MAC:mac_addr': port.mac_address,
      });
    };
    for (const { ip_address } of port.fixed_ips) add(ip_address, 'fixed');
    for (const address of port.floating_ips) add(address, 'floating');
    for (const group of port.security_groups) groups.add(group);
  }
  return { address_list: list, ips, groups: [...groups] };
}

/** Brings the addresses beside servers up to their ports; for the network's listener, in its transaction. */
export async function refreshAddresses(
  tx: Tx,
  { network }: ServerDependencies,
  serverIds: readonly string[],
): Promise<void> {
  const ports = await network.portsOf(tx, serverIds);
  for (const id of serverIds) {
    await serverStore.update(tx, id, addressesOf(ports.get(id) ?? []), { revise: false });
  }
}

/** The same for volumes. */
export async function refreshVolumes(
  tx: Tx,
  { volumes }: ServerDependencies,
  serverIds: readonly string[],
): Promise<void> {
  const attachments = await volumes.attachmentsOf(tx, serverIds);
  for (const id of serverIds) {
    const attached = (attachments.get(id) ?? []).map(({ volume_id, delete_on_termination }) => ({
      id: volume_id,
      delete_on_termination,
    }));
    await serverStore.update(tx, id, { volumes: attached }, { revise: false });
  }
}
