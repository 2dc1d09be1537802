/** Networks as the API shows and takes them. */
import { Type } from 'typebox';
import { computed, field, nullable, resource, type Row, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { copiesProject } from './copies-project.ts';
import { policyFields } from './qos/policy-fields.ts';
import { sharedFields } from './sharing.ts';
import { standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const networkExtensions: readonly Extension[] = [
  {
    alias: 'external-net',
    name: 'Neutron external network',
    description: 'Networks that lead outside.',
    updated: '2013-01-14T10:00:00-00:00',
  },
  {
    alias: 'l2_adjacency',
    name: 'L2 Adjacency',
    description: 'Whether all ports of a network are on one segment.',
    updated: '2016-04-12T16:00:00-00:00',
  },
  { alias: 'net-mtu', name: 'Network MTU', description: 'The MTU of a network.', updated: '2015-03-25T10:00:00-00:00' },
  {
    alias: 'net-mtu-writable',
    name: 'Network MTU (writable)',
    description: 'The MTU of a network is chosen.',
    updated: '2017-07-12T00:00:00-00:00',
  },
  {
    alias: 'network_availability_zone',
    name: 'Network Availability Zone',
    description: 'Availability zones of networks.',
    updated: '2015-01-01T10:00:00-00:00',
  },
  {
    alias: 'provider',
    name: 'Provider Network',
    description: 'How a network lies on physical ones.',
    updated: '2012-09-07T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
const Zones = Type.Array(Type.String({ maxLength: 255 }), { maxItems: 50 });
const ADMIN = 'rule:admin_only';

export const networkResource = resource({
  name: 'network',
  table: 'networks',
  filters: standardFilters(1),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    admin_state_up: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: true,
      filter: true,
      sort: true,
    }),
    status: field(Type.String(), { default: 'ACTIVE', filter: true, sort: true }),
    subnets: field(Type.Array(Type.String()), { column: true, default: [] }),
    ...sharedFields({ create: 'optional', update: true, settableBy: ADMIN }),
    external: field(Type.Boolean(), {
      name: 'router:external',
      create: 'optional',
      update: true,
      default: false,
      filter: true,
      settableBy: ADMIN,
    }),
    /** As external, shared with everybody, and with these projects; kept by the policies (`rbac/`). */
    external_shared: field(Type.Boolean(), { column: true, default: false, show: 'never' }),
    external_with: field(Type.Array(Type.String()), { column: true, default: [], show: 'never' }),
    is_default: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: false,
      filter: true,
      settableBy: ADMIN,
    }),
    mtu: field(Type.Integer(), {
      input: Type.Integer({ minimum: 0, maximum: 65_535 }),
      create: 'optional',
      update: true,
      filter: true,
      sort: true,
    }),
    port_security_enabled: field(Type.Boolean(), { create: 'optional', update: true, default: true, filter: true }),
    availability_zone_hints: field(Zones, { create: 'optional', default: [], column: true }),
    availability_zones: field(Zones, { default: [], column: true }),
    dns_domain: field(Name, { create: 'optional', update: true, default: '', input: nullable(Name) }),
    provider_network_type: field(nullable(Type.String({ maxLength: 32 })), {
      name: 'provider:network_type',
      create: 'optional',
      update: true,
      default: null,
      filter: true,
      visibleTo: ADMIN,
      settableBy: ADMIN,
    }),
    provider_physical_network: field(nullable(Type.String({ maxLength: 64 })), {
      name: 'provider:physical_network',
      create: 'optional',
      update: true,
      default: null,
      filter: true,
      visibleTo: ADMIN,
      settableBy: ADMIN,
    }),
    provider_segmentation_id: field(nullable(Type.Integer()), {
      name: 'provider:segmentation_id',
      // Clients send the number as text, too.
      input: nullable(Type.Union([Type.Integer(), Type.String({ maxLength: 64 })])),
      create: 'optional',
      update: true,
      default: null,
      filter: true,
      visibleTo: ADMIN,
      settableBy: ADMIN,
    }),
    child: field(nullable(Type.String()), { column: true, show: 'never', default: null }),
    copies_project_id: copiesProject,
    ipv4_address_scope: computed(() => null),
    ipv6_address_scope: computed(() => null),
    l2_adjacency: computed(() => true),
    ...policyFields,
    ...standardAttributes(1),
  },
});

export type NetworkRow = Row<typeof networkResource>;
export const networkStore = createStore(networkResource);

declare module '../db/tables.ts' {
  interface Tables {
    networks: TableOf<typeof networkResource>;
  }
}
