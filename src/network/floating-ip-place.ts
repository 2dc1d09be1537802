/**
 * Where a floating IP comes to live, and which port it may be tied to: it is made in the child that its port lives in,
 * and its address is one of that child's external subnet.
 */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { abilitiesOf, type ChildAbility } from './ability.ts';
import { parseAddress } from './address-range.ts';
import { type EdgeParts, interfacesOn } from './edge-core.ts';
import { childrenWithExternal, type ExternalSubnet, externalSubnets } from './external-network.ts';
import { portNotFound } from './network-fault.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { visiblePorts } from './ports.ts';
import { badFloatingIp, notReachable } from './router-fault.ts';
import { routers } from './router-resource.ts';
import { inCidr } from './router-route.ts';
import { placesOfPort } from './stretched/place.ts';
import { subnetStore } from './subnet-resource.ts';

/** What a create asks for. */
export interface FloatingIpWish {
  readonly project_id: string;
  readonly floating_network_id: string;
  readonly subnet_id?: string | null | undefined;
  readonly floating_ip_address?: string | null | undefined;
}

/** The port that a floating IP is to be tied to, and which of its addresses. */
export interface Target {
  readonly port: PortRow;
  readonly subnet_id: string;
  readonly fixed_ip_address: string;
  readonly router_id: string;
  /** Children that the port is or may come to be in; empty while it may be in any. */
  readonly children: readonly string[];
}

/**
 * The subnets a new floating IP's address may be of, best first.
 * @throws Fault 400 for a subnet or address that is not the network's, 409 where the port is in another child
 */
export async function placesFor(
  query: Queryable,
  parts: EdgeParts,
  wish: FloatingIpWish,
  target: Target | undefined,
): Promise<readonly ExternalSubnet[]> {
  const { floating_network_id: networkId } = wish;
  const mapped = await externalSubnets(query, networkId);
  const subnets = new Map(
    (
      await subnetStore.findMany(
        query,
        mapped.map(({ subnet_id }) => subnet_id),
      )
    ).map((one) => [one.id, one]),
  );
  const ofVersion4 = mapped.filter(({ subnet_id }) => subnets.get(subnet_id)?.ip_version === 4);
  // A child that shows its account no subnet of the network is not in the list for want of one.
  const blind = ofVersion4.length === 0 ? await childrenWithExternal(query, networkId) : [];
  const near = [...ofVersion4.map(({ child }) => child), ...(target?.children ?? []), ...blind];
  const abilities = await abilitiesOf(query, [...new Set(near)]);
  const usable = ofVersion4.filter(({ child }) => abilities.get(child)?.refusal('floating_ips') === undefined);
  if (usable.length === 0 && ofVersion4[0] !== undefined) throw unable(abilities, ofVersion4[0].child);
  const unableBlind = blind.find((child) => abilities.get(child)?.refusal('floating_ips') !== undefined);
  if (unableBlind !== undefined) throw unable(abilities, unableBlind);
  if (usable.length === 0) {
    throw badRequest(`Unable to find any IP address on external network ${networkId}.`, 'ExternalIpAddressExhausted');
  }
  const asked = usable.filter(({ subnet_id }) => wish.subnet_id == null || subnet_id === wish.subnet_id);
  if (asked.length === 0) {
    throw badRequest(
      `Invalid input for operation: Failed to create port on network ${networkId}, because fixed_ips included invalid subnet ${wish.subnet_id}.`,
      'InvalidInput',
    );
  }
  const address = wish.floating_ip_address;
  const fitting = asked.filter(
    ({ subnet_id }) => address == null || inCidr(subnets.get(subnet_id)?.cidr ?? '', address),
  );
  if (fitting.length === 0) {
    const isOfSubnet = wish.subnet_id != null;
    throw badRequest(
      `IP address ${address} is not a valid IP for ${isOfSubnet ? 'the specified subnet' : 'any of the subnets on the specified network'}.`,
      isOfSubnet ? 'InvalidIpForSubnet' : 'InvalidIpForNetwork',
    );
  }
  if (target !== undefined && target.children.length > 0) {
    const there = fitting.filter(({ child }) => target.children.includes(child));
    const [only, ...others] = target.children;
    if (only !== undefined && others.length === 0 && abilities.get(only)?.refusal('floating_ips') !== undefined) {
      throw unable(abilities, only);
    }
    if (there.length === 0) throw elsewhere(networkId, usable, target);
    return byPreference(query, parts, wish.project_id, there);
  }
  return byPreference(query, parts, wish.project_id, fitting);
}

/** 409 that says why a child can have no floating IP. */
function unable(abilities: ReadonlyMap<string, ChildAbility>, child: string) {
  const refusal = abilities.get(child)?.refusal('floating_ips');
  return conflict(`${refusal?.tenant ?? 'Floating IPs cannot be had there'}.`, 'FloatingIPNotSupported');
}

/** 409 that says which subnet to ask for instead. */
export function elsewhere(networkId: string, usable: readonly ExternalSubnet[], target: Target) {
  const near = usable.filter(({ child }) => target.children.includes(child)).map(({ subnet_id }) => subnet_id);
  if (near.length === 0) return notReachable(networkId, target.subnet_id, target.port.id);
  return conflict(
    `Port ${target.port.id} is in another availability zone than the floating IP. Ask for a floating IP of subnet ${near.join(' or ')} of network ${networkId}.`,
    'FloatingIPInOtherAvailabilityZone',
  );
}

/** The children the project's routers are in, most used first; then those that are enabled and answer. */
async function byPreference(
  query: Queryable,
  parts: EdgeParts,
  projectId: string,
  places: readonly ExternalSubnet[],
): Promise<readonly ExternalSubnet[]> {
  const used = await sql<{ child: string; times: number }>`
    select r.child, count(*)::int as times from replicas r join routers t on t.id = r.resource_id
    where r.kind = 'router' and not r.retiring and t.project_id = ${projectId} group by r.child`.execute(query);
  const times = new Map(used.rows.map((row) => [row.child, row.times]));
  const [proxies, children] = await Promise.all([
    parts.cascade.proxies(query, 'l3-proxy'),
    parts.cascade.children(query),
  ]);
  const enabled = new Set(proxies.filter((proxy) => proxy.enabled && !proxy.forced_down).map(({ child }) => child));
  const up = new Set(children.filter((child) => child.up).map(({ name }) => name));
  const rank = ({ child }: ExternalSubnet): number =>
    (times.get(child) ?? 0) * 4 + (enabled.has(child) ? 2 : 0) + (up.has(child) ? 1 : 0);
  return places.toSorted((one, other) => rank(other) - rank(one));
}

/**
 * The port and address that a floating IP shall lead to, and the router between them, found as Neutron finds it.
 * @throws Fault 404 for a port that the caller does not see or that no router joins to the network, 400 for one that
 *   is another project's or has no such address
 */
export async function targetOf(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  floating: { readonly project_id: string; readonly floating_network_id: string },
  portId: string,
  fixedIp: string | null | undefined,
): Promise<Target> {
  const port = await portStore.find(tx, portId, visiblePorts(context));
  if (port === undefined) throw portNotFound(portId);
  if (port.project_id !== floating.project_id && !context.identity.isAdmin) {
    throw badFloatingIp(
      `Cannot process floating IP association with Port ${portId}, since that port is owned by a different tenant`,
    );
  }
  if (port.device_owner.startsWith('network:')) {
    throw badFloatingIp(`Port ${portId} is unable to be assigned a floating IP`);
  }
  const { subnet_id, ip_address } = fixedIpOf(port, fixedIp);
  const router_id = await routerBetween(tx, port.network_id, subnet_id, floating.floating_network_id);
  if (router_id === undefined) throw notReachable(floating.floating_network_id, subnet_id, portId);
  return {
    port,
    subnet_id,
    fixed_ip_address: ip_address,
    router_id,
    children: await placesOfPort(tx, parts.topology, port),
  };
}

function fixedIpOf(port: PortRow, asked: string | null | undefined) {
  const found = port.fixed_ips.filter(({ ip_address }) => parseAddress(ip_address)?.version === 4);
  if (asked != null) {
    const named = found.find(({ ip_address }) => ip_address === asked);
    if (named !== undefined) return named;
    throw badFloatingIp(`Port ${port.id} does not have fixed ip ${asked}`);
  }
  const [only, ...more] = found;
  if (only === undefined) {
    throw badFloatingIp(`Cannot add floating IP to port ${port.id} that has no fixed IPv4 addresses`);
  }
  if (more.length === 0) return only;
  throw badFloatingIp(
    `Port ${port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP`,
  );
}

/** Of the routers that join the subnet to the external network, the one at the subnet's gateway address, or the first. */
export async function routerBetween(query: Queryable, networkId: string, subnetId: string, externalId: string) {
  const interfaces = await interfacesOn(query, networkId, subnetId);
  const found = await routers.findMany(
    query,
    interfaces.map(({ device_id }) => device_id),
  );
  const leading = new Set(found.filter((one) => one.gateway_network_id === externalId).map(({ id }) => id));
  const candidates = interfaces.filter(({ device_id }) => leading.has(device_id));
  const gateway_ip = (await subnetStore.find(query, subnetId))?.gateway_ip;
  const atGateway = candidates.find(({ fixed_ips }) => fixed_ips.some(({ ip_address }) => ip_address === gateway_ip));
  return (atGateway ?? candidates[0])?.device_id;
}
