/**
 * The members of a security group that live in other children, as a child keeps them: an address group, whose mark is
 * its name, the security group's id; or, where the child is not known to keep to address groups, nothing but rules. Both are named by
 * companions of the rules that name the group (`companion.ts`). A change of members is brought in one or two calls.
 */
import { sql } from 'kysely';
import type { Cascade, ReplicaKind } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';
import { hasAddressGroups, isKeptAsRules, keptAsRules, keptOtherwise, tellBound } from '../address-group/kept.ts';
import { bringNaming } from '../address-group/naming-rules.ts';
import { bringPrefixes, type ChildAddressGroup, PREFIXES_PER_CALL } from '../address-group/prefixes-in-child.ts';
import { describe, detailOf, findByName, removeByPath } from '../network-replica.ts';
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
      if (!(await hasAddressGroups(context.db, context.child))) return keptAsRules(id, row?.project_id);
      return findByName(context, PATH, 'address_groups', id, row?.project_id);
    },
    async make(context, row) {
      if (!(await hasAddressGroups(context.db, context.child))) return keptAsRules(row.id, row.project_id);
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
      const isRules = isKeptAsRules(childId);
      if (isRules === (await hasAddressGroups(context.db, context.child))) throw keptOtherwise(context, row.id);
      const addresses = await addressesElsewhere(context.db.query, row.id, context.child);
      if (isRules) {
        tellBound(context, row.id, addresses.length);
        await bringNaming(context, cascade, 'remote_group_id', row.id);
      } else {
        await bringPrefixes(context, `${PATH}/${childId}`, await context.scope(row.project_id), addresses);
        if (replica.revision === 0) await bringNaming(context, cascade, 'remote_group_id', row.id);
      }
      if (addresses.length > 0) return;
      await context.db.transaction((tx) => settleMembers(tx, cascade, row.id));
      cascade.poke(context.child);
    },
    /** Twice: a 404 counts as done. A rule that still names it gives a 409, and it is tried again. */
    async remove(context, replica) {
      await bringNaming(context, cascade, 'remote_group_id', replica.resource_id);
      if (isKeptAsRules(replica.child_id)) return;
      await removeByPath(context, `${PATH}/${replica.child_id}`, replica.detail.project_id);
    },
    async failed(context, id, tenantMessage) {
      const { child } = context;
      const words = 'members of a security group in other children are not admitted in this one';
      context.log.warn({ security_group_id: id, child, reason: tenantMessage }, words);
    },
  };
}

async function load(query: Queryable, id: string): Promise<MembersRow | undefined> {
  const found = await sql<MembersRow>`select m.id, m.revision, g.project_id, g.name
    from security_group_members m join security_groups g on g.id = m.id where m.id = ${id}`.execute(query);
  return found.rows[0];
}
