/** The built-in Keystone: users, projects, roles and the tokens by which every service knows its callers. */
import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Db, Queryable } from '../db/database.ts';
import type { Authenticate, NamedInDomain } from '../http/identity.ts';
import { identity as convention } from '../http/conventions.ts';
import type { Convention, Service } from '../http/service.ts';
import { assignmentOperations } from './assignments.ts';
import { accessRuleOperations } from './access-rules.ts';
import { applicationCredentialOperations } from './application-credentials.ts';
import { authOperations } from './auth.ts';
import { bootstrap, recoverAdministrator } from './bootstrap.ts';
import { catalogOperations } from './catalog-operations.ts';
import { createCatalog } from './catalog.ts';
import { createChanges } from './changes.ts';
import type { Core, ProjectDeletedListener, UserDeletedListener } from './core.ts';
import { createCredentialCipher } from './credential-cipher.ts';
import { credentialOperations } from './credentials.ts';
import { domainConfigOperations } from './domain-config.ts';
import { domainOperations } from './domains.ts';
import { ec2TokenOperations, refuseEc2Tokens } from './ec2-tokens.ts';
import { endpointFilterOperations } from './endpoint-filters.ts';
import { endpointPolicyOperations } from './endpoint-policies.ts';
import { grantOperations } from './grants.ts';
import { groupOperations } from './groups.ts';
import { jsonHome } from './json-home.ts';
import { createTokenKeys, rotateTokenKeys } from './keys.ts';
import { limitOperations } from './limits.ts';
import { consumerOperations } from './oauth-consumers.ts';
import { oauth1Operations } from './oauth1-tokens.ts';
import { oauth2Operations } from './oauth2.ts';
import type { PasswordRules } from './password-rules.ts';
import { createPasswords } from './passwords.ts';
import type { Scope } from './payload.ts';
import { policyOperations } from './policies.ts';
import { projectOperations } from './projects.ts';
import { retiredOperations } from './retired.ts';
import { revocationOperations } from './revocations.ts';
import { roleOperations } from './roles.ts';
import { listAssignmentsForTree, trustRules } from './rules.ts';
import { createTokens } from './tokens.ts';
import { trustOperations } from './trusts.ts';
import { userOperations } from './users.ts';

export type { ProjectDeletedListener, UserDeletedListener } from './core.ts';
export type { Scope } from './payload.ts';

export interface IdentityOptions {
  readonly db: Db;
  /** How clients reach the parent, without a slash at the end. */
  readonly publicUrl: string;
  /** The services that stand in the catalog. */
  readonly conventions: Readonly<Record<string, Convention>>;
  readonly log: Logger;
  /** The file with the keys under which credentials are encrypted; absent: keys of this process alone. */
  readonly credentialKeyFile?: string;
  /** What is asked of passwords; nothing. */
  readonly passwordRules?: PasswordRules;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
  /** How long a token holds, in seconds; 24 hours. */
  readonly tokenValidity_s?: number;
}

/** What the parent needs of whoever knows its callers: the built-in Keystone, or one that is there already. */
export interface CallerIdentity {
  /** Its API; undefined where it is served elsewhere. */
  readonly service: Service | undefined;
  readonly authenticate: Authenticate;
  /** Makes what must be there before anybody can log in; true where that made the administrator, with this password. */
  bootstrap(options: { readonly adminPassword: string }): Promise<boolean>;
  /** Has a listener called in the transaction that deletes a project; what it throws stands against the deletion. */
  onProjectDeleted(listener: ProjectDeletedListener): void;
  /** The same for a user. */
  onUserDeleted(listener: UserDeletedListener): void;
  readonly projects: ProjectLookup;
  /** Stops listening for changes. */
  close(): Promise<void>;
}

export interface IdentityService extends CallerIdentity {
  readonly service: Service;
  /**
   * A token for a user without their password, for the parent's own errands (writing a demo's `clouds.yaml`).
   * @throws Fault 401 where the user is not there, disabled, or has no role in the scope
   */
  issueFor(userId: string, scope: Scope): Promise<string>;
  /**
   * Gives the administrator a password, and back the account and the roles that they have at first. All of their tokens
   * are void.
   */
  recoverAdministrator(password: string): Promise<void>;
  /** Makes the staged token key primary in every process; gives its number, and that of the oldest that still verifies. */
  rotateTokenKeys(): Promise<{ readonly primary: number; readonly oldest: number }>;
}

/** What other services ask of projects. */
export interface ProjectLookup {
  /** A project with its domain, disabled or not; undefined where there is none. */
  find(query: Queryable, id: string): Promise<NamedInDomain | undefined>;
  exists(query: Queryable, id: string): Promise<boolean>;
  /** Names by id, of those that there are. */
  names(query: Queryable, ids: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

const TOKEN_VALIDITY_S = 24 * 60 * 60;

/** Makes the service; touches the database only when it is used. */
export function createIdentity(options: IdentityOptions): IdentityService {
  const {
    db,
    publicUrl,
    conventions,
    log,
    now = Date.now,
    tokenValidity_s = TOKEN_VALIDITY_S,
    passwordRules = {},
  } = options;
  const changes = createChanges(db);
  const passwords = createPasswords();
  const cipher = createCredentialCipher(options.credentialKeyFile);
  const keys = createTokenKeys(db);
  const tokens = createTokens({ db, keys, changes, now, validity_s: tokenValidity_s });
  const projectDeleted: ProjectDeletedListener[] = [];
  const userDeleted: UserDeletedListener[] = [];
  const catalog = createCatalog(db, changes, now);
  const core: Core = {
    db,
    convention,
    changes,
    passwords,
    passwordRules,
    cipher,
    keys,
    tokens,
    catalog,
    now,
    projectDeleted,
    userDeleted,
  };
  const operations = [
    ...authOperations(core),
    ...domainOperations(core),
    ...projectOperations(core),
    ...userOperations(core),
    ...groupOperations(core),
    ...roleOperations(core),
    ...grantOperations(core),
    ...assignmentOperations(core),
    ...catalogOperations(core),
    ...policyOperations(core),
    ...applicationCredentialOperations(core),
    ...accessRuleOperations(core),
    ...trustOperations(core),
    ...credentialOperations(core),
    ...limitOperations(core),
    ...domainConfigOperations(core),
    ...endpointFilterOperations(core),
    ...endpointPolicyOperations(core),
    ...consumerOperations(core),
    ...oauth1Operations(core),
    ...oauth2Operations(core),
    ...ec2TokenOperations(core),
    ...revocationOperations(core),
    ...retiredOperations(),
  ].map(refuseEc2Tokens);
  const rules = [listAssignmentsForTree, trustRules.listOfTrustor, trustRules.listOfTrustee];
  const service: Service = { convention, operations, rules, home: (prefix) => jsonHome(operations, prefix) };
  return {
    service,
    authenticate: async (token) => (await tokens.find(token))?.identity,
    bootstrap: async ({ adminPassword }) => {
      const made = await bootstrap({ db, publicUrl, conventions, passwords, changes, adminPassword });
      log.info('the identity service is ready');
      return made;
    },
    async issueFor(userId, scope) {
      const { rows } = await sql<{ generation: number }>`
        select token_generation as generation from identity_users where id = ${userId}`.execute(db.query);
      const generation = rows[0]?.generation ?? 0;
      return (await tokens.issue({ user_id: userId, scope, methods: ['password'], generation })).text;
    },
    async recoverAdministrator(password) {
      const hash = await passwords.hash(password);
      await db.transaction(async (tx) => {
        await recoverAdministrator(tx, hash);
        await changes.announce(tx, 'all');
      });
      changes.apply('all');
    },
    async rotateTokenKeys() {
      const numbers = await db.transaction(async (tx) => {
        const rotated = await rotateTokenKeys(tx);
        await changes.announce(tx, 'keys');
        return rotated;
      });
      changes.apply('keys');
      return numbers;
    },
    onProjectDeleted: (listener) => void projectDeleted.push(listener),
    onUserDeleted: (listener) => void userDeleted.push(listener),
    projects: projectLookup,
    close: () => changes.stop(),
  };
}

/** What the tables say. */
export const projectLookup: ProjectLookup = {
  async find(query, id) {
    const { rows } = await sql<{ name: string; domain_id: string; domain_name: string }>`
      select p.name, d.id as domain_id, d.name as domain_name
      from identity_projects p join identity_domains d on d.id = p.domain_id where p.id = ${id}`.execute(query);
    const row = rows[0];
    return row === undefined ? undefined : { id, name: row.name, domain: { id: row.domain_id, name: row.domain_name } };
  },
  async exists(query, id) {
    const { rows } = await sql`select 1 from identity_projects where id = ${id}`.execute(query);
    return rows.length > 0;
  },
  async names(query, ids) {
    const { rows } = await sql<{ id: string; name: string }>`
      select id, name from identity_projects where id = any(${[...ids]})`.execute(query);
    return new Map(rows.map(({ id, name }) => [id, name]));
  },
};
