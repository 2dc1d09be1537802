/**
 * Ports made and taken away within a transaction, whoever asks: the API, a boot, a router. Nothing here looks at who the
 * caller is; that is done where the request comes in.
 */
import { randomUUID } from 'node:crypto';
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Tx } from '../db/database.ts';
import { conflict, type Fault, badRequest } from '../http/fault.ts';
import type { NewRow } from '../resource/store.ts';
import { allocateAddresses, type FixedIpRequest, randomMac, releaseAddresses } from './address-allocation.ts';
import { normalMac } from './address-range.ts';
import { invalidAttribute, invalidInput, macInUse, networkNotFound, securityGroupNotFound } from './network-fault.ts';
import { countQuota } from './network-quota.ts';
import type { NetworkRow } from './network-resource.ts';
import type { PortEvents } from './port-events.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { membersChanged } from './remote-member/members.ts';
import { ensureDefaultGroup } from './security-group-default.ts';
import { holdLeaving } from './stretched/address.ts';

/** What a new port may be told; the rest is Neutron's defaults. */
export interface PortWish {
  readonly project_id: string;
  readonly network: Pick<NetworkRow, 'id' | 'port_security_enabled'>;
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly admin_state_up?: boolean | undefined;
  readonly mac_address?: string | null | undefined;
  readonly fixed_ips?: readonly FixedIpRequest[] | undefined;
  readonly device_id?: string | undefined;
  readonly device_owner?: string | undefined;
  /** Undefined: the project's default group, unless it is the network's own port or unguarded. */
  readonly security_groups?: readonly string[] | undefined;
  readonly port_security_enabled?: boolean | undefined;
  readonly allowed_address_pairs?: PortRow['allowed_address_pairs'] | undefined;
  readonly extra_dhcp_opts?: PortRow['extra_dhcp_opts'] | undefined;
  readonly vnic_type?: string | undefined;
  readonly binding_profile?: Record<string, unknown> | undefined;
  readonly host_id?: string | undefined;
  readonly status?: string | undefined;
  readonly child?: string | undefined;
  readonly server_made?: boolean | undefined;
  readonly boot_index?: number | undefined;
  readonly tag?: string | null | undefined;
  readonly dns_name?: string | undefined;
  readonly dns_domain?: string | undefined;
  readonly numa_affinity_policy?: string | null | undefined;
  /** A QoS policy that the caller may use. */
  readonly qos_policy_id?: string | null | undefined;
}

const MAC_TRIES = 16;

/**
 * Takes addresses and a MAC for a new port and completes its row; the caller stores it (`portStore.insert`) and counts
 * it. The network is kept from being deleted until the transaction ends.
 * @throws Fault as Neutron: 404 for a network that went meanwhile, 409 for a MAC or address in use, and so on
 */
export async function completePort(tx: Tx, wish: PortWish): Promise<NewRow<PortRow> & { id: string }> {
  const { network } = wish;
  const id = randomUUID();
  const device_owner = wish.device_owner ?? '';
  const isNetworks = device_owner.startsWith('network:');
  const port_security_enabled = isNetworks ? false : (wish.port_security_enabled ?? network.port_security_enabled);
  const security_groups = await groupsOf(tx, wish, port_security_enabled, isNetworks);
  const allowed_address_pairs = wish.allowed_address_pairs ?? [];
  if (allowed_address_pairs.length > 0 && !port_security_enabled) throw pairsUnguarded();
  const mac_address = await chooseMac(tx, network.id, wish.mac_address ?? undefined);
  const fixed_ips = await allocateAddresses(tx, {
    network_id: network.id,
    port_id: id,
    mac_address,
    fixed_ips: wish.fixed_ips,
    device_owner,
  });
  return {
    id,
    project_id: wish.project_id,
    network_id: network.id,
    name: wish.name ?? '',
    description: wish.description ?? '',
    mac_address,
    admin_state_up: wish.admin_state_up ?? true,
    status: wish.status ?? 'DOWN',
    device_id: wish.device_id ?? '',
    device_owner,
    fixed_ips,
    security_groups,
    allowed_address_pairs: allowed_address_pairs.map((pair) => ({
      ip_address: pair.ip_address,
      mac_address: pair.mac_address === '' ? mac_address : pair.mac_address,
    })),
    extra_dhcp_opts: wish.extra_dhcp_opts ?? [],
    port_security_enabled,
    vnic_type: wish.vnic_type ?? 'normal',
    binding_profile: wish.binding_profile ?? {},
    host_id: wish.host_id ?? '',
    child: wish.child ?? null,
    server_made: wish.server_made ?? false,
    boot_index: wish.boot_index ?? 0,
    tag: wish.tag ?? null,
    dns_name: wish.dns_name ?? '',
    dns_domain: wish.dns_domain ?? '',
    numa_affinity_policy: wish.numa_affinity_policy ?? null,
    qos_policy_id: wish.qos_policy_id ?? null,
    qos_known: wish.qos_policy_id != null,
    copies_project_id: null,
    tags: [],
  };
}

/** Makes a port: `completePort`, stored and counted. */
export async function makePort(tx: Tx, wish: PortWish): Promise<PortRow> {
  const row = await storePort(tx, await completePort(tx, wish));
  await countQuota(tx, row.project_id, { port: 1 });
  return row;
}

/** Stores a completed port. @throws Fault 409 where another took its MAC meanwhile */
export async function storePort(tx: Tx, row: NewRow<PortRow>): Promise<PortRow> {
  try {
    return await portStore.insert(tx, row);
  } catch (error) {
    throw macTaken(error, row.network_id, row.mac_address) ?? error;
  }
}

/** A fault for the database's refusal of a second port with a MAC; undefined for any other error. */
function macTaken(error: unknown, networkId: string, mac: string): Fault | undefined {
  const { code, constraint } = error as { code?: unknown; constraint?: unknown };
  return code === '23505' && constraint === 'ports_network_id_mac_address_key' ? macInUse(networkId, mac) : undefined;
}

/**
 * Takes ports away with their addresses, quota and replicas, telling who holds on to them. The rows must be locked.
 */
export async function removePorts(
  tx: Tx,
  parts: { readonly cascade: Cascade; readonly events: PortEvents },
  ports: readonly PortRow[],
  requestId?: string,
): Promise<void> {
  if (ports.length === 0) return;
  const ids = ports.map(({ id }) => id);
  await parts.events.removing(tx, ports);
  await releaseAddresses(tx, ids);
  await holdLeaving(tx, ports);
  await sql`delete from ports where id = any(${ids}::text[])`.execute(tx);
  for (const id of ids) await parts.cascade.retire(tx, 'port', id, requestId === undefined ? {} : { requestId });
  const counts = new Map<string, number>();
  for (const { project_id } of ports) counts.set(project_id, (counts.get(project_id) ?? 0) + 1);
  for (const [project, count] of [...counts].sort()) {
    if (project !== '') await countQuota(tx, project, { port: -count });
  }
  await membersChanged(
    tx,
    parts.cascade,
    ports.map((before) => ({ before })),
    requestId,
  );
}

/**
 * The MAC asked for, or one that is free in the network, which is kept from being deleted until the transaction ends.
 * @throws Fault 404 for a network that is gone, 400 for what is no MAC, 409 for one in use
 */
export async function chooseMac(tx: Tx, networkId: string, asked: string | undefined): Promise<string> {
  if (asked !== undefined) {
    const mac = normalMac(asked);
    if (mac === undefined) throw invalidAttribute('mac_address', `'${asked}' is not a valid MAC address.`);
    if (mac === '00:00:00:00:00:00') {
      throw invalidAttribute('mac_address', `'${asked}' is not an allowed MAC address.`);
    }
    if (await macUsed(tx, networkId, mac)) throw macInUse(networkId, mac);
    return mac;
  }
  for (let attempt = 0; attempt < MAC_TRIES; attempt += 1) {
    const mac = randomMac();
    if (!(await macUsed(tx, networkId, mac))) return mac;
  }
  throw conflict(`Unable to generate unique mac on network ${networkId}.`, 'MacAddressGenerationFailure');
}

async function macUsed(tx: Tx, networkId: string, mac: string): Promise<boolean> {
  const network = await sql<{ is_used: boolean }>`select exists (
      select 1 from ports where network_id = networks.id and mac_address = ${mac}
    ) as is_used from networks where id = ${networkId} for key share`.execute(tx);
  const [row] = network.rows;
  if (row === undefined) throw networkNotFound(networkId);
  return row.is_used;
}

async function groupsOf(tx: Tx, wish: PortWish, guarded: boolean, isNetworks: boolean): Promise<string[]> {
  const asked = wish.security_groups;
  if (!guarded) {
    if (asked !== undefined && asked.length > 0) throw groupsUnguarded();
    return [];
  }
  if (asked === undefined) return isNetworks ? [] : [await ensureDefaultGroup(tx, wish.project_id)];
  await lockGroups(tx, asked, wish.project_id);
  return [...new Set(asked)];
}

/**
 * Keeps security groups from being deleted until the transaction ends, so that a port may name them.
 * @throws Fault 404 for one that is unknown or another project's
 */
export async function lockGroups(tx: Tx, ids: readonly string[], projectId: string): Promise<void> {
  if (ids.length === 0) return;
  const found = await sql<{ id: string }>`select id from security_groups
    where id = any(${[...ids]}::text[]) and (project_id = ${projectId} or shared or shared_with @> array[${projectId}]::text[])
    order by id for key share`.execute(tx);
  const known = new Set(found.rows.map(({ id }) => id));
  const unknown = ids.find((id) => !known.has(id));
  if (unknown !== undefined) throw securityGroupNotFound(unknown);
}

/** Ports by id, locked in one order, so that two transactions do not wait for each other. */
export async function lockPorts(tx: Tx, condition: ReturnType<typeof sql<SqlBool>>): Promise<PortRow[]> {
  await sql`select id from ports where ${condition} order by id for update`.execute(tx);
  return portStore.select(tx, [condition]);
}

export const groupsUnguarded = (): Fault =>
  badRequest(
    'Port security must be enabled and port must have an IP address in order to use security groups.',
    'PortSecurityAndIPRequiredForSecurityGroups',
  );
export const pairsUnguarded = (): Fault =>
  conflict(
    'Port Security must be enabled in order to have allowed address pairs on a port.',
    'AddressPairAndPortSecurityRequired',
  );

/** For a subnet of a network that lives elsewhere. */
export const elsewhere = (networkId: string): Fault =>
  invalidInput(`network ${networkId} lives in another availability zone.`);
