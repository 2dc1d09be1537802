/** Port forwardings: single ports of a floating IP that lead to ports of servers. Their operations. */
import { sql, type SqlBool } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { conflict, type Fault, notFound } from '../../http/fault.ts';
import type { Call, Operation, RequestContext } from '../../http/service.ts';
import type { Given } from '../../resource/crud.ts';
import { nestedOperations } from '../../resource/nested.ts';
import { abilityOf } from '../ability.ts';
import { normalAddress } from '../address-range.ts';
import type { EdgeParts } from '../edge-core.ts';
import { externalSubnets } from '../external-network.ts';
import { elsewhere, routerBetween } from '../floating-ip-place.ts';
import { type FloatingIp, floatingIps, visibleFloatingIps } from '../floating-ip-resource.ts';
import { invalidInput, portNotFound } from '../network-fault.ts';
import { callersProject, plainPolicies } from '../network-project.ts';
import { type PortRow, portStore } from '../port-resource.ts';
import { floatingIpNotFound } from '../router-fault.ts';
import { placesOfPort } from '../stretched/place.ts';
import { type PortForwarding, portForwardings } from './port-forwarding-resource.ts';
import { copyForwardings } from './port-forwarding-state.ts';
import { badForwarding, checkRelation, firstOf, overlap, rangeGiven } from './port-range.ts';

const PROTOCOLS = new Set(['dccp', 'icmp', 'ipv6-icmp', 'sctp', 'tcp', 'udp']);

const forwardingNotFound = (id: string): Fault =>
  notFound(`Port Forwarding ${id} could not be found.`, 'PortForwardingNotFound');

/** A forwarding as it is to be; the ids are given once it is stored. */
type Wanted = Pick<
  PortForwarding,
  'protocol' | 'external_port_range' | 'internal_port_range' | 'internal_port_id' | 'internal_ip_address'
>;

/** The operations on the port forwardings of a floating IP. */
export function portForwardingOperations(parts: EdgeParts): Operation[] {
  const { db, cascade } = parts;
  const parentOf = async ({ context, params }: Call): Promise<FloatingIp> => {
    const id = params.floatingip_id ?? '';
    const row = await floatingIps.find(db.query, id, visibleFloatingIps(context));
    if (row === undefined) throw floatingIpNotFound(id);
    return row;
  };
  const operations = nestedOperations<FloatingIp, PortForwarding>(
    '/floatingips/:floatingip_id/port_forwardings',
    parentOf,
    (parent) => ({
      db,
      convention,
      store: portForwardings,
      policies: plainPolicies('floatingip_port_forwarding', 'a port forwarding'),
      visible: () => [sql<SqlBool>`floatingip_id = ${parent?.id ?? ''}`],
      missing: forwardingNotFound,
      creating: async (given, context, tx) => {
        const floating = await lockParent(tx, parent);
        const wanted = wantedOf(given);
        await settle(tx, parts, context, floating, wanted);
        return {
          project_id: floating.project_id,
          floatingip_id: floating.id,
          ...wanted,
          ...notStored(wanted),
          description: given.description ?? '',
        };
      },
      created: (row, context, tx) => follow(tx, parts, row, context),
      updating: async (row, given, context, tx) => {
        const floating = await lockParent(tx, parent);
        const wanted = wantedOf(given, row);
        await settle(tx, parts, context, floating, wanted, row);
        const description = given.description === undefined ? {} : { description: given.description };
        return { ...wanted, ...notStored(wanted), ...description };
      },
      updated: (row, _before, context, tx) => follow(tx, parts, row, context),
      removing: async (row, context, tx) => {
        const floating = await lockParent(tx, parent);
        await portForwardings.remove(tx, row.id);
        await copyForwardings(tx, cascade, floating, floating.router_id, { requestId: context.requestId });
      },
      committed: () => cascade.poke(),
    }),
  );
  return operations.map((one) => (one.method === 'POST' || one.method === 'PUT' ? showingNoPort(one) : one));
}

/** Who makes or changes one is told of the single port that a range has not; who reads it is not told, as in Neutron. */
function showingNoPort(operation: Operation): Operation {
  return {
    ...operation,
    handle: async (call) => {
      const answer = (await operation.handle(call)) as { port_forwarding: object };
      return { port_forwarding: { external_port: null, internal_port: null, ...answer.port_forwarding } };
    },
  };
}

/** Locked before the forwarding itself is read again: two at once see each other's ports. */
async function lockParent(tx: Tx, parent: FloatingIp | undefined): Promise<FloatingIp> {
  const row = parent === undefined ? undefined : await floatingIps.lock(tx, parent.id);
  if (row === undefined) throw floatingIpNotFound(parent?.id ?? '');
  return row;
}

const notStored = ({ external_port_range }: Wanted) => ({
  external_port_start: firstOf(external_port_range),
  internal_port_given: null,
});

/** What was given over what was there. @throws Fault 400 for what is no port, range, address or protocol */
function wantedOf(given: Given<PortForwarding>, before?: PortForwarding): Wanted {
  const protocol = given.protocol ?? before?.protocol ?? '';
  if (!PROTOCOLS.has(protocol.toLowerCase())) {
    throw invalidInput(
      `IP protocol '${protocol}' is not supported. Only protocol names and their integer representation (0 to 255) are supported.`,
    );
  }
  const external = rangeGiven('external', { port: given.external_port_start, range: given.external_port_range });
  const internal = rangeGiven('internal', { port: given.internal_port_given, range: given.internal_port_range });
  const external_port_range = external ?? before?.external_port_range;
  const internal_port_range = internal ?? before?.internal_port_range;
  if (external_port_range === undefined) throw badForwarding('Either external_port or external_port_range is required');
  if (internal_port_range === undefined) throw badForwarding('Either internal_port or internal_port_range is required');
  const address = given.internal_ip_address ?? before?.internal_ip_address ?? '';
  return {
    protocol: protocol.toLowerCase(),
    external_port_range,
    internal_port_range,
    internal_port_id: given.internal_port_id ?? before?.internal_port_id ?? '',
    internal_ip_address: normalAddress(address) ?? address,
  };
}

/** @throws Fault as Neutron for what speaks against it; has the port's network be where the floating IP is */
async function settle(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  floating: FloatingIp,
  wanted: Wanted,
  before?: PortForwarding,
): Promise<void> {
  checkRelation(wanted.external_port_range, wanted.internal_port_range);
  await refuseCollisions(tx, floating.id, wanted, before?.id);
  const isSamePort = before?.internal_port_id === wanted.internal_port_id;
  if (!isSamePort) await refuseTied(tx, wanted);
  if (floating.port_id !== null) throw alreadyTied(floating, wanted);
  const refusal = (await abilityOf(tx, floating.child)).refusal('port_forwarding');
  if (refusal !== undefined) throw conflict(`${refusal.tenant}.`, 'PortForwardingNotSupported');
  const port = await portStore.find(tx, wanted.internal_port_id);
  if (port === undefined || !isOwn(port, context)) throw portNotFound(wanted.internal_port_id);
  const subnetId = subnetOf(port, wanted, before !== undefined);
  const router_id = await routerBetween(tx, port.network_id, subnetId, floating.floating_network_id);
  if (router_id === undefined) {
    throw badForwarding(
      `External network ${floating.floating_network_id} is not reachable from subnet ${subnetId}. Cannot set Port forwarding for port ${port.id} with Floating IP ${floating.id}`,
    );
  }
  if (floating.router_id !== null && floating.router_id !== router_id) {
    throw badForwarding(
      `The Floating IP ${floating.id} had been set on router ${floating.router_id}, the internal Neutron port ${port.id} can not reach it`,
    );
  }
  const children = await placesOfPort(tx, parts.topology, port);
  const isThere =
    (children.length === 0 || children.includes(floating.child)) &&
    (await parts.bindNetwork(tx, port.network_id, floating.child));
  if (!isThere) {
    const { floating_network_id } = floating;
    const target = { port, subnet_id: subnetId, fixed_ip_address: wanted.internal_ip_address, router_id, children };
    throw elsewhere(floating_network_id, await externalSubnets(tx, floating_network_id), target);
  }
}

/** The row, its floating IP's copy of it and the router that both go through. */
async function follow(tx: Tx, parts: EdgeParts, row: PortForwarding, context: RequestContext): Promise<void> {
  const floating = await floatingIps.find(tx, row.floatingip_id);
  const port = await portStore.find(tx, row.internal_port_id);
  if (floating === undefined || port === undefined) throw portNotFound(row.internal_port_id);
  const subnetId = subnetOf(port, row, true);
  const router_id = await routerBetween(tx, port.network_id, subnetId, floating.floating_network_id);
  await copyForwardings(tx, parts.cascade, floating, router_id ?? null, { requestId: context.requestId });
}

const isOwn = (port: PortRow, context: RequestContext): boolean =>
  context.identity.isAdmin || port.project_id === callersProject(context);

/** As Neutron prints a port's addresses. */
const printed = (port: PortRow): string =>
  `[${port.fixed_ips.map(({ subnet_id, ip_address }) => `{'subnet_id': '${subnet_id}', 'ip_address': '${ip_address}'}`).join(', ')}]`;

function subnetOf(port: PortRow, { internal_ip_address }: Pick<Wanted, 'internal_ip_address'>, isChange: boolean) {
  const found = port.fixed_ips.find(({ ip_address }) => ip_address === internal_ip_address);
  if (found !== undefined) return found.subnet_id;
  if (isChange) {
    throw badForwarding(
      `The internal IP does not correspond to an address on the internal port, which has fixed_ips ${printed(port)}`,
    );
  }
  if (!port.fixed_ips.some(({ ip_address }) => !ip_address.includes(':'))) {
    throw badForwarding(`Requested internal port ${port.id} must allocate an IPv4 address at least`);
  }
  throw badForwarding(
    `Requested internal IP address ${internal_ip_address} is not suitable for internal neutron port ${port.id}, as its fixed_ips are ${printed(port)}`,
  );
}

async function refuseCollisions(tx: Tx, floatingIpId: string, wanted: Wanted, ownId: string | undefined) {
  const others = await portForwardings.select(tx, [
    sql<SqlBool>`protocol = ${wanted.protocol} and id <> ${ownId ?? ''}`,
    sql<SqlBool>`(floatingip_id = ${floatingIpId}
      or internal_port_id = ${wanted.internal_port_id} and internal_ip_address = ${wanted.internal_ip_address})`,
  ]);
  const isInside = (one: PortForwarding): boolean =>
    one.internal_port_id === wanted.internal_port_id && one.internal_ip_address === wanted.internal_ip_address;
  refuseOverlap('internal_port_range', others.filter(isInside), wanted);
  refuseOverlap(
    'external_port_range',
    others.filter(({ floatingip_id }) => floatingip_id === floatingIpId),
    wanted,
  );
}

function refuseOverlap(
  key: 'internal_port_range' | 'external_port_range',
  others: readonly PortForwarding[],
  wanted: Wanted,
): void {
  const other = others.find((one) => overlap(one[key], wanted[key]));
  if (other === undefined) return;
  throw badForwarding(
    `There is a port collision with the ${key}. The following ranges collides: ${other[key]} and ${wanted[key]}`,
  );
}

async function refuseTied(tx: Tx, wanted: Wanted): Promise<void> {
  const [tied] = await floatingIps.select(tx, [sql<SqlBool>`port_id = ${wanted.internal_port_id}`]);
  if (tied === undefined) return;
  throw conflict(
    `Cannot create port forwarding to floating IP ${tied.floating_ip_address} (${tied.id}) with port ${wanted.internal_port_id} using fixed IP ${wanted.internal_ip_address}, as that port already has a binding floating IP.`,
    'PortHasBindingFloatingIP',
  );
}

function alreadyTied(floating: FloatingIp, wanted: Wanted): Fault {
  const { id, floating_ip_address, floating_network_id } = floating;
  return conflict(
    `Cannot associate floating IP ${floating_ip_address} (${id}) with port ${wanted.internal_port_id} using fixed IP ${wanted.internal_ip_address}, as that fixed IP already has a floating IP on external network ${floating_network_id}.`,
    'FloatingIPPortAlreadyAssociated',
  );
}
