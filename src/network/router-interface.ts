/** Interfaces of a router: adding and removing subnets and ports. */
import { sql, type SqlBool } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest } from '../http/fault.ts';
import { network as convention } from '../http/conventions.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { shownValue } from '../resource/render.ts';
import { releaseSome } from './address-allocation.ts';
import {
  addAddress,
  addPort,
  type EdgeParts,
  portsOfDevice,
  removePort,
  ROUTER_GATEWAY,
  ROUTER_INTERFACE,
} from './edge-core.ts';
import { portNotFound, subnetNotFound } from './network-fault.ts';
import { callersProject, visibleNetworks } from './network-project.ts';
import { networkStore } from './network-resource.ts';
import { type PortRow, portStore } from './port-resource.ts';
import {
  badRouter,
  interfaceInUse,
  noInterface,
  noInterfaceOnSubnet,
  portInUse,
  routerNotFound,
} from './router-fault.ts';
import { refuseOverlapping } from './router-gateway.ts';
import { type Router, routers, visibleRouters } from './router-resource.ts';
import { inCidr } from './router-route.ts';
import { gatewaysFollow } from './stretched/gateway.ts';
import { joinRouter, type TransitParts } from './transit/join.ts';
import { type SubnetRow, subnetStore } from './subnet-resource.ts';

const UUID = /^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$/;
const InterfaceBody = Type.Object(
  { subnet_id: Type.Optional(Type.Unknown()), port_id: Type.Optional(Type.Unknown()) },
  { additionalProperties: true },
);
type InterfaceRequest = { readonly subnet_id?: string; readonly port_id?: string };

/** `PUT /routers/:router_id/add_router_interface` and `.../remove_router_interface`. */
export function routerInterfaceOperations(parts: EdgeParts): Operation[] {
  const change = (
    name: 'add_router_interface' | 'remove_router_interface',
    summary: string,
    work: typeof addInterface,
  ): Operation =>
    operation<Static<typeof InterfaceBody>>({
      method: 'PUT',
      path: `/routers/:router_id/${name}`,
      policy: { name, check: 'rule:project_member_or_admin', description: summary },
      body: InterfaceBody,
      status: 200,
      summary,
      handle: (call) => handle(parts, call, name, work),
    });
  return [
    change('add_router_interface', 'Add an interface to a router', addInterface),
    change('remove_router_interface', 'Remove an interface from a router', removeInterface),
  ];
}

async function handle(
  parts: EdgeParts,
  call: Call<Static<typeof InterfaceBody>>,
  name: string,
  work: typeof addInterface,
): Promise<unknown> {
  const { context } = call;
  const id = call.params.router_id ?? '';
  const answer = await parts.db.transaction(async (tx) => {
    const router = await routers.lock(tx, id, visibleRouters(context));
    if (router === undefined) throw routerNotFound(id);
    convention.precondition?.(call.headers, (attribute) => shownValue(routers.resource, attribute, router, context));
    const request = requestOf(call.body, name === 'remove_router_interface');
    const { port, subnets } = await changeInterface(tx, parts, context, router, request, work);
    const subnet_ids = subnets.map((subnet) => subnet.id);
    return {
      id,
      tenant_id: port.project_id,
      port_id: port.id,
      network_id: port.network_id,
      subnet_id: subnet_ids.at(-1),
      subnet_ids,
    };
  });
  parts.cascade.poke();
  return answer;
}

/**
 * Adds an interface to a router or removes one, and what follows from that; the router must be locked.
 * @throws Fault as Neutron has it for what is in use, not there or does not fit
 */
export async function changeInterface(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  router: Router,
  request: InterfaceRequest,
  work: typeof addInterface,
): Promise<Changed> {
  const changed = await work(tx, parts, context, router, request);
  await gatewaysFollow(tx, parts, changed.port.network_id, changed.subnets, context.requestId);
  // The row's revision is what its copies are held against.
  await routers.update(tx, router.id, {});
  await waitForBinding(tx, changed.port.network_id);
  await joinRouter(tx, parts, router.id, { requestId: context.requestId });
  return changed;
}

/** @throws Fault 400 for neither or, when adding, both of a subnet and a port, and for ids that are none */
function requestOf(body: Static<typeof InterfaceBody>, isRemoval: boolean): InterfaceRequest {
  const given = (['port_id', 'subnet_id'] as const).filter((key) => key in body);
  if (given.length === 0) throw badRouter('Either subnet_id or port_id must be specified');
  for (const key of given) {
    const value = body[key];
    if (typeof value === 'string' && UUID.test(value)) continue;
    throw badRouter(`'${String(value).slice(0, 64)}' is not a valid UUID`);
  }
  if (given.length === 2 && !isRemoval) throw badRouter('Cannot specify both subnet-id and port-id');
  return body as InterfaceRequest;
}

/** Whoever binds the network right now either sees the new interface, or is waited for here. */
async function waitForBinding(tx: Tx, networkId: string): Promise<void> {
  await sql`select 1 from networks where id = ${networkId} for share`.execute(tx);
}

/**
 * To be called in the transaction in which a network comes to be in a child: routers with an interface on it are wanted
 * there too, and joined with their copies elsewhere.
 * @throws Fault as `joinRouter`
 */
export async function routersFollowNetwork(tx: Tx, parts: TransitParts, networkId: string): Promise<void> {
  const found = await sql<{ device_id: string }>`select distinct device_id from ports
    where network_id = ${networkId} and device_owner = ${ROUTER_INTERFACE} order by device_id`.execute(tx);
  for (const { device_id } of found.rows) {
    await routers.update(tx, device_id, {});
    await joinRouter(tx, parts, device_id);
  }
}

interface Changed {
  readonly port: PortRow;
  readonly subnets: readonly SubnetRow[];
}

export async function addInterface(
  tx: Tx,
  _parts: EdgeParts,
  context: RequestContext,
  router: Router,
  request: InterfaceRequest,
): Promise<Changed> {
  const present = await portsOfDevice(tx, [router.id], ROUTER_INTERFACE);
  if (request.port_id !== undefined) return addByPort(tx, context, router, present, request.port_id);
  const subnet = await visibleSubnet(tx, context, request.subnet_id ?? '');
  if (subnet.gateway_ip === null) throw badRouter('Subnet for router interface must have a gateway IP');
  if (subnet.project_id !== callersProject(context) && !context.identity.isAdmin) {
    throw badRouter(
      `Cannot add interface to router because subnet ${subnet.id} is not owned by project making the request`,
    );
  }
  await refuseTwice(tx, router, present, [subnet]);
  const fixedIp = { subnet_id: subnet.id, ip_address: subnet.gateway_ip };
  // Further IPv6 prefixes of a network go onto the port that the router has there.
  const sharing = subnet.ip_version === 6 ? present.find((port) => isOnNetwork6(port, subnet.network_id)) : undefined;
  if (sharing !== undefined) return { port: await addAddress(tx, sharing, fixedIp), subnets: [subnet] };
  const port = await addPort(tx, {
    network_id: subnet.network_id,
    project_id: router.project_id,
    device_id: router.id,
    device_owner: ROUTER_INTERFACE,
    status: 'ACTIVE',
    fixed_ips: [fixedIp],
  });
  return { port, subnets: [subnet] };
}

const isOnNetwork6 = (port: PortRow, networkId: string): boolean =>
  port.network_id === networkId && port.fixed_ips.some(({ ip_address }) => ip_address.includes(':'));

async function addByPort(
  tx: Tx,
  context: RequestContext,
  router: Router,
  present: readonly PortRow[],
  portId: string,
): Promise<Changed> {
  const own = context.identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${callersProject(context)}`];
  const port = await portStore.lock(tx, portId, own);
  if (port === undefined) throw portNotFound(portId);
  if (port.device_id !== '') throw portInUse(port);
  if (port.fixed_ips.length === 0) throw badRouter('Router port must have at least one fixed IP');
  const subnets = await subnetStore.findMany(
    tx,
    port.fixed_ips.map(({ subnet_id }) => subnet_id),
  );
  if (isOnNetwork6(port, port.network_id)) {
    const other = present.find((one) => isOnNetwork6(one, port.network_id));
    if (other !== undefined) {
      throw badRouter(
        `Cannot have multiple router ports with the same network id if both contain IPv6 subnets. Existing port ${other.id} has IPv6 subnet(s) and network id ${port.network_id}`,
      );
    }
  }
  await refuseTwice(tx, router, present, subnets);
  if (subnets.filter(({ ip_version }) => ip_version === 4).length > 1) {
    throw badRouter('Cannot have multiple IPv4 subnets on router port');
  }
  const changed = { device_id: router.id, device_owner: ROUTER_INTERFACE, status: 'ACTIVE' };
  return { port: (await portStore.update(tx, portId, changed)) as PortRow, subnets };
}

/** @throws Fault 400 where the router is on one of the subnets, or on one that overlaps it */
async function refuseTwice(tx: Tx, router: Router, present: readonly PortRow[], added: readonly SubnetRow[]) {
  const taken = new Set(present.flatMap(({ fixed_ips }) => fixed_ips.map(({ subnet_id }) => subnet_id)));
  const twice = added.find(({ id }) => taken.has(id));
  if (twice !== undefined) throw badRouter(`Router already has a port on subnet ${twice.id}`);
  const gateways = await portsOfDevice(tx, [router.id], ROUTER_GATEWAY);
  const networks = gateways.map(({ network_id }) => network_id);
  const external = await subnetStore.select(tx, [sql<SqlBool>`network_id = any(${networks}::text[])`]);
  refuseOverlapping(added, [...(await subnetStore.findMany(tx, [...taken])), ...external]);
}

async function visibleSubnet(query: Queryable, context: RequestContext, id: string): Promise<SubnetRow> {
  const subnet = await subnetStore.find(query, id);
  if (subnet === undefined) throw subnetNotFound(id);
  const isOwn = context.identity.isAdmin || subnet.project_id === callersProject(context);
  if (!isOwn && (await networkStore.find(query, subnet.network_id, visibleNetworks(context))) === undefined) {
    throw subnetNotFound(id);
  }
  return subnet;
}

export async function removeInterface(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  router: Router,
  request: InterfaceRequest,
): Promise<Changed> {
  const present = await portsOfDevice(tx, [router.id], ROUTER_INTERFACE);
  const port = await chosenInterface(tx, context, router, present, request);
  const isPartial = request.port_id === undefined && port.fixed_ips.length > 1;
  const going = isPartial ? port.fixed_ips.filter(({ subnet_id }) => subnet_id === request.subnet_id) : port.fixed_ips;
  const subnets = await subnetStore.findMany(
    tx,
    going.map(({ subnet_id }) => subnet_id),
  );
  for (const subnet of subnets) await refuseWhileNeeded(tx, router, subnet);
  if (isPartial) {
    await releaseSome(tx, port.id, going);
    const fixed_ips = port.fixed_ips.filter((fixedIp) => !going.includes(fixedIp));
    return { port: (await portStore.update(tx, port.id, { fixed_ips })) as PortRow, subnets };
  }
  await removePort(tx, parts, port);
  return { port, subnets };
}

async function chosenInterface(
  tx: Tx,
  context: RequestContext,
  router: Router,
  present: readonly PortRow[],
  { port_id, subnet_id }: InterfaceRequest,
): Promise<PortRow> {
  const isOn = (port: PortRow) => port.fixed_ips.some((fixedIp) => fixedIp.subnet_id === subnet_id);
  if (port_id === undefined) {
    const found = present.find(isOn);
    if (found !== undefined) return found;
    throw noInterfaceOnSubnet(router.id, (await visibleSubnet(tx, context, subnet_id ?? '')).id);
  }
  const port = present.find(({ id }) => id === port_id);
  if (port === undefined) throw noInterface(router.id, port_id);
  if (subnet_id === undefined || isOn(port)) return port;
  throw badRequest(`Subnet ID ${subnet_id} does not match the subnet of port ${port_id}.`, 'SubnetMismatchForPort');
}

async function refuseWhileNeeded(tx: Tx, router: Router, subnet: SubnetRow): Promise<void> {
  const served = await sql<{ fixed_ip_address: string }>`
    select fixed_ip_address from floating_ips where router_id = ${router.id} and fixed_ip_address is not null
    union all
    select p.internal_ip_address from port_forwardings p join floating_ips f on f.id = p.floatingip_id
    where f.router_id = ${router.id}`.execute(tx);
  if (served.rows.some(({ fixed_ip_address }) => inCidr(subnet.cidr, fixed_ip_address))) {
    throw interfaceInUse(router.id, subnet.id, 'floating IPs');
  }
  if (router.routes.some(({ nexthop }) => inCidr(subnet.cidr, nexthop))) {
    throw interfaceInUse(router.id, subnet.id, 'routes');
  }
}
