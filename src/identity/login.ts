/** Reads the body of `POST /v3/auth/tokens`: who says to be whom, how that is proven, and for which scope. */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { badRequest, Fault, notFound, unauthorized } from '../http/fault.ts';
import { type Core, expecting, missing } from './core.ts';
import { credentialsOf } from './credentials.ts';
import { forbiddenAction } from './delegation.ts';
import { proveAccess, type SignedCall } from './oauth1-access.ts';
import { countFailure, isLocked, provePassword, refuseInactive } from './password-rules.ts';
import { isPasscode } from './totp.ts';
import { AUTH_METHODS, type Delegation, type Method, type Scope, type TokenPayload } from './payload.ts';
import { users, type UserRow } from './resources.ts';

const Text = Type.String({ maxLength: 8192 });
const Named = Type.Object({ id: Type.Optional(Text), name: Type.Optional(Text) });
const InDomain = Type.Object({ id: Type.Optional(Text), name: Type.Optional(Text), domain: Type.Optional(Named) });

const ScopeObject = Type.Object({
  project: Type.Optional(InDomain),
  domain: Type.Optional(Named),
  unscoped: Type.Optional(Type.Unknown()),
  system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
  'OS-TRUST:trust': Type.Optional(Type.Object({ id: Type.Optional(Text) })),
});

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
        oauth1: Type.Optional(Type.Object({})),
        totp: Type.Optional(
          Type.Object({
            user: Type.Optional(
              Type.Object({
                id: Type.Optional(Text),
                name: Type.Optional(Text),
                passcode: Type.Optional(Text),
                domain: Type.Optional(Named),
              }),
            ),
          }),
        ),
        application_credential: Type.Optional(
          Type.Object({
            id: Type.Optional(Text),
            name: Type.Optional(Text),
            secret: Type.Optional(Text),
            user: Type.Optional(InDomain),
          }),
        ),
      }),
      scope: Type.Optional(
        Type.Unsafe<Static<typeof ScopeObject> | string>({ ...ScopeObject, type: ['object', 'string'] }),
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
  /** What the token is for where the proof says so, and not the request. */
  readonly target?: Target;
}

/** What a token is for, and from what it draws its rights where those are not the user's. */
export interface Target {
  readonly scope: Scope;
  readonly delegation?: Delegation;
}

/**
 * Looks at what needs no proof yet: whether all is there that the methods and the scope need.
 * @returns what the token is asked for; undefined where the request names nothing
 * @throws Fault 400 for what is lacking, 401 for methods and scopes that there are not
 */
export async function readRequest(core: Core, request: AuthRequest): Promise<Target | undefined> {
  const { methods, password } = request.identity;
  requireIdOrName('identity/password/user', password?.user);
  requireIdOrName('identity/password/user/domain', password?.user?.domain);
  for (const method of new Set(methods)) {
    if (!Object.hasOwn(request.identity, method)) throw badRequest(expecting(method, 'identity'));
  }
  if (methods.some((method) => !Object.hasOwn(PROOFS, method))) {
    throw new Fault(401, 'Attempted to authenticate with an unsupported method.', {
      attributes: { identity: { methods: AUTH_METHODS } },
    });
  }
  if (methods.includes('application_credential') && request.scope !== undefined) {
    throw new Fault(
      401,
      'Error authenticating with application credential: Application credentials cannot request a scope.',
      { attributes: { identity: {} } },
    );
  }
  return targetOf(core, request.scope);
}

function requireIdOrName(field: string, given: ByIdOrName | undefined): void {
  if (given !== undefined && given.id === undefined && given.name === undefined) {
    throw badRequest(`Invalid input for field ${field}: id or name must be present.`);
  }
}

/**
 * Proves who it is by each method named.
 * @param signed the request itself, for the method that proves by a signature of it
 * @throws Fault 400 for what the request lacks, 401 for a wrong proof, 404 for a token that is none
 */
export async function proveUser(core: Core, request: AuthRequest, signed?: SignedCall): Promise<Login> {
  const named = new Set(request.identity.methods);
  const proven: Login[] = [];
  for (const [method, prove] of Object.entries(PROOFS))
    if (named.has(method)) proven.push(await prove(core, request, signed));
  const [first, ...others] = proven;
  if (first === undefined) throw unauthorized();
  // Two proofs of two different people prove nothing.
  if (others.some(({ user_id }) => user_id !== first.user_id)) throw unauthorized();
  await refuseInactive(core, first.user_id);
  const provenBy = [...new Set(proven.flatMap((login) => login.methods))];
  return Object.assign({}, ...proven.toReversed(), { methods: provenBy });
}

type Proof = (core: Core, request: AuthRequest, signed?: SignedCall) => Promise<Login>;

async function proveByPassword(core: Core, request: AuthRequest): Promise<Login> {
  const given = request.identity.password?.user;
  // Keystone's own words: its methods have no name there.
  if (given === undefined) throw badRequest(expecting('user', 'None'));
  if (given.id === undefined && given.domain === undefined) throw badRequest(expecting('domain', 'user'));
  const user = await findUser(core.db.query, given);
  const { user: row, isExpired } = await provePassword(core, user, given.password ?? '');
  if (isExpired) throw unauthorized(`The password is expired and needs to be changed for user: ${row.id}.`);
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
  if (token === undefined) throw await noToken(core, given.id);
  const { payload } = token;
  refuseRescope(payload, request.scope);
  return {
    user_id: payload.user_id,
    generation: payload.generation,
    default_project: null,
    methods: ['token', ...payload.methods.filter((method) => method !== 'token')],
    parent: payload,
  };
}

/** Keystone's 404: whether a text is none of its tokens, or one that means nothing any more. */
export async function noToken(core: Core, text: string): Promise<Fault> {
  const isOurs = await core.tokens.isOurs(text);
  return notFound(isOurs ? 'Failed to validate token' : 'Could not recognize Fernet token');
}

/**
 * A token must not become one that may more: what was delegated is handed on by its own means, and the system's rights
 * are not those of a project.
 * @throws Fault 403
 */
function refuseRescope(payload: TokenPayload, scope: AuthScope | undefined): void {
  if (payload.delegation?.kind === 'oauth1') {
    throw forbiddenAction('Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead');
  }
  if (payload.delegation?.kind === 'trust') {
    throw forbiddenAction('Using trust-scoped token to create another token. Create a new trust-scoped token instead');
  }
  const wanted = typeof scope === 'object' && (scope.project !== undefined || scope.domain !== undefined);
  if (payload.scope.kind === 'system' && wanted) {
    throw forbiddenAction(
      'Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.',
    );
  }
  if (payload.methods.some((method) => !PRIMARY.has(method))) {
    throw forbiddenAction('Using a delegated token to create another token is not allowed.');
  }
}

/** Proofs of the user's own. */
const PRIMARY: ReadonlySet<Method> = new Set(['password', 'token', 'totp']);

async function proveByCredential(core: Core, request: AuthRequest): Promise<Login> {
  const given = request.identity.application_credential ?? {};
  const found = await findCredential(core, given);
  const proven = await core.passwords.verify(found?.secret_hash, given.secret ?? '');
  if (!proven || found === undefined) throw unauthorized();
  return {
    user_id: found.user_id,
    generation: found.generation,
    default_project: null,
    methods: ['application_credential'],
    target: {
      scope: { kind: 'project', id: found.project_id },
      delegation: { kind: 'application_credential', id: found.id },
    },
  };
}

async function proveByPasscode(core: Core, request: AuthRequest): Promise<Login> {
  const given = request.identity.totp?.user;
  if (given === undefined) throw badRequest(expecting('user', 'totp'));
  if (given.id === undefined && given.name === undefined) throw badRequest(expecting('id or name', 'user'));
  if (given.id === undefined && given.domain === undefined) throw badRequest(expecting('domain', 'user'));
  const user = await findUser(core.db.query, given);
  const now_ms = core.now();
  if (user === undefined || !user.enabled || isLocked(core.passwordRules, user, now_ms)) throw unauthorized();
  const seeds = await credentialsOf(core, user.id, 'totp');
  if (!seeds.some(({ blob }) => isPasscode(blob, given.passcode ?? '', now_ms / 1000))) {
    // There are but a million of them.
    await countFailure(core, user, now_ms);
    throw unauthorized();
  }
  return {
    user_id: user.id,
    generation: user.token_generation,
    default_project: user.default_project ?? null,
    methods: ['totp'],
  };
}

async function proveByAccessToken(core: Core, _request: AuthRequest, signed?: SignedCall): Promise<Login> {
  if (signed === undefined) throw unauthorized();
  const token = await proveAccess(core, signed);
  const user = await users.find(core.db.query, token.user_id);
  if (user === undefined) throw unauthorized();
  return {
    user_id: user.id,
    generation: user.token_generation,
    default_project: null,
    methods: ['oauth1'],
    target: { scope: { kind: 'project', id: token.project_id }, delegation: { kind: 'oauth1', id: token.id } },
  };
}

interface FoundCredential {
  id: string;
  user_id: string;
  project_id: string;
  secret_hash: string;
  generation: number;
}

/** By its id, or by its name within its user's. @throws Fault 400 for neither, 404 for an id that there is not */
async function findCredential(
  core: Core,
  given: NonNullable<AuthRequest['identity']['application_credential']>,
): Promise<FoundCredential | undefined> {
  const { query } = core.db;
  const columns = sql`c.id, c.user_id, c.project_id, c.secret_hash, u.token_generation as generation
    from identity_application_credentials c join identity_users u on u.id = c.user_id`;
  if (given.id !== undefined && given.id !== '') {
    const { rows } = await sql<FoundCredential>`select ${columns} where c.id = ${given.id}`.execute(query);
    if (rows[0] === undefined) throw missing('Application Credential')(given.id);
    return rows[0];
  }
  if (given.name === undefined || given.name === '') {
    throw badRequest(expecting('name or ID', 'application credential'));
  }
  if (given.user === undefined) throw badRequest(expecting('user', 'application credential'));
  if (given.user.id === undefined && given.user.domain === undefined) throw badRequest(expecting('domain', 'user'));
  const owner = await findUser(query, given.user);
  const { rows } = await sql<FoundCredential>`
    select ${columns} where c.user_id = ${owner?.id ?? ''} and c.name = ${given.name}`.execute(query);
  return rows[0];
}

/** How each method proves who it is, what a token hands on coming first. */
const PROOFS: Readonly<Record<(typeof AUTH_METHODS)[number], Proof>> = {
  token: proveByToken,
  password: proveByPassword,
  application_credential: proveByCredential,
  totp: proveByPasscode,
  oauth1: proveByAccessToken,
};

const SCOPES = 'system, project, domain, OS-TRUST:trust or unscoped';

interface ByIdOrName {
  readonly id?: string;
  readonly name?: string;
}

/** The user of an id, or of a name in a domain. */
async function findUser(
  query: Queryable,
  given: ByIdOrName & { readonly domain?: ByIdOrName },
): Promise<UserRow | undefined> {
  if (given.id !== undefined) return users.find(query, given.id);
  const { id, name } = given.domain ?? {};
  const { rows } = await sql<{ id: string }>`
    select u.id from identity_users u join identity_domains d on d.id = u.domain_id
    where u.name = ${given.name ?? ''} and ${id === undefined ? sql`d.name = ${name ?? ''}` : sql`d.id = ${id}`}`.execute(
    query,
  );
  return rows[0] === undefined ? undefined : users.find(query, rows[0].id);
}

/**
 * What a request asks a token for.
 * @returns undefined where it names nothing, so that the user's default project counts
 * @throws Fault 400 for a scope that is incomplete, 401 for one that does not exist
 */
async function targetOf(core: Core, scope: AuthScope | undefined): Promise<Target | undefined> {
  if (scope === undefined) return undefined;
  if (typeof scope === 'string') {
    if (scope.includes('unscoped')) return { scope: { kind: 'unscoped' } };
    throw badRequest(expecting(SCOPES, 'scope'));
  }
  const { query } = core.db;
  const trust = scope['OS-TRUST:trust'];
  const named = (['system', 'project', 'domain', 'unscoped', 'OS-TRUST:trust'] as const).filter(
    (kind) => scope[kind] !== undefined,
  );
  if (named.length !== 1) throw badRequest(expecting(SCOPES, 'scope'));
  // Keystone has but one system, and does not look how much of it is asked for.
  if (scope.system !== undefined) return { scope: { kind: 'system' } };
  if (scope.unscoped !== undefined) return { scope: { kind: 'unscoped' } };
  if (trust !== undefined) return trustTarget(core, trust.id);
  if (scope.project !== undefined) return { scope: { kind: 'project', id: await projectIdOf(query, scope.project) } };
  if (scope.domain !== undefined) {
    return { scope: { kind: 'domain', id: await domainIdOf(query, scope.domain, 'scope/domain') } };
  }
  return undefined;
}

/** @throws Fault 401 for a trust that there is not, that has ended, or that has been used up */
async function trustTarget({ db, now }: Core, id: string | undefined): Promise<Target> {
  if (id === undefined || id === '') throw badRequest(expecting('trust_id', 'trust'));
  const { rows } = await sql<{ project_id: string }>`select project_id from identity_trusts
    where id = ${id} and (expires_at is null or expires_at > to_timestamp(${now() / 1000}))
      and (remaining_uses is null or remaining_uses > 0)`.execute(db.query);
  const projectId = rows[0]?.project_id;
  if (projectId === undefined) throw unauthorized();
  const scope: Scope = projectId === '' ? { kind: 'unscoped' } : { kind: 'project', id: projectId };
  return { scope, delegation: { kind: 'trust', id } };
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
