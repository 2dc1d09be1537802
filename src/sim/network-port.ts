/** Simulated Neutron ports and the addresses on them, and what Nova does with ports. */
import { contains, ipNumber, ipText, readCidr } from './address.ts';
import { dropForwardings } from './network-forwarding.ts';
import { type Kind, standardFields, touch } from './network-kind.ts';
import { checkPolicy } from './network-qos.ts';
import { ensureDefaultGroup } from './network-security.ts';
import { refuseTrunkPort } from './network-trunk.ts';
import { type Json, listOf, type Row, rowOf, SimFault, textOf, textsOf, type World } from './world.ts';

export type FixedIp = { subnet_id: string; ip_address: string };
export type Subnet = Row & { id: string; network_id: string; cidr: string; gateway_ip: string | null };
export type Port = Row & {
  id: string;
  network_id: string;
  project_id: string;
  mac_address: string;
  status: string;
  device_id: string;
  device_owner: string;
  fixed_ips: FixedIp[];
  security_groups: string[];
};

export const networkMissing = (id: string): SimFault =>
  new SimFault(404, `Network ${id} could not be found.`, 'NetworkNotFound');
export const subnetMissing = (id: string): SimFault =>
  new SimFault(404, `Subnet ${id} could not be found.`, 'SubnetNotFound');
export const portMissing = (id: string): SimFault =>
  new SimFault(404, `Port ${id} could not be found.`, 'PortNotFound');

export const subnetsOf = (world: World, networkId: string): Subnet[] =>
  [...world.state.subnets.values()].filter((one) => one.network_id === networkId);
export const portsOf = (world: World, networkId: string): Port[] =>
  [...world.state.ports.values()].filter((one) => one.network_id === networkId);

function isTaken(world: World, subnet: Subnet, address: string): boolean {
  for (const port of world.state.ports.values()) {
    if (port.network_id !== subnet.network_id) continue;
    if (port.fixed_ips.some((one) => one.subnet_id === subnet.id && one.ip_address === address)) return true;
  }
  return false;
}

/** The first free address of the subnet's allocation pools, or undefined where they are used up. */
function freeAddress(world: World, subnet: Subnet): string | undefined {
  const { version } = readCidr(subnet.cidr);
  const taken = new Set(
    portsOf(world, subnet.network_id).flatMap((port) =>
      port.fixed_ips.filter((one) => one.subnet_id === subnet.id).map((one) => ipNumber(one.ip_address)),
    ),
  );
  for (const pool of listOf(subnet['allocation_pools']).map(rowOf)) {
    const [start, end] = [ipNumber(textOf(pool['start'])) ?? 0n, ipNumber(textOf(pool['end'])) ?? 0n];
    for (let value = start; value <= end; value += 1n) if (!taken.has(value)) return ipText(value, version);
  }
  return undefined;
}

function addressIn(world: World, subnet: Subnet, address: string): FixedIp {
  const canonical = ipText(ipNumber(address) ?? 0n, readCidr(subnet.cidr).version);
  if (isTaken(world, subnet, canonical)) {
    const message = `IP address ${canonical} already allocated in subnet ${subnet.id}`;
    throw new SimFault(409, message, 'IpAddressAlreadyAllocated');
  }
  return { subnet_id: subnet.id, ip_address: canonical };
}

/** Resolves the addresses asked for (none: one of each family) against the network's subnets. */
export function allocate(world: World, networkId: string, asked: Json | undefined): FixedIp[] {
  const subnets = subnetsOf(world, networkId);
  if (asked === undefined || asked === null) {
    const found: FixedIp[] = [];
    for (const version of [4, 6]) {
      const family = subnets.filter(
        (one) => one['ip_version'] === version && listOf(one['service_types']).length === 0,
      );
      const free = family.map((one) => ({ subnet_id: one.id, ip_address: freeAddress(world, one) }));
      const first = free.find((one): one is FixedIp => one.ip_address !== undefined);
      if (first !== undefined) found.push(first);
      else if (family.length > 0) {
        throw new SimFault(
          409,
          `No more IP addresses available on network ${networkId}.`,
          'IpAddressGenerationFailure',
        );
      }
    }
    return found;
  }
  return listOf(asked).map((entry) => {
    const { subnet_id, ip_address } = rowOf(entry);
    const address = textOf(ip_address);
    if (address !== '' && ipNumber(address) === undefined) {
      throw new SimFault(400, `Invalid input for fixed_ips. Reason: '${address}' is not a valid IP address.`);
    }
    if (textOf(subnet_id) === '') {
      const holder = subnets.find((one) => contains(readCidr(one.cidr), address));
      if (holder === undefined) {
        const message = `IP address ${address} is not a valid IP for any of the subnets on the specified network.`;
        throw new SimFault(400, message, 'InvalidIpForNetwork');
      }
      return addressIn(world, holder, address);
    }
    const subnet = world.state.subnets.get(textOf(subnet_id));
    if (subnet === undefined) throw subnetMissing(textOf(subnet_id));
    if (subnet.network_id !== networkId) {
      const message = `Failed to create port on network ${networkId}, because fixed_ips included invalid subnet ${subnet.id}.`;
      throw new SimFault(400, `Invalid input for operation: ${message}`, 'InvalidInput');
    }
    if (address !== '') {
      if (!contains(readCidr(subnet.cidr), address)) {
        const message = `IP address ${address} is not a valid IP for the specified subnet.`;
        throw new SimFault(400, message, 'InvalidIpForSubnet');
      }
      return addressIn(world, subnet, address);
    }
    const free = freeAddress(world, subnet);
    if (free === undefined) {
      const message = `No more IP addresses available on network ${networkId}.`;
      throw new SimFault(409, message, 'IpAddressGenerationFailure');
    }
    return { subnet_id: subnet.id, ip_address: free };
  });
}

function readMac(world: World, networkId: string, asked: Json | undefined): string {
  const octet = (): string =>
    Math.floor(Math.random() * 256)
      .toString(16)
      .padStart(2, '0');
  const mac = (textOf(asked) || `fa:16:3e:${octet()}:${octet()}:${octet()}`).toLowerCase();
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) {
    throw new SimFault(400, `Invalid input for mac_address. Reason: '${mac}' is not a valid MAC address.`);
  }
  if (portsOf(world, networkId).some((one) => one.mac_address === mac)) {
    const message = `Unable to complete operation for network ${networkId}. The mac address ${mac} is in use.`;
    throw new SimFault(409, message, 'MacAddressInUse');
  }
  return mac;
}

function checkGroups(world: World, ids: readonly string[]): void {
  const missing = ids.find((id) => !world.state.securityGroups.has(id));
  if (missing === undefined) return;
  throw new SimFault(404, `Security group ${missing} does not exist`, 'SecurityGroupNotFound');
}

const vif = (host: string): Row =>
  host === ''
    ? { 'binding:host_id': '', 'binding:vif_type': 'unbound', 'binding:vif_details': {} }
    : {
        'binding:host_id': host,
        'binding:vif_type': 'ovs',
        'binding:vif_details': { port_filter: true, connectivity: 'l2', bound_drivers: { '0': 'ovn' } },
      };

/** Makes and stores a port as Neutron's plugin does; faults as its API gives them. */
export function makePort(world: World, projectId: string, given: Row): Port {
  const network = world.state.networks.get(textOf(given['network_id']));
  if (network === undefined) throw networkMissing(textOf(given['network_id']));
  const networkId = textOf(network['id']);
  const owner = textOf(given['device_owner']);
  const isOrdinary = !owner.startsWith('network:');
  const isSecure = given['port_security_enabled'] !== false && isOrdinary;
  const groups = given['security_groups'] === undefined ? undefined : textsOf(given['security_groups']);
  if (groups !== undefined) checkGroups(world, groups);
  checkPolicy(world, given);
  const base = standardFields(projectId, given);
  const port: Port = {
    ...base,
    id: textOf(base['id']),
    project_id: projectId,
    network_id: networkId,
    fixed_ips: allocate(world, networkId, given['fixed_ips']),
    mac_address: readMac(world, networkId, given['mac_address']),
    admin_state_up: given['admin_state_up'] ?? true,
    status: 'DOWN',
    device_id: textOf(given['device_id']),
    device_owner: owner,
    'binding:vnic_type': given['binding:vnic_type'] ?? 'normal',
    'binding:profile': given['binding:profile'] ?? {},
    ...vif(textOf(given['binding:host_id'])),
    port_security_enabled: isSecure,
    security_groups: groups ?? (isSecure && projectId !== '' ? [ensureDefaultGroup(world, projectId)] : []),
    allowed_address_pairs: given['allowed_address_pairs'] ?? [],
    extra_dhcp_opts: given['extra_dhcp_opts'] ?? [],
    qos_policy_id: given['qos_policy_id'] ?? null,
    qos_network_policy_id: null,
    dns_name: textOf(given['dns_name']),
    dns_domain: textOf(given['dns_domain']),
    resource_request: null,
    ip_allocation: 'immediate',
    revision_number: 1,
  };
  world.state.ports.set(port.id, port);
  return port;
}

/** Takes a port away and frees what hung on it: a floating IP loses its port, one's own port goes with it. */
export function dropPort(world: World, port: Port): void {
  world.state.ports.delete(port.id);
  dropForwardings(world, port.id);
  for (const floating of world.state.floatingips.values()) {
    if (floating['port_id'] !== port.id) continue;
    Object.assign(floating, { port_id: null, fixed_ip_address: null, router_id: null, status: 'DOWN' });
    touch(floating);
  }
}

/** Nova gives a port to a server: device, owner and host are set, the port is still DOWN. */
export function bindPort(port: Port, serverId: string, host: string, zone: string): void {
  Object.assign(port, { device_id: serverId, device_owner: `compute:${zone}`, ...vif(host) });
  touch(port);
}

/** The agent reports the port wired (ACTIVE) or not (DOWN). */
export function setPortStatus(port: Port, status: 'ACTIVE' | 'DOWN'): void {
  if (port.status === status) return;
  port.status = status;
  touch(port);
}

/** Nova lets a port go that it did not make. */
export function unbindPort(port: Port): void {
  Object.assign(port, { device_id: '', device_owner: '', status: 'DOWN', ...vif('') });
  touch(port);
}

/** The ports of a server, oldest first. */
export const serverPorts = (world: World, serverId: string): Port[] =>
  [...world.state.ports.values()].filter((one) => one.device_id === serverId);

const settable = [
  'name',
  'description',
  'admin_state_up',
  'device_id',
  'device_owner',
  'fixed_ips',
  'mac_address',
  'security_groups',
  'allowed_address_pairs',
  'extra_dhcp_opts',
  'binding:host_id',
  'binding:vnic_type',
  'binding:profile',
  'port_security_enabled',
  'qos_policy_id',
  'dns_name',
  'dns_domain',
];

/** The ports collection. */
export function portKind(world: World): Kind {
  return {
    singular: 'port',
    plural: 'ports',
    rows: world.state.ports,
    missing: portMissing,
    creatable: [...settable, 'network_id', 'tags'],
    updatable: settable,
    required: ['network_id'],
    isQuotaed: true,
    isTagged: true,
    view: (row) => {
      const hostname = (address: string): string =>
        textOf(row['dns_name']) || `host-${address.replaceAll(/[.:]/g, '-')}`;
      const assignment = listOf(row['fixed_ips']).map((one) => {
        const ip_address = textOf(rowOf(one)['ip_address']);
        return { ip_address, hostname: hostname(ip_address), fqdn: `${hostname(ip_address)}.${world.name}.example.` };
      });
      return { ...row, dns_assignment: assignment };
    },
    create: (call, given, projectId) => {
      const network = world.state.networks.get(textOf(given['network_id']));
      const isForeign = network !== undefined && network['project_id'] !== call.projectId && network['shared'] !== true;
      if (isForeign && !call.isAdmin) throw networkMissing(textOf(given['network_id']));
      return makePort(world, projectId, given);
    },
    update: (_call, row, given) => {
      const port = world.state.ports.get(textOf(row['id']));
      if (port === undefined) throw portMissing(textOf(row['id']));
      const { fixed_ips, mac_address, ...rest } = given;
      checkPolicy(world, given);
      if (rest['security_groups'] !== undefined) checkGroups(world, textsOf(rest['security_groups']));
      if (mac_address !== undefined && mac_address !== port.mac_address) {
        port.mac_address = readMac(world, port.network_id, mac_address);
      }
      if (fixed_ips !== undefined) {
        const before = port.fixed_ips;
        port.fixed_ips = [];
        try {
          port.fixed_ips = allocate(world, port.network_id, listOf(fixed_ips));
        } catch (error) {
          port.fixed_ips = before;
          throw error;
        }
      }
      if (rest['binding:host_id'] !== undefined) Object.assign(port, vif(textOf(rest['binding:host_id'])));
      Object.assign(port, rest);
    },
    remove: (_call, row) => {
      const port = world.state.ports.get(textOf(row['id']));
      if (port === undefined) return;
      if (/^network:(router_|floatingip|ha_router)/.test(port.device_owner)) {
        const why = `has device owner ${port.device_owner}`;
        const message = `Port ${port.id} cannot be deleted directly via the port API: ${why}.`;
        throw new SimFault(409, message, 'ServicePortInUse');
      }
      refuseTrunkPort(world, port.id);
      dropPort(world, port);
    },
  };
}
