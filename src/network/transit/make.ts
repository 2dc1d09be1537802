/** The parts of a transit, as rows: how they are found, made and taken away. When they are wanted, `join.ts` says. */
import { randomUUID } from 'node:crypto';
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import { allocateAddresses } from '../address-allocation.ts';
import { formatAddress, parseCidr, usable } from '../address-range.ts';
import { networkStore } from '../network-resource.ts';
import { chooseMac, storePort } from '../port-make.ts';
import { type PortRow, portStore } from '../port-resource.ts';
import { NO_POLICY } from '../qos/qos-child.ts';
import type { Router } from '../router-resource.ts';
import { NOT_SHARED } from '../sharing.ts';
import { takeTransit } from '../stretched/segment.ts';
import { type SubnetRow, subnetStore } from '../subnet-resource.ts';
import type { NetworkTopology, PhysicalNetwork } from '../topology.ts';
import { choosePiece, choosePiece6 } from './piece.ts';

/** Owner of a router's interface on its transit. */
export const TRANSIT = 'network:router_transit';

/** A router's transit: its network, and the router's interface on each of its subnets (IPv4, and IPv6 where needed). */
export interface Transit {
  readonly network_id: string;
  readonly physical_network: string;
  readonly segmentation_id: number;
  readonly interfaces: readonly TransitInterface[];
}

export interface TransitInterface {
  readonly port: PortRow;
  readonly subnet: SubnetRow;
}

/** The transit of a router; undefined where it has none. */
export async function transitOf(query: Queryable, routerId: string): Promise<Transit | undefined> {
  const ports = await portStore.select(query, [
    sql<SqlBool>`device_id = ${routerId}`,
    sql<SqlBool>`device_id <> ''`,
    sql<SqlBool>`device_owner = ${TRANSIT}`,
  ]);
  const network_id = ports[0]?.network_id;
  if (network_id === undefined) return undefined;
  const [network, subnets] = await Promise.all([
    networkStore.find(query, network_id),
    subnetStore.select(query, [sql<SqlBool>`network_id = ${network_id}`]),
  ]);
  const { provider_physical_network, provider_segmentation_id } = network ?? {};
  if (provider_physical_network == null || provider_segmentation_id == null) return undefined;
  return {
    network_id,
    physical_network: provider_physical_network,
    segmentation_id: provider_segmentation_id,
    interfaces: ports.flatMap((port) => {
      const subnet = subnets.find(({ id }) => port.fixed_ips.some(({ subnet_id }) => subnet_id === id));
      return subnet === undefined ? [] : [{ port, subnet }];
    }),
  };
}

/**
 * Makes the transit of a router: its network on a VLAN of the physical network, a subnet, and the router's port on it.
 * @param taken ranges that its addresses must not be of
 * @throws Fault 409 where no range is left, 503 where no VLAN is
 */
export async function makeTransit(
  tx: Tx,
  topology: NetworkTopology,
  router: Router,
  physical: PhysicalNetwork,
  taken: readonly string[],
): Promise<Transit> {
  const id = randomUUID();
  const columns = await takeTransit(tx, id, physical);
  await networkStore.insert(tx, {
    ...ownedBy(router),
    ...columns,
    id,
    admin_state_up: true,
    status: 'ACTIVE',
    subnets: [],
    ...NOT_SHARED,
    external: false,
    external_shared: false,
    external_with: [],
    is_default: false,
    mtu: physical.mtu,
    port_security_enabled: false,
    availability_zone_hints: [],
    availability_zones: [],
    dns_domain: '',
    child: null,
    ...NO_POLICY,
  });
  const segmentation_id = columns.provider_segmentation_id ?? 0;
  const cidr = choosePiece(topology.transit_cidr, segmentation_id, taken);
  if (cidr === undefined) {
    throw conflict(
      `Router ${router.id} leaves no addresses for the network between its availability zones: all of ${topology.transit_cidr} overlaps what it leads to.`,
      'TransitAddressesOverlap',
    );
  }
  const made = await makeInterface(tx, router, id, cidr);
  return { network_id: id, physical_network: physical.name, segmentation_id, interfaces: [made] };
}

/** An IPv6 subnet beside the other, where the router leads to IPv6 and the transit has none yet. */
export async function withIpv6(tx: Tx, router: Router, transit: Transit): Promise<Transit> {
  const { interfaces, network_id, segmentation_id } = transit;
  if (interfaces.some(({ subnet }) => subnet.ip_version === 6)) return transit;
  const made = await makeInterface(tx, router, network_id, choosePiece6(router.id, segmentation_id));
  return { ...transit, interfaces: [...interfaces, made] };
}

const ownedBy = (router: Router) => ({
  project_id: '',
  copies_project_id: router.project_id,
  name: `transit of router ${router.id}`,
  description: '',
  tags: [],
});

/** A subnet of a transit, without DHCP and gateway since nothing but the router is on it, and the router's port there. */
async function makeInterface(tx: Tx, router: Router, network_id: string, cidr: string): Promise<TransitInterface> {
  const range = parseCidr(cidr);
  if (range === undefined) throw new Error(`${cidr} is no range`);
  const { start, end } = usable(range);
  const subnet = await subnetStore.insert(tx, {
    ...ownedBy(router),
    id: randomUUID(),
    network_id,
    ip_version: range.version,
    cidr,
    gateway_ip: null,
    allocation_pools: [{ start: formatAddress(start, range.version), end: formatAddress(end, range.version) }],
    dns_nameservers: [],
    host_routes: [],
    enable_dhcp: false,
    ipv6_ra_mode: null,
    ipv6_address_mode: null,
    subnetpool_id: null,
    service_types: [],
    dns_publish_fixed_ip: false,
  });
  await sql`update networks set subnets = array_append(subnets, ${subnet.id}) where id = ${network_id}`.execute(tx);
  const port_id = randomUUID();
  const mac_address = await chooseMac(tx, network_id, undefined);
  const wish = { network_id, port_id, mac_address, device_owner: TRANSIT, fixed_ips: [{ subnet_id: subnet.id }] };
  const port = await storePort(tx, {
    ...ownedBy(router),
    id: port_id,
    network_id,
    mac_address,
    admin_state_up: true,
    status: 'ACTIVE',
    device_id: router.id,
    device_owner: TRANSIT,
    fixed_ips: await allocateAddresses(tx, wish),
    security_groups: [],
    allowed_address_pairs: [],
    extra_dhcp_opts: [],
    port_security_enabled: false,
    vnic_type: 'normal',
    binding_profile: {},
    host_id: '',
    child: null,
    server_made: false,
    boot_index: 0,
    tag: null,
    dns_name: '',
    dns_domain: '',
    numa_affinity_policy: null,
    ...NO_POLICY,
  });
  return { port, subnet };
}

/** Takes a transit away, with its copies; its VLAN is free again when every child has let go of it. */
export async function dropTransit(tx: Tx, cascade: Cascade, networkId: string): Promise<void> {
  const ports = await sql<{ id: string }>`delete from ports where network_id = ${networkId} returning id`.execute(tx);
  const subnets = await sql<{ id: string }>`delete from subnets where network_id = ${networkId} returning id`.execute(
    tx,
  );
  for (const { id } of ports.rows) await cascade.retire(tx, 'port', id);
  for (const { id } of subnets.rows) await cascade.retire(tx, 'subnet', id);
  await networkStore.remove(tx, networkId);
  await cascade.retire(tx, 'network', networkId);
}
