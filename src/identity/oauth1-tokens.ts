/**
 * How an OAuth 1 consumer comes by an access token: it asks for one of a project, a user of that project says yes to some
 * of their roles, and the consumer fetches it with the word that the user was given.
 */
import { randomInt } from 'node:crypto';
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Tx } from '../db/database.ts';
import { badRequest, forbidden, notFound, unauthorized } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply } from '../http/service.ts';
import { RoleReferences, roleIdsOf } from './application-credentials.ts';
import { type Core, expecting, missing } from './core.ts';
import { forbiddenUntold } from './delegation.ts';
import { accessTokenOperations, consumerSecret } from './oauth1-access.ts';
import { isSigned, oauthParameters } from './oauth1-signature.ts';
import { newId, projects } from './resources.ts';
import { admin } from './rules.ts';
import { openSealed, seal } from './sealed.ts';
import { effectiveRoles } from './subject.ts';

const REQUEST_VALIDITY_S = 8 * 60 * 60;
const ACCESS_VALIDITY_S = 24 * 60 * 60;
const VERIFIER_CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const VERIFIER_LENGTH = 8;
const REQUESTS_PER_CONSUMER_MAX = 1000;

const Authorization = Type.Object({ roles: RoleReferences });

interface RequestTokenRow {
  readonly id: string;
  readonly consumer_id: string;
  readonly project_id: string;
  readonly sealed: string;
  readonly key_id: string;
  readonly user_id: string | null;
  readonly verifier: string | null;
  readonly role_ids: string[];
  readonly expires_at: string;
}

export function oauth1Operations(core: Core): Operation[] {
  return [requestToken(core), authorize(core), accessToken(core), ...accessTokenOperations(core)];
}

/** A token and its secret as a form. */
function handedOut(id: string, secret: string, expires_ms: number): Reply {
  const expires_at = new Date(expires_ms).toISOString().replace('Z', '000Z');
  return new Reply(201, `oauth_token=${id}&oauth_token_secret=${secret}&oauth_expires_at=${expires_at}`, {
    'content-type': 'application/x-www-form-urlencoded',
  });
}

/** @throws Fault 400 for the first of the names that the request does not have */
function named(parameters: ReadonlyMap<string, string>, ...names: readonly string[]): string[] {
  return names.map((name) => {
    const value = parameters.get(name) ?? '';
    if (value === '') throw badRequest(expecting(name, 'request'));
    return value;
  });
}

/** @throws Fault 401 for a request that these secrets did not sign */
function checkSignature(core: Core, call: Call<unknown>, path: string, secrets: { consumer: string; token: string }) {
  const { headers, query, context } = call;
  const parameters = oauthParameters(headers.authorization);
  const request = { method: 'POST', url: `${context.baseUrl}${path}`, query, parameters };
  if (!isSigned(request, secrets, core.now() / 1000)) throw unauthorized();
}

function requestToken(core: Core): Operation {
  const path = '/OS-OAUTH1/request_token';
  return operation({
    method: 'POST',
    path,
    policy: 'none',
    status: 201,
    summary: 'Ask for an OAuth 1 token of a project',
    handle: async (call) => {
      const [consumerId = ''] = named(oauthParameters(call.headers.authorization), 'oauth_consumer_key');
      const projectId = call.headers['requested-project-id'] ?? '';
      if (projectId === '') throw badRequest(expecting('Requested-Project-Id', 'request'));
      if ((await projects.find(core.db.query, projectId)) === undefined) throw missing('project')(projectId);
      const consumer = await consumerSecret(core, consumerId);
      checkSignature(core, call, path, { consumer, token: '' });
      const [id, secret] = [newId(), newId()];
      const { sealed, key_id } = await seal(core, secret, id);
      const expires_ms = core.now() + REQUEST_VALIDITY_S * 1000;
      await core.db.transaction(async (tx) => {
        await makeRoom(core, tx, consumerId);
        await sql`insert into identity_oauth_request_tokens (id, consumer_id, project_id, sealed, key_id, expires_at)
          values (${id}, ${consumerId}, ${projectId}, ${sealed}, ${key_id}, to_timestamp(${expires_ms / 1000}))`.execute(
          tx,
        );
      });
      return handedOut(id, secret, expires_ms);
    },
  });
}

/** Forgets what has ended. @throws Fault 403 where a consumer asked for more than anybody says yes to */
async function makeRoom(core: Core, tx: Tx, consumerId: string): Promise<void> {
  await sql`select 1 from identity_oauth_consumers where id = ${consumerId} for no key update`.execute(tx);
  const now = sql`to_timestamp(${core.now() / 1000})`;
  await sql`delete from identity_oauth_request_tokens where consumer_id = ${consumerId} and expires_at <= ${now}`.execute(
    tx,
  );
  await sql`delete from identity_oauth_access_tokens where consumer_id = ${consumerId} and expires_at <= ${now}`.execute(
    tx,
  );
  const { rows } = await sql<{ count: number }>`select count(*)::integer as count from identity_oauth_request_tokens
    where consumer_id = ${consumerId}`.execute(tx);
  if ((rows[0]?.count ?? 0) >= REQUESTS_PER_CONSUMER_MAX) {
    throw forbidden(`Unable to create additional request tokens, maximum of ${REQUESTS_PER_CONSUMER_MAX} exceeded.`);
  }
}

/** A request token, locked. @throws Fault 404 for one that there is not, 401 for one that has ended */
async function lockRequest(core: Core, tx: Tx, id: string): Promise<RequestTokenRow> {
  const { rows } =
    await sql<RequestTokenRow>`select id, consumer_id, project_id, sealed, key_id, user_id, verifier, role_ids,
    expires_at from identity_oauth_request_tokens where id = ${id} for update`.execute(tx);
  const [token] = rows;
  if (token === undefined) throw notFound('Request token not found');
  if (Date.parse(token.expires_at) <= core.now()) throw unauthorized();
  return token;
}

function authorize(core: Core): Operation {
  return operation<Static<typeof Authorization>>({
    method: 'PUT',
    path: '/OS-OAUTH1/authorize/:request_token_id',
    policy: admin('authorize_request_token'),
    status: 200,
    summary: 'Say yes to what an OAuth 1 consumer asked for',
    body: Authorization,
    handle: async ({ params, body, context: { identity } }) => {
      // Else what was handed on for a while would hand itself on for longer.
      if (identity.delegation !== undefined) {
        throw forbiddenUntold('Cannot authorize a request token with a token issued via delegation.');
      }
      const verifier = newVerifier();
      await core.db.transaction(async (tx) => {
        const token = await lockRequest(core, tx, params.request_token_id as string);
        const roleIds = await roleIdsOf(tx, body.roles);
        const { rows } = await sql<{ role_id: string }>`
          with recursive ${effectiveRoles(identity.user.id, { kind: 'project', id: token.project_id })}
          select role_id from effective`.execute(tx);
        const held = new Set(rows.map(({ role_id }) => role_id));
        // Keystone's answer to who gives what is not theirs.
        if (roleIds.length === 0 || roleIds.some((id) => !held.has(id))) throw unauthorized();
        await sql`update identity_oauth_request_tokens set user_id = ${identity.user.id}, verifier = ${verifier},
          role_ids = ${roleIds} where id = ${token.id}`.execute(tx);
      });
      return { token: { oauth_verifier: verifier } };
    },
  });
}

const newVerifier = (): string =>
  Array.from({ length: VERIFIER_LENGTH }, () => VERIFIER_CHARACTERS[randomInt(VERIFIER_CHARACTERS.length)]).join('');

function accessToken(core: Core): Operation {
  const path = '/OS-OAUTH1/access_token';
  return operation({
    method: 'POST',
    path,
    policy: 'none',
    status: 201,
    summary: 'Fetch the OAuth 1 access token that a user said yes to',
    handle: async (call) => {
      const parameters = oauthParameters(call.headers.authorization);
      const [consumerId = '', requestId = '', verifier = ''] = named(
        parameters,
        'oauth_consumer_key',
        'oauth_token',
        'oauth_verifier',
      );
      const consumer = await consumerSecret(core, consumerId);
      const [id, secret] = [newId(), newId()];
      const { sealed, key_id } = await seal(core, secret, id);
      const expires_ms = core.now() + ACCESS_VALIDITY_S * 1000;
      await core.db.transaction(async (tx) => {
        const asked = await lockRequest(core, tx, requestId);
        if (asked.consumer_id !== consumerId || asked.user_id === null || asked.verifier !== verifier) {
          throw unauthorized();
        }
        checkSignature(core, call, path, { consumer, token: await openSealed(core, asked, asked.id) });
        await sql`insert into identity_oauth_access_tokens
          (id, consumer_id, user_id, project_id, sealed, key_id, role_ids, expires_at)
          values (${id}, ${consumerId}, ${asked.user_id}, ${asked.project_id}, ${sealed}, ${key_id}, ${asked.role_ids},
            to_timestamp(${expires_ms / 1000}))`.execute(tx);
        // It has been used, and is good for nothing more.
        await sql`delete from identity_oauth_request_tokens where id = ${asked.id}`.execute(tx);
      });
      return handedOut(id, secret, expires_ms);
    },
  });
}
