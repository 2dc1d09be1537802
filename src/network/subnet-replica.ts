/**
 * The copy of a subnet in a child: everything the same but the allocation pools, which hold only the few addresses that
 * the parent set aside for the child's own ports (DHCP, metadata). Tenant ports always come with explicit addresses.
 */
import type { ChildContext, ReplicaKind } from '../cascade/contract.ts';
import { Later } from '../cascade/later.ts';
import { CloudError } from '../openstack/error.ts';
import { releaseFromChild, reserveForChild } from './address-allocation.ts';
import { parseAddress } from './address-range.ts';
import { asCopied } from './copies-project.ts';
import { isOnStretched, gatewayIn } from './stretched/address.ts';
import { describe, detailOf, findByName, removeByPath } from './network-replica.ts';
import { type AllocationPool, isAutoAddress, type SubnetRow, subnetStore } from './subnet-resource.ts';

const CHILD_ADDRESSES = 2;
const SMALL_POOL = 8n;
const GATEWAY_AGAIN_MS = 1000;

/** A subnet as it is brought: with whether other children have it too. */
type Brought = SubnetRow & { readonly stretched: boolean };

export const subnetKind: ReplicaKind<Brought> = {
  kind: 'subnet',
  table: 'subnets',
  unique: false,
  async load(query, id) {
    const row = await subnetStore.find(query, id);
    return row === undefined ? undefined : { ...asCopied(row), stretched: await isOnStretched(query, row.network_id) };
  },
  needs: (row) => [{ kind: 'network', id: row.network_id }],
  find: (context, id, row) => findByName(context, '/subnets', 'subnets', id, row?.project_id),
  async make(context, row) {
    const { child_id: network_id } = await context.ensure('network', row.network_id);
    const { allocation_pools, ...values } = await valuesOf(context, row);
    // A child takes no pool at all for all addresses, until it is told again; its own ports would take one of them.
    const isPoolless = row.stretched && allocation_pools?.length === 0;
    const { body } = await context.api.call<{ subnet: { id: string } }>({
      service: 'network',
      method: 'POST',
      path: '/subnets',
      body: {
        subnet: {
          name: row.id,
          network_id,
          ip_version: row.ip_version,
          cidr: row.cidr,
          ...values,
          ...(isPoolless ? { enable_dhcp: false } : { allocation_pools }),
          ...(row.ipv6_ra_mode === null ? {} : { ipv6_ra_mode: row.ipv6_ra_mode }),
          ...(row.ipv6_address_mode === null ? {} : { ipv6_address_mode: row.ipv6_address_mode }),
        },
      },
      scope: await context.scope(row.project_id),
    });
    return { child_id: body.subnet.id, detail: detailOf(row.project_id), current: !isPoolless };
  },
  /** Sends all that may change; twice: the same values again. */
  async bring(context, row, replica) {
    try {
      await context.api.call({
        service: 'network',
        method: 'PUT',
        path: `/subnets/${replica.child_id}`,
        body: { subnet: await valuesOf(context, row) },
        scope: await context.scope(row.project_id),
      });
    } catch (error) {
      // The copy of a router that is leaving still has the address.
      if (row.stretched && error instanceof CloudError && error.status === 409) {
        throw new Later(GATEWAY_AGAIN_MS, error.message);
      }
      throw error;
    }
  },
  /** The addresses set aside for the child are free again only when it has let go of them. */
  async remove(context, replica) {
    await removeByPath(context, `/subnets/${replica.child_id}`, replica.detail.project_id);
    await releaseFromChild(context.db.query, replica.resource_id, context.child);
  },
};

interface Values {
  readonly [attribute: string]: unknown;
  readonly allocation_pools?: readonly AllocationPool[];
}

async function valuesOf(context: ChildContext, row: Brought): Promise<Values> {
  const count = row.enable_dhcp && !isAutoAddress(row) ? reservedCount(row.allocation_pools) : 0;
  const addresses = await context.db.transaction((tx) => reserveForChild(tx, row, context.child, count));
  const place = { subnet: row, child: context.child };
  return {
    description: describe(row.name),
    gateway_ip: row.stretched ? await gatewayIn(context.db, place) : row.gateway_ip,
    enable_dhcp: row.enable_dhcp,
    dns_nameservers: row.dns_nameservers,
    host_routes: row.host_routes,
    // That child may think that it has all addresses where it lives in one child, or where addresses follow from MACs: it
    // takes none by itself.
    ...(addresses.length === 0 && (!row.stretched || isAutoAddress(row))
      ? {}
      : { allocation_pools: addresses.map((address) => ({ start: address, end: address })) }),
  };
}

/** A tenant with a handful of addresses should not lose two of them. */
function reservedCount(pools: readonly AllocationPool[]): number {
  let size = 0n;
  for (const { start, end } of pools) {
    size += (parseAddress(end)?.value ?? -1n) - (parseAddress(start)?.value ?? 0n) + 1n;
  }
  return size < SMALL_POOL ? 1 : CHILD_ADDRESSES;
}
