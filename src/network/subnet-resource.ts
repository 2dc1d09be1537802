/** Subnets as the API shows and takes them. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { computed, field, nullable, resource, type Row, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { copiesProject } from './copies-project.ts';
import { callersProject, sharedNetworks } from './network-project.ts';
import { sharedValue } from './sharing.ts';
import { standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const subnetExtensions: readonly Extension[] = [
  {
    alias: 'subnet-dns-publish-fixed-ip',
    name: 'Subnet DNS publish fixed IP',
    description: 'Whether the names of ports on a subnet are published.',
    updated: '2019-05-24T10:00:00-00:00',
  },
  {
    alias: 'subnet-service-types',
    name: 'Subnet service types',
    description: 'Subnets for certain owners of ports.',
    updated: '2016-03-15T18:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
const Ipv6Mode = nullable(Type.Enum(['dhcpv6-stateful', 'dhcpv6-stateless', 'slaac']));
const Pool = Type.Object(
  { start: Type.String({ maxLength: 64 }), end: Type.String({ maxLength: 64 }) },
  { additionalProperties: false },
);
const Route = Type.Object(
  { destination: Type.String({ maxLength: 64 }), nexthop: Type.String({ maxLength: 64 }) },
  { additionalProperties: false },
);

export type AllocationPool = { readonly start: string; readonly end: string };

const subnetResource = resource({
  name: 'subnet',
  table: 'subnets',
  filters: {
    ...standardFilters(0),
    shared: (values, context) => {
      const shared = sql`select n.id from networks n where ${sharedNetworks('n', callersProject(context))}`;
      return sql<SqlBool>`(network_id in (${shared})) = any(${values.map(sharedValue)}::boolean[])`;
    },
  },
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    network_id: field(Type.String({ format: 'uuid' }), { create: 'required', filter: true, sort: true }),
    ip_version: field(Type.Integer(), { input: Type.Enum([4, 6]), create: 'required', filter: true, sort: true }),
    /** Only taken: the length of a prefix out of a pool. */
    prefixlen: field(Type.Integer(), {
      create: 'optional',
      show: 'never',
      input: Type.Union([Type.Integer(), Type.String({ maxLength: 32 })]),
    }),
    /** Only taken: whether the prefix comes from the default pool. */
    use_default_subnetpool: field(Type.Boolean(), { create: 'optional', show: 'never' }),
    cidr: field(Type.String({ maxLength: 64 }), {
      create: 'optional',
      sort: true,
      filter: (values) => sql<SqlBool>`cidr = any(${[...values]})`,
      input: nullable(Type.String({ maxLength: 64 })),
    }),
    gateway_ip: field(nullable(Type.String({ maxLength: 64 })), { create: 'optional', update: true, filter: true }),
    allocation_pools: field(Type.Array(Pool), {
      create: 'optional',
      update: true,
      input: Type.Array(Pool, { maxItems: 64 }),
    }),
    dns_nameservers: field(Type.Array(Type.String()), {
      create: 'optional',
      update: true,
      default: [],
      input: nullable(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 64 })),
    }),
    host_routes: field(Type.Array(Route), {
      create: 'optional',
      update: true,
      default: [],
      input: nullable(Type.Array(Route, { maxItems: 256 })),
    }),
    enable_dhcp: field(Type.Boolean(), { create: 'optional', update: true, default: true, filter: true, sort: true }),
    ipv6_ra_mode: field(Ipv6Mode, { create: 'optional', default: null, filter: true }),
    ipv6_address_mode: field(Ipv6Mode, { create: 'optional', default: null, filter: true }),
    subnetpool_id: field(nullable(Type.String({ maxLength: 64 })), { create: 'optional', default: null, filter: true }),
    service_types: field(Type.Array(Type.String({ maxLength: 255 }), { maxItems: 20 }), {
      create: 'optional',
      update: true,
      default: [],
    }),
    /** Only taken, as null; shown as that. */
    segment_id: field(nullable(Type.String({ format: 'uuid' })), {
      create: 'optional',
      show: 'never',
      filter: () => sql<SqlBool>`false`,
    }),
    shown_segment_id: computed(() => null, { name: 'segment_id' }),
    dns_publish_fixed_ip: field(Type.Boolean(), { create: 'optional', update: true, default: false }),
    copies_project_id: copiesProject,
    ...standardAttributes(0),
  },
});

/** What is asked for beside what is kept. */
type Asked = 'prefixlen' | 'use_default_subnetpool' | 'segment_id';
export type SubnetRow = Omit<Row<typeof subnetResource>, Asked>;
export type SubnetRequest = Partial<Row<typeof subnetResource>>;
export const subnetStore = createStore<typeof subnetResource, SubnetRow>(subnetResource);

declare module '../db/tables.ts' {
  interface Tables {
    subnets: Omit<TableOf<typeof subnetResource>, Asked>;
  }
}

/** Whether ports get their addresses on it by themselves, out of their MACs. */
export const isAutoAddress = (subnet: { readonly ipv6_address_mode: string | null }): boolean =>
  subnet.ipv6_address_mode === 'slaac' || subnet.ipv6_address_mode === 'dhcpv6-stateless';
