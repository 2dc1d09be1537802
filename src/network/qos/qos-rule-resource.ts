/** The types of QoS rules: for each its attributes, once. All live in one table. */
import { Type } from 'typebox';
import { type BaseRow, field, type Field, type Resource, resource } from '../../resource/resource.ts';
import { createStore, type Store } from '../../resource/store.ts';

const MAXIMUM = 2 ** 31 - 1;

const number = (create: 'required' | 'optional', fallback?: number): Field =>
  field(Type.Integer(), {
    create,
    update: true,
    // Clients send the number as text, too.
    input: Type.Union([Type.Integer({ minimum: 0, maximum: MAXIMUM }), Type.String({ pattern: '^[0-9]{1,9}$' })]),
    filter: true,
    sort: true,
    ...(fallback === undefined ? {} : { default: fallback }),
  });
const direction = (values: string[]): Field =>
  field(Type.String(), {
    create: 'optional',
    update: true,
    input: Type.Enum(values),
    default: 'egress',
    filter: true,
    sort: true,
  });
const BOTH = ['ingress', 'egress'];
const DSCP_MARKS = [0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 46, 48, 56];
const dscpMark = field(Type.Integer(), {
  create: 'required',
  update: true,
  input: Type.Union([Type.Enum(DSCP_MARKS), Type.Enum(DSCP_MARKS.map(String))]),
  filter: true,
  sort: true,
});

/** A rule of any type; which of the numbers it has, its type says. */
export interface QosRule extends BaseRow {
  policy_id: string;
  type: string;
  direction?: string;
  max_kbps?: number;
  max_burst_kbps?: number;
  min_kbps?: number;
  min_kpps?: number;
  max_kpps?: number;
  max_burst_kpps?: number;
  dscp_mark?: number;
}

export interface RuleType {
  /** `bandwidth_limit`; its resource is called `bandwidth_limit_rule`. */
  readonly type: string;
  readonly resource: Resource;
  readonly store: Store<QosRule>;
  /** The attributes that say what the rule does, in the order in which Neutron shows them. */
  readonly attributes: readonly (keyof QosRule)[];
  /** What a client may ask of it, as `/qos/rule-types/<type>` tells. */
  readonly parameters: readonly object[];
  /** Whether the backends of ordinary children enforce it, for ports and networks. */
  readonly supported: boolean;
  /** Whether the rule is also served by its id alone, without its policy. */
  readonly alias: boolean;
}

const range = (name: string): object => ({
  parameter_name: name,
  parameter_values: { start: 0, end: MAXIMUM },
  parameter_type: 'range',
});
const choices = (name: string, values: readonly unknown[]): object => ({
  parameter_name: name,
  parameter_values: values,
  parameter_type: 'choices',
});

function ruleType(
  type: string,
  fields: Readonly<Record<string, Field>>,
  more: Pick<RuleType, 'parameters' | 'supported' | 'alias'>,
): RuleType {
  const description = resource({
    name: `${type}_rule`,
    table: 'qos_rules',
    fields: {
      ...fields,
      id: field(Type.String(), { filter: true }),
      policy_id: field(Type.String(), { column: true, show: 'never' }),
      type: field(Type.String(), { column: true, show: 'never' }),
    },
  });
  const store = createStore<typeof description, QosRule>(description);
  return { type, resource: description, store, attributes: Object.keys(fields) as (keyof QosRule)[], ...more };
}

export const RULE_TYPES: readonly RuleType[] = [
  ruleType(
    'bandwidth_limit',
    { max_kbps: number('required'), max_burst_kbps: number('optional', 0), direction: direction(BOTH) },
    {
      supported: true,
      alias: true,
      parameters: [range('max_kbps'), range('max_burst_kbps'), choices('direction', BOTH)],
    },
  ),
  ruleType(
    'dscp_marking',
    { dscp_mark: dscpMark },
    { supported: true, alias: true, parameters: [choices('dscp_mark', DSCP_MARKS)] },
  ),
  ruleType(
    'minimum_bandwidth',
    { min_kbps: number('required'), direction: direction(BOTH) },
    { supported: true, alias: true, parameters: [range('min_kbps'), choices('direction', BOTH)] },
  ),
  ruleType(
    'minimum_packet_rate',
    { min_kpps: number('required'), direction: direction([...BOTH, 'any']) },
    { supported: false, alias: true, parameters: [] },
  ),
  ruleType(
    'packet_rate_limit',
    { max_kpps: number('required'), max_burst_kpps: number('optional', 0), direction: direction(BOTH) },
    { supported: false, alias: false, parameters: [] },
  ),
];

/** The rule's own values, by their names. */
export function valuesOf(rule: QosRule): Record<string, unknown> {
  const attributes = RULE_TYPES.find(({ type }) => type === rule.type)?.attributes ?? [];
  return Object.fromEntries(attributes.map((name) => [name, rule[name]]));
}
