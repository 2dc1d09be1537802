/** How many addresses networks have and how many of them are taken (`/network-ip-availabilities`), for administrators. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Db, Queryable } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { JsonBytes, type Operation, operation, type Query } from '../../http/service.ts';
import { listBody, parseListing } from '../../resource/listing.ts';
import { field, resource } from '../../resource/resource.ts';
import { parseAddress } from '../address-range.ts';
import { chooseFields } from '../edge-list.ts';
import { networkNotFound } from '../network-fault.ts';
import { type NetworkRow, networkStore } from '../network-resource.ts';
import type { AllocationPool } from '../subnet-resource.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const ipAvailabilityExtensions: readonly Extension[] = [
  {
    alias: 'network-ip-availability',
    name: 'Network IP Availability',
    description: 'How many addresses of networks are in use.',
    updated: '2015-09-24T00:00:00-00:00',
  },
];

/** A view of networks: what a list of it may be asked for. */
const availability = resource({
  name: 'network_ip_availability',
  collection: 'network_ip_availabilities',
  table: 'networks',
  fields: {
    network_id: field(Type.String(), { filter: (values) => sql<SqlBool>`id = any(${[...values]}::text[])` }),
    network_name: field(Type.String(), { filter: (values) => sql<SqlBool>`name = any(${[...values]}::text[])` }),
    project_id: field(Type.String(), { filter: true }),
    ip_version: field(Type.Integer(), {
      filter: (values) => sql<SqlBool>`exists (select 1 from subnets s
        where s.network_id = networks.id and s.ip_version = any(${versionsOf(values)}::int[]))`,
    }),
  },
});

const policy = {
  name: 'get_network_ip_availability',
  check: 'rule:admin_only',
  description: 'How many addresses of networks are in use',
};
const PATH = '/network-ip-availabilities';

/** `GET /network-ip-availabilities` and `GET /network-ip-availabilities/:network_id`. */
export function ipAvailabilityOperations(db: Db): Operation[] {
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy,
      status: 200,
      summary: 'List how many addresses of each network are in use',
      handle: async ({ context, query }) => {
        const listing = parseListing(availability, convention, context, query);
        const networks = await networkStore.page(db.query, listing);
        if (networks === undefined) throw networkNotFound(listing.marker ?? '');
        const versions = query.ip_version === undefined ? [4, 6] : versionsOf([query.ip_version].flat());
        const items = (await availabilities(db.query, networks, versions)).map((item) => chooseFields(item, query));
        const ids = networks.map(({ id }) => id);
        return withBigNumbers(listBody(availability, convention, context, listing, query, PATH, items, ids));
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:network_id`,
      policy,
      status: 200,
      summary: 'Show how many addresses of a network are in use',
      handle: async ({ params, query }) => {
        const id = params.network_id ?? '';
        const network = await networkStore.find(db.query, id);
        if (network === undefined) throw networkNotFound(id);
        const [item] = await availabilities(db.query, [network], [4, 6]);
        return withBigNumbers({ network_ip_availability: chooseFields(item ?? {}, query as Query) });
      },
    }),
  ];
}

const versionsOf = (values: readonly string[]): number[] =>
  [4, 6].filter((version) => values.includes(String(version)));

interface SubnetUse {
  readonly network_id: string;
  readonly id: string;
  readonly ip_version: number;
  readonly cidr: string;
  readonly name: string;
  readonly allocation_pools: readonly AllocationPool[];
  readonly used: number;
}

/** Two queries, however many networks: the counts go along the index of addresses by subnet. */
async function availabilities(query: Queryable, networks: readonly NetworkRow[], versions: readonly number[]) {
  const ids = networks.map(({ id }) => id);
  const { rows } = await sql<SubnetUse>`
    select s.network_id, s.id, s.ip_version, s.cidr, s.name, s.body -> 'allocation_pools' as allocation_pools,
      (select count(*)::int from ip_allocations a where a.subnet_id = s.id) as used
    from subnets s where s.network_id = any(${ids}::text[]) and s.ip_version = any(${[...versions]}::int[])
    order by s.created_at, s.id`.execute(query);
  return networks.map(({ id, name, project_id }) => {
    const subnets = rows.filter(({ network_id }) => network_id === id);
    const subnet_ip_availability = subnets.map((subnet) => ({
      subnet_id: subnet.id,
      ip_version: subnet.ip_version,
      cidr: subnet.cidr,
      subnet_name: subnet.name,
      used_ips: subnet.used,
      total_ips: sizeOf(subnet.allocation_pools),
    }));
    return {
      network_id: id,
      network_name: name,
      tenant_id: project_id,
      project_id,
      subnet_ip_availability,
      used_ips: subnets.reduce((sum, { used }) => sum + used, 0),
      total_ips: subnet_ip_availability.reduce((sum, { total_ips }) => sum + total_ips, 0n),
    };
  });
}

const sizeOf = (pools: readonly AllocationPool[]): bigint =>
  pools.reduce(
    (sum, { start, end }) => sum + (parseAddress(end)?.value ?? -1n) - (parseAddress(start)?.value ?? 0n) + 1n,
    0n,
  );

/** JSON with numbers as large as an IPv6 subnet. No text of the database can hold the sign that marks them. */
function withBigNumbers(body: unknown): JsonBytes {
  const text = JSON.stringify(body, (_key, value: unknown) => (typeof value === 'bigint' ? `\0${value}\0` : value));
  return new JsonBytes([text.replaceAll(/"\\u0000(\d+)\\u0000"/g, '$1')]);
}
