/** Simulated Neutron routers. */
import { contains, overlaps, readCidr } from './address.ts';
import { type Call, type Reply, route, type Service } from './http.ts';
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

/** A router's (or a floating IP's) ports of one owner. */
export const routerPorts = (world: World, routerId: string, owner: string): Port[] =>
  [...world.state.ports.values()].filter((one) => one.device_id === routerId && one.device_owner === owner);
/** Its interfaces on tenants' networks. */
export const interfaces = (world: World, routerId: string): Port[] =>
  routerPorts(world, routerId, 'network:router_interface');

function subnetsAt(world: World, ports: readonly Port[]): Subnet[] {
  return ports.flatMap((port) => port.fixed_ips.flatMap((one) => world.state.subnets.get(one.subnet_id) ?? []));
}

/** Only administrators say which addresses of an external network are taken, and whether there is NAT. */
export function adminOnly(call: Call, rule: string): void {
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

/** Registers routers, with interfaces and extra routes. */
export function addRouters(world: World, service: Service): void {
  addKind(world, service, routerKind(world));
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
