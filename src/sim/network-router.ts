/** Simulated Neutron routers and floating IPs. */
import { contains, overlaps, readCidr } from './address.ts';
import { type Call, type Reply, route, type Service } from './http.ts';
import { addForwardings } from './network-forwarding.ts';
import { addKind, type Kind, standardFields, touch } from './network-kind.ts';
import {
  dropPort,
  makePort,
  networkMissing,
  type Port,
  portMissing,
  type Subnet,
  subnetMissing,
} from './network-port.ts';
import { checkPolicy } from './network-qos.ts';
import { isRow, type Json, listOf, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

const routes_limit = 30;
const bad = (message: string): SimFault => new SimFault(400, `Bad router request: ${message}`, 'BadRequest');
const routerMissing = (id: string): SimFault => new SimFault(404, `Router ${id} could not be found.`, 'RouterNotFound');

const routerPorts = (world: World, routerId: string, owner: string): Port[] =>
  [...world.state.ports.values()].filter((one) => one.device_id === routerId && one.device_owner === owner);
const interfaces = (world: World, routerId: string): Port[] => routerPorts(world, routerId, 'network:router_interface');

function subnetsAt(world: World, ports: readonly Port[]): Subnet[] {
  return ports.flatMap((port) => port.fixed_ips.flatMap((one) => world.state.subnets.get(one.subnet_id) ?? []));
}

/** Only administrators say which addresses of an external network are taken, and whether there is NAT. */
function adminOnly(call: Call, rule: string): void {
  if (!call.isAdmin) throw new SimFault(403, `(rule:${rule}) is disallowed by policy`, 'PolicyNotAuthorized');
}

function checkGatewayRights(call: Call, verb: string, info: Json | undefined): void {
  for (const part of ['enable_snat', 'external_fixed_ips']) {
    if (rowOf(info)[part] !== undefined) adminOnly(call, `${verb}_router:external_gateway_info:${part}`);
  }
}

function setGateway(world: World, router: Row, asked: Json | undefined): void {
  const id = textOf(router['id']);
  const info = rowOf(asked);
  const wanted = textOf(info['network_id']);
  const current = routerPorts(world, id, 'network:router_gateway')[0];
  if (current !== undefined && current.network_id !== wanted) {
    if ([...world.state.floatingips.values()].some((one) => one['router_id'] === id)) {
      const why = `Gateway cannot be updated for router ${id}, since a gateway to external network ${current.network_id} is required by one or more floating IPs.`;
      throw new SimFault(409, why, 'RouterExternalGatewayInUseByFloatingIp');
    }
    dropPort(world, current);
  }
  if (wanted === '') {
    router['external_gateway_info'] = null;
    return;
  }
  const network = world.state.networks.get(wanted);
  if (network === undefined) throw networkMissing(wanted);
  if (network['router:external'] !== true) throw bad(`Network ${wanted} is not an external network`);
  let port = current?.network_id === wanted ? current : undefined;
  if (port !== undefined && info['external_fixed_ips'] !== undefined) {
    dropPort(world, port);
    port = undefined;
  }
  port ??= makePort(world, '', {
    network_id: wanted,
    device_id: id,
    device_owner: 'network:router_gateway',
    'binding:host_id': `${world.name}-gateway`,
    ...(info['external_fixed_ips'] === undefined ? {} : { fixed_ips: info['external_fixed_ips'] }),
  });
  port.status = 'ACTIVE';
  const enable_snat = info['enable_snat'] ?? true;
  const asksForPolicy = info['qos_policy_id'] !== undefined;
  const before = rowOf(router['external_gateway_info'])['qos_policy_id'];
  const policy = textOf(asksForPolicy ? info['qos_policy_id'] : before);
  checkPolicy(world, { qos_policy_id: policy });
  router['external_gateway_info'] = {
    network_id: wanted,
    external_fixed_ips: port.fixed_ips,
    enable_snat,
    ...(policy === '' ? {} : { qos_policy_id: policy }),
  };
}

function setRoutes(world: World, router: Row, routes: readonly Row[]): void {
  const id = textOf(router['id']);
  if (routes.length > routes_limit) {
    const message = `Unable to complete operation for ${id}. The number of routes exceeds the maximum ${routes_limit}.`;
    throw new SimFault(400, message, 'RoutesExhausted');
  }
  const ports = [...interfaces(world, id), ...routerPorts(world, id, 'network:router_gateway')];
  const near = subnetsAt(world, ports).map((one) => readCidr(one.cidr));
  for (const one of routes) {
    readCidr(textOf(one['destination']));
    if (near.some((cidr) => contains(cidr, textOf(one['nexthop'])))) continue;
    const message = `Invalid format for routes: ${JSON.stringify(routes)}, the nexthop is not connected with router`;
    throw new SimFault(400, message, 'InvalidRoutes');
  }
  router['routes'] = routes.map(({ destination, nexthop }) => ({
    destination: destination ?? '',
    nexthop: nexthop ?? '',
  }));
}

function interfaceSubnet(world: World, call: Call): { subnet?: Subnet; port?: Port } {
  const { subnet_id, port_id } = rowOf(call.body);
  if (textOf(port_id) !== '') {
    const port = world.state.ports.get(textOf(port_id));
    if (port === undefined) throw portMissing(textOf(port_id));
    return { port };
  }
  if (textOf(subnet_id) === '') throw bad('Either subnet_id or port_id must be specified');
  const subnet = world.state.subnets.get(textOf(subnet_id));
  if (subnet === undefined) throw subnetMissing(textOf(subnet_id));
  return { subnet };
}

function interfaceReply(router: Row, port: Port): Reply {
  const subnet_ids = port.fixed_ips.map((one) => one.subnet_id);
  const { id, tenant_id } = router;
  const body = { id: id ?? '', tenant_id: tenant_id ?? '', port_id: port.id, network_id: port.network_id };
  return { status: 200, body: { ...body, subnet_id: subnet_ids[0] ?? null, subnet_ids } };
}

function addInterface(world: World, router: Row, call: Call): Reply {
  const routerId = textOf(router['id']);
  const { subnet, port: given } = interfaceSubnet(world, call);
  if (given !== undefined && given.device_id !== '') {
    const message = `Unable to complete operation on port ${given.id} for network ${given.network_id}. Port already has an attached device ${given.device_id}.`;
    throw new SimFault(409, message, 'PortInUse');
  }
  const added = subnet === undefined ? subnetsAt(world, given === undefined ? [] : [given]) : [subnet];
  if (added.length === 0) throw bad('Port must have at least one fixed IP');
  for (const one of added) {
    for (const other of subnetsAt(world, interfaces(world, routerId))) {
      if (other.id === one.id) throw bad(`Router already has a port on subnet ${one.id}.`);
      if (overlaps(readCidr(one.cidr), readCidr(other.cidr))) {
        throw bad(`Cidr ${one.cidr} of subnet ${one.id} overlaps with cidr ${other.cidr} of subnet ${other.id}.`);
      }
    }
  }
  let port = given;
  if (subnet !== undefined) {
    if (subnet.gateway_ip === null) throw bad('Subnet for router interface must have a gateway IP');
    port = makePort(world, textOf(router['project_id']), {
      network_id: subnet.network_id,
      fixed_ips: [{ subnet_id: subnet.id, ip_address: subnet.gateway_ip }],
      device_id: routerId,
      device_owner: 'network:router_interface',
    });
  }
  if (port === undefined) throw bad('Either subnet_id or port_id must be specified');
  Object.assign(port, { device_id: routerId, device_owner: 'network:router_interface', status: 'ACTIVE' });
  touch(port);
  touch(router);
  return interfaceReply(router, port);
}

function removeInterface(world: World, router: Row, call: Call): Reply {
  const routerId = textOf(router['id']);
  const { subnet, port: given } = interfaceSubnet(world, call);
  const port = interfaces(world, routerId).find((one) =>
    given === undefined ? one.fixed_ips.some((ip) => ip.subnet_id === subnet?.id) : one.id === given.id,
  );
  if (port === undefined) {
    const message =
      given === undefined
        ? `Router ${routerId} has no interface on subnet ${subnet?.id ?? ''}`
        : `Router ${routerId} does not have an interface with id ${given.id}`;
    throw new SimFault(
      404,
      message,
      given === undefined ? 'RouterInterfaceNotFoundForSubnet' : 'RouterInterfaceNotFound',
    );
  }
  for (const one of subnetsAt(world, [port])) {
    const inUse = (what: string, type: string): SimFault =>
      new SimFault(
        409,
        `Router interface for subnet ${one.id} on router ${routerId} cannot be deleted, as it is required by one or more ${what}.`,
        type,
      );
    const cidr = readCidr(one.cidr);
    if (listOf(router['routes']).some((entry) => contains(cidr, textOf(rowOf(entry)['nexthop'])))) {
      throw inUse('routes', 'RouterInterfaceInUseByRoute');
    }
    const served = [...world.state.floatingips.values()].filter((floating) => floating['router_id'] === routerId);
    if (served.some((floating) => contains(cidr, textOf(floating['fixed_ip_address'])))) {
      throw inUse('floating IPs', 'RouterInterfaceInUseByFloatingIP');
    }
  }
  dropPort(world, port);
  touch(router);
  return interfaceReply(router, port);
}

function routerKind(world: World): Kind {
  const isDistributing = world.networking.beside.includes('dvr');
  const settable = [
    'name',
    'description',
    'admin_state_up',
    'external_gateway_info',
    ...(isDistributing ? ['distributed'] : []),
  ];
  return {
    singular: 'router',
    plural: 'routers',
    rows: world.state.routers,
    missing: routerMissing,
    creatable: [...settable, 'availability_zone_hints', 'ha', 'flavor_id', 'tags'],
    updatable: [...settable, 'routes', 'ha'],
    required: [],
    isQuotaed: true,
    isTagged: true,
    create: (call, given, projectId) => {
      checkGatewayRights(call, 'create', given['external_gateway_info']);
      const router: Row = {
        ...standardFields(projectId, given),
        admin_state_up: given['admin_state_up'] ?? true,
        status: 'ACTIVE',
        external_gateway_info: null,
        availability_zones: [],
        availability_zone_hints: given['availability_zone_hints'] ?? [],
        routes: [],
        ...(isDistributing ? { distributed: given['distributed'] ?? true } : {}),
      };
      if (given['external_gateway_info'] !== undefined) setGateway(world, router, given['external_gateway_info']);
      return router;
    },
    update: (call, row, given) => {
      checkGatewayRights(call, 'update', given['external_gateway_info']);
      const { external_gateway_info, routes, ...rest } = given;
      if (rest['distributed'] !== undefined && rest['distributed'] !== row['distributed'] && row['admin_state_up']) {
        const message =
          'Bad router request: Cannot upgrade active router to distributed. Please set router admin_state_up to False prior to upgrade.';
        throw new SimFault(400, message, 'BadRequest');
      }
      if (external_gateway_info !== undefined) setGateway(world, row, external_gateway_info);
      if (routes !== undefined) setRoutes(world, row, listOf(routes).map(rowOf));
      Object.assign(row, rest);
    },
    remove: (_call, row) => {
      const id = textOf(row['id']);
      const attached = interfaces(world, id);
      if (attached.length > 0) {
        const message = `Router ${id} has ports still attached: ${attached.map((one) => one.id).join(', ')}`;
        throw new SimFault(409, message, 'RouterInUse');
      }
      setGateway(world, row, null);
    },
  };
}

/** The router that joins a port's subnet to an external network. */
function routerBetween(world: World, portId: string, subnetId: string, networkId: string): Json {
  const through = [...world.state.routers.values()].find(
    (router) =>
      rowOf(router['external_gateway_info'])['network_id'] === networkId &&
      interfaces(world, textOf(router['id'])).some((one) => one.fixed_ips.some((ip) => ip.subnet_id === subnetId)),
  );
  if (through === undefined) {
    const message = `External network ${networkId} is not reachable from subnet ${subnetId}.  Therefore, cannot associate Port ${portId} with a Floating IP.`;
    throw new SimFault(404, message, 'ExternalGatewayForFloatingIPNotFound');
  }
  return through['id'] ?? null;
}

const inUseByForwarding = (floating: Row): SimFault =>
  new SimFault(
    409,
    `Floating IP ${textOf(floating['id'])} in use by Port Forwarding resources.`,
    'FipInUseByPortForwarding',
  );

function associate(world: World, floating: Row, portId: Json | undefined, fixed: Json | undefined): void {
  const isForwarding = listOf(floating['port_forwardings']).length > 0;
  if (textOf(portId) !== '' && isForwarding) throw inUseByForwarding(floating);
  if (textOf(portId) === '' && isForwarding) return;
  if (textOf(portId) === '') {
    Object.assign(floating, { port_id: null, fixed_ip_address: null, router_id: null, status: 'DOWN' });
    return;
  }
  const port = world.state.ports.get(textOf(portId));
  if (port === undefined) throw portMissing(textOf(portId));
  const networkId = textOf(floating['floating_network_id']);
  const chosen = port.fixed_ips.find((one) => (textOf(fixed) === '' ? true : one.ip_address === fixed));
  if (chosen === undefined) {
    const why = textOf(fixed) === '' ? 'has no fixed IPv4 address' : `does not have fixed ip ${textOf(fixed)}`;
    throw new SimFault(400, `Bad floatingip request: Port ${port.id} ${why}.`, 'BadRequest');
  }
  const twin = [...world.state.floatingips.values()].find(
    (one) =>
      one !== floating &&
      one['port_id'] === port.id &&
      one['fixed_ip_address'] === chosen.ip_address &&
      one['floating_network_id'] === networkId,
  );
  if (twin !== undefined) {
    const message = `Cannot associate floating IP ${textOf(floating['floating_ip_address'])} (${textOf(floating['id'])}) with port ${port.id} using fixed IP ${chosen.ip_address}, as that fixed IP already has a floating IP on external network ${networkId}.`;
    throw new SimFault(409, message, 'FloatingIPPortAlreadyAssociated');
  }
  const router_id = routerBetween(world, port.id, chosen.subnet_id, networkId);
  Object.assign(floating, { port_id: port.id, fixed_ip_address: chosen.ip_address, router_id, status: 'DOWN' });
  // The backend reports it up a moment after the API has answered.
  world.later(world.timing.action_ms, () => {
    if (floating['port_id'] === port.id) floating['status'] = 'ACTIVE';
  });
}

const floatingPort = (world: World, floating: Row): Port | undefined =>
  routerPorts(world, textOf(floating['id']), 'network:floatingip')[0];

function floatingKind(world: World): Kind {
  const settable = ['port_id', 'fixed_ip_address', 'description'];
  return {
    singular: 'floatingip',
    plural: 'floatingips',
    rows: world.state.floatingips,
    missing: (id) => new SimFault(404, `Floating IP ${id} could not be found`, 'FloatingIPNotFound'),
    creatable: [
      ...settable,
      'floating_network_id',
      'subnet_id',
      'floating_ip_address',
      'dns_name',
      'dns_domain',
      'qos_policy_id',
      'tags',
    ],
    updatable: [...settable, 'qos_policy_id'],
    required: ['floating_network_id'],
    isQuotaed: true,
    isTagged: true,
    view: (row) => {
      const port = world.state.ports.get(textOf(row['port_id']));
      if (port === undefined) return { ...row, port_details: null };
      const { network_id, mac_address, status, device_id, device_owner } = port;
      const { name = '', admin_state_up = true } = port as Row;
      return {
        ...row,
        port_details: { name, network_id, mac_address, admin_state_up, status, device_id, device_owner },
      };
    },
    create: (call, given, projectId) => {
      if (textOf(given['floating_ip_address']) !== '') adminOnly(call, 'create_floatingip:floating_ip_address');
      const networkId = textOf(given['floating_network_id']);
      const network = world.state.networks.get(networkId);
      if (network === undefined) throw networkMissing(networkId);
      if (network['router:external'] !== true) {
        const message = `Bad floatingip request: Network ${networkId} is not a valid external network.`;
        throw new SimFault(400, message, 'BadRequest');
      }
      checkPolicy(world, given);
      const { name: _name, ...base } = standardFields(projectId, given);
      const asked: Row = {};
      if (textOf(given['subnet_id']) !== '') asked['subnet_id'] = given['subnet_id'] ?? null;
      if (textOf(given['floating_ip_address']) !== '') asked['ip_address'] = given['floating_ip_address'] ?? null;
      const port = makePort(world, '', {
        network_id: networkId,
        device_id: base['id'] ?? '',
        device_owner: 'network:floatingip',
        ...(Object.keys(asked).length === 0 ? {} : { fixed_ips: [asked] }),
      });
      const floating: Row = {
        ...base,
        floating_ip_address: port.fixed_ips[0]?.ip_address ?? null,
        floating_network_id: networkId,
        router_id: null,
        port_id: null,
        fixed_ip_address: null,
        status: 'DOWN',
        qos_policy_id: given['qos_policy_id'] ?? null,
        dns_domain: textOf(given['dns_domain']),
        dns_name: textOf(given['dns_name']),
        port_forwardings: [],
      };
      try {
        if (textOf(given['port_id']) !== '') associate(world, floating, given['port_id'], given['fixed_ip_address']);
      } catch (error) {
        dropPort(world, port);
        throw error;
      }
      return floating;
    },
    update: (_call, row, given) => {
      checkPolicy(world, given);
      if ('qos_policy_id' in given) row['qos_policy_id'] = given['qos_policy_id'] ?? null;
      if ('port_id' in given) associate(world, row, given['port_id'], given['fixed_ip_address']);
      if (typeof given['description'] === 'string') row['description'] = given['description'];
    },
    remove: (_call, row) => {
      if (listOf(row['port_forwardings']).length > 0) throw inUseByForwarding(row);
      const port = floatingPort(world, row);
      if (port !== undefined) dropPort(world, port);
    },
  };
}

/** Registers routers (with interfaces and extra routes) and floating IPs. */
export function addRouters(world: World, service: Service): void {
  addKind(world, service, routerKind(world));
  addKind(world, service, floatingKind(world));
  addForwardings(world, service, (floating, portId, address) => {
    const subnet = world.state.ports.get(portId)?.fixed_ips.find(({ ip_address }) => ip_address === address)?.subnet_id;
    if (subnet === undefined) throw portMissing(portId);
    return routerBetween(world, portId, subnet, textOf(floating['floating_network_id']));
  });
  const router = (call: Call): Row => {
    const found = world.state.routers.get(call.params['id'] ?? '');
    if (found === undefined || !(call.isAdmin || found['project_id'] === call.projectId)) {
      throw routerMissing(call.params['id'] ?? '');
    }
    return found;
  };
  route(service, 'PUT', '/routers/:id/add_router_interface', (call) => addInterface(world, router(call), call));
  route(service, 'PUT', '/routers/:id/remove_router_interface', (call) => removeInterface(world, router(call), call));
  const changeRoutes = (call: Call, isAdding: boolean): Reply => {
    const found = router(call);
    const given = listOf(rowOf(rowOf(call.body)['router'])['routes']).filter(isRow);
    const key = (one: Row): string => `${textOf(one['destination'])} ${textOf(one['nexthop'])}`;
    const keys = new Set(given.map(key));
    const others = listOf(found['routes'])
      .filter(isRow)
      .filter((one) => !keys.has(key(one)));
    setRoutes(world, found, isAdding ? [...others, ...given] : others);
    touch(found);
    return { status: 200, body: { router: found } };
  };
  route(service, 'PUT', '/routers/:id/add_extraroutes', (call) => changeRoutes(call, true));
  route(service, 'PUT', '/routers/:id/remove_extraroutes', (call) => changeRoutes(call, false));
}
