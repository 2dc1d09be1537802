/** `/v3/auth`: tokens, and what the caller may get one for. */
import { sql } from 'kysely';
import type { Static } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { badRequest, Fault, forbidden, notFound, unauthorized } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply, type Query } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { collection, type Core, expecting, flag } from './core.ts';
import { forbiddenUntold } from './delegation.ts';
import { AuthBody, type Login, noToken, proveUser, readRequest, type Target } from './login.ts';
import { stamp } from './moment.ts';
import { forgetFailures } from './password-rules.ts';
import { isEnough, methodsOfReceipt, RECEIPT_HEADER, receiptFor } from './receipts.ts';
import { domain, type DomainRow, domains, project, type ProjectRow, projects, users } from './resources.ts';
import { ANYBODY, checkToken, revokeToken, validateToken } from './rules.ts';
import { actorsOf, projectIdsOf } from './subject.ts';
import type { Token } from './tokens.ts';

const PATH = '/auth/tokens';

export function authOperations(core: Core): Operation[] {
  return [issue(core), ...subjectOperations(core), ...reachable(core)];
}

/** To Keystone a body whose `auth` is null has none. */
function withoutNull(body: unknown): unknown {
  const { auth } = (body ?? {}) as { auth?: unknown };
  return auth === null ? {} : body;
}

function issue(core: Core): Operation {
  return operation<Static<typeof AuthBody>>({
    method: 'POST',
    path: PATH,
    policy: 'none',
    status: 201,
    summary: 'Issue a token',
    body: AuthBody,
    convert: withoutNull,
    handle: async ({ body, query, headers, context }) => {
      if (body.auth === undefined) throw badRequest(expecting('auth', 'request body'));
      const target = await readRequest(core, body.auth);
      const proven = await proveUser(core, body.auth, { headers, query, context });
      const login = await withReceipt(core, proven, headers[RECEIPT_HEADER]);
      if (login instanceof Reply) return login;
      const { text, token } = await issueFor(core, login, login.target ?? target);
      return new Reply(201, await tokenBody(core, token, query), { 'x-subject-token': text });
    },
  });
}

/** With the proofs of the receipt that came along; what is still not enough gives a receipt, and no token. */
async function withReceipt(core: Core, proven: Login, receipt: string | undefined): Promise<Login | Reply> {
  const user = await users.find(core.db.query, proven.user_id);
  if (user === undefined) throw unauthorized();
  const before = receipt === undefined || receipt === '' ? [] : await methodsOfReceipt(core, receipt, user);
  const methods = [...new Set([...proven.methods, ...before])];
  if (!isEnough(user, methods)) return receiptFor(core, user, methods);
  if (proven.methods.some((method) => method === 'password' || method === 'totp')) await forgetFailures(core, user);
  return { ...proven, methods };
}

/** For what was asked; without that for the default project, or for nothing where the user has no role there. */
async function issueFor(core: Core, login: Login, target: Target | undefined) {
  if (target === undefined && login.default_project !== null) {
    try {
      return await core.tokens.issue({ ...login, scope: { kind: 'project', id: login.default_project } });
    } catch (error) {
      if (!(error instanceof Fault) || error.status !== 401) throw error;
    }
  }
  const issued = await core.tokens.issue({ ...login, ...(target ?? { scope: { kind: 'unscoped' } }) });
  if (target?.delegation?.kind === 'trust') await useTrust(core.db.query, target.delegation.id);
  return issued;
}

/** Counts a token against what a trust may still issue. @throws Fault 403 where another took the last one */
async function useTrust(query: Queryable, id: string): Promise<void> {
  const { numAffectedRows } = await sql`update identity_trusts set remaining_uses = remaining_uses - 1
    where id = ${id} and (remaining_uses is null or remaining_uses > 0)`.execute(query);
  if (numAffectedRows !== 1n) throw forbidden(`No remaining uses for trust: ${id}.`);
}

/** The token as Keystone describes it. */
export async function tokenBody(core: Core, token: Token, query: Query): Promise<unknown> {
  const { payload, subject } = token;
  const { kind } = payload.scope;
  const body = {
    methods: payload.methods,
    user: {
      domain: subject.user.domain,
      id: subject.user.id,
      name: subject.user.name,
      password_expires_at: subject.password_expires_at?.slice(0, 26) ?? null,
    },
    audit_ids: payload.audit_ids,
    expires_at: stamp(payload.expires_at_s),
    issued_at: stamp(payload.issued_at_s),
    ...(subject.project === undefined ? {} : { project: subject.project }),
    // Of what a trust is for Keystone does not say it.
    ...(subject.project === undefined || subject.delegation?.kind === 'trust' ? {} : { is_domain: false }),
    ...(subject.domain === undefined ? {} : { domain: subject.domain }),
    ...(kind === 'unscoped' ? {} : { roles: subject.roles }),
    ...(kind === 'system' ? { system: { all: true } } : {}),
    ...(subject.delegation === undefined ? {} : delegated(subject.delegation)),
  };
  // The name alone says it, whatever its value.
  const withCatalog = kind !== 'unscoped' && query.nocatalog === undefined;
  return { token: withCatalog ? { ...body, catalog: await core.catalog.of(token) } : body };
}

function delegated(delegation: NonNullable<Token['subject']['delegation']>): Record<string, unknown> {
  const { kind, id } = delegation;
  if (kind === 'trust') {
    const { impersonation, trustor_user_id, trustee_user_id } = delegation;
    const users = { trustor_user: { id: trustor_user_id }, trustee_user: { id: trustee_user_id } };
    return { 'OS-TRUST:trust': { id, impersonation, ...users } };
  }
  if (kind === 'oauth1') return { 'OS-OAUTH1': { access_token_id: id, consumer_id: delegation.consumer_id } };
  const { name, unrestricted, access_rules } = delegation;
  return { application_credential: { id, name, restricted: !unrestricted, access_rules } };
}

/** Whether who asks says to hold the token's access rules against requests: else such a token is none to them. */
function heedsAccessRules(headers: Call['headers']): boolean {
  return Number(headers['openstack-identity-access-rules']) >= 1;
}

/** What is done with the token of `X-Subject-Token`. */
function subjectOperations(core: Core): Operation[] {
  const required = async ({ headers, query }: Call<unknown>): Promise<Token> => {
    const text = headers['x-subject-token'] ?? '';
    if (text === '') throw notFound('No token in the request');
    // For services whose work for a user takes longer than the token with which they were given it.
    const token = await (flag(query, 'allow_expired') ? core.tokens.findExpired(text) : core.tokens.find(text));
    if (token === undefined) throw await noToken(core, text);
    return token;
  };
  const target = async (call: Call<unknown>) => {
    if ((call.headers['x-subject-token'] ?? '') === '') return { target: {} };
    // That it is no token everybody may know, and is told before any rule is asked.
    return { target: { token: { user_id: (await required(call)).payload.user_id } } };
  };
  const show = async (call: Call<unknown>) => {
    const token = await required(call);
    const { delegation } = token.subject;
    if (delegation?.kind === 'application_credential' && delegation.access_rules !== undefined) {
      if (!heedsAccessRules(call.headers)) throw notFound('Failed to validate token');
    }
    const body = await tokenBody(core, token, call.query);
    return new Reply(200, body, { 'x-subject-token': call.headers['x-subject-token'] ?? '' });
  };
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy: validateToken,
      target,
      status: 200,
      summary: 'Validate and show a token',
      handle: show,
    }),
    operation({
      method: 'HEAD',
      path: PATH,
      policy: checkToken,
      target,
      status: 200,
      summary: 'Check a token',
      handle: show,
    }),
    operation({
      method: 'DELETE',
      path: PATH,
      policy: revokeToken,
      target,
      status: 204,
      summary: 'Revoke a token',
      handle: async (call) => {
        const token = await required({ ...call, query: {} });
        await core.db.transaction((tx) => core.tokens.revoke(tx, token));
        core.changes.apply(`token ${token.payload.audit_ids[0]}`);
      },
    }),
  ];
}

/** What the caller could get a token for, and the catalog of the token that they have. */
function reachable(core: Core): Operation[] {
  const { query: db } = core.db;
  return [
    operation({
      method: 'GET',
      path: '/auth/catalog',
      policy: ANYBODY('get_auth_catalog'),
      status: 200,
      summary: "Show the token's catalog",
      handle: async ({ context, headers }) => {
        const token = await core.tokens.find(headers['x-auth-token'] ?? '');
        if (token?.payload.scope.kind !== 'project') {
          throw forbiddenUntold('A project-scoped token is required to produce a service catalog.');
        }
        return { catalog: await core.catalog.of(token), links: { self: `${context.baseUrl}/auth/catalog` } };
      },
    }),
    operation({
      method: 'GET',
      path: '/auth/projects',
      policy: ANYBODY('get_auth_projects'),
      status: 200,
      summary: 'List the projects that the caller may have a token for',
      handle: async ({ context, query }) => {
        const rows = await projects.findMany(db, await projectIdsOf(db, context.identity.user.id));
        const render = renderer<ProjectRow>(project, core.convention, context, 'detail');
        const items = rows.filter(({ enabled }) => enabled).map(render);
        return collection(context, 'projects', '/auth/projects', items, query);
      },
    }),
    operation({
      method: 'GET',
      path: '/auth/domains',
      policy: ANYBODY('get_auth_domains'),
      status: 200,
      summary: 'List the domains that the caller may have a token for',
      handle: async ({ context, query }) => {
        const { rows } = await sql<{ target_id: string }>`select distinct target_id from identity_assignments
          where scope = 'domain' and not inherited and actor_id = any(${actorsOf(context.identity.user.id)})`.execute(
          db,
        );
        const found = await domains.findMany(
          db,
          rows.map(({ target_id }) => target_id),
        );
        const render = renderer<DomainRow>(domain, core.convention, context, 'detail');
        const items = found.filter(({ enabled }) => enabled).map(render);
        return collection(context, 'domains', '/auth/domains', items, query);
      },
    }),
    operation({
      method: 'GET',
      path: '/auth/system',
      policy: ANYBODY('get_auth_system'),
      status: 200,
      summary: 'Say whether the caller may have a token for the system',
      handle: async ({ context }) => {
        const { rows } = await sql`select 1 from identity_assignments where scope = 'system' and target_id = 'all'
          and actor_id = any(${actorsOf(context.identity.user.id)})
          limit 1`.execute(db);
        return {
          system: rows.length > 0 ? [{ all: true }] : [],
          links: { self: `${context.baseUrl}/auth/system` },
        };
      },
    }),
  ];
}
