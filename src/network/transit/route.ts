/**
 * The routes that lead from one child's copy of a router to what only its other copies reach: one for each remote subnet
 * (never one for each server), by way of the transit address of the copy that has it.
 */
import type { Router, Routes } from '../router-resource.ts';
import { inCidr } from '../router-route.ts';
import type { Reach } from './reach.ts';

/** One subnet or route of another child, and the child by way of which it is reached. */
interface Remote {
  readonly destination: string;
  readonly version: number;
  readonly child: string;
}

/** A tenant's own routes whose next hop is on a subnet that the router has in this child. */
function nearRoutes(router: Router, reach: Reach, child: string): Routes {
  const near = reach.subnets.filter(({ children }) => children.includes(child));
  return router.routes.filter(({ nexthop }) => near.some(({ subnet }) => inCidr(subnet.cidr, nexthop)));
}

/**
 * What is reached by way of other children: subnets that are not here, and tenants' routes whose next hop is on one of
 * them. Of several children that have a subnet, the first by name is the way.
 */
export function remotes(router: Router, reach: Reach, child: string): Remote[] {
  const far = reach.subnets.flatMap(({ subnet, children }) => {
    const [first] = [...children].sort();
    return first === undefined || children.includes(child) ? [] : [{ subnet, child: first }];
  });
  return [
    ...far.map(({ subnet, child: by }) => ({ destination: subnet.cidr, version: subnet.ip_version, child: by })),
    ...router.routes.flatMap(({ destination, nexthop }) => {
      const over = far.find(({ subnet }) => inCidr(subnet.cidr, nexthop));
      return over === undefined ? [] : [{ destination, version: over.subnet.ip_version, child: over.child }];
    }),
  ];
}

/**
 * All routes of a router's copy in a child.
 * @param hop the transit address of another child's copy, of an IP version
 */
export async function routesIn(
  router: Router,
  reach: Reach,
  child: string,
  hop: (child: string, version: number) => Promise<string | undefined>,
): Promise<Routes> {
  const routes = [...nearRoutes(router, reach, child)];
  for (const remote of remotes(router, reach, child)) {
    const nexthop = await hop(remote.child, remote.version);
    if (nexthop !== undefined) routes.push({ destination: remote.destination, nexthop });
  }
  return routes;
}

/** How many routes a child's copy has to have. */
export const routesNeeded = (router: Router, reach: Reach, child: string): number =>
  nearRoutes(router, reach, child).length + remotes(router, reach, child).length;
