/**
 * The members of a security group that live in other children, as a child keeps them: an address group, whose mark is
 * its name, the security group's id; or, where the child has no address groups, nothing but rules. Both are named by
 * companions of the rules that name the group (`companion.ts`). A change of members is brought in one or two calls.
 */
import { type SqlBool, sql } from 'kysely';
import type { Cascade, ChildContext, ReplicaKind } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';
import { CloudError, plainSentence } from '../../openstack/error.ts';
import { PREFIXES_MAX } from '../ability.ts';
import { bringPrefixes, type ChildAddressGroup, PREFIXES_PER_CALL } from '../address-group/prefixes-in-child.ts';
import { describe, detailOf, findByName, removeByPath } from '../network-replica.ts';
import { bringRules } from '../security-group-replica.ts';
import { hasAddressGroups, isPrefixesId, prefixesId } from './companion.ts';
import { addressesElsewhere, REMOTE_MEMBERS, settleMembers } from './members.ts';

/** A group, with the revision of its members. */
export interface MembersRow {
  readonly id: string;
  readonly revision: number;
  readonly project_id: string;
  readonly name: string;
}

const PATH = '/address-groups';

/** The kind `remote_members`. */
export function remoteMembersKind(cascade: Cascade): ReplicaKind<MembersRow> {
  return {
    kind: REMOTE_MEMBERS,
    table: 'security_group_members',
    unique: false,
    load,
    async find(context, id, row) {
      if (!(await hasAddressGroups(context.db, context.child))) return asRules(id, row?.project_id);
      return findByName(context, PATH, 'address_groups', id, row?.project_id);
    },
    async make(context, row) {
      if (!(await hasAddressGroups(context.db, context.child))) return asRules(row.id, row.project_id);
      const addresses = await addressesElsewhere(context.db.query, row.id, context.child);
      const { body } = await context.api.call<{ address_group: ChildAddressGroup }>({
        service: 'network',
        method: 'POST',
        path: PATH,
        body: {
          address_group: {
            name: row.id,
            description: describe(`members of ${row.name} in other availability zones`),
            addresses: addresses.slice(0, PREFIXES_PER_CALL),
          },
        },
        scope: await context.scope(row.project_id),
      });
      // The rules that name it follow.
      return { child_id: body.address_group.id, detail: detailOf(row.project_id), current: false };
    },
    /** Reads what is there and sends what differs; twice: the second finds nothing that does. */
    async bring(context, row, replica) {
      const childId = replica.child_id ?? '';
      const isRules = isPrefixesId(childId);
      if (isRules === (await hasAddressGroups(context.db, context.child))) throw keptOtherwise(context, row.id);
      const addresses = await addressesElsewhere(context.db.query, row.id, context.child);
      if (isRules) {
        tellBound(context, row, addresses.length);
        await bringNaming(context, cascade, row.id);
      } else {
        await bringPrefixes(context, `${PATH}/${childId}`, await context.scope(row.project_id), addresses);
        if (replica.revision === 0) await bringNaming(context, cascade, row.id);
      }
      if (addresses.length > 0) return;
      await context.db.transaction((tx) => settleMembers(tx, cascade, row.id));
      cascade.poke(context.child);
    },
    /** Twice: a 404 counts as done. A rule that still names it gives a 409, and it is tried again. */
    async remove(context, replica) {
      await bringNaming(context, cascade, replica.resource_id);
      if (isPrefixesId(replica.child_id)) return;
      await removeByPath(context, `${PATH}/${replica.child_id}`, replica.detail.project_id);
    },
    async failed(context, id, tenantMessage) {
      const { child } = context;
      const words = 'members of a security group in other children are not admitted in this one';
      context.log.warn({ security_group_id: id, child, reason: tenantMessage }, words);
    },
  };
}

const asRules = (id: string, projectId: string | undefined) => ({
  child_id: prefixesId(id),
  detail: projectId === undefined ? {} : detailOf(projectId),
  current: false,
});

async function load(query: Queryable, id: string): Promise<MembersRow | undefined> {
  const found = await sql<MembersRow>`select m.id, m.revision, g.project_id, g.name
    from security_group_members m join security_groups g on g.id = m.id where m.id = ${id}`.execute(query);
  return found.rows[0];
}

/** A child that got address groups or lost them: what is kept is not to be found in the form that it should have. */
function keptOtherwise({ child }: ChildContext, id: string): CloudError {
  return new CloudError(`${child}: the members of ${id} elsewhere are not kept as the child can keep them`, {
    failure: 'refused',
    stage: 'not-sent',
    status: 404,
    transient: true,
    tenantMessage: plainSentence.busy,
  });
}

function tellBound(context: ChildContext, { id }: MembersRow, count: number): void {
  if (count <= PREFIXES_MAX) return;
  context.log.warn(
    { security_group_id: id, child: context.child, addresses: count, admitted: PREFIXES_MAX },
    'a child without address groups admits only so many members of a security group in other children',
  );
}

/** Brings the rules of all groups with a copy in the child that name this one. */
async function bringNaming(context: ChildContext, cascade: Cascade, id: string): Promise<void> {
  const naming = await sql<{ id: string; child_id: string }>`select resource_id as id, child_id from replicas
    where kind = 'security_group' and child = ${context.child} and child_id is not null and not retiring
      and ${isNaming(id)} order by 1`.execute(context.db.query);
  for (const copy of naming.rows) {
    try {
      await bringRules(context, cascade, copy.id, copy.child_id);
    } catch (error) {
      if (!(error instanceof CloudError) || error.status !== 404) throw error;
      // The copy is gone; whoever finds that out makes it again, and its rules with it.
      context.log.info(
        { security_group_id: copy.id, child: context.child, err: error },
        'a copy has no rules to bring',
      );
    }
  }
}

const isNaming = (id: string) => sql<SqlBool>`exists (select 1 from security_group_rules rule
  where rule.security_group_id = replicas.resource_id and rule.remote_group_id = ${id})`;
