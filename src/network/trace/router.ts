/** The table of a router: in each child its interfaces, its gateway, and the way to what only other children have. */
import type { Queryable } from '../../db/database.ts';
import { portsOfDevice, ROUTER_INTERFACE } from '../edge-core.ts';
import { networkStore } from '../network-resource.ts';
import type { PortRow } from '../port-resource.ts';
import type { Router, Routes } from '../router-resource.ts';
import type { SubnetRow } from '../subnet-resource.ts';
import { type Transit, transitOf } from '../transit/make.ts';
import { type Reach, reachOf } from '../transit/reach.ts';
import { routesIn } from '../transit/route.ts';
import { type AddressIn, addressesOf } from './address.ts';
import type { Shown } from './ask.ts';
import type { TraceSection } from './contract.ts';
import { networkIds, parentIds } from './copies.ts';
import { type Attribute, askCopies, type Copy, listIn, set, tableOf, text, type TraceParts, yes } from './section.ts';

/** A router's place on one of its subnets. */
interface Leg {
  readonly subnet: SubnetRow;
  readonly port: PortRow;
  readonly address: AddressIn;
  /** Children in which it has an interface there. */
  readonly children: readonly string[];
}

export interface TracedRouter {
  readonly section: TraceSection;
  readonly reach: Reach;
  readonly transit: Transit | undefined;
}

/** What each child has of a router, against what the rows say that it should have. */
export async function routerSection(parts: TraceParts, row: Router): Promise<TracedRouter> {
  const { query } = parts;
  const [reach, transit] = await Promise.all([reachOf(query, row.id), transitOf(query, row.id)]);
  const traced = { kind: 'router', id: row.id, path: '/routers', key: 'router', expected: reach.children } as const;
  const { known, copies } = await askCopies(parts, traced);
  const legs = await legsOf(query, row, reach, transit);
  const attributes: Attribute[] = [
    { name: 'status', parent: row.status, shown: (body) => text(body.status) },
    {
      name: 'admin_state_up',
      parent: yes(row.admin_state_up),
      wanted: () => yes(row.admin_state_up),
      shown: (body) => yes(body.admin_state_up),
    },
    ...(await gateway(query, row)),
    ...transitRow(transit),
    ...(await interfaces(parts, legs, copies)),
    ...(await routes(row, reach, transit, legs, copies)),
  ];
  const title = row.name === '' ? 'router' : `router "${row.name}"`;
  return {
    section: tableOf({ ...traced, title, revision: row.revision, attributes }, known, copies),
    reach,
    transit,
  };
}

async function legsOf(query: Queryable, row: Router, reach: Reach, transit: Transit | undefined): Promise<Leg[]> {
  const ports = await portsOfDevice(query, [row.id], ROUTER_INTERFACE);
  const places = new Map(reach.subnets.map(({ subnet, children }) => [subnet.id, { subnet, children }]));
  const own = ports.flatMap((port) =>
    port.fixed_ips.flatMap(({ subnet_id }) => {
      const place = places.get(subnet_id);
      return place === undefined ? [] : [{ port, ...place }];
    }),
  );
  const joining = (transit?.interfaces ?? []).map((one) => ({ ...one, children: reach.children }));
  return Promise.all(
    [...own, ...joining].map(async (leg) => ({ ...leg, address: await addressesOf(query, leg.port, leg.subnet.id) })),
  );
}

async function gateway(query: Queryable, row: Router): Promise<Attribute[]> {
  const { gateway_network_id: networkId, external_gateway_info: info } = row;
  if (networkId === null || info === null) return [];
  const network = await networkStore.find(query, networkId);
  const childNetworks = await networkIds(query, networkId);
  const snat = (enabled: unknown): string => (enabled === false ? 'no SNAT' : 'SNAT');
  return [
    {
      name: 'gateway',
      parent: `${network?.name ?? networkId}, ${snat(info.enable_snat)}`,
      wanted: (child) =>
        childNetworks.get(child) === undefined ? null : `${network?.name ?? networkId}, ${snat(info.enable_snat)}`,
      shown: (body, child) => {
        const there = body.external_gateway_info as Shown | null;
        if (there == null) return null;
        const isIt = there.network_id === childNetworks.get(child);
        return `${isIt ? (network?.name ?? networkId) : `another network, ${String(there.network_id)}`}, ${snat(there.enable_snat)}`;
      },
    },
    {
      name: 'gateway addresses',
      parent: set(info.external_fixed_ips.map(({ ip_address }) => ip_address)),
      shown: (body) => {
        const there = body.external_gateway_info as Shown | null;
        return there == null
          ? null
          : set(listIn(there, 'external_fixed_ips').map(({ ip_address }) => String(ip_address)));
      },
    },
  ];
}

function transitRow(transit: Transit | undefined): Attribute[] {
  if (transit === undefined) return [];
  const parent = `VLAN ${transit.segmentation_id} on ${transit.physical_network}`;
  return [{ name: 'transit', parent }];
}

/** One row for each subnet, and one for what a child's copy has beside them. */
async function interfaces(
  { query, asker }: TraceParts,
  legs: readonly Leg[],
  copies: ReadonlyMap<string, Copy>,
): Promise<Attribute[]> {
  const there = new Map<string, ReadonlyMap<string, string>>();
  const strange = new Map<string, string[]>();
  for (const [child, { known, asked }] of copies) {
    if (known.child_id === null || !asked.answered || asked.body === undefined) continue;
    const fields = ['id', 'device_owner', 'fixed_ips'];
    const ports = await asker.list(child, '/ports', 'ports', { device_id: known.child_id, fields });
    const fixedIps = (ports ?? [])
      .filter(({ device_owner }) => /interface/.test(String(device_owner)))
      .flatMap((port) => listIn(port, 'fixed_ips'))
      .map(({ subnet_id, ip_address }) => ({ subnet_id: String(subnet_id), ip: String(ip_address) }));
    const subnets = await parentIds(
      query,
      'subnet',
      child,
      fixedIps.map(({ subnet_id }) => subnet_id),
    );
    const addresses = new Map<string, string>();
    for (const { subnet_id, ip } of fixedIps) {
      const subnet = subnets.get(subnet_id);
      if (subnet !== undefined && legs.some((leg) => leg.subnet.id === subnet)) addresses.set(subnet, ip);
      else strange.set(child, [...(strange.get(child) ?? []), ip]);
    }
    there.set(child, addresses);
  }
  const rows = legs.map(
    (leg): Attribute => ({
      name: `${leg.subnet.project_id === '' ? 'on transit' : 'interface'} ${leg.subnet.cidr}`,
      parent: leg.port.fixed_ips.find(({ subnet_id }) => subnet_id === leg.subnet.id)?.ip_address ?? null,
      wanted: (child) => (leg.children.includes(child) ? (leg.address(child) ?? 'an address, once it is made') : null),
      shown: (_body, child) => there.get(child)?.get(leg.subnet.id) ?? null,
    }),
  );
  if (strange.size === 0) return rows;
  const others: Attribute = {
    name: 'other interfaces',
    parent: null,
    wanted: () => null,
    shown: (_body, child) => set(strange.get(child) ?? []),
  };
  return [...rows, others];
}

/** One row for each destination: what the tenant asked for, and where each child sends it. */
async function routes(
  row: Router,
  reach: Reach,
  transit: Transit | undefined,
  legs: readonly Leg[],
  copies: ReadonlyMap<string, Copy>,
): Promise<Attribute[]> {
  const hop = async (child: string, version: number): Promise<string | undefined> => {
    const over = transit?.interfaces.find(({ subnet }) => subnet.ip_version === version);
    return legs.find(({ subnet }) => subnet.id === over?.subnet.id)?.address(child);
  };
  const wanted = new Map<string, Routes>();
  for (const child of reach.children) wanted.set(child, await routesIn(row, reach, child, hop));
  const shown = new Map<string, Routes>();
  for (const [child, { asked }] of copies) {
    if (asked.answered && asked.body !== undefined) shown.set(child, listIn(asked.body, 'routes') as unknown as Routes);
  }
  const all = [...row.routes, ...[...wanted.values(), ...shown.values()].flat()];
  const destinations = [...new Set(all.map(({ destination }) => destination))].sort();
  const hops = (among: Routes, destination: string): string | null =>
    set(among.filter((route) => route.destination === destination).map(({ nexthop }) => `by ${nexthop}`));
  return destinations.map((destination) => ({
    name: `route ${destination}`,
    parent: hops(row.routes, destination),
    wanted: (child) => hops(wanted.get(child) ?? [], destination),
    shown: (_body, child) => hops(shown.get(child) ?? [], destination),
  }));
}
