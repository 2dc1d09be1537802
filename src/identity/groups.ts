/** Groups of users, which hold roles for their members. */
import { sql } from 'kysely';
import type { Operation } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import {
  claimName,
  type Core,
  defaultDomain,
  holdDomain,
  listTarget,
  missing,
  ownDomain,
  refuseOtherDomain,
} from './core.ts';
import { type GroupRow, groups, newId } from './resources.ts';
import { endTokensOf } from './revocations.ts';
import { admin, domainList, getGroup } from './rules.ts';

const twice = (name: string, domainId: string | null) => () =>
  `Conflict occurred attempting to store group - Duplicate entry found with name ${name} at domain ID ${domainId}.`;

export function groupOperations(core: Core): Operation[] {
  return crudOperations<GroupRow>({
    db: core.db,
    convention: core.convention,
    store: groups,
    path: '/groups',
    updateMethod: 'PATCH',
    policies: {
      list: domainList('list_groups'),
      show: getGroup('get_group'),
      create: admin('create_group'),
      update: admin('update_group'),
      remove: admin('delete_group'),
    },
    visible: (context) => ownDomain(context),
    target: async ({ params, context, query }) => {
      if (params.group_id === undefined) return listTarget(context, query);
      const row = await groups.find(core.db.query, params.group_id);
      return { target: row === undefined ? {} : { group: { id: row.id, domain_id: row.domain_id } } };
    },
    missing: missing('group'),
    creating: async (given, context, tx) => {
      const domain_id = given.domain_id ?? defaultDomain(context);
      if ((await holdDomain(tx, domain_id)) === undefined) throw missing('domain')(domain_id);
      const row = { ...given, id: newId(), domain_id } as GroupRow;
      const claim = { table: 'identity_groups', domainId: domain_id, name: row.name, id: row.id };
      await claimName(tx, claim, twice(row.name, domain_id));
      return row;
    },
    updating: async (before, given, _context, tx) => {
      refuseOtherDomain(before.domain_id, given.domain_id);
      if (given.name !== undefined) {
        const claim = { table: 'identity_groups', domainId: before.domain_id, name: given.name, id: before.id };
        await claimName(tx, claim, twice(given.name, before.domain_id));
      }
      return given;
    },
    removing: async (row, _context, tx) => {
      const { numAffectedRows } = await sql`
        delete from identity_assignments where actor_id = ${row.id} and actor = 'group'`.execute(tx);
      // Only what gave its members a role takes their tokens along.
      if (numAffectedRows !== 0n) {
        const { rows } = await sql<{ user_id: string }>`
          select user_id from identity_members where group_id = ${row.id} order by user_id`.execute(tx);
        await endTokensOf(
          core,
          tx,
          rows.map(({ user_id }) => user_id),
        );
      }
      await core.changes.announce(tx, 'all');
    },
    committed: () => core.changes.apply('all'),
  });
}
