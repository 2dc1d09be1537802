/**
 * A router's gateway. The children its networks live in are not known when it is set, and may grow: so the parent takes
 * one address in each child's external subnet at once, and the router's copy in a child uses the one that is there.
 */
import { sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import { Fault } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { overlaps, parseCidr } from './address-range.ts';
import {
  addAddress,
  addPort,
  type EdgeParts,
  holdAddresses,
  portsOfDevice,
  removePort,
  ROUTER_GATEWAY,
  ROUTER_INTERFACE,
} from './edge-core.ts';
import { externalSubnets } from './external-network.ts';
import { invalidAttribute, networkNotFound } from './network-fault.ts';
import { visibleNetworks } from './network-project.ts';
import { networkStore } from './network-resource.ts';
import { type FixedIp, type PortRow, portStore } from './port-resource.ts';
import { usePolicy } from './qos/qos-use.ts';
import { badRouter, gatewayInUse } from './router-fault.ts';
import { type GatewayInfo, type GatewayRequest, type Router, routers } from './router-resource.ts';
import { type SubnetRow, subnetStore } from './subnet-resource.ts';
import { inCidr } from './router-route.ts';

type GatewayPatch = Pick<
  Router,
  'external_gateway_info' | 'gateway_network_id' | 'gw_port_id' | 'gateway_qos_policy_id'
>;

const NONE: GatewayPatch = {
  external_gateway_info: null,
  gateway_network_id: null,
  gw_port_id: null,
  gateway_qos_policy_id: null,
};

/**
 * Sets, changes or clears the gateway; gives what of the router's row changes. The router must be locked.
 * @throws Fault 404 for an unknown network, 400 for one that is not external or overlaps an interface, 409 for a
 *   gateway that floating IPs need and for addresses that are taken or used up
 */
export async function setGateway(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  router: Pick<Router, 'id' | 'external_gateway_info' | 'gw_port_id'>,
  wanted: GatewayRequest | null,
): Promise<GatewayPatch> {
  const asked = checked(context, wanted, router.external_gateway_info === null ? 'create' : 'update');
  const current = router.external_gateway_info ?? undefined;
  const port = router.gw_port_id === null ? undefined : await portStore.find(tx, router.gw_port_id);
  const moves = current !== undefined && current.network_id !== asked?.network_id;
  if (moves) await refuseWhileUsed(tx, router.id, current.network_id);
  if (asked === undefined) {
    if (port !== undefined) await dropGatewayPort(tx, parts, port);
    return NONE;
  }
  const network = await networkStore.find(tx, asked.network_id, visibleNetworks(context));
  if (network === undefined) throw networkNotFound(asked.network_id);
  if (!network.external) throw badRouter(`Network ${network.id} is not an external network`);
  const enable_snat = asked.enable_snat ?? (moves ? true : (current?.enable_snat ?? true));
  const before = current?.qos_policy_id ?? null;
  await usePolicy(tx, context, { kind: 'router', id: router.id }, asked.qos_policy_id, before);
  const policy = asked.qos_policy_id === undefined && !moves ? before : (asked.qos_policy_id ?? null);
  if (current !== undefined && port !== undefined && !moves && asked.external_fixed_ips === undefined) {
    return patchOf(network.id, port, enable_snat, policy);
  }
  const subnets = await subnetStore.select(tx, [sql<boolean>`network_id = ${network.id}`]);
  await refuseOverlap(tx, router.id, subnets);
  const fixedIps = wishes(asked.external_fixed_ips ?? [], subnets);
  if (port !== undefined) await dropGatewayPort(tx, parts, port);
  return patchOf(network.id, await addGatewayPort(tx, router.id, network.id, fixedIps, subnets), enable_snat, policy);
}

/** The gateway's port goes with a router that goes. */
export async function dropGateway(tx: Tx, parts: EdgeParts, router: Router): Promise<void> {
  const port = router.gw_port_id === null ? undefined : await portStore.find(tx, router.gw_port_id);
  if (port !== undefined) await dropGatewayPort(tx, parts, port);
}

/**
 * Gives the router an address in every external subnet of a child that came after its gateway was set. Twice: nothing.
 * The revision stays: only this child's copy cares, and it is being brought.
 */
export async function completeGateway(db: Db, routerId: string, subnetIds: readonly string[]): Promise<void> {
  await db.transaction(async (tx) => {
    const router = await routers.lock(tx, routerId);
    const info = router?.external_gateway_info;
    if (router === undefined || info === undefined || info === null || router.gw_port_id === null) return;
    let port = await portStore.lock(tx, router.gw_port_id);
    if (port === undefined) return;
    for (const subnet_id of subnetIds) {
      if (port.fixed_ips.some((fixedIp) => fixedIp.subnet_id === subnet_id)) continue;
      port = await addAddress(tx, port, { subnet_id });
    }
    await routers.update(tx, routerId, patchOf(info.network_id, port, info.enable_snat, router.gateway_qos_policy_id), {
      revise: false,
    });
  });
}

/**
 * Has the gateway the address that a child chose for it, in place of the one that was taken for it here. One that the
 * parent has given to something else already stays as it is: the child will be asked again. Twice: nothing.
 */
export async function exchangeGatewayAddress(
  db: Db,
  routerId: string,
  given: { readonly subnet_id: string; readonly ip_address: string },
): Promise<void> {
  await db.transaction(async (tx) => {
    const router = await routers.lock(tx, routerId);
    const info = router?.external_gateway_info;
    if (router === undefined || info === undefined || info === null || router.gw_port_id === null) return;
    const port = await portStore.lock(tx, router.gw_port_id);
    const old = port?.fixed_ips.find(({ subnet_id }) => subnet_id === given.subnet_id);
    if (port === undefined || old?.ip_address === given.ip_address) return;
    // Seen in the child's network as somebody's, it is held there: it was this router's all along.
    const taken = await sql<{ port_id: string }>`select port_id from ip_allocations
      where subnet_id = ${given.subnet_id} and ip_address = ${given.ip_address}::inet for update`.execute(tx);
    const owner = taken.rows[0]?.port_id;
    if (owner !== undefined && !/^(held|child):/.test(owner)) return;
    await sql`delete from ip_allocations where subnet_id = ${given.subnet_id}
      and (ip_address = ${given.ip_address}::inet or (port_id = ${port.id} and ip_address = ${old?.ip_address ?? given.ip_address}::inet))`.execute(
      tx,
    );
    const others = port.fixed_ips.filter(({ subnet_id }) => subnet_id !== given.subnet_id);
    const exchanged = await addAddress(tx, { ...port, fixed_ips: others }, given);
    const patch = patchOf(info.network_id, exchanged, info.enable_snat, router.gateway_qos_policy_id);
    await routers.update(tx, routerId, patch, { revise: false });
  });
}

function patchOf(network_id: string, port: PortRow, enable_snat: boolean, policy: string | null): GatewayPatch {
  const external_gateway_info: GatewayInfo = {
    network_id,
    external_fixed_ips: port.fixed_ips,
    enable_snat,
    ...(policy === null ? {} : { qos_policy_id: policy }),
  };
  return {
    external_gateway_info,
    gateway_network_id: network_id,
    gw_port_id: port.id,
    gateway_qos_policy_id: policy,
  };
}

/** What was asked for, with the rights that its parts need; undefined for no gateway. */
function checked(
  context: RequestContext,
  wanted: GatewayRequest | null,
  verb: 'create' | 'update',
): (GatewayRequest & { readonly network_id: string }) | undefined {
  const keys = Object.keys(wanted ?? {});
  if (wanted === null || keys.length === 0 || wanted.network_id === null) return undefined;
  if (wanted.network_id === undefined) {
    const given = keys.map((key) => `'${key}'`).join(', ');
    throw invalidAttribute(
      'external_gateway_info',
      `Validation of dictionary's keys failed. Expected keys: {'network_id'} Provided keys: {${given}}.`,
    );
  }
  const rule = `${verb}_router:external_gateway_info`;
  if (wanted.enable_snat !== undefined) context.enforce(`${rule}:enable_snat`);
  if (wanted.external_fixed_ips !== undefined) context.enforce(`${rule}:external_fixed_ips`);
  return { ...wanted, network_id: wanted.network_id };
}

async function refuseWhileUsed(tx: Tx, routerId: string, networkId: string): Promise<void> {
  const used = await sql`select 1 from floating_ips where router_id = ${routerId} limit 1`.execute(tx);
  if (used.rows.length > 0) throw gatewayInUse(routerId, networkId);
}

async function refuseOverlap(tx: Tx, routerId: string, external: readonly SubnetRow[]): Promise<void> {
  const ports = await portsOfDevice(tx, [routerId], ROUTER_INTERFACE);
  const ids = ports.flatMap(({ fixed_ips }) => fixed_ips.map(({ subnet_id }) => subnet_id));
  refuseOverlapping(external, await subnetStore.findMany(tx, ids));
}

/** @throws Fault 400 where a new subnet overlaps one that the router has already */
export function refuseOverlapping(added: readonly SubnetRow[], present: readonly SubnetRow[]): void {
  for (const other of present) {
    for (const one of added) {
      const [range, taken] = [parseCidr(one.cidr), parseCidr(other.cidr)];
      if (range === undefined || taken === undefined || !overlaps(range, taken)) continue;
      throw badRouter(`Cidr ${one.cidr} of subnet ${one.id} overlaps with cidr ${other.cidr} of subnet ${other.id}`);
    }
  }
}

/** The addresses asked for, each with its subnet. */
function wishes(asked: NonNullable<GatewayRequest['external_fixed_ips']>, subnets: readonly SubnetRow[]) {
  return asked.map((wish) => {
    const gateway = subnets.find(({ gateway_ip }) => gateway_ip !== null && gateway_ip === wish.ip_address);
    if (gateway !== undefined) throw badRouter(`External IP ${wish.ip_address} is the same as the gateway IP`);
    const address = wish.ip_address ?? '';
    const subnet_id = wish.subnet_id ?? subnets.find(({ cidr }) => inCidr(cidr, address))?.id;
    return { ...wish, ...(subnet_id === undefined ? {} : { subnet_id }) };
  });
}

async function addGatewayPort(
  tx: Tx,
  routerId: string,
  networkId: string,
  asked: ReturnType<typeof wishes>,
  subnets: readonly SubnetRow[],
): Promise<PortRow> {
  let port = await addPort(tx, {
    network_id: networkId,
    project_id: '',
    device_id: routerId,
    device_owner: ROUTER_GATEWAY,
    status: 'ACTIVE',
    fixed_ips: asked,
  });
  let exhausted: Fault | undefined;
  for (const { id } of subnets) {
    if (port.fixed_ips.some(({ subnet_id }) => subnet_id === id)) continue;
    try {
      port = await addAddress(tx, port, { subnet_id: id });
    } catch (error) {
      // A child whose addresses are used up must not keep the router from the others.
      if (!(error instanceof Fault) || error.type !== 'IpAddressGenerationFailure') throw error;
      exhausted = error;
    }
  }
  if (exhausted !== undefined && port.fixed_ips.length === 0) throw exhausted;
  return port;
}

async function dropGatewayPort(tx: Tx, parts: EdgeParts, port: PortRow): Promise<void> {
  await removePort(tx, parts, port);
  const mapped = await externalSubnets(tx, port.network_id);
  const copies = await parts.cascade.replicasOf(tx, 'router', port.device_id);
  for (const { child } of copies) {
    const inChild = (fixedIp: FixedIp) =>
      mapped.some((subnet) => subnet.adopted && subnet.child === child && subnet.subnet_id === fixedIp.subnet_id);
    await holdAddresses(tx, child, port.fixed_ips.filter(inChild));
  }
}
