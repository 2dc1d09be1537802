/** What a token may that draws its rights from an application credential or a trust: never more than the user behind it. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { Fault, forbidden, unauthorized } from '../http/fault.ts';
import type { AccessRule, Identity } from '../http/identity.ts';
import type { Scope, TokenPayload } from './payload.ts';
import { effectiveRoles, findSubject, type NamedRole, type Subject } from './subject.ts';

/** Who is asked about: a token's payload, or one that is to be. */
export type Claim = Pick<TokenPayload, 'user_id' | 'scope' | 'delegation'>;

/**
 * Looks up the subject of a token.
 * @param auditId of the token, to see whether it was revoked
 * @param now_ms Unix time
 * @returns undefined where `findSubject` or the application credential gives none
 * @throws Fault 401 or 403 for a trust that gives nothing to this user
 */
export async function findClaimed(
  query: Queryable,
  { user_id, scope, delegation }: Claim,
  auditId: string,
  now_ms: number,
): Promise<Subject | undefined> {
  const isTrust = delegation?.kind === 'trust';
  const subject = await findSubject(query, user_id, isTrust ? { kind: 'unscoped' } : scope, auditId);
  if (subject === undefined || delegation === undefined) return subject;
  switch (delegation.kind) {
    case 'trust':
      return actByTrust(query, subject, delegation.id, now_ms);
    case 'application_credential':
      return restrictToCredential(query, subject, delegation.id, now_ms);
    case 'oauth1':
      return restrictToAccessToken(query, subject, delegation.id, now_ms);
  }
}

interface CredentialRow {
  name: string;
  unrestricted: boolean;
  expires_at_s: number | null;
  role_ids: string[];
  access_rules: AccessRule[] | null;
}

/**
 * A user's subject, cut down to what an application credential of theirs gives: its roles as far as the user still has
 * them, with what they imply.
 * @param now_ms Unix time
 * @returns undefined where the credential is gone, has expired, is not for this user and project, or gives no role any more
 */
async function restrictToCredential(
  query: Queryable,
  subject: Subject,
  credentialId: string,
  now_ms: number,
): Promise<Subject | undefined> {
  const { rows } = await sql<CredentialRow>`
    select c.name, c.unrestricted, extract(epoch from c.expires_at)::float8 as expires_at_s,
      array(${implied(sql`c.role_ids`)}) as role_ids,
      (select json_agg(json_build_object('id', r.id, 'service', r.service, 'path', r.path, 'method', r.method) order by r.id)
        from identity_application_credential_rules o join identity_access_rules r on r.id = o.access_rule_id
        where o.application_credential_id = c.id) as access_rules
    from identity_application_credentials c
    where c.id = ${credentialId} and c.user_id = ${subject.user.id} and c.project_id = ${subject.project?.id ?? ''}
      and (c.expires_at is null or c.expires_at > to_timestamp(${now_ms / 1000}))`.execute(query);
  const row = rows[0];
  if (row === undefined) return undefined;
  const roles = subject.roles.filter(({ id }) => row.role_ids.includes(id));
  if (roles.length === 0) return undefined;
  return {
    ...subject,
    roles,
    ends_at_s: row.expires_at_s === null ? undefined : Math.floor(row.expires_at_s),
    delegation: {
      kind: 'application_credential',
      id: credentialId,
      name: row.name,
      unrestricted: row.unrestricted,
      access_rules: row.access_rules ?? undefined,
    },
  };
}

/** The same for an access token of OAuth 1: the roles that the user said yes to, as far as they still have them. */
async function restrictToAccessToken(
  query: Queryable,
  subject: Subject,
  tokenId: string,
  now_ms: number,
): Promise<Subject | undefined> {
  const { rows } = await sql<{ consumer_id: string; role_ids: string[]; expires_at_s: number }>`
    select a.consumer_id, array(${implied(sql`a.role_ids`)}) as role_ids,
      extract(epoch from a.expires_at)::float8 as expires_at_s
    from identity_oauth_access_tokens a
    where a.id = ${tokenId} and a.user_id = ${subject.user.id} and a.project_id = ${subject.project?.id ?? ''}
      and a.expires_at > to_timestamp(${now_ms / 1000})`.execute(query);
  const row = rows[0];
  if (row === undefined) return undefined;
  const roles = subject.roles.filter(({ id }) => row.role_ids.includes(id));
  if (roles.length === 0) return undefined;
  const delegation = { kind: 'oauth1', id: tokenId, consumer_id: row.consumer_id } as const;
  return { ...subject, roles, ends_at_s: Math.floor(row.expires_at_s), delegation };
}

/** Roles with all that they imply, as a query of their ids. */
const implied = (roleIds: ReturnType<typeof sql>) => sql`with recursive given(role_id) as (
    select unnest(${roleIds})
    union select i.implied_role_id from identity_implied_roles i join given g on g.role_id = i.prior_role_id
  ) select role_id from given`;

interface TrustRow {
  id: string;
  trustor_user_id: string;
  trustor_name: string;
  trustor_password_expires_at: string | null;
  trustor_generation: number;
  trustor_domain_id: string;
  trustor_domain_name: string;
  agents_enabled: boolean;
  trustee_user_id: string;
  impersonation: boolean;
  expires_at_s: number | null;
  redelegated_trust_id: string | null;
  project_id: string;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
  role_ids: string[];
}

/**
 * Makes of the trustee's subject what a trust gives: the project and the roles of the trustor, who is also the user where
 * the trust says so.
 * @param trustee without any scope
 * @param now_ms Unix time
 * @throws Fault 401 where there is no such trust (any more), 403 where it is another's or its trustor lost what it gives
 */
async function actByTrust(query: Queryable, trustee: Subject, trustId: string, now_ms: number): Promise<Subject> {
  const { rows: chain } = await sql<TrustRow>`
    with recursive chain as (
      select t.*, 0 as depth from identity_trusts t where t.id = ${trustId}
      union all select t.*, c.depth + 1 from identity_trusts t join chain c on t.id = c.redelegated_trust_id
    )
    select c.id, c.trustor_user_id, u.name as trustor_name, u.password_expires_at as trustor_password_expires_at, u.token_generation as trustor_generation,
      d.id as trustor_domain_id, d.name as trustor_domain_name,
      u.enabled and d.enabled and e.enabled and ed.enabled as agents_enabled,
      c.trustee_user_id, c.impersonation, extract(epoch from c.expires_at)::float8 as expires_at_s,
      c.redelegated_trust_id, c.project_id, p.name as project_name, pd.id as project_domain_id, pd.name as project_domain_name,
      array(${implied(sql`c.role_ids`)}) as role_ids
    from chain c
      join identity_users u on u.id = c.trustor_user_id join identity_domains d on d.id = u.domain_id
      join identity_users e on e.id = c.trustee_user_id join identity_domains ed on ed.id = e.domain_id
      left join identity_projects p on p.id = c.project_id and p.enabled
      left join identity_domains pd on pd.id = p.domain_id and pd.enabled
    order by c.depth`.execute(query);
  const [trust] = chain;
  const origin = chain.at(-1);
  const hasEnded = chain.some(({ expires_at_s }) => expires_at_s !== null && expires_at_s * 1000 <= now_ms);
  if (trust === undefined || origin === undefined || hasEnded) throw unauthorized();
  if (trust.trustee_user_id !== trustee.user.id) throw forbiddenUntold('User is not a trustee.');
  if (chain.some(({ agents_enabled }) => !agents_enabled)) throw forbiddenUntold('Trustor is disabled.');
  const project = projectOf(trust);
  if (trust.project_id !== '' && project === undefined) throw unauthorized();
  const roles = project === undefined ? [] : await rolesOfOrigin(query, origin.trustor_user_id, trust);
  const domain = { id: trust.trustor_domain_id, name: trust.trustor_domain_name };
  const trustor = { id: trust.trustor_user_id, name: trust.trustor_name, domain };
  return {
    user: trust.impersonation ? trustor : trustee.user,
    password_expires_at: trust.impersonation ? trust.trustor_password_expires_at : trustee.password_expires_at,
    // Both only ever grow: a new password of either ends the token.
    generation: trustee.generation + trust.trustor_generation,
    proof_generation: trustee.generation,
    actors: [trustee.user.id, ...new Set(chain.map(({ trustor_user_id }) => trustor_user_id))],
    project,
    domain: undefined,
    roles,
    ends_at_s: trust.expires_at_s === null ? undefined : Math.floor(trust.expires_at_s),
    delegation: {
      kind: 'trust',
      id: trust.id,
      impersonation: trust.impersonation,
      trustor_user_id: trust.trustor_user_id,
      trustee_user_id: trust.trustee_user_id,
    },
  };
}

function projectOf(row: TrustRow): Subject['project'] {
  const { project_id: id, project_name: name, project_domain_id, project_domain_name } = row;
  if (name === null || project_domain_id === null || project_domain_name === null) return undefined;
  return { id, name, domain: { id: project_domain_id, name: project_domain_name } };
}

/** The roles that a trust gives, all of which the user at the beginning of its chain must still have. */
async function rolesOfOrigin(query: Queryable, userId: string, trust: TrustRow): Promise<NamedRole[]> {
  const scope: Scope = { kind: 'project', id: trust.project_id };
  const { rows } = await sql<NamedRole & { domain_id: string | null }>`
    with recursive ${effectiveRoles(userId, scope)}
    select r.id, r.name, r.domain_id from identity_roles r
    where r.id in (select role_id from effective) and r.id = any(${trust.role_ids}) order by r.name`.execute(query);
  const held = new Set(rows.map(({ id }) => id));
  if (trust.role_ids.some((id) => !held.has(id))) throw forbiddenUntold('Trustee has no delegated roles.');
  return rows.flatMap(({ id, name, domain_id }) => (domain_id === null ? [{ id, name }] : []));
}

/**
 * Keystone's 403 for what it keeps the reason of to itself, as it does with most of what has to do with rights.
 * @param reason for who reads the source, and the operator's log
 */
export const forbiddenUntold = (reason: string): Fault =>
  new Fault(403, 'You are not authorized to perform the requested action.', { cause: new Error(reason) });

/** Keystone's 403 for an action in words of its own. */
export const forbiddenAction = (action: string): Fault =>
  forbidden(`You are not authorized to perform the requested action: ${action}.`);

/**
 * What was handed on must not be made lasting: a token by a trust, an OAuth 1 consumer or an EC2 key neither makes nor sees application credentials.
 * @throws Fault 403
 */
export function refuseTrustToken({ delegation }: Identity): void {
  if (delegation !== undefined && delegation.kind !== 'application_credential') {
    throw forbiddenUntold('Cannot manage application credentials with a token issued via delegation.');
  }
}

/** @throws Fault 403 for a token of an application credential that is not unrestricted */
export function refuseRestrictedToken({ delegation }: Identity): void {
  if (delegation?.kind === 'application_credential' && !delegation.unrestricted) {
    throw forbiddenAction(
      "Using method 'application_credential' is not allowed for managing additional application credentials.",
    );
  }
}
