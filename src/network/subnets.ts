/** Subnets: their operations, and what else a change to one entails. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { type Fault, badRequest, conflict, notFound } from '../http/fault.ts';
import type { Operation, RequestContext } from '../http/service.ts';
import { type Crud, crudOperations, type Given } from '../resource/crud.ts';
import { type Cidr, formatAddress, parseCidr } from './address-range.ts';
import { addAutoAddresses, removeAutoAddresses } from './auto-address.ts';
import { networkNotFound, subnetNotFound } from './network-fault.ts';
import {
  callersProject,
  externalNetworks,
  ownOrAdmin,
  plainPolicies,
  projectOf,
  sharedNetworks,
  visibleNetworks,
} from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import type { PortEvents } from './port-events.ts';
import { touch } from './standard-attributes.ts';
import { countOf } from './subnet-pool/subnet-pool-rules.ts';
import { allocatePrefix, poolOf } from './subnet-pool/pool-allocation.ts';
import { checkAffinity } from './subnet-pool/pool-scope.ts';
import { isAutoAddress, type SubnetRequest, type SubnetRow, subnetStore } from './subnet-resource.ts';
import {
  checkCidr,
  checkDhcp,
  checkGateway,
  checkGatewayOutside,
  checkIpv6Modes,
  checkNameservers,
  checkOverlap,
  checkPools,
  checkRoutes,
  checkServiceTypes,
} from './subnet-rules.ts';

interface SubnetParts {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly events: PortEvents;
}

/** The operations on subnets. */
export const subnetOperations = (parts: SubnetParts): Operation[] => crudOperations(subnetCrud(parts));

/** What a subnet's usual operations are made of. */
export function subnetCrud(parts: SubnetParts): Crud<SubnetRow> {
  const { db, cascade } = parts;
  return {
    db,
    convention,
    store: subnetStore,
    path: '/subnets',
    policies: plainPolicies('subnet', 'a subnet'),
    visible: visibleSubnets,
    shown: shownSubnets,
    owned: ownOrAdmin,
    missing: subnetNotFound,
    bulk: true,
    creating: completeSubnet,
    created: async (row, _context, tx) => {
      await sql`update networks set subnets = array_append(subnets, ${row.id}) where id = ${row.network_id}`.execute(
        tx,
      );
      await touch(tx, 'networks', [row.network_id]);
      await countQuota(tx, row.project_id, { subnet: 1 });
      if (isAutoAddress(row)) await addAutoAddresses(tx, parts, row);
    },
    updating: async (row, given, _context, tx) => {
      const patch = changedSubnet(row, given);
      if (patch.gateway_ip !== undefined && patch.gateway_ip !== row.gateway_ip) await refuseRouted(tx, row);
      return patch;
    },
    updated: async (row, _before, context, tx) =>
      cascade.revise(tx, 'subnet', row.id, { requestId: context.requestId }),
    removing: (row, context, tx) => removeSubnet(tx, parts, row, context.requestId),
    committed: () => cascade.poke(),
  };
}

/** Own ones, those on own networks and those of shared networks. */
export function visibleSubnets(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  if (context.identity.isAdmin) return [];
  const project = callersProject(context);
  return [
    sql<SqlBool>`(project_id = ${project}
      or network_id in (select n.id from networks n where n.project_id = ${project} or ${sharedNetworks('n', project)}))`,
  ];
}

/** Those of external networks are in no list, but a floating IP chooses its place by naming one. */
function shownSubnets(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  if (context.identity.isAdmin) return [];
  const project = callersProject(context);
  return [
    sql<SqlBool>`(project_id = ${project} or network_id in (select n.id from networks n
      where n.project_id = ${project} or ${sharedNetworks('n', project)} or ${externalNetworks('n', project)}))`,
  ];
}

async function completeSubnet(given: SubnetRequest, context: RequestContext, tx: Tx) {
  const networkId = given.network_id as string;
  const project_id = projectOf(context, given.project_id);
  // Locked: two subnets of one network at once must not overlap each other.
  const network = await networkStore.lock(tx, networkId, visibleNetworks(context));
  if (network === undefined) throw networkNotFound(networkId);
  refuseForeign(network, context);
  const ip_version = given.ip_version as number;
  if (given.segment_id != null) refuseSegment(given.segment_id, networkId);
  const enable_dhcp = given.enable_dhcp ?? true;
  const modes = {
    ipv6_ra_mode: given.ipv6_ra_mode ?? null,
    ipv6_address_mode: given.ipv6_address_mode ?? null,
  };
  const { cidr, subnetpool_id } = await prefixOf(tx, context, given, { network: networkId, project_id, ip_version });
  checkDhcp(cidr, enable_dhcp);
  checkIpv6Modes(cidr, modes, enable_dhcp);
  // A subnet of whatever prefix always has a gateway, as with Neutron: nobody could have known its address.
  const isAny = subnetpool_id !== null && given.cidr == null;
  const gateway_ip = checkGateway(cidr, isAny ? (given.gateway_ip ?? second(cidr)) : given.gateway_ip);
  const allocation_pools = checkPools(cidr, given.allocation_pools, gateway_ip);
  checkOverlap(
    cidr,
    networkId,
    await tx.selectFrom('subnets').select('cidr').where('network_id', '=', networkId).execute(),
  );
  return {
    project_id,
    network_id: networkId,
    name: given.name ?? '',
    description: given.description ?? '',
    ip_version,
    cidr: cidr.text,
    gateway_ip,
    allocation_pools,
    dns_nameservers: checkNameservers(given.dns_nameservers ?? [], ip_version),
    host_routes: checkRoutes(given.host_routes ?? [], ip_version),
    enable_dhcp,
    ...modes,
    subnetpool_id,
    service_types: checkServiceTypes(given.service_types ?? []),
    dns_publish_fixed_ip: given.dns_publish_fixed_ip ?? false,
    copies_project_id: null,
    tags: [],
  };
}

/** The address after the first, which a subnet of whatever prefix has as its gateway. */
const second = (cidr: Cidr): string | undefined => (cidr.version === 6 ? formatAddress(cidr.first + 1n, 6) : undefined);

/** A network's one segment is all of it: there is nothing that a subnet could be narrowed to. */
function refuseSegment(id: string, networkId: string): never {
  if (id !== networkId) throw notFound(`Segment ${id} could not be found.`, 'SegmentNotFound');
  throw badRequest('A subnet cannot be associated with a dynamic segment.', 'SubnetCantAssociateToDynamicSegment');
}

/** The prefix: what was asked for, or what the pool has left. */
async function prefixOf(
  tx: Tx,
  context: RequestContext,
  given: SubnetRequest,
  at: { readonly network: string; readonly project_id: string; readonly ip_version: number },
): Promise<{ readonly cidr: Cidr; readonly subnetpool_id: string | null }> {
  const { subnetpool_id, use_default_subnetpool, cidr } = given;
  const wish = {
    subnetpool_id,
    use_default_subnetpool,
    cidr: cidr == null ? null : checkCidr(cidr, at.ip_version).text,
    prefixlen: given.prefixlen === undefined ? undefined : countOf('prefixlen', given.prefixlen),
    ip_version: at.ip_version,
    hasPools: given.allocation_pools !== undefined,
  };
  const pool = await poolOf(tx, context, wish);
  if (pool !== undefined)
    return { cidr: await allocatePrefix(tx, context, { ...at, pool }, wish), subnetpool_id: pool };
  await checkAffinity(tx, at.network, at.ip_version, null);
  return { cidr: checkCidr(wish.cidr ?? '', at.ip_version), subnetpool_id: null };
}

/** A network that is seen because it is shared or external is not the caller's to add subnets to. */
function refuseForeign(network: NetworkRow, context: RequestContext): void {
  if (!ownOrAdmin(network, context)) throw convention.refusal('create_subnet');
}

function changedSubnet(row: SubnetRow, given: Given<SubnetRow>): Given<SubnetRow> {
  const cidr = parseCidr(row.cidr);
  if (cidr === undefined) return given;
  const enable_dhcp = given.enable_dhcp ?? row.enable_dhcp;
  checkDhcp(cidr, enable_dhcp);
  if (given.enable_dhcp !== undefined) checkIpv6Modes(cidr, row, enable_dhcp);
  const gateway_ip = given.gateway_ip === undefined ? row.gateway_ip : checkGateway(cidr, given.gateway_ip);
  // Pools are checked before the gateway's place in them, so that both may change in one request.
  const allocation_pools =
    given.allocation_pools === undefined ? row.allocation_pools : checkPools(cidr, given.allocation_pools, gateway_ip);
  checkGatewayOutside(allocation_pools, gateway_ip);
  return {
    ...given,
    ...(given.gateway_ip === undefined ? {} : { gateway_ip }),
    ...(given.allocation_pools === undefined ? {} : { allocation_pools }),
    ...(given.dns_nameservers === undefined
      ? {}
      : { dns_nameservers: checkNameservers(given.dns_nameservers ?? [], row.ip_version) }),
    ...(given.service_types === undefined ? {} : { service_types: checkServiceTypes(given.service_types) }),
    ...(given.host_routes === undefined ? {} : { host_routes: checkRoutes(given.host_routes ?? [], row.ip_version) }),
  };
}

/** The gateway's address stays while a router has it. */
async function refuseRouted(tx: Tx, row: SubnetRow): Promise<void> {
  if (row.gateway_ip === null) return;
  const held = await sql<{ id: string }>`select p.id from ip_allocations a join ports p on p.id = a.port_id
    where a.subnet_id = ${row.id} and a.ip_address = ${row.gateway_ip}::inet
      and starts_with(p.device_owner, 'network:router')`.execute(tx);
  const port = held.rows[0];
  if (port !== undefined) {
    throw conflict(
      `Current gateway ip ${row.gateway_ip} already in use by port ${port.id}. Unable to update.`,
      'GatewayIpInUse',
    );
  }
}

const inUse = (id: string): Fault =>
  conflict(
    `Unable to complete operation on subnet ${id}: One or more ports have an IP allocation from this subnet.`,
    'SubnetInUse',
  );

async function removeSubnet(tx: Tx, parts: SubnetParts, row: SubnetRow, requestId: string): Promise<void> {
  if (isAutoAddress(row) && !(await removeAutoAddresses(tx, parts, row))) throw inUse(row.id);
  const used = await sql`select 1 from ip_allocations
    where subnet_id = ${row.id} and position(':' in port_id) = 0 limit 1`.execute(tx);
  if (used.rows.length > 0) throw inUse(row.id);
  await sql`update networks set subnets = array_remove(subnets, ${row.id}) where id = ${row.network_id}`.execute(tx);
  await touch(tx, 'networks', [row.network_id]);
  await parts.cascade.retire(tx, 'subnet', row.id, { requestId });
  await countQuota(tx, row.project_id, { subnet: -1 });
}
