/** QoS policies as the API shows and takes them. */
import { Type } from 'typebox';
import { computed, field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { sharedFields } from '../sharing.ts';
import { standardAttributes, standardFilters } from '../standard-attributes.ts';
import { type QosRule, valuesOf } from './qos-rule-resource.ts';

const Name = Type.String({ maxLength: 255 });

export const qosPolicyResource = resource({
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
