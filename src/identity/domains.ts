/** Domains: the outermost grouping of users and projects. */
import { type SqlBool, sql } from 'kysely';
import type { Tx } from '../db/database.ts';
import { badRequest, conflict, forbidden } from '../http/fault.ts';
import type { Operation } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { claimName, type Core, mergedOptions, missing, refuseImmutable } from './core.ts';
import { type DomainRow, domains, newId, projects, users } from './resources.ts';
import { noteRevoked } from './revocations.ts';
import { admin, getDomain, systemReader } from './rules.ts';

const twice = (name: string) => () =>
  `Conflict occurred attempting to store project - it is not permitted to have two projects acting as domains with the same name: ${name}.`;

export function domainOperations(core: Core): Operation[] {
  return crudOperations<DomainRow>({
    db: core.db,
    convention: core.convention,
    store: domains,
    path: '/domains',
    updateMethod: 'PATCH',
    policies: {
      list: systemReader('list_domains'),
      show: getDomain,
      create: admin('create_domain'),
      update: admin('update_domain'),
      remove: admin('delete_domain'),
    },
    visible: ({ identity }) => (identity.domain === undefined ? [] : [sql<SqlBool>`id = ${identity.domain.id}`]),
    target: async ({ params }) => ({ target: { domain: { id: params.domain_id ?? null } } }),
    missing: missing('domain'),
    creating: async ({ explicit_domain_id, ...given }, _context, tx) => {
      if (explicit_domain_id !== undefined && !/^[0-9a-f]{32}$/.test(explicit_domain_id)) {
        throw badRequest('Domain ID does not conform to required UUID format.');
      }
      const options = mergedOptions({}, given.options);
      const row = { ...given, options, id: explicit_domain_id ?? newId() } as DomainRow;
      await claimName(tx, { table: 'identity_domains', name: row.name, id: row.id }, twice(row.name));
      if ((await domains.find(tx, row.id)) !== undefined) {
        throw conflict(
          `Conflict occurred attempting to store project - Duplicate entry found with name ${row.name} at domain ID <<keystone.domain.root>>.`,
        );
      }
      return row;
    },
    updating: async (before, given, _context, tx) => {
      refuseImmutable('domain', before, 'update', given.options);
      if (given.name !== undefined) {
        await claimName(tx, { table: 'identity_domains', name: given.name, id: before.id }, twice(given.name));
      }
      return { ...given, options: mergedOptions(before.options, given.options) };
    },
    updated: (_row, _before, _context, tx) => core.changes.announce(tx, 'all'),
    removing: async (row, _context, tx) => {
      refuseImmutable('domain', row, 'delete');
      if (row.enabled) throw forbidden('Cannot delete a domain that is enabled, please disable it first.');
      await emptyDomain(core, tx, row.id);
      await core.changes.announce(tx, 'all');
    },
    committed: () => core.changes.apply('all'),
  });
}

async function emptyDomain(core: Core, tx: Tx, id: string): Promise<void> {
  const within = [sql<SqlBool>`domain_id = ${id}`];
  const [gone, without] = [await projects.select(tx, within), await users.select(tx, within)];
  for (const project of gone) {
    for (const listener of core.projectDeleted) await listener(tx, project.id);
  }
  for (const user of without) {
    for (const listener of core.userDeleted) await listener(tx, user.id);
  }
  const idsOf = (rows: readonly { readonly id: string }[]) => rows.map((row) => row.id);
  await noteRevoked(core, tx, 'project_id', idsOf(gone));
  await noteRevoked(core, tx, 'user_id', idsOf(without));
  for (const table of ['identity_trusts', 'identity_credentials']) {
    await sql`delete from ${sql.table(table)}
      where project_id in (select id from identity_projects where domain_id = ${id})`.execute(tx);
  }
  await sql`delete from identity_assignments where target_id = ${id}
    or target_id in (select id from identity_projects where domain_id = ${id})
    or actor_id in (select id from identity_users where domain_id = ${id})
    or actor_id in (select id from identity_groups where domain_id = ${id})`.execute(tx);
  await sql`update identity_users set default_project = null
    where default_project in (select id from identity_projects where domain_id = ${id})`.execute(tx);
  for (const table of ['identity_projects', 'identity_users', 'identity_groups', 'identity_roles']) {
    await sql`delete from ${sql.table(table)} where domain_id = ${id}`.execute(tx);
  }
}
