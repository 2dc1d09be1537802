/** Networks: their operations, and what else a change to one entails. */
import { sql, type SqlBool } from 'kysely';
import { randomUUID } from 'node:crypto';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { conflict } from '../http/fault.ts';
import type { Operation, RequestContext } from '../http/service.ts';
import type { Crud, Given } from '../resource/crud.ts';
import { refuseUnable } from './able.ts';
import { withAddressScopes } from './address-scope/network-scopes.ts';
import { dnsDomainOf } from './dns/dns-name.ts';
import { isMadeHere } from './external-network.ts';
import { invalidInput, networkNotFound } from './network-fault.ts';
import { ownOrAdmin, plainPolicies, projectOf, visibleNetworks } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import type { PortEvents } from './port-events.ts';
import { networkSharing, refuseSecondDefault, refuseWithGateways } from './network-sharing.ts';
import { NOT_SHARED } from './sharing.ts';
import { portStore } from './port-resource.ts';
import { ensureDefaultGroup } from './security-group-default.ts';
import { defaultPolicy, usePolicy } from './qos/qos-use.ts';
import { sharedOperations } from './rbac/shareable.ts';
import { routersFollowNetwork } from './router-interface.ts';
import {
  isStretched,
  joinedBy,
  physicalOf,
  type StretchedParts,
  wantThere,
  zonesOfChildren,
} from './stretched/place.ts';
import { refuseProviderChange } from './stretched/provider.ts';
import { planNetwork } from './stretched/plan.ts';
import { takeSegment } from './stretched/segment.ts';
import type { NetworkTopology } from './topology.ts';

/** What Geneve leaves of an Ethernet frame of 1500 bytes; also what stock children give their tenants. */
export const TENANT_MTU = 1442;

export interface NetworkParts {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly events: PortEvents;
  /** What joins the children's networks. */
  readonly topology: NetworkTopology;
}

/** The operations on networks. */
export function networkOperations(parts: NetworkParts): Operation[] {
  const operations = sharedOperations<NetworkRow>(networkSharing, networkCrud(parts));
  return operations.map((one) => ({
    ...one,
    handle: async (call) => withAddressScopes(parts.db.query, await one.handle(call)),
  }));
}

/** What a network's usual operations are made of. */
export function networkCrud(parts: NetworkParts): Crud<NetworkRow> {
  const { db, cascade, topology } = parts;
  return {
    db,
    convention,
    store: networkStore,
    path: '/networks',
    policies: plainPolicies('network', 'a network'),
    visible: visibleNetworks,
    owned: ownOrAdmin,
    missing: networkNotFound,
    bulk: true,
    creating: (given, context, tx) => completeNetwork(tx, parts, given, context),
    created: async (row, _context, tx) => {
      await ensureDefaultGroup(tx, row.project_id);
      await countQuota(tx, row.project_id, { network: 1 });
    },
    updating: async (row, given, context, tx) => {
      await usePolicy(tx, context, { kind: 'network', id: row.id }, given.qos_policy_id, row.qos_policy_id);
      if (given.qos_policy_id !== row.qos_policy_id) await refuseUnable(tx, [row.child], given);
      if (given.external === true && !row.external) await refuseUnable(tx, [row.child], { makes_external: true });
      refuseProviderChange(row, given);
      refuseMtu(given.mtu, physicalOf(topology, row)?.mtu ?? TENANT_MTU);
      const {
        provider_network_type: _type,
        provider_physical_network: _physical,
        provider_segmentation_id: _id,
        ...patch
      } = given;
      if (patch.dns_domain !== undefined) patch.dns_domain = dnsDomainOf(patch.dns_domain);
      const after = { ...row, ...given };
      if (after.external && after.is_default) await refuseSecondDefault(tx, row.id);
      if (given.external !== undefined && given.external !== row.external) {
        if (row.external) await refuseWithGateways(tx, row.id);
        Object.assign(patch, { external_shared: given.external, external_with: [] });
      }
      return given.qos_policy_id == null ? patch : { ...patch, qos_known: true };
    },
    updated: async (row, _before, context, tx) =>
      cascade.revise(tx, 'network', row.id, { requestId: context.requestId }),
    removing: (row, context, tx) => removeNetwork(tx, parts, row, context.requestId),
    committed: () => cascade.poke(),
  };
}

async function completeNetwork(tx: Tx, parts: NetworkParts, given: Given<NetworkRow>, context: RequestContext) {
  const id = randomUUID();
  const project_id = projectOf(context, given.project_id);
  await usePolicy(tx, context, { kind: 'network', id }, given.qos_policy_id);
  const qos_policy_id = given.qos_policy_id === undefined ? await defaultPolicy(tx, project_id) : given.qos_policy_id;
  if (given.external === true && given.is_default === true) await refuseSecondDefault(tx, id);
  const hints = given.availability_zone_hints ?? [];
  const plan = await planNetwork(tx, parts, given, hints);
  await refuseUnable(tx, [plan.child], { qos_policy_id, makes_external: given.external });
  const { columns, physical } = await takeSegment(tx, id, plan.segment);
  const zones =
    physical === undefined ? plan.zones : await zonesOfChildren(tx, parts.cascade, (await joinedBy(tx, physical)).able);
  const mtu_max = physical?.mtu ?? TENANT_MTU;
  refuseMtu(given.mtu, mtu_max);
  return {
    id,
    project_id,
    name: given.name ?? '',
    description: given.description ?? '',
    admin_state_up: given.admin_state_up ?? true,
    status: 'ACTIVE',
    subnets: [],
    ...NOT_SHARED,
    shared: given.shared ?? false,
    external: given.external ?? false,
    external_shared: given.external ?? false,
    external_with: [],
    is_default: given.is_default ?? false,
    // Neutron takes 0 for its own choice.
    mtu: given.mtu === undefined || given.mtu === 0 ? mtu_max : given.mtu,
    port_security_enabled: given.port_security_enabled ?? true,
    availability_zone_hints: hints,
    availability_zones: [...zones],
    dns_domain: dnsDomainOf(given.dns_domain),
    qos_policy_id,
    qos_known: qos_policy_id !== null,
    ...columns,
    child: plan.child,
    copies_project_id: null,
    tags: [],
  };
}

function refuseMtu(mtu: number | undefined, mtu_max: number): void {
  if (mtu !== undefined && mtu > mtu_max) {
    throw invalidInput(`Requested MTU is too big, maximum is ${mtu_max}.`);
  }
}

/**
 * Has a network be in a child: binds a tenant network that is nowhere yet to it, and stretches one that may be in
 * several children to one more.
 * @returns false where it lives in another one already, or the child has no part in its physical network
 * @throws Fault 409 where the child cannot have what the network asks for
 */
export async function bindNetwork(tx: Tx, parts: StretchedParts, networkId: string, child: string): Promise<boolean> {
  const { cascade } = parts;
  const row = await networkStore.find(tx, networkId);
  if (row?.child === child) return true;
  if (row !== undefined && isStretched(row)) {
    const isNew = await wantThere(tx, parts, row, child);
    if (isNew === true) await routersFollowNetwork(tx, parts, networkId);
    return isNew !== undefined;
  }
  if (row?.external === true) {
    await refuseUnable(tx, [child], { makes_external: await isMadeHere(tx, networkId) });
  } else if (row !== undefined) await refuseUnable(tx, [child], row);
  const zones = await cascade.zones(tx);
  const served = zones.filter(({ children }) => children.includes(child)).map(({ name }) => name);
  // Not `updated_at` nor the revision: where it lives is no change of the network.
  const bound = await sql`update networks set child = ${child}, availability_zones = ${served}::text[]
    where id = ${networkId} and (child is null or child = ${child}) returning 1`.execute(tx);
  if (bound.rows.length === 0) return false;
  await routersFollowNetwork(tx, parts, networkId);
  return true;
}

/** Deletes what goes with a network, in its transaction; the row itself is the caller's. */
async function removeNetwork(tx: Tx, parts: NetworkParts, row: NetworkRow, requestId: string): Promise<void> {
  const { cascade, events } = parts;
  if (row.external) await events.networkRemoving(tx, row.id, requestId);
  const ports = await portStore.select(tx, [sql<SqlBool>`network_id = ${row.id}`]);
  if (ports.length > 0) {
    const ids = ports.slice(0, 20).map(({ id }) => id);
    throw conflict(
      `Unable to complete operation on network ${row.id}. There are one or more ports still in use on the network, id for these ports is: ${ids.join(',')}.`,
      'NetworkInUse',
    );
  }
  const gone = await sql<{ id: string; project_id: string }>`
    delete from subnets where network_id = ${row.id} returning id, project_id`.execute(tx);
  for (const { id } of gone.rows) await cascade.retire(tx, 'subnet', id, { requestId });
  await cascade.retire(tx, 'network', row.id, { requestId });
  const owners = new Map<string, number>();
  for (const { project_id } of gone.rows) owners.set(project_id, (owners.get(project_id) ?? 0) + 1);
  for (const project of [...new Set([row.project_id, ...owners.keys()])].sort()) {
    await countQuota(tx, project, {
      subnet: -(owners.get(project) ?? 0),
      network: project === row.project_id ? -1 : 0,
    });
  }
}
