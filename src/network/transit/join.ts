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
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault } from '../../http/fault.ts';
import { refuseUnable } from '../able.ts';
import { abilitiesOf, type ChildAbility } from '../ability.ts';
import { refuseNoWayOut } from '../external-network.ts';
import type { NetworkRow } from '../network-resource.ts';
import { portStore } from '../port-resource.ts';
import { type Router, routers } from '../router-resource.ts';
import { physicalOf } from '../stretched/place.ts';
import { subnetStore } from '../subnet-resource.ts';
import type { NetworkTopology, PhysicalNetwork } from '../topology.ts';
import { dropTransit, makeTransit, type Transit, TRANSIT, transitOf, withIpv6 } from './make.ts';
import { overlapsAny } from './piece.ts';
import { type Reach, reachOf } from './reach.ts';
import { remotes, routesNeeded } from './route.ts';

export interface TransitParts {
  readonly cascade: Cascade;
  readonly topology: NetworkTopology;
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
