/** Ports as the API shows and takes them. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { badRequest } from '../http/fault.ts';
import { computed, field, nullable, resource, type Row, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { copiesProject } from './copies-project.ts';
import { assignmentsOf } from './dns/dns-name.ts';
import { policyFields } from './qos/policy-fields.ts';
import { standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const portExtensions: readonly Extension[] = [
  {
    alias: 'allowed-address-pairs',
    name: 'Allowed Address Pairs',
    description: 'Further addresses that a port may send from.',
    updated: '2013-07-23T10:00:00-00:00',
  },
  {
    alias: 'binding',
    name: 'Port Binding',
    description: 'How and where a port is bound.',
    updated: '2014-02-03T10:00:00-00:00',
  },
  {
    alias: 'extra_dhcp_opt',
    name: 'Neutron Extra DHCP options',
    description: 'Further DHCP options of a port.',
    updated: '2013-03-17T12:00:00-00:00',
  },
  {
    alias: 'ip_allocation',
    name: 'IP Allocation',
    description: 'When a port gets its addresses: at once.',
    updated: '2016-06-10T23:00:00-00:00',
  },
  {
    alias: 'port-mac-address-regenerate',
    name: 'Neutron Port MAC address regenerate',
    description: 'A port is given another MAC.',
    updated: '2018-05-03T10:00:00-00:00',
  },
  {
    alias: 'port-numa-affinity-policy',
    name: 'Port NUMA affinity policy',
    description: 'How near to its NUMA node a port has to be.',
    updated: '2020-07-08T10:00:00-00:00',
  },
  {
    alias: 'port-security',
    name: 'Port Security',
    description: 'Ports whose traffic is not filtered.',
    updated: '2012-07-23T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
const ADMIN = 'rule:admin_only';
const Address = Type.String({ maxLength: 64 });

const FixedIp = Type.Object({ subnet_id: Type.String(), ip_address: Type.String() });
const FixedIpInput = Type.Object(
  { subnet_id: Type.Optional(Type.String({ format: 'uuid' })), ip_address: Type.Optional(Address) },
  { additionalProperties: false },
);
const AddressPair = Type.Object({ ip_address: Type.String(), mac_address: Type.String() });
const AddressPairInput = Type.Object(
  { ip_address: Address, mac_address: Type.Optional(Type.String({ maxLength: 32 })) },
  { additionalProperties: false },
);
const DhcpOption = Type.Object({ opt_name: Type.String(), opt_value: Type.String(), ip_version: Type.Integer() });
const DhcpOptionInput = Type.Object(
  {
    opt_name: Type.String({ minLength: 1, maxLength: 64 }),
    opt_value: nullable(Type.String({ maxLength: 255 })),
    ip_version: Type.Optional(Type.Enum([4, 6])),
  },
  { additionalProperties: false },
);

export type FixedIp = { subnet_id: string; ip_address: string };

export const portResource = resource({
  name: 'port',
  table: 'ports',
  filters: {
    ...standardFilters(1),
    fixed_ips: fixedIpFilter,
    ip_allocation: (values) => sql<SqlBool>`${values[0] === 'immediate'}`,
  },
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    network_id: field(Type.String({ format: 'uuid' }), { create: 'required', filter: true, sort: true }),
    mac_address: field(Type.String({ maxLength: 32 }), {
      create: 'optional',
      update: true,
      sort: true,
      filter: (values) => sql<SqlBool>`mac_address = any(${values.map((value) => value.toLowerCase())})`,
      input: nullable(Type.String({ maxLength: 32 })),
    }),
    admin_state_up: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: true,
      filter: true,
      sort: true,
    }),
    status: field(Type.String(), { default: 'DOWN', filter: true, sort: true }),
    device_id: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    device_owner: field(Name, { create: 'optional', update: true, default: '', filter: ownerFilter, sort: true }),
    fixed_ips: field(Type.Array(FixedIp), {
      create: 'optional',
      update: true,
      default: [],
      input: nullable(Type.Array(FixedIpInput, { maxItems: 64 })),
    }),
    security_groups: field(Type.Array(Type.String()), {
      create: 'optional',
      update: true,
      column: true,
      default: [],
      filter: (values) => sql<SqlBool>`security_groups && ${[...values]}::text[]`,
      input: nullable(Type.Array(Type.String({ format: 'uuid' }), { maxItems: 100 })),
    }),
    allowed_address_pairs: field(Type.Array(AddressPair), {
      create: 'optional',
      update: true,
      default: [],
      input: nullable(Type.Array(AddressPairInput, { maxItems: 10 })),
    }),
    extra_dhcp_opts: field(Type.Array(DhcpOption), {
      create: 'optional',
      update: true,
      default: [],
      input: nullable(Type.Array(DhcpOptionInput, { maxItems: 64 })),
    }),
    port_security_enabled: field(Type.Boolean(), { create: 'optional', update: true, default: true }),
    vnic_type: field(Type.String(), {
      name: 'binding:vnic_type',
      create: 'optional',
      update: true,
      default: 'normal',
      input: Type.Enum(['normal', 'direct', 'macvtap', 'baremetal', 'direct-physical', 'virtio-forwarder', 'vdpa']),
    }),
    binding_profile: field(Type.Object({}, { additionalProperties: true }), {
      name: 'binding:profile',
      create: 'optional',
      update: true,
      default: {},
      visibleTo: ADMIN,
      settableBy: ADMIN,
      input: nullable(Type.Object({}, { additionalProperties: true, maxProperties: 64 })),
    }),
    host_id: field(Type.String(), {
      name: 'binding:host_id',
      create: 'optional',
      update: true,
      default: '',
      filter: true,
      visibleTo: ADMIN,
      settableBy: ADMIN,
      input: nullable(Name),
    }),
    vif_type: computed((row: { host_id: string }) => (row.host_id === '' ? 'unbound' : 'ovs'), {
      name: 'binding:vif_type',
      visibleTo: ADMIN,
    }),
    vif_details: computed(() => ({}), { name: 'binding:vif_details', visibleTo: ADMIN }),
    child: field(nullable(Type.String()), { column: true, show: 'never', default: null }),
    copies_project_id: copiesProject,
    server_made: field(Type.Boolean(), { column: true, show: 'never', default: false }),
    boot_index: field(Type.Integer(), { column: true, show: 'never', default: 0 }),
    /** Nova's device tag of the interface; the server shows it, the port does not. */
    tag: field(nullable(Type.String()), { show: 'never', default: null }),
    ...policyFields,
    dns_name: field(Name, { create: 'optional', update: true, default: '', input: nullable(Name) }),
    dns_domain: field(Name, { create: 'optional', update: true, default: '', input: nullable(Name) }),
    dns_assignment: computed(assignmentsOf),
    numa_affinity_policy: field(nullable(Type.String()), {
      create: 'optional',
      update: true,
      default: null,
      visibleTo: ADMIN,
      settableBy: ADMIN,
      input: nullable(Type.Enum(['required', 'preferred', 'legacy'])),
    }),
    qos_network_policy_id: computed(() => null),
    resource_request: computed(() => null, { visibleTo: ADMIN }),
    ip_allocation: computed((row: { fixed_ips: readonly unknown[] }) =>
      row.fixed_ips.length > 0 ? 'immediate' : 'none',
    ),
    ...standardAttributes(1),
  },
});

export type PortRow = Row<typeof portResource>;
export const portStore = createStore(portResource);

declare module '../db/tables.ts' {
  interface Tables {
    ports: TableOf<typeof portResource>;
    ip_allocations: { subnet_id: string; ip_address: string; port_id: string };
  }
}

/** `fixed_ips=ip_address=10.0.0.3&fixed_ips=subnet_id=...`: all of one kind together, both kinds at once. */
function fixedIpFilter(values: readonly string[]): RawBuilder<SqlBool> {
  const conditions = [sql<SqlBool>`a.port_id = ports.id`];
  const wanted: Record<string, string[]> = {};
  for (const value of values) {
    const [, key = '', text = ''] = /^([a-z_]+)=(.*)$/s.exec(value) ?? [];
    if (key !== 'ip_address' && key !== 'subnet_id' && key !== 'ip_address_substr') {
      throw badRequest(`Invalid input for fixed_ips. Reason: '${value.slice(0, 64)}' is not valid.`, 'HTTPBadRequest');
    }
    (wanted[key] ??= []).push(text);
  }
  // As text: an address of a wrong form finds nothing, as in Neutron.
  if (wanted.ip_address !== undefined) conditions.push(sql<SqlBool>`host(a.ip_address) = any(${wanted.ip_address})`);
  if (wanted.subnet_id !== undefined) conditions.push(sql<SqlBool>`a.subnet_id = any(${wanted.subnet_id})`);
  for (const part of wanted.ip_address_substr ?? []) {
    conditions.push(sql<SqlBool>`position(${part} in host(a.ip_address)) > 0`);
  }
  return sql<SqlBool>`exists (select 1 from ip_allocations a where ${sql.join(conditions, sql` and `)})`;
}

/** `device_owner=network:` is a prefix where it ends in a colon, as `openstack port list --device-owner` uses it. */
function ownerFilter(values: readonly string[]): RawBuilder<SqlBool> {
  const prefixes = values.filter((value) => value.endsWith(':'));
  const exact = sql<SqlBool>`device_owner = any(${[...values]})`;
  if (prefixes.length === 0) return exact;
  return sql<SqlBool>`(${exact} or ${sql.join(
    prefixes.map((prefix) => sql<SqlBool>`starts_with(device_owner, ${prefix})`),
    sql` or `,
  )})`;
}
