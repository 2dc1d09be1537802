/** What a router is: its fields as Neutron shows them. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import { Type } from 'typebox';
import type { RequestContext } from '../http/service.ts';
import { nullable, computed, field, resource, type Row } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const routerExtensions: readonly Extension[] = [
  {
    alias: 'ext-gw-mode',
    name: 'Neutron L3 Configurable external gateway mode',
    description: 'SNAT at a gateway, or none.',
    updated: '2013-03-28T10:00:00-00:00',
  },
  {
    alias: 'extraroute',
    name: 'Neutron Extra Route',
    description: 'Extra routes of a router.',
    updated: '2013-02-01T10:00:00-00:00',
  },
  {
    alias: 'extraroute-atomic',
    name: 'Atomically add/remove extra routes',
    description: 'Adding and removing single extra routes.',
    updated: '2019-07-10T10:00:00-00:00',
  },
  {
    alias: 'router',
    name: 'Neutron L3 Router',
    description: 'Routers, gateways and floating IPs.',
    updated: '2012-07-20T10:00:00-00:00',
  },
  {
    alias: 'router_availability_zone',
    name: 'Router Availability Zone',
    description: 'Availability zones of routers.',
    updated: '2015-01-01T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
const Route = Type.Object(
  { destination: Type.String({ maxLength: 64 }), nexthop: Type.String({ maxLength: 64 }) },
  { additionalProperties: false },
);
const FixedIp = Type.Object(
  {
    subnet_id: Type.Optional(Type.String({ format: 'uuid' })),
    ip_address: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { additionalProperties: false },
);
/** What a request says of the gateway; an empty object is no gateway. */
const GatewayInput = Type.Union([
  Type.Null(),
  Type.Object(
    {
      network_id: Type.Optional(Type.Union([Type.String({ format: 'uuid' }), Type.Null()])),
      enable_snat: Type.Optional(Type.Boolean()),
      external_fixed_ips: Type.Optional(Type.Array(FixedIp, { maxItems: 64 })),
      qos_policy_id: Type.Optional(nullable(Type.String({ format: 'uuid' }))),
    },
    { additionalProperties: false },
  ),
]);
const Gateway = Type.Union([
  Type.Null(),
  Type.Object({
    network_id: Type.String(),
    external_fixed_ips: Type.Array(Type.Object({ subnet_id: Type.String(), ip_address: Type.String() })),
    enable_snat: Type.Boolean(),
    qos_policy_id: Type.Optional(Type.String()),
  }),
]);

export type Routes = { destination: string; nexthop: string }[];
export type GatewayInfo = {
  network_id: string;
  external_fixed_ips: FixedIps;
  enable_snat: boolean;
  /** Shown only where there is one, as Neutron does. */
  qos_policy_id?: string;
};
export type FixedIps = { subnet_id: string; ip_address: string }[];
export interface GatewayRequest {
  readonly network_id?: string | null;
  readonly enable_snat?: boolean;
  readonly qos_policy_id?: string | null;
  readonly external_fixed_ips?: readonly { readonly subnet_id?: string; readonly ip_address?: string }[];
}

const anyOf = (column: string, values: readonly string[]): RawBuilder<SqlBool> =>
  sql<SqlBool>`${sql.ref(column)} && ${[...values]}::text[]`;

export const router = resource({
  name: 'router',
  table: 'routers',
  filters: standardFilters(0),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, filter: true, sort: true, default: '' }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    admin_state_up: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      filter: true,
      sort: true,
      default: true,
    }),
    status: field(Type.String(), { filter: true, sort: true, default: 'ACTIVE' }),
    external_gateway_info: field(Gateway, { create: 'optional', update: true, input: GatewayInput, default: null }),
    gw_port_id: field(Type.Union([Type.String(), Type.Null()]), { column: true, show: 'never' }),
    gateway_qos_policy_id: field(Type.Union([Type.String(), Type.Null()]), {
      column: true,
      show: 'never',
      default: null,
    }),
    gateway_network_id: field(Type.Union([Type.String(), Type.Null()]), { column: true, show: 'never' }),
    description: field(Name, { create: 'optional', update: true, filter: true, default: '' }),
    availability_zones: computed<{ zones?: string[]; availability_zone_hints: string[] }>(
      (row) => row.zones ?? row.availability_zone_hints,
    ),
    availability_zone_hints: field(Type.Array(Type.String({ maxLength: 255 }), { maxItems: 64 }), {
      create: 'optional',
      column: true,
      default: [],
      filter: (values) => anyOf('availability_zone_hints', values),
    }),
    zones: field(Type.Array(Type.String()), { show: 'never' }),
    distributed: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      filter: true,
      default: false,
      visibleTo: 'rule:admin_only',
      settableBy: 'rule:admin_only',
    }),
    ha: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      filter: true,
      default: false,
      visibleTo: 'rule:admin_only',
      settableBy: 'rule:admin_only',
    }),
    routes: field(Type.Array(Route), {
      update: true,
      // None takes all of them away.
      input: nullable(Type.Array(Route, { maxItems: 256 })),
      default: [],
    }),
    ...standardAttributes(0),
  },
});

/** A router as it is stored. */
export type Router = Row<typeof router>;

export const routers = createStore(router);

/** A project sees its own routers, an admin all. */
export function visibleRouters(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  return context.identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${context.identity.project?.id ?? '-'}`];
}
