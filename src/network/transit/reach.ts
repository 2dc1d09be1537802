/** Where a router is: in which children it has interfaces, and which of its subnets can be reached in which. */
import type { Queryable } from '../../db/database.ts';
import { childrenOfNetworks, portsOfDevice, ROUTER_INTERFACE } from '../edge-core.ts';
import { type SubnetRow, subnetStore } from '../subnet-resource.ts';

export interface Reach {
  /** Children in which the router has an interface, by name. */
  readonly children: readonly string[];
  /** The subnets of its interfaces, each with the children that it is in; none for a network that is nowhere yet. */
  readonly subnets: readonly { readonly subnet: SubnetRow; readonly children: readonly string[] }[];
}

/** Reads a router's reach off its interfaces. Three queries, however many there are. */
export async function reachOf(query: Queryable, routerId: string): Promise<Reach> {
  const ports = await portsOfDevice(query, [routerId], ROUTER_INTERFACE);
  const [places, subnets] = await Promise.all([
    childrenOfNetworks(
      query,
      ports.map(({ network_id }) => network_id),
    ),
    subnetStore.findMany(
      query,
      ports.flatMap(({ fixed_ips }) => fixed_ips.map(({ subnet_id }) => subnet_id)),
    ),
  ]);
  const placed = subnets
    .map((subnet) => ({ subnet, children: places.get(subnet.network_id) ?? [] }))
    .sort((one, other) => (one.subnet.cidr < other.subnet.cidr ? -1 : 1));
  return { children: [...new Set(placed.flatMap(({ children }) => children))].sort(), subnets: placed };
}
