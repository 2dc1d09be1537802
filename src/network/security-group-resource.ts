/** Security groups and their rules as the API shows and takes them. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { network as convention } from '../http/conventions.ts';
import type { RequestContext } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { computed, field, nullable, resource, type Row, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { normalizedCidr } from './address-range.ts';
import { sharedFields } from './sharing.ts';
import { revisedAttributes, revisedFilters, standardAttributes, standardFilters } from './standard-attributes.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const securityGroupExtensions: readonly Extension[] = [
  {
    alias: 'security-group',
    name: 'security-group',
    description: 'Security groups and their rules.',
    updated: '2012-10-05T10:00:00-00:00',
  },
  {
    alias: 'security-groups-normalized-cidr',
    name: 'Normalized CIDR field for security group rules',
    description: 'Prefixes in their usual form.',
    updated: '2020-07-28T10:00:00-00:00',
  },
  {
    alias: 'security-groups-remote-address-group',
    name: 'Remote address group id field for security group rules',
    description: 'Rules that admit an address group.',
    updated: '2020-08-25T10:00:00-00:00',
  },
  {
    alias: 'security-groups-shared-filtering',
    name: 'Security group filtering on the shared field',
    description: 'Which groups are shared.',
    updated: '2021-10-05T09:00:00-00:00',
  },
  {
    alias: 'stateful-security-group',
    name: 'Stateful security group',
    description: 'Groups that track no connections.',
    updated: '2019-11-26T09:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
const Port = nullable(Type.Integer());
/** Neutron takes ports and protocols as numbers and as text. */
const NumberOrText = Type.Union([Type.Integer(), Type.String({ maxLength: 32 }), Type.Null()]);

/** Neutron takes any text for the id of a group, and then finds none. */
const Id = Type.String({ maxLength: 255 });

const securityGroupRuleResource = resource({
  name: 'security_group_rule',
  table: 'security_group_rules',
  filters: {
    ...revisedFilters(0),
    normalized_cidr: (values) => sql<SqlBool>`host(network(remote_ip_prefix::inet)) || '/' ||
      masklen(remote_ip_prefix::inet) = any(${[...values]}::text[])`,
  },
  fields: {
    id: field(Type.String(), { filter: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    security_group_id: field(Id, { create: 'required', filter: true, sort: true }),
    ethertype: field(Type.String(), {
      create: 'optional',
      filter: true,
      sort: true,
      input: nullable(Type.String({ maxLength: 32 })),
    }),
    direction: field(Type.String(), {
      create: 'required',
      filter: true,
      sort: true,
      input: Type.Enum(['ingress', 'egress']),
    }),
    protocol: field(nullable(Type.String()), { create: 'optional', filter: true, input: NumberOrText }),
    port_range_min: field(Port, { create: 'optional', filter: true, input: NumberOrText }),
    port_range_max: field(Port, { create: 'optional', filter: true, input: NumberOrText }),
    remote_ip_prefix: field(nullable(Type.String()), {
      create: 'optional',
      filter: true,
      input: nullable(Type.String({ maxLength: 64 })),
    }),
    remote_group_id: field(nullable(Type.String()), {
      create: 'optional',
      filter: true,
      input: nullable(Id),
    }),
    remote_address_group_id: field(nullable(Type.String()), {
      create: 'optional',
      filter: true,
      input: nullable(Id),
    }),
    normalized_cidr: computed((row: { remote_ip_prefix: string | null }) =>
      row.remote_ip_prefix === null ? null : normalizedCidr(row.remote_ip_prefix),
    ),
    description: field(nullable(Name), { create: 'optional', filter: true }),
    ...revisedAttributes(0),
  },
});

export type SecurityGroupRuleRow = Row<typeof securityGroupRuleResource>;
export const securityGroupRuleStore = createStore(securityGroupRuleResource);

const securityGroupResource = resource({
  name: 'security_group',
  table: 'security_groups',
  filters: standardFilters(1),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    stateful: field(Type.Boolean(), { create: 'optional', update: true, default: true, filter: true, sort: true }),
    ...sharedFields({}),
    /** The rules' rows, kept here beside their own table. */
    rules: field(Type.Array(Type.Unknown()), { show: 'never', default: [] }),
    security_group_rules: computed((row: { rules: SecurityGroupRuleRow[] }, context: RequestContext) =>
      row.rules.map(renderer<SecurityGroupRuleRow>(securityGroupRuleResource, convention, context, 'detail')),
    ),
    ...standardAttributes(1),
  },
});

export type SecurityGroupRow = Row<typeof securityGroupResource>;
export const securityGroupStore = createStore(securityGroupResource);

declare module '../db/tables.ts' {
  interface Tables {
    security_groups: TableOf<typeof securityGroupResource>;
    security_group_rules: TableOf<typeof securityGroupRuleResource>;
  }
}
