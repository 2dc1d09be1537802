/** OAuth 1 access tokens: what users let a consumer do in their name, and how it logs in with one. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, notFound, unauthorized } from '../http/fault.ts';
import type { Identity } from '../http/identity.ts';
import { type Call, type Operation, operation } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { collection, type Core, expecting, missing } from './core.ts';
import { forbiddenUntold } from './delegation.ts';
import { isSigned, oauthParameters } from './oauth1-signature.ts';
import { role, type RoleRow, roles } from './resources.ts';
import { noteRevoked } from './revocations.ts';
import { admin } from './rules.ts';
import { openSealed } from './sealed.ts';

const PATH = '/users/:user_id/OS-OAUTH1/access_tokens';

export interface AccessTokenRow {
  readonly id: string;
  readonly consumer_id: string;
  readonly user_id: string;
  readonly project_id: string;
  readonly sealed: string;
  readonly key_id: string;
  readonly role_ids: string[];
  readonly expires_at: string;
}

async function select(query: Queryable, column: 'id' | 'user_id', value: string): Promise<AccessTokenRow[]> {
  const { rows } =
    await sql<AccessTokenRow>`select id, consumer_id, user_id, project_id, sealed, key_id, role_ids, expires_at
    from identity_oauth_access_tokens where ${sql.ref(column)} = ${value} order by id limit 10000`.execute(query);
  return rows;
}

/** The secret of a consumer. @throws Fault 404 where there is none */
export async function consumerSecret(core: Core, id: string): Promise<string> {
  const { rows } = await sql<{ sealed: string; key_id: string }>`
    select body->>'sealed' as sealed, body->>'key_id' as key_id from identity_oauth_consumers where id = ${id}`.execute(
    core.db.query,
  );
  if (rows[0] === undefined) throw notFound('Consumer not found');
  return openSealed(core, rows[0], id);
}

/** A request by which a consumer logs in: its headers sign the address of the login. */
export type SignedCall = Pick<Call, 'headers' | 'query' | 'context'>;

/**
 * Proves a login by an access token.
 * @throws Fault 400 where none is named, 404 where there is none such, 401 where it has ended or the signature is wrong
 */
export async function proveAccess(core: Core, { headers, query, context }: SignedCall): Promise<AccessTokenRow> {
  const parameters = oauthParameters(headers.authorization);
  const id = parameters.get('oauth_token') ?? '';
  if (id === '') throw badRequest(expecting('oauth_token', 'request'));
  const [token] = await select(core.db.query, 'id', id);
  if (token === undefined) throw notFound('Access token not found');
  if (Date.parse(token.expires_at) <= core.now()) throw unauthorized();
  if (parameters.get('oauth_consumer_key') !== token.consumer_id) throw unauthorized();
  const secrets = {
    consumer: await consumerSecret(core, token.consumer_id),
    token: await openSealed(core, token, token.id),
  };
  const request = { method: 'POST', url: `${context.baseUrl}/auth/tokens`, query, parameters };
  if (!isSigned(request, secrets, core.now() / 1000)) throw unauthorized();
  return token;
}

/** What was handed on manages nothing of its like. @throws Fault 403 */
function refuseHandedOn({ delegation }: Identity): void {
  if (delegation !== undefined) {
    throw forbiddenUntold('Cannot manage OAuth access tokens with a token issued via delegation.');
  }
}

/** `/users/{id}/OS-OAUTH1/access_tokens`, as Keystone serves it: for administrators. */
export function accessTokenOperations(core: Core): Operation[] {
  const { query: db } = core.db;
  const tokenOf = async ({ params }: Call<unknown>): Promise<AccessTokenRow> => {
    const [token] = await select(db, 'id', params.access_token_id as string);
    if (token === undefined) throw notFound('Access token not found');
    if (token.user_id !== params.user_id) throw notFound('Could not find: None.');
    return token;
  };
  const pathOf = (token: AccessTokenRow): string => `/users/${token.user_id}/OS-OAUTH1/access_tokens/${token.id}`;
  const shown = (token: AccessTokenRow, { context }: Call<unknown>) => ({
    id: token.id,
    consumer_id: token.consumer_id,
    project_id: token.project_id,
    authorizing_user_id: token.user_id,
    expires_at: `${token.expires_at.slice(0, 26)}Z`,
    links: { roles: `${context.baseUrl}${pathOf(token)}/roles`, self: `${context.baseUrl}${pathOf(token)}` },
  });
  const given = async (token: AccessTokenRow, { context }: Call<unknown>) =>
    (await roles.findMany(db, token.role_ids)).map(renderer<RoleRow>(role, core.convention, context, 'detail'));
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy: admin('list_access_tokens'),
      status: 200,
      summary: 'List the OAuth 1 access tokens of a user',
      handle: async (call) => {
        refuseHandedOn(call.context.identity);
        const id = call.params.user_id as string;
        const items = (await select(db, 'user_id', id)).map((token) => shown(token, call));
        return collection(call.context, 'access_tokens', `/users/${id}/OS-OAUTH1/access_tokens`, items, call.query);
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:access_token_id`,
      policy: admin('get_access_token'),
      status: 200,
      summary: 'Show an OAuth 1 access token',
      handle: async (call) => {
        refuseHandedOn(call.context.identity);
        return { access_token: shown(await tokenOf(call), call) };
      },
    }),
    operation({
      method: 'DELETE',
      path: `${PATH}/:access_token_id`,
      policy: admin('delete_access_token'),
      status: 204,
      summary: 'Take an OAuth 1 access token away from its consumer',
      handle: async (call) => {
        refuseHandedOn(call.context.identity);
        const { id } = await tokenOf(call);
        await core.db.transaction(async (tx) => {
          await sql`delete from identity_oauth_access_tokens where id = ${id}`.execute(tx);
          await noteRevoked(core, tx, 'access_token_id', [id]);
          await core.changes.announce(tx, `delegation ${id}`);
        });
        core.changes.apply(`delegation ${id}`);
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:access_token_id/roles`,
      policy: admin('list_access_token_roles'),
      status: 200,
      summary: 'List the roles that an OAuth 1 access token gives',
      handle: async (call) => {
        const token = await tokenOf(call);
        return collection(call.context, 'roles', `${pathOf(token)}/roles`, await given(token, call), call.query);
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:access_token_id/roles/:role_id`,
      policy: admin('get_access_token_role'),
      status: 200,
      summary: 'Show a role that an OAuth 1 access token gives',
      handle: async (call) => {
        const id = call.params.role_id as string;
        const found = (await given(await tokenOf(call), call)).find((one) => one.id === id);
        if (found === undefined) throw missing('role')(id);
        return { role: found };
      },
    }),
  ];
}
