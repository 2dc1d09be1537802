/** Simulated Neutron: networks, subnets, and what the service shows of itself. */
import { makeSubnet, own_port, subnetKind } from './network-subnet.ts';
import { readCidr } from './address.ts';
import { route, type Service } from './http.ts';
import { addKind, default_network_quota, type Kind, standardFields } from './network-kind.ts';
import { dropPort, networkMissing, portKind, portsOf, subnetsOf } from './network-port.ts';
import { addQos } from './network-qos.ts';
import { addFloatingIps } from './network-floating-ip.ts';
import { addRouters } from './network-router.ts';
import { addSecurity } from './network-security.ts';
import { addTrunks } from './network-trunk.ts';
import { isTrue, type Json, listOf, type Row, rowOf, seconds, SimFault, textOf, type World } from './world.ts';

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
  'qos',
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
  'trunk',
];

const aliasesOf = ({ networking: { without, beside } }: World): string[] =>
  [...extension_aliases, ...beside].filter((alias) => !without.includes(alias));

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
  if (isPhysical && world.networking.physicalNetworks?.includes(physical ?? '') === false) {
    const message = `Invalid input for operation: physical_network '${physical}' unknown for ${type === 'flat' ? 'flat' : 'VLAN'} provider network.`;
    throw new SimFault(400, message, 'InvalidInput');
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
    view: (row, call) => {
      const view: Row = { ...row, subnets: subnetsOf(world, textOf(row['id'])).map((one) => one.id) };
      if (!call.isAdmin) for (const key of provider) delete view[key];
      return view;
    },
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
  addQos(world, service);
  addTrunks(world, service);
  addRouters(world, service);
  addFloatingIps(world, service);
  addQuotas(world, service);
  route(service, 'GET', '/extensions', () => ({
    status: 200,
    body: {
      extensions: aliasesOf(world).map((alias) => ({
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
        configurations:
          world.networking.physicalNetworks === undefined
            ? {}
            : { 'bridge-mappings': world.networking.physicalNetworks.map((name) => `${name}:br-${name}`).join(',') },
        heartbeat_timestamp: `${seconds(Date.now()).replace('T', ' ').replace('Z', '')}.000000+00:00`,
        alive: true,
        admin_state_up: true,
      })),
    },
  }));
  route(service, 'GET', '/availability_zones', () => ({ status: 200, body: { availability_zones: [] } }));
  return service;
}
