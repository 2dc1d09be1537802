/** A server's ports in the parent's database: made and bound with its boot, let go with its end. */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, Fault, forbidden } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { refuseUnable } from './able.ts';
import { callersProject } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import { bindNetwork } from './networks.ts';
import type { PortEvents } from './port-events.ts';
import { completePort, lockGroups, lockPorts, removePorts, storePort } from './port-make.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { type MemberChange, membersChanged } from './remote-member/members.ts';
import { ensureDefaultGroup } from './security-group-default.ts';
import type { ResolvedNetworks, ResolvedRequest, ServerPlace, ServerPort } from './server-networks.ts';
import { addressInUse, apart, networkUnknown, portInUse, portUnknown } from './server-networks-resolve.ts';
import { followServer } from './stretched/follow.ts';
import type { NetworkTopology } from './topology.ts';

export interface AttachParts {
  readonly cascade: Cascade;
  readonly events: PortEvents;
  readonly topology: NetworkTopology;
}

/** See `ServerNetworks.attach`. */
export async function attachPorts(
  tx: Tx,
  parts: AttachParts,
  context: RequestContext,
  resolved: ResolvedNetworks,
  to: ServerPlace,
): Promise<readonly ServerPort[]> {
  const { requests } = resolved;
  if (requests.length === 0) return [];
  const project = callersProject(context);
  const networks = await networksFor(tx, parts, requests, to.child);
  const groups = await groupsFor(tx, project, to.security_groups);
  const first = to.is_new === true ? 0 : await nextIndex(tx, to.server_id);
  const given = requests.flatMap(({ port_id }) => port_id ?? []);
  const held = await takeGiven(tx, given);
  for (const port of held.values()) await refuseUnable(tx, [to.child], port);
  if (!(await followServer(tx, parts, given, to.child))) throw apart();
  const bound = {
    device_id: to.server_id,
    device_owner: `compute:${to.zone}`,
    host_id: to.child,
    child: to.child,
  };
  let made = 0;
  const members: MemberChange[] = [];
  const ids: string[] = [];
  for (const [at, request] of requests.entries()) {
    const place = { ...bound, boot_index: first + at, tag: request.tag ?? null };
    if (request.port_id !== undefined) {
      const before = held.get(request.port_id);
      if (before === undefined) throw portUnknown(request.port_id);
      // To whom it belongs is told by the child's Nova; the copy itself is the same as before.
      members.push({ before, after: await portStore.update(tx, request.port_id, place, { revise: false }) });
      ids.push(request.port_id);
      continue;
    }
    const network = networks.get(request.network_id);
    if (network === undefined) throw networkUnknown(request.network_id);
    const port = await inNovasWords(request, async () =>
      storePort(
        tx,
        await completePort(tx, {
          ...place,
          project_id: project,
          network,
          server_made: true,
          fixed_ips: request.fixed_ip === undefined ? undefined : [{ ip_address: request.fixed_ip }],
          security_groups: network.port_security_enabled ? groups : [],
        }),
      ),
    );
    made += 1;
    members.push({ after: port });
    ids.push(port.id);
  }
  const ports = (await portsOf(tx, [to.server_id])).get(to.server_id) ?? [];
  if (made > 0) await countPorts(tx, project, made);
  await membersChanged(tx, parts.cascade, members, context.requestId);
  const byId = new Map(ports.map((port) => [port.id, port]));
  return ids.map((id) => byId.get(id) as ServerPort);
}

/** See `ServerNetworks.detach`. */
export async function detachPorts(
  tx: Tx,
  parts: AttachParts,
  serverId: string,
  portIds: readonly string[] | undefined,
): Promise<void> {
  if (serverId === '') return;
  const which =
    portIds === undefined
      ? sql<SqlBool>`device_id = ${serverId} and device_id <> '' and starts_with(device_owner, 'compute:')`
      : sql<SqlBool>`device_id = ${serverId} and device_id <> '' and id = any(${[...portIds]}::text[])`;
  const ports = await lockPorts(tx, which);
  for (const port of ports.filter(({ server_made }) => !server_made)) {
    const free = { device_id: '', device_owner: '', host_id: '', status: 'DOWN', tag: null, boot_index: 0 };
    await portStore.update(tx, port.id, free, { revise: false });
  }
  await removePorts(
    tx,
    parts,
    ports.filter(({ server_made }) => server_made),
  );
  if (portIds !== undefined) await parts.events.changed(tx, ports);
}

/** See `ServerNetworks.portsOf`. One query. */
export async function portsOf(
  query: Queryable,
  serverIds: readonly string[],
): Promise<Map<string, readonly ServerPort[]>> {
  const servers = new Map<string, ServerPort[]>();
  if (serverIds.length === 0) return servers;
  const result = await sql<PortOfServer>`
    select p.id, p.device_id, p.network_id, n.name as network_name, p.mac_address, p.status, p.server_made,
      p.body -> 'fixed_ips' as fixed_ips, p.body ->> 'tag' as tag,
      array(select g.name from security_groups g where g.id = any(p.security_groups) order by g.name) as groups,
      array(select f.floating_ip_address from floating_ips f where f.port_id = p.id order by f.created_at) as floating
    from ports p join networks n on n.id = p.network_id
    where p.device_id = any(${[...serverIds]}::text[]) and p.device_id <> '' and starts_with(p.device_owner, 'compute:')
    order by p.boot_index, p.created_at, p.id`.execute(query);
  for (const row of result.rows) {
    const ports = servers.get(row.device_id) ?? [];
    servers.set(row.device_id, ports);
    ports.push({
      id: row.id,
      network_id: row.network_id,
      network_name: row.network_name,
      mac_address: row.mac_address,
      status: row.status,
      fixed_ips: row.fixed_ips.map((fixed) => ({ ...fixed, version: fixed.ip_address.includes(':') ? 6 : 4 })),
      floating_ips: row.floating,
      security_groups: row.groups,
      tag: row.tag,
      preserve_on_delete: !row.server_made,
    });
  }
  return servers;
}

interface PortOfServer {
  readonly id: string;
  readonly device_id: string;
  readonly network_id: string;
  readonly network_name: string;
  readonly mac_address: string;
  readonly status: string;
  readonly server_made: boolean;
  readonly fixed_ips: PortRow['fixed_ips'];
  readonly tag: string | null;
  readonly groups: string[];
  readonly floating: string[];
}

/** The networks, each bound to the child. */
async function networksFor(
  tx: Tx,
  parts: AttachParts,
  requests: readonly ResolvedRequest[],
  child: string,
): Promise<ReadonlyMap<string, NetworkRow>> {
  // Sorted, so that two boots bind networks in the same order.
  const ids = [...new Set(requests.map(({ network_id }) => network_id))].sort();
  const networks = new Map((await networkStore.findMany(tx, ids)).map((network) => [network.id, network]));
  for (const id of ids) {
    const network = networks.get(id);
    if (network === undefined) throw networkUnknown(id);
    if (network.child !== child && !(await bindNetwork(tx, parts, id, child))) {
      throw badRequest(
        `Network ${id} lives in another availability zone than the one asked for; a server can only use networks of its own.`,
      );
    }
  }
  return networks;
}

/** Ids of the groups named by id or name; undefined, which stands for the default group, where none are. */
async function groupsFor(tx: Tx, project: string, asked: readonly string[] | undefined): Promise<string[] | undefined> {
  if (asked === undefined || asked.length === 0) return undefined;
  const found = await sql<{ id: string; name: string }>`select id, name from security_groups
    where project_id = ${project} and (id = any(${[...asked]}::text[]) or name = any(${[...asked]}::text[]))`.execute(
    tx,
  );
  const ids: string[] = [];
  for (const wanted of new Set(asked)) {
    const byId = found.rows.find(({ id }) => id === wanted);
    const byName = found.rows.filter(({ name }) => name === wanted);
    if (byId !== undefined) ids.push(byId.id);
    else if (byName.length > 1) {
      throw conflict(`Multiple security groups found matching '${wanted}'. Use an ID to be more specific.`);
    } else if (byName[0] !== undefined) ids.push(byName[0].id);
    else if (wanted === 'default') ids.push(await ensureDefaultGroup(tx, project));
    else throw badRequest(`Security group ${wanted} not found for project ${project}.`);
  }
  await lockGroups(tx, ids, project);
  return ids;
}

/** Locks the ports that were given, and sees that they are still free. */
async function takeGiven(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, PortRow>> {
  if (ids.length === 0) return new Map();
  const ports = await lockPorts(tx, sql<SqlBool>`id = any(${[...ids]}::text[])`);
  for (const port of ports) if (port.device_id !== '') throw portInUse(port.id);
  return new Map(ports.map((port) => [port.id, port]));
}

async function nextIndex(tx: Tx, serverId: string): Promise<number> {
  const result = await sql<{ next: number }>`select coalesce(max(boot_index) + 1, 0)::int as next
    from ports where device_id = ${serverId} and device_id <> ''`.execute(tx);
  return result.rows[0]?.next ?? 0;
}

async function countPorts(tx: Tx, project: string, count: number): Promise<void> {
  try {
    await countQuota(tx, project, { port: count });
  } catch (error) {
    if (error instanceof Fault && error.type === 'OverQuota') throw forbidden('Maximum number of ports exceeded');
    throw error;
  }
}

/** Neutron's refusals of a new port, as Nova passes them on. */
async function inNovasWords(request: ResolvedRequest, work: () => Promise<PortRow>): Promise<PortRow> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.type === 'IpAddressAlreadyAllocated') throw addressInUse(request.fixed_ip ?? '', null);
    if (error.type === 'IpAddressGenerationFailure') {
      throw badRequest(`No fixed IP addresses available for network: ${request.network_id}`);
    }
    if (error.type === 'SecurityGroupNotFound') throw badRequest(error.message);
    if (error.type === 'NetworkNotFound') throw networkUnknown(request.network_id);
    throw error;
  }
}
