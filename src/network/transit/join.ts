/**
 * One router over several children. Its copies are joined by a *transit*: a network of the service's own that stretches
 * over these children on a VLAN set aside for routed traffic, with one interface of the router on it. As on every
 * stretched network the router has an address of its own there in each child, which is what the others' routes name.
 *
 * All of it is made and unmade in the transaction that changes where the router is, as rows like those of any stretched
 * network, router interface and subnet; children get their copies of them in the same way, and independently of each
 * other. Administrators see a transit as they see the networks by which Neutron itself joins highly available routers;
 * tenants do not.
 */
import { NO_POLICY } from '../qos/qos-child.ts';
import { randomUUID } from 'node:crypto';
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault } from '../../http/fault.ts';
import { refuseUnable } from '../able.ts';
import { abilitiesOf, type ChildAbility } from '../ability.ts';
import { parseCidr, usable, formatAddress } from '../address-range.ts';
import { allocateAddresses } from '../address-allocation.ts';
import { chooseMac, storePort } from '../port-make.ts';
import { refuseNoWayOut } from '../external-network.ts';
import { type NetworkRow, networkStore } from '../network-resource.ts';
import { type PortRow, portStore } from '../port-resource.ts';
import { type Router, routers } from '../router-resource.ts';
import { physicalOf } from '../stretched/place.ts';
import { NOT_SHARED } from '../sharing.ts';
import { takeTransit } from '../stretched/segment.ts';
import { type SubnetRow, subnetStore } from '../subnet-resource.ts';
import type { NetworkTopology, PhysicalNetwork } from '../topology.ts';
import { choosePiece, choosePiece6, overlapsAny } from './piece.ts';
import { type Reach, reachOf } from './reach.ts';
import { remotes, routesNeeded } from './route.ts';

export interface TransitParts {
  readonly cascade: Cascade;
  readonly topology: NetworkTopology;
}

/** Owner of a router's interface on its transit. */
export const TRANSIT = 'network:router_transit';

/** A router's transit: its network, and the router's interface on each of its subnets (IPv4, and IPv6 where needed). */
export interface Transit {
  readonly network_id: string;
  readonly physical_network: string;
  readonly segmentation_id: number;
  readonly interfaces: readonly TransitInterface[];
}

export interface TransitInterface {
  readonly port: PortRow;
  readonly subnet: SubnetRow;
}

/** The transit of a router; undefined where it has none. */
export async function transitOf(query: Queryable, routerId: string): Promise<Transit | undefined> {
  const ports = await portStore.select(query, [
    sql<SqlBool>`device_id = ${routerId}`,
    sql<SqlBool>`device_id <> ''`,
    sql<SqlBool>`device_owner = ${TRANSIT}`,
  ]);
  const network_id = ports[0]?.network_id;
  if (network_id === undefined) return undefined;
  const [network, subnets] = await Promise.all([
    networkStore.find(query, network_id),
    subnetStore.select(query, [sql<SqlBool>`network_id = ${network_id}`]),
  ]);
  const { provider_physical_network, provider_segmentation_id } = network ?? {};
  if (provider_physical_network == null || provider_segmentation_id == null) return undefined;
  return {
    network_id,
    physical_network: provider_physical_network,
    segmentation_id: provider_segmentation_id,
    interfaces: ports.flatMap((port) => {
      const subnet = subnets.find(({ id }) => port.fixed_ips.some(({ subnet_id }) => subnet_id === id));
      return subnet === undefined ? [] : [{ port, subnet }];
    }),
  };
}

/**
 * Has the router be in every child where it has an interface, and in no other, its copies joined where there are several.
 * To be called in the transaction of every change to where a router is or what it leads to, its row locked. Twice: the
 * second changes nothing but the revision.
 * @throws Fault 409 where the children cannot be joined, or one of them cannot have the gateway as it is asked for, 400 `RoutesExhausted` where a child's router could not hold the
 *   routes; nothing is to be committed then
 */
export async function joinRouter(
  tx: Tx,
  parts: TransitParts,
  routerId: string,
  options: { readonly requestId?: string } = {},
): Promise<void> {
  const { cascade, topology } = parts;
  const router = await routers.find(tx, routerId);
  if (router === undefined) return;
  const reach = await reachOf(tx, routerId);
  await refuseUnable(tx, reach.children, router.external_gateway_info ?? {});
  await refuseNoWayOut(tx, router.gateway_network_id, reach.children);
  const transit = await transitOf(tx, routerId);
  let current = transit;
  if (isApart(router, reach)) {
    await refuseTooManyRoutes(tx, router, reach);
    const physical = await physicalFor(tx, topology, router, reach.children, transit?.physical_network);
    const taken = await rangesOf(tx, router, reach);
    if (transit !== undefined && !serves(transit, physical, taken)) {
      await dropTransit(tx, cascade, transit.network_id);
      current = undefined;
    }
    current ??= await makeTransit(tx, topology, router, physical, taken);
    if (reach.subnets.some(({ subnet }) => subnet.ip_version === 6)) current = await withIpv6(tx, router, current);
    for (const [kind, id] of partsOf(current)) {
      for (const child of reach.children) await cascade.wantReplica(tx, child, kind, id, options);
    }
  } else if (transit !== undefined) {
    await dropTransit(tx, cascade, transit.network_id);
    current = undefined;
  }
  for (const child of reach.children) await cascade.wantReplica(tx, child, 'router', routerId, options);
  for (const { child } of await cascade.replicasOf(tx, 'router', routerId)) {
    if (reach.children.includes(child)) continue;
    await cascade.retire(tx, 'router', routerId, { ...options, child });
    for (const [kind, id] of partsOf(current)) await cascade.retire(tx, kind, id, { ...options, child });
  }
  await cascade.revise(tx, 'router', routerId, options);
}

/** What a transit is made of, in the order in which a child needs it. */
function partsOf(transit: Transit | undefined): (readonly [kind: string, id: string])[] {
  if (transit === undefined) return [];
  return [
    ['network', transit.network_id],
    ...transit.interfaces.map(({ subnet }) => ['subnet', subnet.id] as const),
    ...transit.interfaces.map(({ port }) => ['port', port.id] as const),
  ];
}

/**
 * The physical network by which the router's copies in these children can be joined, or a reason that a tenant may read.
 * @param preferred the one that joins some of them already
 */
function choosePhysical(
  topology: NetworkTopology,
  abilities: ReadonlyMap<string, ChildAbility>,
  router: Router,
  children: readonly string[],
  preferred?: string,
): PhysicalNetwork | string {
  const distributed = router.distributed && children.some((child) => abilities.get(child)?.has_distributed_routers);
  if (distributed) return 'a distributed router cannot';
  let reason = 'no network for routed traffic joins them';
  const rank = ({ name }: PhysicalNetwork): number => (name === preferred ? 0 : 1);
  const candidates = topology.physical_networks.filter((physical) => joins(physical, children));
  for (const physical of candidates.sort((one, other) => rank(one) - rank(other))) {
    const refusals = children.flatMap(
      (child) => abilities.get(child)?.refusal('transit', physical.children[child]) ?? [],
    );
    const [first] = refusals;
    if (first === undefined) return physical;
    reason = first.tenant;
  }
  return reason;
}

/**
 * See `choosePhysical`.
 * @throws Fault 409 that says why there is none
 */
async function physicalFor(
  query: Queryable,
  topology: NetworkTopology,
  router: Router,
  children: readonly string[],
  preferred: string | undefined,
): Promise<PhysicalNetwork> {
  const abilities = await abilitiesOf(query, children);
  const chosen = choosePhysical(topology, abilities, router, children, preferred);
  if (typeof chosen === 'string') throw notJoined(router.id, children, abilities, chosen);
  return chosen;
}

function notJoined(
  routerId: string,
  children: readonly string[],
  abilities: ReadonlyMap<string, ChildAbility>,
  reason: string,
): Fault {
  const zones = [...new Set(children.flatMap((child) => abilities.get(child)?.zones ?? []))].sort();
  return conflict(
    `Router ${routerId} cannot span the availability zones ${zones.join(', ')}: ${reason}.`,
    'RouterAvailabilityZonesNotJoined',
  );
}

const joins = ({ transit_vlans, children }: PhysicalNetwork, wanted: readonly string[]): boolean =>
  transit_vlans !== undefined && wanted.every((child) => Object.hasOwn(children, child));

/**
 * Children that a network may come to be in as far as the routers on it are concerned: those where each router's copies
 * would have the very same networks, or can be joined, being able to.
 * @returns undefined where no router says anything
 */
export async function childrenWithinReach(
  query: Queryable,
  topology: NetworkTopology,
  network: Pick<NetworkRow, 'id' | 'provider_physical_network'>,
): Promise<readonly string[] | undefined> {
  const found = await sql<{ device_id: string }>`select distinct device_id from ports
    where network_id = ${network.id} and device_owner = 'network:router_interface'`.execute(query);
  let common: readonly string[] | undefined;
  for (const { device_id } of found.rows) {
    const reach = await reachOf(query, device_id);
    if (reach.children.length === 0) continue;
    const router = await routers.find(query, device_id);
    if (router === undefined) continue;
    const joined = topology.physical_networks.filter((physical) => joins(physical, reach.children));
    const near = [...joined, ...[physicalOf(topology, network)].flatMap((physical) => physical ?? [])];
    const candidates = [...new Set([...reach.children, ...near.flatMap(({ children }) => Object.keys(children))])];
    const abilities = await abilitiesOf(query, candidates);
    const reachable = candidates.filter((child) => {
      const then = withNetworkIn(reach, network.id, child);
      return !isApart(router, then) || typeof choosePhysical(topology, abilities, router, then.children) !== 'string';
    });
    common = common === undefined ? reachable : common.filter((child) => reachable.includes(child));
  }
  return common;
}

/** Whether some copy of a router lacks what another has: then something must be between them. */
const isApart = (router: Router, reach: Reach): boolean =>
  reach.children.some((child) => remotes(router, reach, child).length > 0);

/** A router's reach once this network of it were in this child, too. */
const withNetworkIn = (reach: Reach, networkId: string, child: string): Reach => ({
  children: [...new Set([...reach.children, child])].sort(),
  subnets: reach.subnets.map(({ subnet, children }) => ({
    subnet,
    children: subnet.network_id === networkId ? [...new Set([...children, child])] : children,
  })),
});

/** Ranges that a transit of the router must not overlap: all that the router leads to. */
async function rangesOf(query: Queryable, router: Router, reach: Reach): Promise<string[]> {
  const { gateway_network_id } = router;
  const external =
    gateway_network_id === null
      ? []
      : await subnetStore.select(query, [sql<SqlBool>`network_id = ${gateway_network_id}`]);
  const subnets = [...reach.subnets.map(({ subnet }) => subnet), ...external];
  const isDefault = ({ destination }: { destination: string }) => destination.endsWith('/0');
  const destinations = router.routes.filter((route) => !isDefault(route)).map(({ destination }) => destination);
  return [...subnets.map(({ cidr }) => cidr), ...destinations];
}

const serves = (transit: Transit, physical: PhysicalNetwork, taken: readonly string[]): boolean =>
  transit.physical_network === physical.name &&
  !transit.interfaces.some(({ subnet }) => overlapsAny(subnet.cidr, taken));

/** @throws Fault 400 where a child's copy would have more routes than it can hold */
async function refuseTooManyRoutes(query: Queryable, router: Router, reach: Reach): Promise<void> {
  const abilities = await abilitiesOf(query, reach.children);
  for (const child of reach.children) {
    const max_routes = abilities.get(child)?.max_routes;
    if (max_routes === undefined || routesNeeded(router, reach, child) <= max_routes) continue;
    throw badRequest(
      `Unable to complete operation for ${router.id}. The number of routes exceeds the maximum ${max_routes}.`,
      'RoutesExhausted',
    );
  }
}

async function makeTransit(
  tx: Tx,
  topology: NetworkTopology,
  router: Router,
  physical: PhysicalNetwork,
  taken: readonly string[],
): Promise<Transit> {
  const id = randomUUID();
  const columns = await takeTransit(tx, id, physical);
  await networkStore.insert(tx, {
    ...ownedBy(router),
    ...columns,
    id,
    admin_state_up: true,
    status: 'ACTIVE',
    subnets: [],
    ...NOT_SHARED,
    external: false,
    external_shared: false,
    external_with: [],
    is_default: false,
    mtu: physical.mtu,
    port_security_enabled: false,
    availability_zone_hints: [],
    availability_zones: [],
    dns_domain: '',
    child: null,
    ...NO_POLICY,
  });
  const segmentation_id = columns.provider_segmentation_id ?? 0;
  const cidr = choosePiece(topology.transit_cidr, segmentation_id, taken);
  if (cidr === undefined) {
    throw conflict(
      `Router ${router.id} leaves no addresses for the network between its availability zones: all of ${topology.transit_cidr} overlaps what it leads to.`,
      'TransitAddressesOverlap',
    );
  }
  const made = await makeInterface(tx, router, id, cidr);
  return { network_id: id, physical_network: physical.name, segmentation_id, interfaces: [made] };
}

/** An IPv6 subnet beside the other, where the router leads to IPv6 and the transit has none yet. */
async function withIpv6(tx: Tx, router: Router, transit: Transit): Promise<Transit> {
  const { interfaces, network_id, segmentation_id } = transit;
  if (interfaces.some(({ subnet }) => subnet.ip_version === 6)) return transit;
  const made = await makeInterface(tx, router, network_id, choosePiece6(router.id, segmentation_id));
  return { ...transit, interfaces: [...interfaces, made] };
}

const ownedBy = (router: Router) => ({
  project_id: '',
  copies_project_id: router.project_id,
  name: `transit of router ${router.id}`,
  description: '',
  tags: [],
});

/** A subnet of a transit, without DHCP and gateway since nothing but the router is on it, and the router's port there. */
async function makeInterface(tx: Tx, router: Router, network_id: string, cidr: string): Promise<TransitInterface> {
  const range = parseCidr(cidr);
  if (range === undefined) throw new Error(`${cidr} is no range`);
  const { start, end } = usable(range);
  const subnet = await subnetStore.insert(tx, {
    ...ownedBy(router),
    id: randomUUID(),
    network_id,
    ip_version: range.version,
    cidr,
    gateway_ip: null,
    allocation_pools: [{ start: formatAddress(start, range.version), end: formatAddress(end, range.version) }],
    dns_nameservers: [],
    host_routes: [],
    enable_dhcp: false,
    ipv6_ra_mode: null,
    ipv6_address_mode: null,
    subnetpool_id: null,
    service_types: [],
    dns_publish_fixed_ip: false,
  });
  await sql`update networks set subnets = array_append(subnets, ${subnet.id}) where id = ${network_id}`.execute(tx);
  const port_id = randomUUID();
  const mac_address = await chooseMac(tx, network_id, undefined);
  const wish = { network_id, port_id, mac_address, device_owner: TRANSIT, fixed_ips: [{ subnet_id: subnet.id }] };
  const port = await storePort(tx, {
    ...ownedBy(router),
    id: port_id,
    network_id,
    mac_address,
    admin_state_up: true,
    status: 'ACTIVE',
    device_id: router.id,
    device_owner: TRANSIT,
    fixed_ips: await allocateAddresses(tx, wish),
    security_groups: [],
    allowed_address_pairs: [],
    extra_dhcp_opts: [],
    port_security_enabled: false,
    vnic_type: 'normal',
    binding_profile: {},
    host_id: '',
    child: null,
    server_made: false,
    boot_index: 0,
    tag: null,
    dns_name: '',
    dns_domain: '',
    numa_affinity_policy: null,
    ...NO_POLICY,
  });
  return { port, subnet };
}

/** Takes a transit away, with its copies; its VLAN is free again when every child has let go of it. */
async function dropTransit(tx: Tx, cascade: Cascade, networkId: string): Promise<void> {
  const ports = await sql<{ id: string }>`delete from ports where network_id = ${networkId} returning id`.execute(tx);
  const subnets = await sql<{ id: string }>`delete from subnets where network_id = ${networkId} returning id`.execute(
    tx,
  );
  for (const { id } of ports.rows) await cascade.retire(tx, 'port', id);
  for (const { id } of subnets.rows) await cascade.retire(tx, 'subnet', id);
  await networkStore.remove(tx, networkId);
  await cascade.retire(tx, 'network', networkId);
}

/**
 * Another transit instead of one whose VLAN a child uses for something else: its copies move to it.
 * @returns false where this is no transit, or not any more
 */
export async function renewTransit(tx: Tx, parts: TransitParts, networkId: string): Promise<boolean> {
  const [port] = await portStore.select(tx, [
    sql<SqlBool>`network_id = ${networkId}`,
    sql<SqlBool>`device_owner = ${TRANSIT}`,
  ]);
  if (port === undefined) return false;
  const router = await routers.lock(tx, port.device_id);
  if (router === undefined || (await transitOf(tx, router.id))?.network_id !== networkId) return false;
  await dropTransit(tx, parts.cascade, networkId);
  await routers.update(tx, router.id, {});
  await joinRouter(tx, parts, router.id);
  return true;
}
