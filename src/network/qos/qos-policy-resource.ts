/** QoS policies as the API shows and takes them. */
import { Type } from 'typebox';
import { computed, field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { sharedFields } from '../sharing.ts';
import { standardAttributes, standardFilters } from '../standard-attributes.ts';
import { type QosRule, valuesOf } from './qos-rule-resource.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const qosExtensions: readonly Extension[] = [
  {
    alias: 'qos',
    name: 'Quality of Service',
    description: 'Policies and their rules for networks and ports.',
    updated: '2015-06-08T10:00:00-00:00',
  },
  {
    alias: 'qos-bw-limit-direction',
    name: 'Direction for QoS bandwidth limit rule',
    description: 'Limits for what comes in, too.',
    updated: '2017-04-10T10:00:00-00:00',
  },
  {
    alias: 'qos-bw-minimum-ingress',
    name: 'Ingress direction for QoS minimum bandwidth rule',
    description: 'Guarantees for what comes in, too.',
    updated: '2018-07-09T10:00:00-00:00',
  },
  {
    alias: 'qos-default',
    name: 'QoS default policy',
    description: 'A policy for the networks of a project that ask for none.',
    updated: '2017-041-06T10:00:00-00:00',
  },
  {
    alias: 'qos-fip',
    name: 'Floating IP QoS',
    description: 'Policies of floating IPs.',
    updated: '2017-07-20T00:00:00-00:00',
  },
  {
    alias: 'qos-gateway-ip',
    name: 'Router gateway IP QoS',
    description: 'Policies of the gateways of routers.',
    updated: '2018-02-24T00:00:00-00:00',
  },
  {
    alias: 'qos-port-network-policy',
    name: 'QoS port network policy ID',
    description: 'A port shows the policy of its network.',
    updated: '2019-11-01T10:00:00-00:00',
  },
  {
    alias: 'qos-pps',
    name: 'QoS Rule Type Packet per Second Extension',
    description: 'Limits of packets a second.',
    updated: '2021-05-12T10:00:00-00:00',
  },
  {
    alias: 'qos-pps-minimum',
    name: 'QoS minimum packet rate rule',
    description: 'Guarantees of packets a second.',
    updated: '2021-07-14T10:00:00-00:00',
  },
  {
    alias: 'qos-pps-minimum-rule-alias',
    name: 'QoS minimum packet rate rule alias',
    description: 'These by the id of the rule alone.',
    updated: '2021-10-22T10:00:00-00:00',
  },
  {
    alias: 'qos-rule-type-details',
    name: 'Details of QoS rule types',
    description: 'What a type of rules takes.',
    updated: '2017-06-22T10:00:00-00:00',
  },
  {
    alias: 'qos-rule-type-filter',
    name: 'Allow to filter the list of QoS rule types',
    description: 'All types, or those that are enforced.',
    updated: '2022-02-02T10:00:00-00:00',
  },
  {
    alias: 'qos-rules-alias',
    name: 'Quality of Service rules alias API',
    description: 'Rules by their ids alone.',
    updated: '2018-10-07T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });

const qosPolicyResource = resource({
  name: 'policy',
  collection: 'policies',
  table: 'qos_policies',
  filters: standardFilters(0),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Name, { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true }),
    ...sharedFields({ create: 'optional', update: true }),
    is_default: field(Type.Boolean(), { create: 'optional', update: true, default: false, filter: true }),
    /** The rules' rows, kept here beside their own table. */
    rule_rows: field(Type.Array(Type.Unsafe<QosRule>(Type.Object({}))), { show: 'never', default: [] }),
    rules: computed((row: { id: string; rule_rows: QosRule[] }) =>
      row.rule_rows.map((rule) => ({ ...valuesOf(rule), id: rule.id, qos_policy_id: row.id, type: rule.type })),
    ),
    ...standardAttributes(0),
  },
});

export type QosPolicyRow = Row<typeof qosPolicyResource>;
export const qosPolicyStore = createStore(qosPolicyResource);

declare module '../../db/tables.ts' {
  interface Tables {
    qos_policies: TableOf<typeof qosPolicyResource>;
  }
}
