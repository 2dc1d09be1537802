/** What networks, ports and floating IPs ask about QoS policies: whether one may be used, and who uses one. */
import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { conflict, type Fault, forbidden, notFound } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { type Shareable, sharedAccess } from '../rbac/shareable.ts';
import { ownOrShared } from '../sharing.ts';
import { type QosPolicyRow, qosPolicyStore } from './qos-policy-resource.ts';
import { RULE_TYPES } from './qos-rule-resource.ts';

export const qosPolicyNotFound = (id: string): Fault =>
  notFound(`QoS policy ${id} could not be found.`, 'QosPolicyNotFound');

/** Own policies and those shared with the caller's project; an admin sees all. */
export const visiblePolicies = ownOrShared;

/** A kind of object that may have a policy: where it keeps it, and what Neutron calls it. */
interface User {
  readonly table: string;
  readonly column: string;
  readonly name: string;
}

const USERS: readonly User[] = [
  { table: 'ports', column: 'qos_policy_id', name: 'port' },
  { table: 'networks', column: 'qos_policy_id', name: 'network' },
  { table: 'floating_ips', column: 'qos_policy_id', name: 'floatingip' },
  { table: 'routers', column: 'gateway_qos_policy_id', name: 'router' },
];

/** What QoS policies say of themselves to RBAC. */
export const qosPolicySharing: Shareable = {
  type: 'qos_policy',
  table: 'qos_policies',
  accesses: sharedAccess((id) =>
    sql.join(
      USERS.map(
        ({ table, column }) => sql`select project_id from ${sql.table(table)} where ${sql.ref(column)} = ${id}`,
      ),
      sql` union all `,
    ),
  ),
};

/**
 * Keeps a policy from being deleted until the transaction ends, so that an object may have it.
 * @param wanted null to take a policy away, undefined where nothing is said of it
 * @param before the policy that the object has
 * @throws Fault 404 for one that the caller does not see, 403 for taking away one that is not the caller's to take,
 *   409 for a rule that no child enforces there
 */
export async function usePolicy(
  tx: Tx,
  context: RequestContext,
  on: { readonly kind: 'network' | 'port' | 'floatingip' | 'router'; readonly id: string },
  wanted: string | null | undefined,
  before: string | null = null,
): Promise<void> {
  if (wanted === undefined || wanted === before) return;
  if (before !== null && (await qosPolicyStore.find(tx, before, visiblePolicies(context))) === undefined) {
    const message = `Failed to remove provided policy ${before} because you are not authorized.`;
    throw forbidden(message, 'PolicyRemoveAuthorizationError');
  }
  if (wanted === null) return;
  const policy = await qosPolicyStore.find(tx, wanted, visiblePolicies(context));
  const kept = await sql`select 1 from qos_policies where id = ${wanted} for key share`.execute(tx);
  if (policy === undefined || kept.rows.length === 0) throw qosPolicyNotFound(wanted);
  if (on.kind === 'network' || on.kind === 'port') refuseUnsupported(policy.rule_rows, on.kind, on.id);
}

/** @throws Fault 409 for a rule of a type that no child enforces for such an object */
export function refuseUnsupported(rules: readonly { readonly type: string }[], kind: 'network' | 'port', id: string) {
  const unknown = rules.find(({ type }) => RULE_TYPES.find((one) => one.type === type)?.supported !== true);
  if (unknown === undefined) return;
  throw conflict(
    `Rule ${unknown.type} is not supported by ${kind} ${id}`,
    kind === 'port' ? 'QosRuleNotSupported' : 'QosRuleNotSupportedByNetwork',
  );
}

/** The default policy of a project, for networks that ask for none; null where it has none. */
export async function defaultPolicy(tx: Tx, projectId: string): Promise<string | null> {
  const found = await sql<{ id: string }>`
    select id from qos_policies where project_id = ${projectId} and is_default for key share`.execute(tx);
  return found.rows[0]?.id ?? null;
}

/** The first object of each kind that has the policy. */
export async function usersOf(tx: Tx, policyId: string): Promise<{ readonly name: string; readonly id: string }[]> {
  const users = [];
  for (const { table, column, name } of USERS) {
    const found = await sql<{ id: string }>`
      select id from ${sql.table(table)} where ${sql.ref(column)} = ${policyId} order by id limit 1`.execute(tx);
    for (const { id } of found.rows) users.push({ name, id });
  }
  return users;
}

/** @throws Fault 409 where anything has the policy */
export async function refuseUsed(tx: Tx, policy: Pick<QosPolicyRow, 'id'>): Promise<void> {
  const [user] = await usersOf(tx, policy.id);
  if (user === undefined) return;
  throw conflict(`QoS Policy ${policy.id} is used by ${user.name} ${user.id}.`, 'QosPolicyInUse');
}
