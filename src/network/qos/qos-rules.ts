/** Rules of QoS policies: their operations below the policy, and by the rule's id alone. */
import { sql, type SqlBool } from 'kysely';
import { type TSchema, Type } from 'typebox';
import type { Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { conflict, type Fault, notFound } from '../../http/fault.ts';
import type { Call, Operation, PolicyRule, RequestContext } from '../../http/service.ts';
import type { Given } from '../../resource/crud.ts';
import { nestedOperations } from '../../resource/nested.ts';
import { bodySchema } from '../../resource/schema.ts';
import type { QosParts } from './qos-policies.ts';
import { type QosPolicyRow, qosPolicyStore } from './qos-policy-resource.ts';
import { type QosRule, RULE_TYPES, type RuleType } from './qos-rule-resource.ts';
import { qosPolicyNotFound, refuseUnsupported, usersOf, visiblePolicies } from './qos-use.ts';

const ruleNotFound = (id: string, policyId: string): Fault =>
  notFound(`QoS rule ${id} for policy ${policyId} could not be found.`, 'QosRuleNotFound');

/** The operations on rules of every type. */
export function qosRuleOperations(parts: QosParts): Operation[] {
  return RULE_TYPES.flatMap((type) => {
    const nested = nestedRules(parts, type);
    return type.alias ? [...nested, ...nested.flatMap((one) => aliasOf(parts, type, one))] : nested;
  });
}

function policiesOf(name: string) {
  const rule = (verb: string, check: string): PolicyRule => ({
    name: `${verb}_${name}`,
    check,
    description: `Rules of QoS policies: ${verb}`,
  });
  const reading = rule('get', 'rule:project_reader_or_admin');
  return {
    list: reading,
    show: reading,
    create: rule('create', 'rule:admin_only'),
    update: rule('update', 'rule:admin_only'),
    remove: rule('delete', 'rule:admin_only'),
  };
}

function nestedRules({ db, cascade }: QosParts, kind: RuleType): Operation[] {
  const { type, resource, store } = kind;
  const parentOf = async ({ context, params }: Call): Promise<QosPolicyRow> => {
    const id = params.policy_id ?? '';
    const row = await qosPolicyStore.find(db.query, id, visiblePolicies(context));
    if (row === undefined) throw qosPolicyNotFound(id);
    return row;
  };
  const follow = async (policyId: string, context: RequestContext, tx: Tx): Promise<void> => {
    await copyRules(tx, policyId);
    await cascade.revise(tx, 'qos_policy', policyId, { requestId: context.requestId });
  };
  return nestedOperations<QosPolicyRow, QosRule>(
    `/qos/policies/:policy_id/${resource.collection}`,
    parentOf,
    (parent) => ({
      db,
      convention,
      store,
      policies: policiesOf(`policy_${resource.name}`),
      visible: () => [sql<SqlBool>`policy_id = ${parent?.id ?? ''} and type = ${type}`],
      missing: (id) => ruleNotFound(id, parent?.id ?? ''),
      creating: async (given, _context, tx) => {
        const policy = await lockPolicy(tx, parent);
        const rule = { ...defaultsOf(kind), ...numbers(given), type, policy_id: policy.id };
        await check(tx, policy, rule);
        return { ...rule, project_id: policy.project_id };
      },
      created: (row, context, tx) => follow(row.policy_id, context, tx),
      updating: async (row, given, _context, tx) => {
        const policy = await lockPolicy(tx, parent);
        const patch = numbers(given);
        await check(tx, policy, { ...row, ...patch });
        return patch;
      },
      updated: (row, _before, context, tx) => follow(row.policy_id, context, tx),
      removing: async (row, context, tx) => {
        await lockPolicy(tx, parent);
        await store.remove(tx, row.id);
        await follow(row.policy_id, context, tx);
      },
      committed: () => cascade.poke(),
    }),
  );
}

/** The same operation, on a rule that is named without its policy; none for a list and a create, which need it. */
function aliasOf({ db }: QosParts, { type, resource, store }: RuleType, nested: Operation): Operation[] {
  const parameter = `${resource.name}_id`;
  if (!nested.path.endsWith(parameter) || nested.policy === 'none') return [];
  const name = `alias_${resource.name}`;
  const schema = bodySchema(resource, 'update', 0) as TSchema & { properties: Record<string, TSchema> };
  const body = Type.Object({ [name]: schema.properties[resource.name] as TSchema }, { additionalProperties: false });
  return [
    {
      ...nested,
      path: `/qos/alias_${resource.collection}/:${parameter}`,
      policy: { ...nested.policy, name: nested.policy.name.replace(`policy_${resource.name}`, name) },
      summary: `${nested.summary}, without naming its policy`,
      ...(nested.body === undefined ? {} : { body }),
      handle: async (call) => {
        const id = call.params[parameter] ?? '';
        const rule = await store.find(db.query, id, [sql<SqlBool>`type = ${type}`]);
        if (rule === undefined) throw ruleNotFound(id, 'None');
        const params = { ...call.params, policy_id: rule.policy_id };
        const given = call.body as Record<string, unknown> | undefined;
        const answer = await nested.handle({ ...call, params, body: { [resource.name]: given?.[name] } });
        return renamed(answer, resource.name, name);
      },
    },
  ];
}

function renamed(answer: unknown, from: string, to: string): unknown {
  if (answer === null || typeof answer !== 'object') return answer;
  return Object.fromEntries(Object.entries(answer).map(([key, value]) => [key === from ? to : key, value]));
}

/** Rules of one policy come and go one after the other: each sees what the others are. */
async function lockPolicy(tx: Tx, parent: QosPolicyRow | undefined): Promise<QosPolicyRow> {
  const row = parent === undefined ? undefined : await qosPolicyStore.lock(tx, parent.id);
  if (row === undefined) throw qosPolicyNotFound(parent?.id ?? '');
  return row;
}

type Values = Partial<QosRule> & Pick<QosRule, 'type' | 'policy_id'>;

const defaultsOf = ({ attributes, resource }: RuleType): Partial<QosRule> =>
  Object.fromEntries(
    attributes.flatMap((name) => {
      const described = resource.fields[name];
      return described !== undefined && 'default' in described ? [[name, described.default]] : [];
    }),
  );

/** Numbers that came as text. */
const numbers = (given: Given<QosRule>): Given<QosRule> =>
  Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, name === 'direction' ? value : Number(value)]),
  );

/** @throws Fault 409 where the policy has such a rule already, or one that contradicts it, or its users take none */
async function check(tx: Tx, policy: QosPolicyRow, rule: Values): Promise<void> {
  for (const other of policy.rule_rows.filter(({ id }) => id !== rule.id)) refuseContradiction(policy.id, other, rule);
  const twin = policy.rule_rows.find(
    (other) => other.id !== rule.id && other.type === rule.type && other.direction === rule.direction,
  );
  if (twin !== undefined) {
    throw conflict(
      `Rule ${rule.type} conflicts with rule ${twin.id} which already exists in QoS Policy ${policy.id}.`,
      'QoSRulesConflict',
    );
  }
  for (const { name, id } of await usersOf(tx, policy.id)) {
    if (name === 'network' || name === 'port') refuseUnsupported([rule], name, id);
  }
}

function refuseContradiction(policyId: string, other: QosRule, rule: Values): void {
  const refuse = (value: unknown, existing: unknown) =>
    conflict(
      `Unable to add the rule with value ${String(value)} to the policy ${policyId} as the existing rule of type ${other.type} has value ${String(existing)}.`,
      'QoSRuleParameterConflict',
    );
  if (other.type === 'minimum_bandwidth' && (other.min_kbps ?? 0) > (rule.max_kbps ?? Number.POSITIVE_INFINITY)) {
    throw refuse(rule.max_kbps, other.min_kbps);
  }
  if (other.type === 'bandwidth_limit' && (other.max_kbps ?? 0) < (rule.min_kbps ?? 0)) {
    throw refuse(rule.min_kbps, other.max_kbps);
  }
  const isPacketRate = other.type === 'minimum_packet_rate' && rule.type === 'minimum_packet_rate';
  if (isPacketRate && (other.direction === 'any') !== (rule.direction === 'any')) {
    throw refuse(rule.direction, other.direction);
  }
}

/** Brings the policy's own copy of its rules and its revision up to date. */
async function copyRules(tx: Tx, policyId: string): Promise<void> {
  const found = await sql<QosRule>`select * from qos_rules where policy_id = ${policyId}
    order by type, created_at, id`.execute(tx);
  await qosPolicyStore.update(tx, policyId, { rule_rows: found.rows });
}
