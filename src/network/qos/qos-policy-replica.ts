/** The copy of a QoS policy in a child, with its rules. Its mark is its name: the parent's id. */
import type { ReplicaKind } from '../../cascade/contract.ts';
import { describe, detailOf, findByName, removeByPath } from '../network-replica.ts';
import { type QosPolicyRow, qosPolicyStore } from './qos-policy-resource.ts';
import { type QosRule, RULE_TYPES, valuesOf } from './qos-rule-resource.ts';

const PATH = '/qos/policies';

type ChildRule = QosRule & { readonly id: string };

/** Two rules that do the same. */
const keyOf = (rule: QosRule): string => JSON.stringify([rule.type, valuesOf(rule)]);

/** The kind `qos_policy`; what has a policy (a network, a port, a floating IP) brings it along. */
export const qosPolicyKind: ReplicaKind<QosPolicyRow> = {
  kind: 'qos_policy',
  table: 'qos_policies',
  unique: false,
  load: (query, id) => qosPolicyStore.find(query, id),
  find: (context, id, row) => findByName(context, PATH, 'policies', id, row?.project_id),
  async make(context, { id, name, project_id }) {
    const { body } = await context.api.call<{ policy: { id: string } }>({
      service: 'network',
      method: 'POST',
      path: PATH,
      body: { policy: { name: id, description: describe(name) } },
      scope: await context.scope(project_id),
    });
    // The rules follow.
    return { child_id: body.policy.id, detail: detailOf(project_id), current: false };
  },
  /**
   * Reads the copy and changes what differs. Rules go before others come, since a child takes no two of one type and
   * direction. Twice: the second finds nothing that differs.
   */
  async bring(context, row, replica) {
    const path = `${PATH}/${replica.child_id}`;
    const call = { service: 'network', scope: await context.scope(row.project_id) } as const;
    const { body } = await context.api.call<{ policy: { description?: string; rules: ChildRule[] } }>({
      ...call,
      method: 'GET',
      path,
    });
    const wanted = new Set(row.rule_rows.map(keyOf));
    const present = new Set(body.policy.rules.map(keyOf));
    const collectionOf = (rule: QosRule) => RULE_TYPES.find(({ type }) => type === rule.type)?.resource.collection;
    for (const rule of body.policy.rules) {
      const collection = collectionOf(rule);
      if (collection === undefined || wanted.has(keyOf(rule))) continue;
      await context.api.call({ ...call, method: 'DELETE', path: `${path}/${collection}/${rule.id}`, accept: [404] });
    }
    for (const rule of row.rule_rows.filter((one) => !present.has(keyOf(one)))) {
      const values = { [`${rule.type}_rule`]: valuesOf(rule) };
      await context.api.call({ ...call, method: 'POST', path: `${path}/${collectionOf(rule)}`, body: values });
    }
    const description = describe(row.name);
    if (body.policy.description === description) return;
    await context.api.call({ ...call, method: 'PUT', path, body: { policy: { description } } });
  },
  /** Twice: a 404 counts as done. What still has it gives a 409, and it is tried again. */
  remove: (context, replica) => removeByPath(context, `${PATH}/${replica.child_id}`, replica.detail.project_id),
};
