/** What must be there before anybody can log in. */
import { sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import type { Convention } from '../http/service.ts';
import { ensureCatalog } from './catalog.ts';
import type { Changes } from './changes.ts';
import { ensureTokenKeys } from './keys.ts';
import type { Passwords } from './passwords.ts';
import { type DomainRow, domains, newId, projects, roles, users } from './resources.ts';

const DOMAIN = 'default';
const ROLES = ['admin', 'manager', 'member', 'reader', 'service'] as const;
const IMPLICATIONS = [
  ['admin', 'manager'],
  ['manager', 'member'],
  ['member', 'reader'],
] as const;

export interface BootstrapOptions {
  readonly db: Db;
  readonly publicUrl: string;
  readonly conventions: Readonly<Record<string, Convention>>;
  readonly passwords: Passwords;
  readonly changes: Changes;
  readonly adminPassword: string;
}

/**
 * Makes the default domain, the admin project and user, the roles, the catalog and the token keys, as far as they are
 * not there. Twice, or by two processes at once, does no more than once; what was changed since is left as it is, the
 * administrator's password too. Only the parent's own URLs are corrected.
 * @returns whether the administrator was made, with the password given
 */
export async function bootstrap(options: BootstrapOptions): Promise<boolean> {
  const { db, changes, passwords, adminPassword } = options;
  const { rows } = await sql`select 1 from identity_users where name = 'admin' and domain_id = ${DOMAIN}`.execute(
    db.query,
  );
  const password = rows.length === 0 ? await passwords.hash(adminPassword) : undefined;
  const made = await db.transaction(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended('identity bootstrap', 0))`.execute(tx);
    await ensureTokenKeys(tx);
    if ((await domains.find(tx, DOMAIN)) === undefined) {
      const domain = { id: DOMAIN, name: 'Default', description: 'The default domain', enabled: true, options: {} };
      await domains.insert(tx, { ...domain, tags: [] } as Partial<DomainRow> as DomainRow);
    }
    const roleIds = await ensureRoles(tx);
    const projectId = await ensureProject(tx);
    const userId = await ensureUser(tx, password);
    if (userId !== undefined) {
      await assign(tx, userId, projectId, roleIds.get('admin') as string);
    }
    await ensureCatalog(tx, options.publicUrl, options.conventions);
    await changes.announce(tx, 'all');
    return userId !== undefined;
  });
  changes.apply('all');
  return made;
}

/**
 * Gives the administrator a password (its hash) and back what `bootstrap` gave them: an enabled account, and the role
 * admin on the project admin and the system. What they have beside that stays.
 */
export async function recoverAdministrator(tx: Tx, password: string): Promise<void> {
  const role = (await ensureRoles(tx)).get('admin') as string;
  const projectId = await ensureProject(tx);
  await sql`update identity_domains set enabled = true where id = ${DOMAIN}`.execute(tx);
  await sql`update identity_projects set enabled = true where id = ${projectId}`.execute(tx);
  const { rows } = await sql<{ id: string }>`update identity_users
    set password = ${password}, password_expires_at = null, failed_auth_count = 0, enabled = true,
      token_generation = token_generation + 1, last_active_at = (clock_timestamp() at time zone 'UTC')::date,
      updated_at = clock_timestamp()
    where name = 'admin' and domain_id = ${DOMAIN} returning id`.execute(tx);
  const userId = rows[0]?.id ?? ((await ensureUser(tx, password)) as string);
  await assign(tx, userId, projectId, role);
}

async function assign(tx: Tx, userId: string, projectId: string, role: string): Promise<void> {
  await sql`insert into identity_assignments (actor, actor_id, scope, target_id, role_id)
    values ('user', ${userId}, 'project', ${projectId}, ${role}), ('user', ${userId}, 'system', 'all', ${role})
    on conflict do nothing`.execute(tx);
}

async function ensureRoles(tx: Tx): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  for (const name of ROLES) {
    const { rows } = await sql<{ id: string }>`
      select id from identity_roles where name = ${name} and domain_id is null`.execute(tx);
    const id = rows[0]?.id ?? newId();
    ids.set(name, id);
    if (rows[0] !== undefined) continue;
    await roles.insert(tx, { id, name, domain_id: null, description: null, options: { immutable: true } });
    for (const [prior, implied] of IMPLICATIONS) {
      const other = name === prior ? ids.get(implied) : name === implied ? ids.get(prior) : undefined;
      if (other === undefined) continue;
      await sql`insert into identity_implied_roles (prior_role_id, implied_role_id)
        values (${ids.get(prior)}, ${ids.get(implied)}) on conflict do nothing`.execute(tx);
    }
  }
  return ids;
}

async function ensureProject(tx: Tx): Promise<string> {
  const { rows } = await sql<{ id: string }>`
    select id from identity_projects where name = 'admin' and domain_id = ${DOMAIN}`.execute(tx);
  if (rows[0] !== undefined) return rows[0].id;
  const description = 'Bootstrap project for initializing the cloud.';
  const place = { domain_id: DOMAIN, parent_id: DOMAIN, is_domain: false };
  const row = { id: newId(), name: 'admin', description, ...place, enabled: true, tags: [], options: {} };
  return (await projects.insert(tx, row)).id;
}

/** Gives the id where the user was made now; an administrator who was there keeps the roles that they have. */
async function ensureUser(tx: Tx, password: string | undefined): Promise<string | undefined> {
  const { rows } = await sql`select 1 from identity_users where name = 'admin' and domain_id = ${DOMAIN}`.execute(tx);
  if (rows.length > 0 || password === undefined) return undefined;
  const row = { id: newId(), name: 'admin', domain_id: DOMAIN, enabled: true, default_project: null, password };
  const rules = {
    password_expires_at: null,
    password_set_at: null,
    password_is_own: false,
    failed_auth_count: 0,
    failed_auth_at: null,
  };
  return (await users.insert(tx, { ...row, ...rules, token_generation: 1, options: {} })).id;
}
