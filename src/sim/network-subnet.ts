/** Simulated Neutron subnets: ranges, pools, and the DHCP port that comes with them. */
import { ipNumber, ipText, overlaps, readCidr } from './address.ts';
import { type Kind, standardFields } from './network-kind.ts';
import { dropPort, makePort, networkMissing, portsOf, type Subnet, subnetMissing, subnetsOf } from './network-port.ts';

import { listOf, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

/** Ports that the network itself owns go with it; all others hold it. */
export const own_port = /^network:(dhcp|distributed)$/;

function readPools(subnet: Subnet): void {
  const cidr = readCidr(subnet.cidr);
  const [low, high] = cidr.version === 4 ? [cidr.first + 1n, cidr.last - 1n] : [cidr.first + 1n, cidr.last];
  for (const pool of listOf(subnet['allocation_pools']).map(rowOf)) {
    const [start, end] = [ipNumber(textOf(pool['start'])), ipNumber(textOf(pool['end']))];
    if (start === undefined || end === undefined || start > end) {
      throw new SimFault(
        400,
        `The allocation pool ${textOf(pool['start'])}-${textOf(pool['end'])} is not valid.`,
        'InvalidAllocationPool',
      );
    }
    if (start < low || end > high) {
      const message = `The allocation pool ${textOf(pool['start'])}-${textOf(pool['end'])} spans beyond the subnet cidr ${subnet.cidr}.`;
      throw new SimFault(400, message, 'OutOfBoundsAllocationPool');
    }
    const gateway = subnet.gateway_ip === null ? undefined : ipNumber(subnet.gateway_ip);
    if (gateway !== undefined && gateway >= start && gateway <= end) {
      const message = `Gateway ip ${subnet.gateway_ip} conflicts with allocation pool ${textOf(pool['start'])}-${textOf(pool['end'])}.`;
      throw new SimFault(409, message, 'GatewayConflictWithAllocationPools');
    }
  }
}

function defaultPools(cidrText: string, gateway: string | null): Row[] {
  const cidr = readCidr(cidrText);
  const low = cidr.first + 1n;
  const high = cidr.version === 4 ? cidr.last - 1n : cidr.last;
  const at = gateway === null ? undefined : ipNumber(gateway);
  const ranges: [bigint, bigint][] =
    at === undefined || at < low || at > high
      ? [[low, high]]
      : [
          [low, at - 1n],
          [at + 1n, high],
        ];
  return ranges
    .filter(([start, end]) => start <= end)
    .map(([start, end]) => ({ start: ipText(start, cidr.version), end: ipText(end, cidr.version) }));
}

/** Makes a subnet's row and the network's own port for DHCP, as OVN does; the caller stores the row. */
export function makeSubnet(world: World, projectId: string, given: Row): Subnet {
  const networkId = textOf(given['network_id']);
  const network = world.state.networks.get(networkId);
  if (network === undefined) throw networkMissing(networkId);
  const cidr = readCidr(textOf(given['cidr']));
  if (Number(given['ip_version']) !== cidr.version) {
    const message = `Invalid input for operation: cidr '${textOf(given['cidr'])}' does not match the ip_version '${String(given['ip_version'])}'.`;
    throw new SimFault(400, message, 'InvalidInput');
  }
  const cidrText = `${ipText(cidr.first, cidr.version)}/${textOf(given['cidr']).split('/')[1]}`;
  if (subnetsOf(world, networkId).some((one) => overlaps(cidr, readCidr(one.cidr)))) {
    const message = `Invalid input for operation: Requested subnet with cidr: ${cidrText} for network: ${networkId} overlaps with another subnet.`;
    throw new SimFault(400, message, 'InvalidInput');
  }
  const gateway_ip =
    given['gateway_ip'] === undefined ? ipText(cidr.first + 1n, cidr.version) : textOf(given['gateway_ip']) || null;
  if (given['enable_dhcp'] === false && (given['ipv6_ra_mode'] ?? given['ipv6_address_mode']) != null) {
    const message =
      'Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.';
    throw new SimFault(400, message, 'InvalidInput');
  }
  const base = standardFields(projectId, given);
  const subnet: Subnet = {
    ...base,
    id: textOf(base['id']),
    network_id: networkId,
    ip_version: cidr.version,
    subnetpool_id: null,
    enable_dhcp: given['enable_dhcp'] ?? true,
    ipv6_ra_mode: given['ipv6_ra_mode'] ?? null,
    ipv6_address_mode: given['ipv6_address_mode'] ?? null,
    gateway_ip,
    cidr: cidrText,
    // None given at the start means all addresses; none in a later update, none.
    allocation_pools:
      listOf(given['allocation_pools']).length > 0
        ? (given['allocation_pools'] ?? [])
        : defaultPools(cidrText, gateway_ip),
    host_routes: given['host_routes'] ?? [],
    dns_nameservers: given['dns_nameservers'] ?? [],
    service_types: given['service_types'] ?? [],
    segment_id: null,
  };
  readPools(subnet);
  world.state.subnets.set(subnet.id, subnet);
  if (subnet['enable_dhcp'] === true && cidr.version === 4) {
    try {
      const device_id = `ovnmeta-${networkId}`;
      const fixed_ips = [{ subnet_id: subnet.id }];
      makePort(world, textOf(network['project_id']), {
        network_id: networkId,
        device_id,
        device_owner: 'network:distributed',
        fixed_ips,
      });
    } catch {
      // Pools with no room leave the subnet without its DHCP port, not unmade.
    }
  }
  return subnet;
}

export function subnetKind(world: World): Kind {
  const settable = [
    'name',
    'description',
    'gateway_ip',
    'allocation_pools',
    'dns_nameservers',
    'host_routes',
    'enable_dhcp',
    'service_types',
  ];
  return {
    singular: 'subnet',
    plural: 'subnets',
    rows: world.state.subnets,
    missing: subnetMissing,
    creatable: [
      ...settable,
      'network_id',
      'ip_version',
      'cidr',
      'ipv6_ra_mode',
      'ipv6_address_mode',
      'subnetpool_id',
      'tags',
    ],
    updatable: settable,
    required: ['network_id', 'ip_version', 'cidr'],
    isQuotaed: true,
    isTagged: true,
    isOpenTo: (row) => world.state.networks.get(textOf(row['network_id']))?.['shared'] === true,
    create: (_call, given, projectId) => makeSubnet(world, projectId, given),
    update: (_call, row, given) => {
      const subnet = world.state.subnets.get(textOf(row['id']));
      if (subnet === undefined) throw subnetMissing(textOf(row['id']));
      readPools({ ...subnet, ...given });
      const routed = portsOf(world, subnet.network_id).find(
        (port) =>
          port.device_owner.startsWith('network:router') &&
          port.fixed_ips.some((one) => one.subnet_id === subnet.id && one.ip_address === subnet.gateway_ip),
      );
      if (routed !== undefined && given['gateway_ip'] !== undefined && given['gateway_ip'] !== subnet.gateway_ip) {
        const message = `Current gateway ip ${subnet.gateway_ip} already in use by port ${routed.id}. Unable to update.`;
        throw new SimFault(409, message, 'GatewayIpInUse');
      }
      Object.assign(subnet, given);
    },
    remove: (_call, row) => {
      const id = textOf(row['id']);
      const held = portsOf(world, textOf(row['network_id'])).filter((port) =>
        port.fixed_ips.some((one) => one.subnet_id === id),
      );
      if (held.some((one) => !own_port.test(one.device_owner))) {
        const message = `Unable to complete operation on subnet ${id}: One or more ports have an IP allocation from this subnet.`;
        throw new SimFault(409, message, 'SubnetInUse');
      }
      for (const port of held) dropPort(world, port);
    },
  };
}
