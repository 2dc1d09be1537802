/** Subnet pools as the API shows and takes them. */
import { Type } from 'typebox';
import { computed, field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { sharedFields } from '../sharing.ts';
import { standardAttributes, standardFilters } from '../standard-attributes.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const subnetPoolExtensions: readonly Extension[] = [
  {
    alias: 'default-subnetpools',
    name: 'Default Subnetpools',
    description: 'Subnets out of the default subnet pool.',
    updated: '2016-02-18T18:00:00-00:00',
  },
  {
    alias: 'subnet_allocation',
    name: 'Subnet Allocation',
    description: 'Subnets out of subnet pools.',
    updated: '2015-03-30T10:00:00-00:00',
  },
  {
    alias: 'subnet_onboard',
    name: 'Subnet Onboard',
    description: 'Subnets are taken into a subnet pool.',
    updated: '2018-12-18T10:00:00-00:00',
  },
  {
    alias: 'subnetpool-prefix-ops',
    name: 'Subnet Pool Prefix Operations',
    description: 'Single prefixes are added to a subnet pool and removed.',
    updated: '2019-02-08T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
/** Neutron takes numbers as numbers and as text. */
const NumberOrText = Type.Union([Type.Integer(), Type.String({ maxLength: 32 })]);
const PoolPrefixes = Type.Array(Type.String({ maxLength: 64 }), { maxItems: 1000 });

/** A length of prefixes: stored as a number, shown as text, as Neutron does. */
const prefixlen = field(Type.Integer(), {
  create: 'optional',
  update: true,
  filter: true,
  sort: true,
  show: 'never',
  input: NumberOrText,
});
const shownLength = (key: 'default_prefixlen' | 'min_prefixlen' | 'max_prefixlen') =>
  computed((row: Readonly<Record<typeof key, number>>) => String(row[key]), { name: key });

export const subnetPoolResource = resource({
  name: 'subnetpool',
  table: 'subnet_pools',
  filters: standardFilters(0),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'required', update: true, filter: true, sort: true }),
    project_id: field(Name, { create: 'optional', filter: true, sort: true }),
    default_prefixlen: prefixlen,
    min_prefixlen: prefixlen,
    max_prefixlen: prefixlen,
    shown_default_prefixlen: shownLength('default_prefixlen'),
    shown_min_prefixlen: shownLength('min_prefixlen'),
    shown_max_prefixlen: shownLength('max_prefixlen'),
    is_default: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: false,
      filter: true,
      sort: true,
      settableBy: 'rule:admin_only',
    }),
    ...sharedFields({ create: 'optional', settableBy: 'rule:admin_only' }),
    prefixes: field(Type.Array(Type.String()), { create: 'required', update: true, column: true, input: PoolPrefixes }),
    ip_version: field(Type.Integer(), { filter: true, sort: true }),
    default_quota: field(nullable(Type.Integer()), {
      create: 'optional',
      update: true,
      default: null,
      filter: true,
      input: NumberOrText,
    }),
    address_scope_id: field(nullable(Type.String()), {
      create: 'optional',
      update: true,
      default: null,
      filter: true,
      input: nullable(Type.String({ format: 'uuid' })),
    }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    ...standardAttributes(0),
  },
});

export type SubnetPoolRow = Row<typeof subnetPoolResource>;
export const subnetPoolStore = createStore(subnetPoolResource);

declare module '../../db/tables.ts' {
  interface Tables {
    subnet_pools: TableOf<typeof subnetPoolResource>;
  }
}
