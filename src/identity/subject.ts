/** Who a token's ids stand for now, and with which roles: one query. */
import { type RawBuilder, sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { Delegation, Identity, NamedInDomain } from '../http/identity.ts';
import type { Method, Scope } from './payload.ts';

export interface NamedRole {
  readonly id: string;
  readonly name: string;
}

/** All that is true of a user in a scope at this moment. */
export interface Subject {
  readonly user: NamedInDomain;
  readonly password_expires_at: string | null;
  /** What a token of it carries: once the user's number is another, it holds no longer. */
  readonly generation: number;
  /** The number of who proved themselves, where that is another than the user. */
  readonly proof_generation: number;
  /** The users whose changes may change what is said here. */
  readonly actors: readonly string[];
  readonly project: NamedInDomain | undefined;
  readonly domain: { readonly id: string; readonly name: string } | undefined;
  readonly roles: readonly NamedRole[];
  readonly delegation?: Exclude<Delegation, { readonly kind: 'ec2credential' }>;
  /** When what was delegated ends, Unix time in seconds. */
  readonly ends_at_s?: number | undefined;
}

interface SubjectRow {
  user_name: string;
  password_expires_at: string | null;
  generation: number;
  user_domain_id: string;
  user_domain_name: string;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
  domain_name: string | null;
  roles: NamedRole[];
}

/** A user and their groups, as an array: with `or` and a subquery every assignment there is would be read. */
export const actorsOf = (userId: string): RawBuilder<string[]> =>
  sql<string[]>`(array(select group_id from identity_members where user_id = ${userId}) || ${userId}::text)`;

/**
 * The ids of a user's roles in a scope, as a recursive query's parts `ancestors`, `held` and `effective`: direct, by a
 * group, inherited from a project above or the domain, and implied by another role.
 */
export function effectiveRoles(userId: string, scope: Scope): RawBuilder<unknown> {
  const target = 'id' in scope ? scope.id : 'all';
  return sql`ancestors(id, parent_id, domain_id) as (
      select id, parent_id, domain_id from identity_projects where id = ${target} and ${scope.kind} = 'project'
      union select p.id, p.parent_id, p.domain_id from identity_projects p join ancestors a on p.id = a.parent_id
    ), held as (
      select role_id from identity_assignments a
      where a.actor_id = any(${actorsOf(userId)})
        and (
          (a.scope = ${scope.kind} and a.target_id = ${target} and not a.inherited)
          or (a.inherited and a.scope = 'project' and a.target_id in (select id from ancestors where id <> ${target}))
          or (a.inherited and a.scope = 'domain' and a.target_id in (select domain_id from ancestors))
        )
    ), effective(role_id) as (
      select role_id from held
      union select i.implied_role_id from identity_implied_roles i join effective e on e.role_id = i.prior_role_id
    )`;
}

/**
 * Looks a subject up.
 * @param auditId of the token, to see whether it was revoked
 * @returns undefined where user, project or domain are gone or disabled, the token was revoked, or a scope was asked for
 *   in which the user has no role
 */
export async function findSubject(
  query: Queryable,
  userId: string,
  scope: Scope,
  auditId: string,
): Promise<Subject | undefined> {
  const projectId = scope.kind === 'project' ? scope.id : null;
  const domainId = scope.kind === 'domain' ? scope.id : null;
  const { rows } = await sql<SubjectRow>`
    with recursive ${effectiveRoles(userId, scope)}
    select u.name as user_name, u.password_expires_at, u.token_generation as generation, ud.id as user_domain_id, ud.name as user_domain_name,
      p.name as project_name, pd.id as project_domain_id, pd.name as project_domain_name, d.name as domain_name,
      coalesce((
        select json_agg(json_build_object('id', r.id, 'name', r.name) order by r.name)
        from identity_roles r where r.domain_id is null and r.id in (select role_id from effective)
      ), '[]'::json) as roles
    from identity_users u
    join identity_domains ud on ud.id = u.domain_id and ud.enabled
    left join identity_projects p on p.id = ${projectId}::text and p.enabled
    left join identity_domains pd on pd.id = p.domain_id and pd.enabled
    left join identity_domains d on d.id = ${domainId}::text and d.enabled
    where u.id = ${userId} and u.enabled
      and not exists (select 1 from identity_revocations where audit_id = ${auditId})`.execute(query);
  const row = rows[0];
  if (row === undefined) return undefined;
  if (scope.kind !== 'unscoped' && row.roles.length === 0) return undefined;
  const user = { id: userId, name: row.user_name, domain: { id: row.user_domain_id, name: row.user_domain_name } };
  const found = {
    user,
    password_expires_at: row.password_expires_at,
    generation: row.generation,
    proof_generation: row.generation,
    actors: [userId],
    project: undefined,
    domain: undefined,
  };
  switch (scope.kind) {
    case 'project': {
      if (row.project_name === null || row.project_domain_id === null || row.project_domain_name === null) {
        return undefined;
      }
      const domain = { id: row.project_domain_id, name: row.project_domain_name };
      return { ...found, project: { id: scope.id, name: row.project_name, domain }, roles: row.roles };
    }
    case 'domain':
      if (row.domain_name === null) return undefined;
      return { ...found, domain: { id: scope.id, name: row.domain_name }, roles: row.roles };
    case 'system':
      return { ...found, roles: row.roles };
    case 'unscoped':
      return { ...found, roles: [] };
  }
}

/** A subject as the other services see who calls. */
export function identityOf(
  subject: Subject,
  scope: Scope,
  expires_at_s: number,
  auditIds: readonly string[],
  methods: readonly Method[],
): Identity {
  const roles = subject.roles.map(({ name }) => name);
  return {
    user: subject.user,
    project: subject.project,
    domain: subject.domain,
    system: scope.kind === 'system',
    roles,
    // A domain's administrator is one within the identity service alone.
    isAdmin: roles.includes('admin') && (scope.kind === 'project' || scope.kind === 'system'),
    expires_at_ms: expires_at_s * 1000,
    auditIds,
    delegation: subject.delegation ?? (methods.includes('ec2credential') ? { kind: 'ec2credential' } : undefined),
    byEc2Key: methods.includes('ec2credential'),
  };
}

/** The projects that a user has a role on in any way: at most 10,000. */
export async function projectIdsOf(query: Queryable, userId: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with recursive held as (
      select scope, target_id, inherited from identity_assignments where scope <> 'system'
        and actor_id = any(${actorsOf(userId)})
    ), below(id) as (
      select p.id from identity_projects p join held h on h.inherited and h.scope = 'project' and p.parent_id = h.target_id
      union select p.id from identity_projects p join below b on p.parent_id = b.id
    )
    select target_id as id from held where scope = 'project' and not inherited
    union select id from below
    union select p.id from identity_projects p join held h on h.inherited and h.scope = 'domain' and p.domain_id = h.target_id
    order by id limit 10000`.execute(query);
  return rows.map(({ id }) => id);
}
