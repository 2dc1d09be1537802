/** Keystone tokens: one for each scope, kept until shortly before it ends, asked for once however many wait. */
import type { CloudEntry } from './clouds-yaml.ts';
import type { CloudService } from './contract.ts';
import { findEndpoint, hostsOf } from './endpoints.ts';
import type { CatalogEntry, Endpoint } from './endpoints.ts';
import { CloudError, plainSentence } from './error.ts';

export interface Token {
  /** The secret itself: for the X-Auth-Token header alone. */
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly domainId: string;
  readonly roles: readonly string[];
  /** Where the service is for this token's project; undefined where the catalog has none. */
  endpoint(service: CloudService): Endpoint | undefined;
  /** Host names of the cloud, to be kept from tenants. */
  readonly hosts: readonly string[];
}

export interface Tokens {
  /** The token of a scope if one is at hand, without waiting. `undefined` is the account's own scope. */
  cached(projectId: string | undefined): Token | undefined;
  /** The token of a scope, asked for if none is at hand. Throws CloudError. */
  get(projectId: string | undefined): Promise<Token>;
  /** Forgets this very token (a newer one of the same scope stays). */
  drop(projectId: string | undefined, token: Token): void;
}

/** Sends `POST /auth/tokens` with this body; gives the answer's JSON and its X-Subject-Token. */
export type IssueToken = (
  body: unknown,
) => Promise<{ readonly body: unknown; readonly subjectToken: string | undefined }>;

interface KeptToken {
  readonly token: Token;
  readonly until: number;
}

/** Scopes kept at most; the one unused for longest goes first. */
const scopes_max = 10_000;

/** A token this close to its end is not used any more: it must outlive the call, and queues at the cloud. */
const margin_ms = 120_000;

/** Makes the token store of one account. `now` is a clock in ms. */
export function createTokens(entry: CloudEntry, issue: IssueToken, now: () => number): Tokens {
  const kept = new Map<string, KeptToken>();
  const asking = new Map<string, Promise<Token>>();

  const keyOf = (projectId: string | undefined): string => {
    // The own project by its id is the own scope: no second token, and no re-scoping that might not be allowed.
    if (projectId === undefined || projectId === entry.auth.project_id) return '';
    return kept.get('')?.token.projectId === projectId ? '' : projectId;
  };

  const cached = (projectId: string | undefined): Token | undefined => {
    const key = keyOf(projectId);
    const found = kept.get(key);
    if (found === undefined) return undefined;
    if (now() < found.until) return found.token;
    kept.delete(key);
    return undefined;
  };

  const ask = async (key: string): Promise<Token> => {
    const asked = now();
    const answer = await issue(authBody(entry, key === '' ? undefined : key));
    const { token, lifetime_ms } = readToken(entry, answer.body, answer.subjectToken);
    const oldest = kept.size >= scopes_max ? kept.keys().next() : undefined;
    if (oldest?.value !== undefined) kept.delete(oldest.value);
    kept.set(key, { token, until: asked + lifetime_ms - Math.min(margin_ms, lifetime_ms / 5) });
    return token;
  };

  return {
    cached,
    async get(projectId) {
      const found = cached(projectId);
      if (found !== undefined) return found;
      const key = keyOf(projectId);
      let asked = asking.get(key);
      if (asked === undefined) {
        asked = ask(key).finally(() => asking.delete(key));
        asking.set(key, asked);
      }
      return asked;
    },
    drop(projectId, token) {
      const key = keyOf(projectId);
      if (kept.get(key)?.token === token) kept.delete(key);
    },
  };
}

function authBody(entry: CloudEntry, projectId: string | undefined): unknown {
  const scope = projectId === undefined ? ownScope(entry) : { project: { id: projectId } };
  const identity = identityOf(entry);
  // An application credential is bound to its project; Keystone refuses any scope beside it.
  if (entry.auth_type === 'v3applicationcredential') {
    if (projectId === undefined) return { auth: { identity } };
    throw new CloudError(`${entry.name}: an application credential cannot act in another project; use a password`, {
      failure: 'unauthorized',
      stage: 'not-tried',
      tenantMessage: plainSentence.unauthorized,
    });
  }
  return { auth: scope === undefined ? { identity } : { identity, scope } };
}

function identityOf({ auth, auth_type }: CloudEntry): unknown {
  const user = auth.user_id === undefined ? { name: auth.username, domain: userDomain(auth) } : { id: auth.user_id };
  if (auth_type === 'token') return { methods: ['token'], token: { id: auth.token } };
  if (auth_type === 'password')
    return { methods: ['password'], password: { user: { ...user, password: auth.password } } };
  const secret = auth.application_credential_secret;
  const id = auth.application_credential_id;
  const credential = id === undefined ? { name: auth.application_credential_name, secret, user } : { id, secret };
  return { methods: ['application_credential'], application_credential: credential };
}

function userDomain(auth: CloudEntry['auth']): unknown {
  return domain(
    auth.user_domain_id ?? (auth.user_domain_name === undefined ? 'default' : undefined),
    auth.user_domain_name,
  );
}

function domain(id: string | undefined, name: string | undefined): unknown {
  return id === undefined ? { name } : { id };
}

function ownScope({ auth }: CloudEntry): unknown {
  if (auth.project_id !== undefined) return { project: { id: auth.project_id } };
  if (auth.project_name !== undefined) {
    const id = auth.project_domain_id ?? (auth.project_domain_name === undefined ? 'default' : undefined);
    return { project: { name: auth.project_name, domain: domain(id, auth.project_domain_name) } };
  }
  if (auth.domain_id !== undefined || auth.domain_name !== undefined) {
    return { domain: domain(auth.domain_id, auth.domain_name) };
  }
  return auth.system_scope === undefined ? undefined : { system: { all: true } };
}

interface TokenBody {
  readonly token: {
    readonly expires_at: string;
    readonly issued_at: string;
    readonly user: { readonly id: string; readonly domain?: { readonly id: string } };
    readonly project?: { readonly id: string; readonly domain: { readonly id: string } };
    readonly domain?: { readonly id: string };
    readonly roles?: readonly { readonly name: string }[];
    readonly catalog?: readonly CatalogEntry[];
  };
}

function readToken(
  entry: CloudEntry,
  body: unknown,
  id: string | undefined,
): { readonly token: Token; readonly lifetime_ms: number } {
  const given = (body as Partial<TokenBody> | undefined)?.token;
  // Both from the cloud: the length of life needs no comparing of its clock with ours.
  const lifetime_ms = Date.parse(given?.expires_at ?? '') - Date.parse(given?.issued_at ?? '');
  if (given === undefined || id === undefined || !Number.isFinite(lifetime_ms) || given.user?.id === undefined) {
    throw new CloudError(
      `${entry.name}: ${entry.auth.auth_url} answered with something that is not a Keystone v3 token`,
      {
        failure: 'protocol',
        stage: 'answer',
        tenantMessage: plainSentence.protocol,
      },
    );
  }
  const catalog = given.catalog ?? [];
  const projectId = given.project?.id ?? '';
  const endpoints = new Map<CloudService, Endpoint | undefined>();
  const token: Token = {
    id,
    projectId,
    userId: given.user.id,
    domainId: given.project?.domain.id ?? given.domain?.id ?? given.user.domain?.id ?? '',
    roles: (given.roles ?? []).map((role) => role.name),
    hosts: [...new Set([new URL(entry.auth.auth_url).hostname, ...hostsOf(catalog)])],
    endpoint(service) {
      if (endpoints.has(service)) return endpoints.get(service);
      const found = findEndpoint(service, catalog, entry, projectId);
      endpoints.set(service, found);
      return found;
    },
  };
  return { token, lifetime_ms };
}
