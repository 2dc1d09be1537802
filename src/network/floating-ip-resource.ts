/** What a floating IP is: its fields as Neutron shows them. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import { Type } from 'typebox';
import type { RequestContext } from '../http/service.ts';
import { nullable, computed, field, resource, type Row } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { callersProject } from './network-project.ts';
import { type Forwarding, shownInFloatingIp } from './port-forwarding/port-forwarding-resource.ts';
import { policyFields } from './qos/policy-fields.ts';
import { standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const floatingIpExtensions: readonly Extension[] = [
  {
    alias: 'fip-port-details',
    name: 'Floating IP Port Details Extension',
    description: 'The port behind a floating IP.',
    updated: '2018-04-09T10:00:00-00:00',
  },
];

const Uuid = Type.String({ format: 'uuid' });
const Address = Type.String({ format: 'ipv4' });
const Text = Type.String({ maxLength: 255 });

export const floatingIp = resource({
  name: 'floatingip',
  table: 'floating_ips',
  filters: standardFilters(0),
  fields: {
    id: field(Type.String(), { filter: true }),
    project_id: field(Text, { create: 'optional', filter: true, sort: true }),
    floating_ip_address: field(Type.String(), {
      create: 'optional',
      input: nullable(Address),
      filter: true,
      sort: true,
      settableBy: 'rule:admin_only',
    }),
    floating_network_id: field(Type.String(), { create: 'required', input: Uuid, filter: true, sort: true }),
    router_id: field(nullable(Type.String()), { filter: true, sort: true }),
    port_id: field(nullable(Type.String()), {
      create: 'optional',
      update: true,
      input: nullable(Uuid),
      filter: true,
      sort: true,
    }),
    fixed_ip_address: field(nullable(Type.String()), {
      create: 'optional',
      update: true,
      input: nullable(Address),
      filter: true,
      sort: true,
    }),
    status: field(Type.String(), { filter: true, sort: true, default: 'DOWN' }),
    description: field(Text, { create: 'optional', update: true, filter: true, default: '' }),
    ...policyFields,
    dns_name: field(Text, { create: 'optional', default: '', input: nullable(Text) }),
    dns_domain: field(Text, { create: 'optional', default: '', input: nullable(Text) }),
    port_details: computed<{ port_details?: unknown }>((row) => row.port_details ?? null),
    /** The forwardings' rows, kept here beside their own table. */
    forwardings: field(Type.Array(Type.Unsafe<Forwarding>(Type.Object({}))), { show: 'never', default: [] }),
    port_forwardings: computed<{ forwardings: Forwarding[] }>((row) => row.forwardings.map(shownInFloatingIp)),
    // Where the address is from: asked for on create, never shown (the network may have several).
    subnet_id: field(Type.String(), { create: 'optional', input: nullable(Uuid), column: true, show: 'never' }),
    child: field(Type.String(), { column: true, show: 'never' }),
    floating_port_id: field(Type.String(), { column: true, show: 'never' }),
    ...standardAttributes(0),
  },
});

/** A floating IP as it is stored. */
export type FloatingIp = Row<typeof floatingIp>;

export const floatingIps = createStore(floatingIp);

/** A project sees its own floating IPs, an admin all. */
export function visibleFloatingIps(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  return context.identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${callersProject(context)}`];
}
