/** What the files of this folder share: the database, and how it is changed, asked and answered for. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Db, Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, type Fault, forbidden, notFound } from '../http/fault.ts';
import type { Call, Convention, Query, RequestContext } from '../http/service.ts';
import type { Catalog } from './catalog.ts';
import type { Changes } from './changes.ts';
import type { CredentialCipher } from './credential-cipher.ts';
import type { TokenKeys } from './keys.ts';
import type { PasswordRules } from './password-rules.ts';
import type { Passwords } from './passwords.ts';
import { queryText } from '../resource/listing.ts';
import { users } from './resources.ts';
import type { Tokens } from './tokens.ts';

/** Told, in the transaction that deletes a project, to take along or refuse what hangs on it. */
export type ProjectDeletedListener = (tx: Tx, projectId: string) => Promise<void>;

/** Told, in the transaction that deletes a user. */
export type UserDeletedListener = (tx: Tx, userId: string) => Promise<void>;

export interface Core {
  readonly db: Db;
  readonly convention: Convention;
  readonly changes: Changes;
  readonly passwords: Passwords;
  readonly passwordRules: PasswordRules;
  readonly cipher: CredentialCipher;
  readonly keys: TokenKeys;
  readonly tokens: Tokens;
  readonly catalog: Catalog;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly projectDeleted: readonly ProjectDeletedListener[];
  readonly userDeleted: readonly UserDeletedListener[];
}

export const missing =
  (kind: string) =>
  (id: string): Fault =>
    notFound(`Could not find ${kind}: ${id}.`);

/** Keystone's 400 for something that a body lacks. */
export const expecting = (attribute: string, target: string): string =>
  `Expecting to find ${attribute} in ${target}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`;

/** Keystone's flags in a query: there without a value is yes. */
export function flag(query: Query, name: string): boolean {
  const value = [query[name]].flat()[0];
  return value !== undefined && !/^(0|false|f|no|n|off)$/i.test(value);
}

export const first = (query: Query, name: string): string | undefined => [query[name]].flat()[0];

/** A list that is no resource's own: `/auth/projects`, `/groups/{id}/users`. */
export function collection(
  context: RequestContext,
  name: string,
  path: string,
  items: readonly unknown[],
  query: Query = {},
): Record<string, unknown> {
  const self = `${context.baseUrl}${path}${queryText(query)}`;
  return { [name]: items, links: { next: null, self, previous: null } };
}

/** The rows a caller sees in lists: those of the domain that the token is for, else all. The rules let nobody else in. */
export function ownDomain(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  const { domain } = context.identity;
  return domain === undefined ? [] : [sql<SqlBool>`domain_id = ${domain.id}`];
}

/** What a list's rule is asked about: the domain named in the query, else the token's own. */
export const listTarget = (context: RequestContext, query: Query) => ({
  target: { domain_id: first(query, 'domain_id') ?? context.identity.domain?.id ?? null },
});

/** The domain that something new belongs to, where the request does not say. */
export const defaultDomain = ({ identity }: RequestContext): string =>
  identity.domain?.id ?? identity.project?.domain.id ?? 'default';

/**
 * Keeps a name to one holder, against others doing the same at this moment too.
 * @param claim.domainId within which it is claimed; undefined where the table has no domains
 * @throws Fault 409 with the words given where another id holds it
 */
export async function claimName(
  tx: Queryable,
  claim: { readonly table: string; readonly domainId?: string | null; readonly name: string; readonly id: string },
  words: (holder: string) => string,
): Promise<void> {
  const key = JSON.stringify([claim.table, claim.domainId, claim.name]);
  await sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`.execute(tx);
  const inDomain = claim.domainId === undefined ? sql`true` : sql`domain_id is not distinct from ${claim.domainId}`;
  const { rows } = await sql<{ id: string }>`
    select id from ${sql.table(claim.table)} where name = ${claim.name} and ${inDomain} and id <> ${claim.id}`.execute(
    tx,
  );
  if (rows[0] !== undefined) throw conflict(words(rows[0].id));
}

/** Refuses what may not be changed (`immutable`), unless the change is to make it so. */
export function refuseImmutable(
  kind: string,
  row: { readonly id: string; readonly options: { readonly immutable?: boolean | null } },
  verb: 'update' | 'delete',
  given?: { readonly immutable?: boolean | null } | undefined,
): void {
  const isLifted = given?.immutable === false || given?.immutable === null;
  if (row.options.immutable === true && !isLifted) {
    throw forbidden(
      `Unable to ${verb} immutable ${kind} resource: \`${row.id}. Set resource option "immutable" to false first.`,
    );
  }
}

/** Options with those that an update names; one that is null is no more. */
export function mergedOptions<O extends object>(before: O, given: O | undefined): O {
  const all = Object.entries({ ...before, ...given }).filter(([, value]) => value !== null);
  return Object.fromEntries(all) as O;
}

/** Keystone keeps a thing in the domain in which it was made. */
export function refuseOtherDomain(before: string | null, given: string | null | undefined): void {
  if (given !== undefined && given !== before) throw badRequest('Cannot change Domain ID');
}

/** Holds a domain in being until the transaction ends; false where there is none. */
export async function holdDomain(tx: Queryable, id: string): Promise<{ enabled: boolean } | undefined> {
  const { rows } = await sql<{ enabled: boolean }>`
    select enabled from identity_domains where id = ${id} for key share`.execute(tx);
  return rows[0];
}

/** What rules are asked about the user of a path; nothing where there is none. */
export const userTarget =
  (core: Core) =>
  async ({ params }: Pick<Call<unknown>, 'params'>) => {
    const row = await users.find(core.db.query, params.user_id ?? '');
    return { target: row === undefined ? {} : { user: { id: row.id, domain_id: row.domain_id } } };
  };
