/** What a boot or an interface attach asks of networks, checked in Nova's words before anything is made. */
import { sql, type SqlBool } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, conflict, type Fault, forbidden } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { unableFor } from './able.ts';
import { normalAddress, parseAddress, parseCidr, usable } from './address-range.ts';
import { callersProject, visibleNetworks } from './network-project.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { visiblePorts } from './ports.ts';
import { isSharedWith, sharedCondition } from './sharing.ts';
import { childrenForServer } from './stretched/place.ts';
import { placesToStay } from './stretched/follow.ts';
import type { NetworkTopology } from './topology.ts';
import { childrenWithinReach } from './transit/join.ts';
import type { NetworkRequest, ResolvedNetworks, ResolvedRequest } from './server-networks.ts';

/** See `ServerNetworks.resolve`. */
export async function resolveNetworks(
  query: Queryable,
  topology: NetworkTopology,
  context: RequestContext,
  wanted: readonly NetworkRequest[] | 'auto' | 'none' | undefined,
): Promise<ResolvedNetworks> {
  if (wanted === 'none') return { requests: [], children: undefined, refusals: new Map() };
  const asked = wanted === 'auto' || wanted === undefined || wanted.length === 0 ? 'any' : wanted;
  const {
    requests,
    networks,
    ports: given,
  } = asked === 'any' ? await onlyNetwork(query, context, wanted === 'auto') : await named(query, context, asked);
  for (const network of networks) refuseUnusable(network);
  await checkAddresses(query, context, requests);
  const [{ able, refusals }, ports, ...possible] = await Promise.all([
    unableFor(query, [...networks, ...given]),
    placesToStay(
      query,
      requests.flatMap(({ port_id }) => port_id ?? []),
    ),
    ...networks.map((network) => childrenForServer(query, topology, network)),
    ...networks.map((network) => childrenWithinReach(query, topology, network)),
  ]);
  const children = childrenOf(ports, possible);
  if (able === undefined) return { requests, children, refusals };
  const left = children === undefined ? able : children.filter((child) => able.includes(child));
  // Wherever the networks and ports could be, they cannot have what they ask for.
  const [refusal] = refusals.values();
  if (left.length === 0 && refusal !== undefined) throw refusal;
  return { requests, children: left, refusals };
}

interface Resolved {
  readonly requests: readonly ResolvedRequest[];
  readonly networks: readonly NetworkRow[];
  readonly ports: readonly PortRow[];
}

/** Whether there is a network that a server may be on without naming it. */
export async function hasNetworks(query: Queryable, context: RequestContext): Promise<boolean> {
  return (await usableNetworks(query, context)).length > 0;
}

/** The first networks that the project has or is let to use, two at most. */
async function usableNetworks(query: Queryable, context: RequestContext): Promise<readonly NetworkRow[]> {
  const found = await networkStore.page(query, {
    conditions: [
      sql<SqlBool>`(project_id = ${callersProject(context)} or ${sharedCondition(context)})`,
      sql<SqlBool>`not (external and not ${sharedCondition(context)})`,
    ],
    sort: [['id', 'asc']],
    limit: 2,
  });
  return found ?? [];
}

/** The one network that the project has or is shared with it. */
async function onlyNetwork(query: Queryable, context: RequestContext, auto: boolean): Promise<Resolved> {
  const project = callersProject(context);
  const [network, second] = await usableNetworks(query, context);
  if (second !== undefined) {
    throw conflict('Multiple possible networks found, use a Network ID to be more specific.');
  }
  if (network === undefined) {
    if (auto) throw badRequest(`Unable to automatically allocate a network for project ${project}`);
    return { requests: [], networks: [], ports: [] };
  }
  return {
    requests: [{ network_id: network.id, port_id: undefined, fixed_ip: undefined, tag: undefined }],
    networks: [network],
    ports: [],
  };
}

async function named(query: Queryable, context: RequestContext, wanted: readonly NetworkRequest[]): Promise<Resolved> {
  const ports = await portsNamed(query, context, wanted);
  const requests = wanted.map(({ network_id, port_id, fixed_ip, tag }): ResolvedRequest => {
    const port = port_id === undefined ? undefined : ports.get(port_id);
    if (port_id !== undefined && port === undefined) throw portUnknown(port_id);
    const network = port?.network_id ?? network_id;
    if (network === undefined) throw badRequest('A network or a port must be specified.');
    return { network_id: network, port_id, fixed_ip, tag };
  });
  const ids = [...new Set(requests.map(({ network_id }) => network_id))];
  const found = await networkStore.select(query, [
    sql<SqlBool>`id = any(${ids}::text[])`,
    // A given port opens the way to its network, whoever owns that.
    ...(ports.size === 0 ? visibleNetworks(context) : []),
  ]);
  const networks = new Map(found.map((network) => [network.id, network]));
  for (const { network_id, port_id } of requests) {
    const network = networks.get(network_id);
    if (network === undefined) throw networkUnknown(network_id);
    if (port_id === undefined && !mayUse(network, context)) {
      throw network.external ? externalForbidden(network_id) : networkUnknown(network_id);
    }
  }
  return { requests, networks: [...networks.values()], ports: [...ports.values()] };
}

async function portsNamed(
  query: Queryable,
  context: RequestContext,
  wanted: readonly NetworkRequest[],
): Promise<ReadonlyMap<string, PortRow>> {
  const ids = wanted.flatMap(({ port_id }) => port_id ?? []);
  if (ids.length === 0) return new Map();
  const twice = ids.find((id, at) => ids.indexOf(id) !== at);
  if (twice !== undefined) throw badRequest(`Port ${twice} is specified more than once.`);
  const found = await portStore.select(query, [sql<SqlBool>`id = any(${ids}::text[])`, ...visiblePorts(context)]);
  for (const port of found) {
    if (port.device_id !== '') throw portInUse(port.id);
    if (port.fixed_ips.length === 0) {
      throw badRequest(`Port ${port.id} requires a FixedIP in order to be used.`);
    }
  }
  return new Map(found.map((port) => [port.id, port]));
}

function mayUse(network: NetworkRow, context: RequestContext): boolean {
  const shared = isSharedWith(network, context);
  if (network.external && !shared) return false;
  return shared || context.identity.isAdmin || network.project_id === callersProject(context);
}

function refuseUnusable(network: NetworkRow): void {
  if (network.external) throw externalForbidden(network.id);
  if (network.subnets.length === 0) {
    throw badRequest(`Network ${network.id} requires a subnet in order to boot instances on.`);
  }
}

/** Networks and ports that live somewhere say where the server may be; there must be a place that suits all of them. */
function childrenOf(
  ports: readonly string[],
  possible: readonly (readonly string[] | undefined)[],
): readonly string[] | undefined {
  const places = possible.filter((children) => children !== undefined);
  const [first, ...others] = [...places, ...ports.map((child) => [child])];
  if (first === undefined) return undefined;
  const common = first.filter((child) => others.every((children) => children.includes(child)));
  if (common.length > 0) return common;
  throw apart();
}

async function checkAddresses(
  query: Queryable,
  context: RequestContext,
  requests: readonly ResolvedRequest[],
): Promise<void> {
  for (const { network_id, fixed_ip } of requests) {
    if (fixed_ip === undefined) continue;
    const address = parseAddress(fixed_ip);
    const subnets = await query
      .selectFrom('subnets')
      .select(['id', 'cidr'])
      .where('network_id', '=', network_id)
      .execute();
    const subnet = subnets.find(({ cidr }) => {
      const range = parseCidr(cidr);
      if (address === undefined || range === undefined || range.version !== address.version) return false;
      const { start, end } = usable(range);
      return address.value >= start && address.value <= end;
    });
    if (subnet === undefined) throw addressUnfit(fixed_ip, network_id);
    const taken = await sql<{ device_id: string | null; project_id: string | null }>`
      select p.device_id, p.project_id from ip_allocations a left join ports p on p.id = a.port_id
      where a.subnet_id = ${subnet.id} and a.ip_address = ${normalAddress(fixed_ip) ?? fixed_ip}::inet`.execute(query);
    const [holder] = taken.rows;
    if (holder === undefined) continue;
    throw addressInUse(fixed_ip, holder.project_id === callersProject(context) ? holder.device_id : null);
  }
}

export const apart = (): Fault =>
  badRequest('The networks asked for live in different availability zones; a server can be in one only.');
export const portUnknown = (id: string): Fault => badRequest(`Port id ${id} could not be found.`);
export const portInUse = (id: string): Fault => conflict(`Port ${id} is still in use.`);
export const networkUnknown = (id: string): Fault => badRequest(`Network ${id} could not be found.`);
const addressUnfit = (ip: string, networkId: string): Fault =>
  badRequest(`Invalid input received: Fixed IP ${ip} is not a valid ip address for network ${networkId}.`);
/** Nova names the server, or nothing where a port has none; another project's stays unsaid here. */
export const addressInUse = (ip: string, serverId: string | null): Fault =>
  badRequest(`Fixed IP address ${ip} is already in use on instance ${serverId ?? ''}.`);
const externalForbidden = (id: string): Fault =>
  forbidden(`It is not allowed to create an interface on external network ${id}`);
