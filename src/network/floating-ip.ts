/** Floating IPs: their operations, and what else a change to one entails. */
import { randomUUID } from 'node:crypto';
import { sql, type SqlBool } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { conflict, Fault } from '../http/fault.ts';
import type { Call, Operation, RequestContext } from '../http/service.ts';
import { crudOperations, type Given } from '../resource/crud.ts';
import { addPort, type EdgeParts, FLOATING_IP, holdAddresses, portsChanged, removePort } from './edge-core.ts';
import { dnsDomainOf, dnsNameOf } from './dns/dns-name.ts';
import { type ExternalSubnet, externalSubnets, isMadeHere } from './external-network.ts';
import { floatingIp, type FloatingIp, floatingIps, visibleFloatingIps } from './floating-ip-resource.ts';
import { elsewhere, type FloatingIpWish, placesFor, type Target, targetOf } from './floating-ip-place.ts';
import { networkNotFound } from './network-fault.ts';
import { plainPolicies, projectOf, visibleNetworks } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { networkStore } from './network-resource.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { refuseForwarding } from './port-forwarding/port-forwarding-state.ts';
import { usePolicy } from './qos/qos-use.ts';
import { badFloatingIp, floatingIpNotFound } from './router-fault.ts';

/** Rules of single attributes of floating IPs. */
export const floatingIpRules = floatingIp.fieldRules;

/** The operations on floating IPs. */
export function floatingIpOperations(parts: EdgeParts): Operation[] {
  const { db, cascade } = parts;
  const operations = crudOperations<FloatingIp>({
    db,
    convention,
    store: floatingIps,
    path: '/floatingips',
    policies: plainPolicies('floatingip', 'a floating IP'),
    visible: visibleFloatingIps,
    missing: floatingIpNotFound,
    bulk: true,
    creating: (given, context, tx) => newFloatingIp(tx, parts, given, context),
    created: async (row, context, tx) => {
      await cascade.wantReplica(tx, row.child, 'floating_ip', row.id, { requestId: context.requestId });
      await portsChanged(tx, parts, [row.port_id]);
      await countQuota(tx, row.project_id, { floatingip: 1 });
    },
    updating: (row, given, context, tx) => changed(tx, parts, row, given, context),
    updated: async (row, before, context, tx) => {
      await cascade.revise(tx, 'floating_ip', row.id, { requestId: context.requestId });
      if (row.port_id !== before.port_id || row.fixed_ip_address !== before.fixed_ip_address) {
        await portsChanged(tx, parts, [before.port_id, row.port_id]);
      }
    },
    removing: (row, context, tx) => remove(tx, parts, row, context.requestId),
    committed: () => cascade.poke(),
  });
  return operations.map((operation) => ({
    ...operation,
    handle: async (call: Call) => withPortDetails(db.query, await operation.handle(call)),
  }));
}

async function newFloatingIp(tx: Tx, parts: EdgeParts, given: Given<FloatingIp>, context: RequestContext) {
  const id = randomUUID();
  const networkId = given.floating_network_id ?? '';
  const wish: FloatingIpWish = {
    ...given,
    floating_network_id: networkId,
    project_id: projectOf(context, given.project_id),
  };
  const network = await networkStore.find(tx, networkId, visibleNetworks(context));
  if (network === undefined) throw networkNotFound(networkId);
  if (!network.external) throw badFloatingIp(`Network ${networkId} is not a valid external network`);
  refuseAddressAlone(given);
  await usePolicy(tx, context, { kind: 'floatingip', id }, given.qos_policy_id);
  const target =
    given.port_id == null ? undefined : await targetOf(tx, parts, context, wish, given.port_id, given.fixed_ip_address);
  const places = await placesFor(tx, parts, wish, target);
  const { port, place } = await takeAddress(tx, wish, id, places);
  if (!place.adopted && !(await parts.bindNetwork(tx, networkId, place.child))) throw bound(networkId);
  const ip_address = port.fixed_ips[0]?.ip_address ?? '';
  if (target !== undefined)
    await settle(
      tx,
      parts,
      { id, floating_ip_address: ip_address, child: place.child, floating_network_id: networkId },
      target,
    );
  return {
    id,
    project_id: wish.project_id,
    description: given.description ?? '',
    status: 'DOWN',
    floating_network_id: networkId,
    floating_ip_address: ip_address,
    floating_port_id: port.id,
    subnet_id: place.subnet_id,
    child: place.child,
    port_id: target?.port.id ?? null,
    fixed_ip_address: target?.fixed_ip_address ?? null,
    router_id: target?.router_id ?? null,
    forwardings: [],
    dns_name: dnsNameOf(given.dns_name),
    dns_domain: dnsDomainOf(given.dns_domain),
    qos_policy_id: given.qos_policy_id ?? null,
    qos_known: given.qos_policy_id != null,
    tags: [],
  };
}

const bound = (networkId: string): Fault =>
  conflict(
    `External network ${networkId} came to live in another availability zone at this moment. Try again.`,
    'NetworkAvailabilityZoneNotJoined',
  );

/** An address in the first of the places that has one left, on a port that holds it. */
async function takeAddress(
  tx: Tx,
  wish: FloatingIpWish,
  id: string,
  places: readonly ExternalSubnet[],
): Promise<{ port: PortRow; place: ExternalSubnet }> {
  let exhausted: Fault | undefined;
  for (const place of places) {
    const { subnet_id } = place;
    const fixedIp =
      wish.floating_ip_address == null ? { subnet_id } : { subnet_id, ip_address: wish.floating_ip_address };
    try {
      const port = await addPort(tx, {
        network_id: wish.floating_network_id,
        project_id: '',
        device_id: id,
        device_owner: FLOATING_IP,
        status: 'N/A',
        fixed_ips: [fixedIp],
      });
      return { port, place };
    } catch (error) {
      if (!(error instanceof Fault) || error.type !== 'IpAddressGenerationFailure') throw error;
      exhausted = error;
    }
  }
  throw exhausted ?? new Error('a floating IP without a place for it');
}

/** Ties a floating IP to a port: it must be free for it, and in the same child. */
async function settle(
  tx: Tx,
  parts: EdgeParts,
  floating: Pick<FloatingIp, 'id' | 'floating_ip_address' | 'floating_network_id' | 'child'>,
  target: Target,
): Promise<void> {
  const { id, floating_ip_address, floating_network_id, child } = floating;
  const { port, fixed_ip_address } = target;
  const taken = await floatingIps.select(tx, [
    sql<SqlBool>`port_id = ${port.id} and fixed_ip_address = ${fixed_ip_address}`,
    sql<SqlBool>`floating_network_id = ${floating_network_id} and id <> ${id}`,
  ]);
  if (taken.length > 0) {
    throw conflict(
      `Cannot associate floating IP ${floating_ip_address} (${id}) with port ${port.id} using fixed IP ${fixed_ip_address}, as that fixed IP already has a floating IP on external network ${floating_network_id}.`,
      'FloatingIPPortAlreadyAssociated',
    );
  }
  // A network that is nowhere yet, or may be in several children, comes to live where the floating IP is.
  const isThere =
    (target.children.length === 0 || target.children.includes(child)) &&
    (await parts.bindNetwork(tx, port.network_id, child));
  if (!isThere) throw elsewhere(floating_network_id, await externalSubnets(tx, floating_network_id), target);
}

function refuseAddressAlone(given: Given<FloatingIp>): void {
  if (given.fixed_ip_address != null && given.port_id == null) {
    throw badFloatingIp('fixed_ip_address cannot be specified without a port_id');
  }
}

async function changed(
  tx: Tx,
  parts: EdgeParts,
  row: FloatingIp,
  given: Given<FloatingIp>,
  context: RequestContext,
): Promise<Given<FloatingIp>> {
  // Once there was nothing else to change: a change of nothing unties it.
  const isBlank = Object.keys(given).length === 0;
  const { port_id = isBlank ? null : undefined, fixed_ip_address, ...patch } = given;
  await usePolicy(tx, context, { kind: 'floatingip', id: row.id }, given.qos_policy_id, row.qos_policy_id);
  if (given.qos_policy_id != null) patch.qos_known = true;
  refuseAddressAlone(given);
  if (port_id === undefined) return patch;
  if (port_id !== null) refuseForwarding(row);
  if (port_id === null) return row.port_id === null ? patch : { ...patch, ...UNTIED };
  const target = await targetOf(tx, parts, context, row, port_id, fixed_ip_address);
  await settle(tx, parts, row, target);
  const tie = { port_id, fixed_ip_address: target.fixed_ip_address, router_id: target.router_id };
  const isSame =
    tie.port_id === row.port_id && tie.fixed_ip_address === row.fixed_ip_address && tie.router_id === row.router_id;
  // The child says when it is ACTIVE again.
  return isSame ? patch : { ...patch, ...tie, status: 'DOWN' };
}

const UNTIED = { port_id: null, fixed_ip_address: null, router_id: null, status: 'DOWN' };

async function remove(tx: Tx, parts: EdgeParts, row: FloatingIp, requestId: string): Promise<void> {
  refuseForwarding(row);
  // Gone before servers are told to look again.
  await floatingIps.remove(tx, row.id);
  await portsChanged(tx, parts, [row.port_id]);
  const port = await portStore.find(tx, row.floating_port_id);
  if (port !== undefined) await removePort(tx, parts, port);
  if (!(await isMadeHere(tx, row.floating_network_id))) {
    await holdAddresses(tx, row.child, [{ subnet_id: row.subnet_id, ip_address: row.floating_ip_address }]);
  }
  await parts.cascade.retire(tx, 'floating_ip', row.id, { requestId });
  await countQuota(tx, row.project_id, { floatingip: -1 });
}

/** An external network that goes takes its floating IPs along, as far as they lead nowhere. */
export async function removeUntied(tx: Tx, parts: EdgeParts, networkId: string, requestId: string): Promise<void> {
  const rows = await floatingIps.select(tx, [sql<SqlBool>`floating_network_id = ${networkId} and port_id is null`]);
  for (const row of rows) if (row.forwardings.length === 0) await remove(tx, parts, row, requestId);
}

/**
 * To be called in the transaction in which ports go, before they do: their floating IPs are free again.
 */
export async function releaseFloatingIps(
  tx: Tx,
  parts: Pick<EdgeParts, 'cascade'>,
  portIds: readonly string[],
): Promise<void> {
  if (portIds.length === 0) return;
  const tied = await floatingIps.select(tx, [sql<SqlBool>`port_id = any(${[...portIds]}::text[])`]);
  for (const { id } of tied) {
    await floatingIps.update(tx, id, UNTIED);
    await parts.cascade.revise(tx, 'floating_ip', id);
  }
}

/** Neutron shows beside a floating IP what its port is: read for a whole page at once. */
async function withPortDetails(query: Queryable, answer: unknown): Promise<unknown> {
  if (answer === null || typeof answer !== 'object') return answer;
  const shown = Object.values(answer).flat().filter(isTied);
  const ports = await portStore.findMany(query, [...new Set(shown.map(({ port_id }) => port_id))]);
  const details = new Map(ports.map((port) => [port.id, detailsOf(port)]));
  for (const item of shown) item.port_details = details.get(item.port_id) ?? null;
  return answer;
}

const isTied = (item: unknown): item is { port_id: string; port_details: unknown } =>
  typeof item === 'object' &&
  item !== null &&
  'port_details' in item &&
  'port_id' in item &&
  typeof item.port_id === 'string';

function detailsOf(port: PortRow) {
  const { name, network_id, mac_address, admin_state_up, status, device_id, device_owner } = port;
  return { name, network_id, mac_address, admin_state_up, status, device_id, device_owner };
}
