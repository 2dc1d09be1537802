/** Ports: their operations, and what else a change to one entails. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { conflict } from '../http/fault.ts';
import type { Call, Operation, PolicyRule, RequestContext } from '../http/service.ts';
import { crudOperations, type Given } from '../resource/crud.ts';
import { refuseUnable } from './able.ts';
import { allocateAddresses, type FixedIpRequest, releaseSome } from './address-allocation.ts';
import { normalAddress, normalMac, parseCidr } from './address-range.ts';
import { dnsDomainOf, dnsNameOf } from './dns/dns-name.ts';
import { invalidAttribute, networkNotFound, portNotFound } from './network-fault.ts';
import { callersProject, ownOrAdmin, plainPolicies, projectOf, visibleNetworks } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import type { PortEvents } from './port-events.ts';
import { chooseMac, completePort, groupsUnguarded, lockGroups, pairsUnguarded, removePorts } from './port-make.ts';
import { type FixedIp, type PortRow, portStore } from './port-resource.ts';
import { membersChanged } from './remote-member/members.ts';
import { withNetworkPolicies } from './qos/qos-network-policy.ts';
import { usePolicy } from './qos/qos-use.ts';
import { isSharedWith } from './sharing.ts';
import { refuseTrunkPort, withTrunkDetails } from './trunk/trunk-port.ts';
import { holdGivenBack } from './stretched/address.ts';

export interface PortParts {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly events: PortEvents;
}

const NETWORK_OWNER = 'rule:admin_only or (role:member and project_id:%(network:project_id)s)';

/** Rules of single attributes that depend on whose the port's network is. */
export const portRules: readonly PolicyRule[] = [
  { name: 'create_port:mac_address', check: NETWORK_OWNER, description: 'Choose a MAC' },
  { name: 'create_port:fixed_ips:ip_address', check: NETWORK_OWNER, description: 'Choose an address' },
  { name: 'create_port:port_security_enabled', check: NETWORK_OWNER, description: 'Make an unguarded port' },
  { name: 'create_port:allowed_address_pairs', check: NETWORK_OWNER, description: 'Let other addresses pass' },
  { name: 'create_port:device_owner', check: NETWORK_OWNER, description: "Make a port of the network's own" },
  { name: 'update_port:mac_address', check: 'rule:admin_only', description: 'Change the MAC' },
  { name: 'update_port:fixed_ips:ip_address', check: NETWORK_OWNER, description: 'Choose another address' },
  { name: 'update_port:port_security_enabled', check: NETWORK_OWNER, description: 'Guard a port or not' },
  { name: 'update_port:allowed_address_pairs', check: NETWORK_OWNER, description: 'Let other addresses pass' },
  { name: 'update_port:device_owner', check: NETWORK_OWNER, description: "Make it a port of the network's own" },
];

/** The operations on ports. */
export function portOperations(parts: PortParts): Operation[] {
  const { db, cascade, events } = parts;
  const operations = crudOperations<PortRow>({
    db,
    convention,
    store: portStore,
    path: '/ports',
    policies: plainPolicies('port', 'a port'),
    visible: visiblePorts,
    owned: ownOrAdmin,
    // Who sees another project's port owns its network, and decides who stays on it.
    removable: () => true,
    missing: portNotFound,
    bulk: true,
    creating: newPort,
    created: async (row, _context, tx) => {
      await countQuota(tx, row.project_id, { port: 1 });
      await events.changed(tx, [row]);
    },
    updating: changedPort,
    updated: async (row, before, context, tx) => {
      await cascade.revise(tx, 'port', row.id, { requestId: context.requestId });
      await events.updated(tx, row);
      await events.changed(tx, [before, row]);
      await membersChanged(tx, cascade, [{ before, after: row }], context.requestId);
    },
    removing: async (row, context, tx) => {
      await refuseTrunkPort(tx, row.id);
      if (/^network:(router|floatingip|ha_router)/.test(row.device_owner)) {
        throw conflict(
          `Port ${row.id} cannot be deleted directly via the port API: has device owner ${row.device_owner}.`,
          'ServicePortInUse',
        );
      }
      await removePorts(tx, parts, [row], context.requestId);
      await events.changed(tx, [row]);
    },
    committed: () => cascade.poke(),
  });
  return operations.map((one) => ({
    ...one,
    handle: async (call: Call) => {
      const answer = await withNetworkPolicies(db.query, await one.handle(call));
      return withTrunkDetails(db.query, answer, [call.query.fields ?? []].flat());
    },
  }));
}

/** Own ones, and those on own networks. */
export function visiblePorts(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  if (context.identity.isAdmin) return [];
  const project = callersProject(context);
  return [
    sql<SqlBool>`(project_id = ${project} or network_id in (select n.id from networks n where n.project_id = ${project}))`,
  ];
}

async function newPort(given: Given<PortRow>, context: RequestContext, tx: Tx) {
  const networkId = given.network_id as string;
  const network = await networkStore.find(tx, networkId, visibleNetworks(context));
  if (network === undefined) throw networkNotFound(networkId);
  if (network.external && !isSharedWith(network, context) && !ownOrAdmin(network, context))
    throw convention.refusal('create_port');
  enforceAttributes('create', given, network, context);
  await usePolicy(tx, context, { kind: 'port', id: 'None' }, given.qos_policy_id);
  await refuseUnable(tx, [network.child], given);
  return completePort(tx, {
    project_id: projectOf(context, given.project_id),
    network,
    name: given.name,
    description: given.description,
    admin_state_up: given.admin_state_up,
    mac_address: given.mac_address,
    fixed_ips: (given.fixed_ips as FixedIpRequest[] | null | undefined) ?? undefined,
    device_id: given.device_id,
    device_owner: given.device_owner,
    security_groups: eachOnce(given.security_groups) ?? undefined,
    port_security_enabled: given.port_security_enabled,
    allowed_address_pairs: checkPairs(given.allowed_address_pairs ?? []),
    extra_dhcp_opts: mergeOptions([], given.extra_dhcp_opts ?? []),
    vnic_type: given.vnic_type,
    binding_profile: (given.binding_profile as Record<string, unknown> | null | undefined) ?? {},
    host_id: given.host_id ?? '',
    qos_policy_id: given.qos_policy_id,
    dns_name: dnsNameOf(given.dns_name),
    dns_domain: dnsDomainOf(given.dns_domain),
    numa_affinity_policy: given.numa_affinity_policy,
  });
}

/** Who uses another project's network takes what it gives. */
function enforceAttributes(
  verb: 'create' | 'update',
  given: Given<PortRow>,
  network: Pick<NetworkRow, 'project_id'>,
  context: RequestContext,
): void {
  const target = {
    project_id: context.identity.project?.id,
    'network:project_id': network.project_id,
    'network:tenant_id': network.project_id,
  };
  const asked: Record<string, boolean> = {
    mac_address: given.mac_address !== undefined && given.mac_address !== null,
    'fixed_ips:ip_address':
      given.fixed_ips?.some(({ ip_address }: { ip_address?: string }) => ip_address !== undefined) === true,
    port_security_enabled: given.port_security_enabled !== undefined,
    allowed_address_pairs: (given.allowed_address_pairs ?? []).length > 0,
    device_owner: given.device_owner?.startsWith('network:') === true,
  };
  for (const [attribute, is] of Object.entries(asked)) {
    const rule = `${verb}_port:${attribute}`;
    if (is && !context.allowed(rule, target)) throw convention.refusal(rule);
  }
}

async function changedPort(
  row: PortRow,
  given: Given<PortRow>,
  context: RequestContext,
  tx: Tx,
): Promise<Given<PortRow>> {
  const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
  // Clients send back what they were shown; only what differs is a change.
  const asked = Object.fromEntries(
    Object.entries(given).filter(([key, value]) => !same(value, row[key as keyof PortRow])),
  ) as Given<PortRow>;
  const network = await networkStore.find(tx, row.network_id);
  if (network === undefined) throw networkNotFound(row.network_id);
  enforceAttributes('update', asked, network, context);
  const patch: Given<PortRow> = { ...asked };
  await usePolicy(tx, context, { kind: 'port', id: row.id }, asked.qos_policy_id, row.qos_policy_id);
  await refuseUnable(tx, [row.child ?? network.child], asked);
  if (asked.qos_policy_id != null) patch.qos_known = true;
  // None asks for another one.
  if (asked.mac_address === null) patch.mac_address = await newMac(tx, row, undefined);
  else if (asked.mac_address !== undefined) {
    const mac = normalMac(asked.mac_address);
    if (mac === row.mac_address) delete patch.mac_address;
    else patch.mac_address = await newMac(tx, row, asked.mac_address);
  }
  if ('fixed_ips' in asked) {
    const wanted = (asked.fixed_ips as FixedIpRequest[] | null | undefined) ?? [];
    patch.fixed_ips = await newAddresses(tx, { ...row, ...patch } as PortRow, row.fixed_ips, wanted);
  }
  if ('allowed_address_pairs' in asked) {
    patch.allowed_address_pairs = checkPairs(asked.allowed_address_pairs ?? []).map((pair) => ({
      ...pair,
      mac_address: pair.mac_address === '' ? (patch.mac_address ?? row.mac_address) : pair.mac_address,
    }));
  }
  if ('extra_dhcp_opts' in asked) {
    patch.extra_dhcp_opts = mergeOptions(row.extra_dhcp_opts, asked.extra_dhcp_opts ?? []);
  }
  if ('security_groups' in asked) {
    patch.security_groups = [...(eachOnce(asked.security_groups) ?? [])];
    await lockGroups(tx, patch.security_groups, row.project_id);
  }
  if ('binding_profile' in asked) patch.binding_profile = asked.binding_profile ?? {};
  if ('dns_name' in asked) patch.dns_name = dnsNameOf(asked.dns_name);
  if ('dns_domain' in asked) patch.dns_domain = dnsDomainOf(asked.dns_domain);
  if ('host_id' in asked) patch.host_id = asked.host_id ?? '';
  checkGuard(row, patch);
  return patch;
}

function checkGuard(row: PortRow, patch: Given<PortRow>): void {
  if (patch.port_security_enabled ?? row.port_security_enabled) return;
  const groups = patch.security_groups ?? row.security_groups;
  if (groups.length > 0) {
    if (patch.security_groups !== undefined && patch.security_groups.length > 0) throw groupsUnguarded();
    throw conflict(
      'Port has security group associated. Cannot disable port security or IP address until security group is removed.',
      'PortSecurityPortHasSecurityGroup',
    );
  }
  if ((patch.allowed_address_pairs ?? row.allowed_address_pairs).length > 0) throw pairsUnguarded();
}

async function newMac(tx: Tx, row: PortRow, asked: string | undefined): Promise<string> {
  if (row.child !== null) {
    throw conflict(
      `Unable to complete operation on port ${row.id}, port is already bound, port type: ovs, old_mac ${row.mac_address}, new_mac ${asked ?? 'None'}.`,
      'PortBound',
    );
  }
  return chooseMac(tx, row.network_id, asked);
}

/** @throws Fault 400 for a group that is named twice */
function eachOnce<Ids extends readonly string[] | null | undefined>(ids: Ids): Ids {
  const twice = ids?.find((id, at) => ids.indexOf(id) !== at);
  if (twice === undefined) return ids;
  throw invalidAttribute('security_groups', `Duplicate items in the list: '${twice}'.`);
}

/** Keeps the addresses that are still wanted, gives back the others, takes what is new. */
async function newAddresses(
  tx: Tx,
  row: PortRow,
  held: readonly FixedIp[],
  wanted: readonly FixedIpRequest[],
): Promise<FixedIp[]> {
  const free = [...held];
  const takeHeld = (fits: (address: FixedIp) => boolean): FixedIp | undefined => {
    const at = free.findIndex(fits);
    return at < 0 ? undefined : free.splice(at, 1)[0];
  };
  const named = wanted.map(({ subnet_id, ip_address }) => {
    if (ip_address === undefined) return undefined;
    const address = normalAddress(ip_address);
    return takeHeld((one) => one.ip_address === address && (subnet_id === undefined || one.subnet_id === subnet_id));
  });
  const kept: FixedIp[] = [];
  const missing: FixedIpRequest[] = [];
  wanted.forEach((request, at) => {
    const held =
      named[at] ??
      (request.ip_address === undefined && request.subnet_id !== undefined
        ? takeHeld((one) => one.subnet_id === request.subnet_id)
        : undefined);
    if (held === undefined) missing.push(request);
    else kept.push(held);
  });
  await releaseSome(tx, row.id, free);
  await holdGivenBack(tx, row, free);
  if (missing.length === 0) return kept;
  const taken = await allocateAddresses(tx, {
    network_id: row.network_id,
    port_id: row.id,
    mac_address: row.mac_address,
    fixed_ips: missing,
    device_owner: row.device_owner,
    held: kept,
  });
  return [...kept, ...taken];
}

type Pairs = PortRow['allowed_address_pairs'];

/** @throws Fault 400 for what is no address or MAC, and for the same pair twice. An empty MAC stands for the port's own. */
function checkPairs(given: readonly { readonly ip_address: string; readonly mac_address?: string }[]): Pairs {
  const seen = new Set<string>();
  return given.map(({ ip_address, mac_address }) => {
    if (normalAddress(ip_address) === undefined && parseCidr(ip_address) === undefined) {
      throw invalidAttribute('allowed_address_pairs', `'${ip_address}' is not a valid IP subnet.`);
    }
    const mac = mac_address === undefined ? '' : normalMac(mac_address);
    if (mac === undefined) {
      throw invalidAttribute('allowed_address_pairs', `'${mac_address}' is not a valid MAC address.`);
    }
    const key = `${mac} ${ip_address}`;
    if (seen.has(key)) {
      throw invalidAttribute(
        'allowed_address_pairs',
        `Request contains duplicate address pair: mac_address ${mac} ip_address ${ip_address}.`,
      );
    }
    seen.add(key);
    return { ip_address, mac_address: mac };
  });
}

type Options = PortRow['extra_dhcp_opts'];

/** Options by name: a new value takes the old one's place, null takes it away. */
function mergeOptions(
  held: Options,
  given: readonly { opt_name: string; opt_value: string | null; ip_version?: number }[],
): Options {
  const merged = new Map(held.map((option) => [`${option.ip_version} ${option.opt_name}`, option]));
  for (const { opt_name, opt_value, ip_version = 4 } of given) {
    const key = `${ip_version} ${opt_name}`;
    if (opt_value === null) merged.delete(key);
    else merged.set(key, { opt_name, opt_value, ip_version });
  }
  return [...merged.values()];
}
