/** Reads the body of `POST /v3/auth/tokens`: who says to be whom, how that is proven, and for which scope. */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { badRequest, notFound, unauthorized } from '../http/fault.ts';
import { type Core, expecting } from './core.ts';
import type { Method, Scope, TokenPayload } from './payload.ts';
import { users, type UserRow } from './resources.ts';

const Text = Type.String({ maxLength: 8192 });
const Named = Type.Object({ id: Type.Optional(Text), name: Type.Optional(Text) });
const InDomain = Type.Object({ id: Type.Optional(Text), name: Type.Optional(Text), domain: Type.Optional(Named) });

/** As loose as Keystone's own: what is missing is told in words of their own below. */
export const AuthBody = Type.Object({
  auth: Type.Optional(
    Type.Object({
      identity: Type.Object({
        methods: Type.Array(Text, { maxItems: 16 }),
        password: Type.Optional(
          Type.Object({
            user: Type.Optional(
              Type.Object({
                id: Type.Optional(Text),
                name: Type.Optional(Text),
                password: Type.Optional(Text),
                domain: Type.Optional(Named),
              }),
            ),
          }),
        ),
        token: Type.Optional(Type.Object({ id: Text })),
      }),
      scope: Type.Optional(
        Type.Union([
          Type.Object({
            project: Type.Optional(InDomain),
            domain: Type.Optional(Named),
            unscoped: Type.Optional(Type.Unknown()),
            system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
          }),
          Type.Literal('unscoped'),
        ]),
      ),
    }),
  ),
});

type AuthRequest = NonNullable<Static<typeof AuthBody>['auth']>;
type AuthScope = NonNullable<AuthRequest['scope']>;

/** A proven user, and by what. */
export interface Login {
  readonly user_id: string;
  readonly generation: number;
  readonly default_project: string | null;
  readonly methods: readonly Method[];
  readonly parent?: TokenPayload;
}

/**
 * Proves who it is by each method named.
 * @throws Fault 400 for what the request lacks, 401 for a wrong proof, 404 for a token that is none
 */
export async function proveUser(core: Core, request: AuthRequest): Promise<Login> {
  const { methods } = request.identity;
  const named = new Set(methods);
  for (const method of named) {
    if (!Object.hasOwn(request.identity, method)) throw badRequest(expecting(method, 'identity'));
    if (method !== 'password' && method !== 'token')
      throw unauthorized('Attempted to authenticate with an unsupported method.');
  }
  if (named.size === 0) throw unauthorized();
  const byToken = named.has('token') ? await proveByToken(core, request) : undefined;
  const byPassword = named.has('password') ? await proveByPassword(core, request) : undefined;
  const proven = byToken ?? byPassword;
  if (proven === undefined) throw unauthorized();
  // Two proofs of two different people prove nothing.
  if (byPassword !== undefined && byPassword.user_id !== proven.user_id) throw unauthorized();
  return proven;
}

async function proveByPassword(core: Core, request: AuthRequest): Promise<Login> {
  const given = request.identity.password?.user;
  if (given === undefined) throw badRequest(expecting('user', 'password'));
  if (given.id === undefined && given.name === undefined) throw badRequest(expecting('id or name', 'user'));
  if (given.id === undefined && given.domain === undefined) throw badRequest(expecting('domain', 'user'));
  const { domain } = given;
  if (given.id === undefined && domain?.id === undefined && domain?.name === undefined) {
    throw badRequest('Invalid input for field identity/password/user/domain: id or name must be present.');
  }
  if (given.password === undefined) throw badRequest(expecting('password', 'user'));
  const row =
    given.id === undefined
      ? await findByName(core.db.query, given.name ?? '', domain ?? {})
      : await users.find(core.db.query, given.id);
  const proven = await core.passwords.verify(row?.password, given.password);
  if (!proven || row === undefined || !row.enabled) throw unauthorized();
  return {
    user_id: row.id,
    generation: row.token_generation,
    default_project: row.default_project ?? null,
    methods: ['password'],
  };
}

async function proveByToken(core: Core, request: AuthRequest): Promise<Login> {
  const given = request.identity.token;
  if (given === undefined) throw badRequest(expecting('token', 'identity'));
  const token = await core.tokens.find(given.id);
  if (token === undefined) throw notFound('Could not recognize Fernet token');
  const { payload } = token;
  return {
    user_id: payload.user_id,
    generation: payload.generation,
    default_project: null,
    methods: ['token', ...payload.methods.filter((method) => method !== 'token')],
    parent: payload,
  };
}

interface ByIdOrName {
  readonly id?: string;
  readonly name?: string;
}

async function findByName(query: Queryable, name: string, domain: ByIdOrName): Promise<UserRow | undefined> {
  const { rows } = await sql<{
    id: string;
  }>`select u.id from identity_users u join identity_domains d on d.id = u.domain_id
    where u.name = ${name} and ${domain.id === undefined ? sql`d.name = ${domain.name}` : sql`d.id = ${domain.id}`}`.execute(
    query,
  );
  return rows[0] === undefined ? undefined : users.find(query, rows[0].id);
}

/**
 * The scope that a request names.
 * @returns undefined where it names none, so that the user's default project counts
 * @throws Fault 400 for one that is incomplete, 401 for one that does not exist
 */
export async function scopeOf(query: Queryable, scope: AuthScope | undefined): Promise<Scope | undefined> {
  if (scope === undefined) return undefined;
  if (scope === 'unscoped') return { kind: 'unscoped' };
  const named = (['system', 'project', 'domain', 'unscoped'] as const).filter((kind) => scope[kind] !== undefined);
  if (named.length > 1) {
    throw badRequest(expecting('system, project, domain, OS-TRUST:trust or unscoped', 'scope'));
  }
  if (scope.system !== undefined) {
    if (scope.system.all !== true) throw badRequest(expecting('all', 'system'));
    return { kind: 'system' };
  }
  if (scope.unscoped !== undefined) return { kind: 'unscoped' };
  if (scope.project !== undefined) return { kind: 'project', id: await projectIdOf(query, scope.project) };
  if (scope.domain !== undefined) return { kind: 'domain', id: await domainIdOf(query, scope.domain, 'scope/domain') };
  return undefined;
}

async function projectIdOf(query: Queryable, given: ByIdOrName & { readonly domain?: ByIdOrName }): Promise<string> {
  if (given.id !== undefined) return given.id;
  if (given.name === undefined) throw badRequest('Invalid input for field scope/project: id or name must be present.');
  if (given.domain === undefined) throw badRequest(expecting('domain', 'project'));
  const domainId = await domainIdOf(query, given.domain, 'scope/project/domain');
  const { rows } = await sql<{ id: string }>`
    select id from identity_projects where name = ${given.name} and domain_id = ${domainId}`.execute(query);
  if (rows[0] === undefined) throw unauthorized();
  return rows[0].id;
}

async function domainIdOf(query: Queryable, given: ByIdOrName, path: string): Promise<string> {
  if (given.id !== undefined) return given.id;
  if (given.name === undefined) throw badRequest(`Invalid input for field ${path}: id or name must be present.`);
  const { rows } = await sql<{ id: string }>`select id from identity_domains where name = ${given.name}`.execute(query);
  if (rows[0] === undefined) throw unauthorized();
  return rows[0].id;
}
