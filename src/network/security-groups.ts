/** Security groups and their rules: their operations, and what else a change to one entails. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { conflict, type Fault } from '../http/fault.ts';
import type { Operation, RequestContext } from '../http/service.ts';
import { crudOperations, type Given } from '../resource/crud.ts';
import { lockAddressGroup } from './address-group/address-groups.ts';
import { securityGroupNotFound, securityGroupRuleNotFound } from './network-fault.ts';
import { callersProject, ownOrAdmin, plainPolicies, projectOf } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { REMOTE_MEMBERS, releaseNamed } from './remote-member/members.ts';
import { addEgressRules, copyRules, ensureDefaultGroup } from './security-group-default.ts';
import {
  type SecurityGroupRow,
  type SecurityGroupRuleRow,
  securityGroupRuleStore,
  securityGroupStore,
} from './security-group-resource.ts';
import { type Shareable, sharedAccess, sharedOperations } from './rbac/shareable.ts';
import { NOT_SHARED, ownOrShared } from './sharing.ts';
import { checkRule, ruleKey, type RuleRequest } from './security-group-rules.ts';

export interface SecurityGroupParts {
  readonly db: Db;
  readonly cascade: Cascade;
}

const DEFAULT = 'default';

/** What security groups say of themselves to RBAC. */
export const securityGroupSharing: Shareable = {
  type: 'security_group',
  table: 'security_groups',
  accesses: sharedAccess((id) => sql`select project_id from ports where security_groups @> array[${id}]::text[]`),
};

/** The operations on security groups and on their rules. */
export function securityGroupOperations(parts: SecurityGroupParts): Operation[] {
  return [...groupOperations(parts), ...ruleOperations(parts)];
}

function groupOperations({ db, cascade }: SecurityGroupParts): Operation[] {
  const operations = sharedOperations<SecurityGroupRow>(securityGroupSharing, {
    db,
    convention,
    store: securityGroupStore,
    path: '/security-groups',
    policies: plainPolicies('security_group', 'a security group'),
    visible: ownOrShared,
    owned: ownOrAdmin,
    missing: securityGroupNotFound,
    bulk: true,
    creating: async (given, context, tx) => {
      const project_id = projectOf(context, given.project_id);
      // The default group that comes first is never too many, nor makes this one so.
      await countQuota(tx, project_id, { security_group: 1, security_group_rule: 2 });
      await ensureDefaultGroup(tx, project_id);
      if (given.name === DEFAULT) throw defaultExists();
      return {
        project_id,
        name: given.name ?? '',
        description: given.description ?? '',
        stateful: given.stateful ?? true,
        ...NOT_SHARED,
        rules: [],
        tags: [],
      };
    },
    created: async (row, _context, tx) => {
      await addEgressRules(tx, row.project_id, row.id);
      await copyRules(tx, row.id);
      return securityGroupStore.find(tx, row.id);
    },
    updating: async (row, given, _context, tx) => {
      if (row.name === DEFAULT && given.name !== undefined && given.name !== DEFAULT) {
        throw conflict('Updating default security group not allowed.', 'SecurityGroupCannotUpdateDefault');
      }
      if (row.name !== DEFAULT && given.name === DEFAULT) throw defaultExists();
      if (given.stateful !== undefined && given.stateful !== row.stateful) await refuseUsed(tx, row.id);
      return given;
    },
    updated: async (row, _before, context, tx) =>
      cascade.revise(tx, 'security_group', row.id, { requestId: context.requestId }),
    removing: (row, context, tx) => removeGroup(tx, cascade, row, context),
    committed: () => cascade.poke(),
  });
  return operations.map((one) =>
    one.method === 'GET' && one.path === '/security-groups' ? listingMakesDefault(db, one) : one,
  );
}

/** A project that looks at its groups has its default one from then on, as with Neutron. */
function listingMakesDefault(db: Db, list: Operation): Operation {
  return {
    ...list,
    handle: async (call) => {
      const project = call.context.identity.project?.id;
      if (project !== undefined && !(await hasDefault(db, project))) {
        await db.transaction((tx) => ensureDefaultGroup(tx, project));
      }
      return list.handle(call);
    },
  };
}

async function hasDefault(db: Db, project: string): Promise<boolean> {
  const found = await sql`select 1 from security_groups where project_id = ${project} and name = ${DEFAULT}`.execute(
    db.query,
  );
  return found.rows.length > 0;
}

async function removeGroup(tx: Tx, cascade: Cascade, row: SecurityGroupRow, context: RequestContext): Promise<void> {
  if (row.name === DEFAULT && !context.identity.isAdmin) {
    throw conflict('Insufficient rights for removing default security group.', 'SecurityGroupCannotRemoveDefault');
  }
  await refuseUsed(tx, row.id);
  await dropRules(tx, cascade, row, context.requestId);
}

/**
 * A project is gone, and with it the group that it had without asking, and its copies; one that a port still uses
 * stays, as everything else that the project leaves behind.
 */
export async function forgetDefaultGroup(tx: Tx, cascade: Cascade, projectId: string): Promise<void> {
  const [row] = await securityGroupStore.select(tx, [sql<SqlBool>`project_id = ${projectId} and name = ${DEFAULT}`]);
  if (row === undefined || (await isUsed(tx, row.id))) return;
  await dropRules(tx, cascade, row, undefined);
  await sql`delete from security_groups where id = ${row.id}`.execute(tx);
}

/** Takes the rules of a group that goes and those that name it, uncounts them and the group, and retires its copies. */
async function dropRules(
  tx: Tx,
  cascade: Cascade,
  row: SecurityGroupRow,
  requestId: string | undefined,
): Promise<void> {
  const gone = await sql<{ project_id: string; security_group_id: string; remote_group_id: string | null }>`
    delete from security_group_rules where security_group_id = ${row.id} or remote_group_id = ${row.id}
    returning project_id, security_group_id, remote_group_id`.execute(tx);
  const others = new Set(gone.rows.map(({ security_group_id }) => security_group_id));
  others.delete(row.id);
  for (const id of [...others].sort()) await changedRules(tx, cascade, id, requestId);
  await cascade.retire(tx, 'security_group', row.id, because(requestId));
  const counts = new Map([[row.project_id, 0]]);
  for (const { project_id } of gone.rows) counts.set(project_id, (counts.get(project_id) ?? 0) + 1);
  for (const [project, rules] of [...counts].sort()) {
    await countQuota(tx, project, {
      security_group: project === row.project_id ? -1 : 0,
      security_group_rule: -rules,
    });
  }
  const named = new Set(gone.rows.flatMap(({ remote_group_id }) => remote_group_id ?? []));
  named.delete(row.id);
  await cascade.retire(tx, REMOTE_MEMBERS, row.id, because(requestId));
  await releaseNamed(tx, cascade, [...named], requestId);
}

/** A project's own, and those that an administrator gave to its groups. */
const ownRules = (context: RequestContext): readonly RawBuilder<SqlBool>[] => {
  if (context.identity.isAdmin) return [];
  const project = callersProject(context);
  return [
    sql<SqlBool>`(project_id = ${project}
      or security_group_id in (select g.id from security_groups g where g.project_id = ${project}))`,
  ];
};

function ruleOperations({ db, cascade }: SecurityGroupParts): Operation[] {
  const { list, show, create, remove } = plainPolicies('security_group_rule', 'a security group rule');
  return crudOperations<SecurityGroupRuleRow>({
    db,
    convention,
    store: securityGroupRuleStore,
    path: '/security-group-rules',
    policies: { list, show, create, remove },
    visible: ownRules,
    missing: securityGroupRuleNotFound,
    bulk: true,
    creating: (given, context, tx) => completeRule(tx, given, context),
    created: async (row, context, tx) => {
      await changedRules(tx, cascade, row.security_group_id, context.requestId);
      await countQuota(tx, row.project_id, { security_group_rule: 1 });
    },
    removing: async (row, context, tx) => {
      await securityGroupStore.lock(tx, row.security_group_id);
      await sql`delete from security_group_rules where id = ${row.id}`.execute(tx);
      await changedRules(tx, cascade, row.security_group_id, context.requestId);
      await countQuota(tx, row.project_id, { security_group_rule: -1 });
      await releaseNamed(tx, cascade, row.remote_group_id === null ? [] : [row.remote_group_id], context.requestId);
    },
    committed: () => cascade.poke(),
  });
}

async function completeRule(tx: Tx, given: Given<SecurityGroupRuleRow>, context: RequestContext) {
  const groupId = given.security_group_id as string;
  // Locked: the same rule twice at once is one rule and one refusal.
  const group = await securityGroupStore.lock(tx, groupId, ownOrShared(context));
  if (group === undefined) throw securityGroupNotFound(groupId);
  if (!ownOrAdmin(group, context)) throw convention.refusal('create_security_group_rule');
  const values = checkRule(given as RuleRequest);
  if (values.remote_group_id !== null) await checkRemote(tx, values.remote_group_id, context);
  if (values.remote_address_group_id !== null) await lockAddressGroup(tx, values.remote_address_group_id, context);
  const key = ruleKey(values);
  const same = (group.rules as SecurityGroupRuleRow[]).find((rule) => ruleKey(rule) === key);
  if (same !== undefined) {
    throw conflict(`Security group rule already exists. Rule id is ${same.id}.`, 'SecurityGroupRuleExists');
  }
  return {
    project_id: projectOf(context, given.project_id ?? (context.identity.isAdmin ? group.project_id : undefined)),
    security_group_id: groupId,
    ...values,
    description: given.description ?? '',
  };
}

async function checkRemote(tx: Tx, id: string, context: RequestContext): Promise<void> {
  const found = await securityGroupStore.find(tx, id, ownOrShared(context));
  if (found === undefined) throw securityGroupNotFound(id);
  // Kept from being deleted until the rule that names it is stored.
  const kept = await sql`select 1 from security_groups where id = ${id} for key share`.execute(tx);
  if (kept.rows.length === 0) throw securityGroupNotFound(id);
}

/** The group's rules are not what they were: its own copy, its revision and its replicas follow. */
async function changedRules(tx: Tx, cascade: Cascade, groupId: string, requestId: string | undefined): Promise<void> {
  await copyRules(tx, groupId);
  await securityGroupStore.update(tx, groupId, {});
  await cascade.revise(tx, 'security_group', groupId, because(requestId));
}

const because = (requestId: string | undefined) => (requestId === undefined ? {} : { requestId });

async function refuseUsed(tx: Tx, groupId: string): Promise<void> {
  if (await isUsed(tx, groupId)) throw conflict(`Security Group ${groupId} in use.`, 'SecurityGroupInUse');
}

async function isUsed(tx: Tx, groupId: string): Promise<boolean> {
  const used = await sql`select 1 from ports where security_groups @> ${[groupId]}::text[] limit 1`.execute(tx);
  return used.rows.length > 0;
}

const defaultExists = (): Fault =>
  conflict('Default security group already exists.', 'SecurityGroupDefaultAlreadyExists');
