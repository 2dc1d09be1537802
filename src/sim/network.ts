/** Simulated Neutron: networks, subnets, and what the service shows of itself. */
import { ipNumber, ipText, overlaps, readCidr } from './address.ts';
import { route, type Service } from './http.ts';
import { addKind, default_network_quota, type Kind, standardFields } from './network-kind.ts';
import {
  dropPort,
  makePort,
  networkMissing,
  portKind,
  portsOf,
  type Subnet,
  subnetMissing,
  subnetsOf,
} from './network-port.ts';
import { addRouters } from './network-router.ts';
import { addSecurity } from './network-security.ts';
import { isTrue, type Json, listOf, type Row, rowOf, seconds, SimFault, textOf, type World } from './world.ts';

// Ports that the network itself owns go with it; all others hold it.
const own_port = /^network:(dhcp|distributed)$/;

const extension_aliases = [
  'address-group',
  'address-scope',
  'agent',
  'allowed-address-pairs',
  'availability_zone',
  'binding',
  'dns-integration',
  'ext-gw-mode',
  'external-net',
  'extra_dhcp_opt',
  'extraroute',
  'extraroute-atomic',
  'filter-validation',
  'fip-port-details',
  'floating-ip-port-forwarding',
  'ip_allocation',
  'mtu',
  'multi-provider',
  'net-mtu-writable',
  'network_availability_zone',
  'pagination',
  'port-security',
  'project-id',
  'provider',
  'quotas',
  'quota_details',
  'router',
  'router_availability_zone',
  'security-group',
  'security-groups-remote-address-group',
  'security-groups-normalized-cidr',
  'service-type',
  'sorting',
  'standard-attr-description',
  'standard-attr-revisions',
  'standard-attr-tag',
  'standard-attr-timestamp',
  'stateful-security-group',
  'subnet_allocation',
  'subnet-service-types',
];

const network_settable = [
  'name',
  'description',
  'admin_state_up',
  'shared',
  'router:external',
  'is_default',
  'mtu',
  'port_security_enabled',
  'qos_policy_id',
  'dns_domain',
];
const provider = ['provider:network_type', 'provider:physical_network', 'provider:segmentation_id'] as const;

function segment(world: World, given: Row): Row {
  const type = textOf(given['provider:network_type']) || 'geneve';
  const physical = textOf(given['provider:physical_network']) || null;
  const used = [...world.state.networks.values()].filter(
    (one) => one['provider:network_type'] === type && one['provider:physical_network'] === physical,
  );
  if (!['geneve', 'vxlan', 'vlan', 'flat', 'local'].includes(type)) {
    throw new SimFault(400, `Invalid input for operation: network_type value '${type}' not supported.`, 'InvalidInput');
  }
  const isPhysical = type === 'vlan' || type === 'flat';
  if (isPhysical && physical === null) {
    throw new SimFault(
      400,
      `Invalid input for operation: physical_network required for ${type} provider network.`,
      'InvalidInput',
    );
  }
  let id: Json = given['provider:segmentation_id'] ?? null;
  if (type === 'flat' && used.length > 0) {
    const message = `Unable to create the flat network. Physical network ${physical} is in use.`;
    throw new SimFault(409, message, 'FlatNetworkInUse');
  }
  if (id !== null && used.some((one) => one['provider:segmentation_id'] === id)) {
    const what =
      type === 'vlan' ? `The VLAN ${String(id)} on physical network ${physical}` : `The tunnel ID ${String(id)}`;
    throw new SimFault(
      409,
      `Unable to create the network. ${what} is in use.`,
      type === 'vlan' ? 'VlanIdInUse' : 'TunnelIdInUse',
    );
  }
  if (id === null && type !== 'flat' && type !== 'local') {
    id =
      used.reduce((top, one) => Math.max(top, Number(one['provider:segmentation_id'])), type === 'vlan' ? 99 : 20_000) +
      1;
  }
  return { [provider[0]]: type, [provider[1]]: physical, [provider[2]]: type === 'flat' ? null : id };
}

/** Makes a network's row; the caller stores it. */
function makeNetwork(world: World, projectId: string, given: Row): Row {
  const segmentFields = segment(world, given);
  const isTunnel = segmentFields[provider[0]] === 'geneve' || segmentFields[provider[0]] === 'vxlan';
  return {
    ...standardFields(projectId, given),
    admin_state_up: given['admin_state_up'] ?? true,
    mtu: given['mtu'] ?? (isTunnel ? 1442 : 1500),
    status: 'ACTIVE',
    shared: isTrue(given['shared']),
    port_security_enabled: given['port_security_enabled'] ?? true,
    qos_policy_id: given['qos_policy_id'] ?? null,
    dns_domain: textOf(given['dns_domain']),
    'router:external': isTrue(given['router:external']),
    ...segmentFields,
    is_default: isTrue(given['is_default']),
    availability_zone_hints: given['availability_zone_hints'] ?? [],
    availability_zones: [],
    ipv4_address_scope: null,
    ipv6_address_scope: null,
    l2_adjacency: true,
    revision_number: 1,
  };
}

function networkKind(world: World): Kind {
  return {
    singular: 'network',
    plural: 'networks',
    rows: world.state.networks,
    missing: networkMissing,
    creatable: [...network_settable, ...provider, 'availability_zone_hints', 'tags'],
    updatable: network_settable,
    required: [],
    isQuotaed: true,
    isTagged: true,
    isOpenTo: (row) => row['shared'] === true || row['router:external'] === true,
    view: (row) => ({ ...row, subnets: subnetsOf(world, textOf(row['id'])).map((one) => one.id) }),
    create: (call, given, projectId) => {
      const asksForAdmin =
        provider.some((key) => given[key] !== undefined) || isTrue(given['shared']) || isTrue(given['router:external']);
      if (asksForAdmin && !call.isAdmin) {
        throw new SimFault(403, '(rule:create_network) is disallowed by policy', 'PolicyNotAuthorized');
      }
      const [zone] = listOf(given['availability_zone_hints']);
      if (zone !== undefined) {
        throw new SimFault(404, `AvailabilityZone ${String(zone)} could not be found.`, 'AvailabilityZoneNotFound');
      }
      return makeNetwork(world, projectId, given);
    },
    update: (_call, row, given) => {
      Object.assign(row, given);
    },
    remove: (_call, row) => {
      const id = textOf(row['id']);
      const ports = portsOf(world, id);
      const held = ports.filter((one) => !own_port.test(one.device_owner));
      if (held.length > 0) {
        const ids = held.map((one) => one.id).join(',');
        const message = `Unable to complete operation on network ${id}. There are one or more ports still in use on the network, id for these ports is: ${ids}.`;
        throw new SimFault(409, message, 'NetworkInUse');
      }
      for (const port of ports) dropPort(world, port);
      for (const subnet of subnetsOf(world, id)) world.state.subnets.delete(subnet.id);
    },
  };
}

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
function makeSubnet(world: World, projectId: string, given: Row): Subnet {
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
    allocation_pools: given['allocation_pools'] ?? defaultPools(cidrText, gateway_ip),
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

function subnetKind(world: World): Kind {
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

function addQuotas(world: World, service: Service): void {
  const quotas = world.state.networkQuotas;
  const effective = (id: string): Row => ({ ...default_network_quota, ...quotas.get(id) });
  const used = (id: string): Record<string, number> => {
    const { networks, subnets, ports, routers, floatingips, securityGroups, securityGroupRules } = world.state;
    const count = (rows: Map<string, Row>): number =>
      [...rows.values()].filter((one) => one['project_id'] === id).length;
    const counted = { network: networks, subnet: subnets, port: ports, router: routers, floatingip: floatingips };
    const all = { ...counted, security_group: securityGroups, security_group_rule: securityGroupRules };
    return Object.fromEntries(Object.entries(all).map(([name, rows]) => [name, count(rows)]));
  };
  route(service, 'GET', '/quotas/:id', ({ params }) => ({
    status: 200,
    body: { quota: effective(params['id'] ?? '') },
  }));
  route(service, 'GET', '/quotas/:id/default', () => ({ status: 200, body: { quota: { ...default_network_quota } } }));
  route(service, 'GET', '/quotas/:id/details', ({ params }) => {
    const counts = used(params['id'] ?? '');
    const rows = Object.entries(effective(params['id'] ?? '')).map(([name, limit]): [string, Json] => [
      name,
      { limit, used: counts[name] ?? 0, reserved: 0 },
    ]);
    return { status: 200, body: { quota: Object.fromEntries(rows) } };
  });
  route(
    service,
    'PUT',
    '/quotas/:id',
    ({ params, body }) => {
      const id = params['id'] ?? '';
      const given = Object.entries(rowOf(rowOf(body)['quota']));
      quotas.set(id, { ...quotas.get(id), ...Object.fromEntries(given.map(([name, limit]) => [name, Number(limit)])) });
      return { status: 200, body: { quota: effective(id) } };
    },
    { policy: 'rule:update_quota' },
  );
  route(
    service,
    'DELETE',
    '/quotas/:id',
    ({ params }) => {
      if (quotas.delete(params['id'] ?? '')) return { status: 204 };
      throw new SimFault(404, `Quota for tenant ${params['id']} could not be found.`, 'TenantQuotaNotFound');
    },
    { policy: 'rule:delete_quota' },
  );
}

/** Makes an external network with one subnet, as an operator's deployment tool does. */
export function seedExternalNetwork(world: World, projectId: string, name: string, cidr: string): void {
  const given = { name, 'router:external': true, 'provider:network_type': 'flat', 'provider:physical_network': name };
  const network = makeNetwork(world, projectId, { ...given, is_default: world.state.networks.size === 0 });
  world.state.networks.set(textOf(network['id']), network);
  const { version } = readCidr(cidr);
  makeSubnet(world, projectId, {
    network_id: network['id'] ?? '',
    name: `${name}-subnet`,
    cidr,
    ip_version: version,
    enable_dhcp: false,
  });
}

/** The network service, mounted on `/network/v2.0`. */
export function networkService(world: World): Service {
  const service: Service = {
    name: 'network',
    mount: '/network/v2.0',
    routes: [],
    renderFault: ({ status, message, type }) =>
      status === 401
        ? { status, body: { error: { code: 401, title: 'Unauthorized', message } } }
        : {
            status,
            body: {
              NeutronError: {
                type,
                message: message === 'Malformed request body' ? 'Body contains invalid data' : message,
                detail: '',
              },
            },
          },
    unknownPath: {
      status: 404,
      body: { NeutronError: { type: 'HTTPNotFound', message: 'The resource could not be found.', detail: '' } },
    },
    forbidden: (policy) => new SimFault(403, `(${policy}) is disallowed by policy`, 'PolicyNotAuthorized'),
  };
  addKind(world, service, networkKind(world));
  addKind(world, service, subnetKind(world));
  addKind(world, service, portKind(world));
  addSecurity(world, service);
  addRouters(world, service);
  addQuotas(world, service);
  route(service, 'GET', '/extensions', () => ({
    status: 200,
    body: {
      extensions: extension_aliases.map((alias) => ({
        alias,
        name: alias,
        description: alias,
        updated: '2015-01-01T10:00:00-00:00',
        links: [],
      })),
    },
  }));
  route(service, 'GET', '/agents', () => ({
    status: 200,
    body: {
      agents: world.zones.map((zone) => ({
        id: `${world.name}-${zone}-agent`,
        agent_type: 'OVN Controller Gateway agent',
        binary: 'ovn-controller',
        topic: 'n/a',
        host: `${world.name}-${zone}-1`,
        availability_zone: '',
        description: '',
        configurations: {},
        heartbeat_timestamp: `${seconds(Date.now()).replace('T', ' ').replace('Z', '')}.000000+00:00`,
        alive: true,
        admin_state_up: true,
      })),
    },
  }));
  route(service, 'GET', '/availability_zones', () => ({ status: 200, body: { availability_zones: [] } }));
  return service;
}
