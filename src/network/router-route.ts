/** Extra routes of a router. */
import type { Queryable } from '../db/database.ts';
import { badRequest } from '../http/fault.ts';
import { parseAddress, parseCidr } from './address-range.ts';
import { portsOfDevice, ROUTER_GATEWAY, ROUTER_INTERFACE } from './edge-core.ts';
import { invalidAttribute } from './network-fault.ts';
import type { Router, Routes } from './router-resource.ts';
import { subnetStore } from './subnet-resource.ts';

/** Neutron's `max_routes`. */
const ROUTES_MAX = 30;

/** Whether an address is within a range; false where either is not one. */
export function inCidr(cidr: string, address: string): boolean {
  const range = parseCidr(cidr);
  const parsed = parseAddress(address);
  if (range === undefined || parsed === undefined) return false;
  return range.version === parsed.version && parsed.value >= range.first && parsed.value <= range.last;
}

/**
 * Holds routes against the forms that they may have.
 * @throws Fault 400 for a destination or next hop that is none, and for one given twice
 */
export function checkRoutes(routes: Routes): void {
  const seen = new Set<string>();
  for (const { destination, nexthop } of routes) {
    const cidr = parseCidr(destination);
    if (cidr === undefined) throw invalidAttribute('routes', `'${destination}' is not a valid CIDR.`);
    if (cidr.text !== destination) {
      throw invalidAttribute(
        'routes',
        `'${destination}' isn't a recognized IP subnet cidr, '${cidr.text}' is recommended.`,
      );
    }
    if (parseAddress(nexthop) === undefined) {
      throw invalidAttribute('routes', `'${nexthop}' is not a valid IP address.`);
    }
    const key = `${destination} ${nexthop}`;
    if (seen.has(key)) throw invalidAttribute('routes', `Duplicate hostroute '${repr({ destination, nexthop })}'.`);
    seen.add(key);
  }
}

/**
 * Holds routes against the router's ports: each next hop must be on one of its subnets, and not the router itself.
 * @throws Fault 400 `InvalidRoutes` or `RoutesExhausted`
 */
export async function checkReachable(query: Queryable, router: Router, routes: Routes): Promise<void> {
  if (routes.length > ROUTES_MAX) {
    throw badRequest(
      `Unable to complete operation for ${router.id}. The number of routes exceeds the maximum ${ROUTES_MAX}.`,
      'RoutesExhausted',
    );
  }
  if (routes.length === 0) return;
  const ports = [
    ...(await portsOfDevice(query, [router.id], ROUTER_INTERFACE)),
    ...(await portsOfDevice(query, [router.id], ROUTER_GATEWAY)),
  ];
  const fixedIps = ports.flatMap(({ fixed_ips }) => fixed_ips);
  const subnets = await subnetStore.findMany(
    query,
    fixedIps.map(({ subnet_id }) => subnet_id),
  );
  const refuse = (reason: string) =>
    badRequest(`Invalid format for routes: [${routes.map(repr).join(', ')}], ${reason}`, 'InvalidRoutes');
  for (const { nexthop } of routes) {
    if (!subnets.some(({ cidr }) => inCidr(cidr, nexthop))) throw refuse('the nexthop is not connected with router');
    if (fixedIps.some(({ ip_address }) => ip_address === nexthop)) throw refuse('the nexthop is used by router');
  }
}

const same = (one: Routes[number], other: Routes[number]): boolean =>
  one.destination === other.destination && one.nexthop === other.nexthop;

/** All of the first, and those of the second that are not among them. */
export const withRoutes = (routes: Routes, added: Routes): Routes => [
  ...routes,
  ...added.filter((route) => !routes.some((other) => same(route, other))),
];

/** Those of the first that are not among the second. */
export const withoutRoutes = (routes: Routes, removed: Routes): Routes =>
  routes.filter((route) => !removed.some((other) => same(route, other)));

const repr = ({ destination, nexthop }: Routes[number]): string =>
  `{'destination': '${destination}', 'nexthop': '${nexthop}'}`;
