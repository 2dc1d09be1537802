/** RBAC policies: their operations. What each kind of object says of itself is a `Shareable`. */
import { sql, type SqlBool } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';
import type { Operation, PolicyRule, RequestContext } from '../../http/service.ts';
import { crudOperations, type Given } from '../../resource/crud.ts';
import { invalidInput } from '../network-fault.ts';
import { callersProject, ownOrAdmin, plainPolicies, projectOf } from '../network-project.ts';
import { countQuota } from '../network-quota.ts';
import { normalType, type RbacPolicyRow, rbacPolicyStore } from './rbac-policy-resource.ts';
import { type Access, EVERYBODY, followPolicies, rbacPolicyInUse, type Shareable, shutOut } from './shareable.ts';

const WILDCARD: readonly PolicyRule[] = ['create', 'update'].map((verb) => ({
  name: `${verb}_rbac_policy:target_tenant`,
  check: 'rule:admin_only',
  description: 'Share an object with everybody',
}));

/** Rules beside those of the operations. */
export const rbacRules = WILDCARD;

const policyNotFound = (id: string): Fault =>
  notFound(`RBAC policy of type unknown with ID ${id} not found`, 'RbacPolicyNotFound');

/**
 * The operations on RBAC policies.
 * @param kinds what can be shared
 */
export function rbacOperations(db: Db, kinds: readonly Shareable[]): Operation[] {
  const kindOf = (type: string): Shareable => {
    const kind = kinds.find((one) => one.type === normalType(type));
    if (kind === undefined) throw invalidInput(`'${type}' is not a valid RBAC object type.`);
    return kind;
  };
  const operations = crudOperations<RbacPolicyRow>({
    db,
    convention,
    store: rbacPolicyStore,
    path: '/rbac-policies',
    policies: plainPolicies('rbac_policy', 'an RBAC policy'),
    visible: ({ identity, ...context }) =>
      identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${callersProject({ identity, ...context })}`],
    missing: policyNotFound,
    bulk: true,
    creating: (given, context, tx) => newPolicy(tx, context, kindOf(given.object_type ?? ''), given),
    async created(row, _context, tx) {
      await followPolicies(tx, kindOf(row.object_type), row.action, row.object_id);
      await countQuota(tx, row.project_id, { rbac_policy: 1 });
    },
    async updating(row, { target_tenant }, context, tx) {
      if (target_tenant === undefined || target_tenant === row.target_tenant) return {};
      refuseWildcard(context, 'update', target_tenant);
      const kind = kindOf(row.object_type);
      const object = await lockObject(tx, context, kind, row.object_id);
      await refuseShutOut(tx, kind, object, row, target_tenant);
      await refuseTwice(tx, { ...row, target_tenant });
      return { target_tenant };
    },
    updated: (row, _before, _context, tx) => followPolicies(tx, kindOf(row.object_type), row.action, row.object_id),
    async removing(row, context, tx) {
      const kind = kindOf(row.object_type);
      const object = await lockObject(tx, context, kind, row.object_id);
      await refuseShutOut(tx, kind, object, row, undefined);
      await rbacPolicyStore.remove(tx, row.id);
      await followPolicies(tx, kind, row.action, row.object_id);
      if (row.counted) await countQuota(tx, row.project_id, { rbac_policy: -1 });
    },
  });
  return operations.map((one) =>
    one.method !== 'GET'
      ? one
      : {
          ...one,
          handle: async (call) => {
            for (const type of [call.query.object_type ?? []].flat()) kindOf(type);
            return one.handle(call);
          },
        },
  );
}

async function newPolicy(tx: Tx, context: RequestContext, kind: Shareable, given: Given<RbacPolicyRow>) {
  const { object_id = '', action = '', target_tenant = '' } = given;
  const project_id = projectOf(context, given.project_id);
  const valid = Object.keys(kind.accesses);
  if (!valid.includes(action)) {
    const names = valid.map((name) => `'${name}'`).join(', ');
    throw badRequest(
      `Invalid action '${action}' for object type '${kind.type}'. Valid actions: (${names}${valid.length === 1 ? ',' : ''})`,
      'InvalidActionForType',
    );
  }
  refuseWildcard(context, 'create', target_tenant);
  const object = await lockObject(tx, context, kind, object_id);
  if (!ownOrAdmin(object, context)) {
    throw invalidInput('Only admins can manipulate policies on objects they do not own.');
  }
  const policy = { object_id, action, target_tenant };
  await refuseTwice(tx, policy);
  await kind.creating?.(tx, policy);
  return { project_id, object_type: kind.type, ...policy, counted: true };
}

interface SharedObject {
  readonly id: string;
  readonly project_id: string;
}

/** Nobody else changes an object's policies, nor begins to use it, until the transaction ends. */
async function lockObject(tx: Tx, context: RequestContext, kind: Shareable, id: string): Promise<SharedObject> {
  const isSeen = Object.values(kind.accesses).map(
    ({ everybody, projects }) =>
      sql`${sql.ref(everybody)} or ${sql.ref(projects)} @> array[${callersProject(context)}]::text[]`,
  );
  const found = await sql<SharedObject>`select id, project_id from ${sql.table(kind.table)} where id = ${id}
    and (${context.identity.isAdmin} or project_id = ${callersProject(context)} or ${sql.join(isSeen, sql` or `)})
    for update`.execute(tx);
  const object = found.rows[0];
  if (object === undefined) throw invalidInput(`${kind.type} ${id} could not be found.`);
  return object;
}

function refuseWildcard(context: RequestContext, verb: 'create' | 'update', target: string): void {
  const rule = `${verb}_rbac_policy:target_tenant`;
  if (target === EVERYBODY && !context.allowed(rule)) throw convention.refusal(rule);
}

async function refuseTwice(tx: Tx, policy: Pick<RbacPolicyRow, 'object_id' | 'action' | 'target_tenant'>) {
  const same = await sql`select 1 from rbac_policies where object_id = ${policy.object_id}
    and action = ${policy.action} and target_tenant = ${policy.target_tenant}`.execute(tx);
  if (same.rows.length === 0) return;
  throw conflict('An RBAC policy already exists with those values.', 'DuplicateRbacPolicy');
}

async function refuseShutOut(
  tx: Tx,
  kind: Shareable,
  object: SharedObject,
  row: RbacPolicyRow,
  next: string | undefined,
): Promise<void> {
  const { action, target_tenant: target, object_id } = row;
  const change = { action, target, ...(next === undefined ? {} : { next }) };
  const other = await shutOut(tx, kind.accesses[action] as Access, object, change);
  if (other !== undefined) throw rbacPolicyInUse(object_id, `project_id=${other}`);
}
