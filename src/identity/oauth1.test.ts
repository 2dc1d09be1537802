import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';
import { baseString, isSigned, oauthParameters } from './oauth1-signature.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const now_s = (): number => Math.floor((Date.now() + clock.offset_ms) / 1000);
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, call, tokenFor } = api;
const BASE = 'http://parent/identity/v3';
const PATH = '/OS-OAUTH1';

let admin = '';
const ids = { user: '', project: '', member: '', reader: '' };
let consumer = { id: '', secret: '' };

/** An `Authorization` header of a POST to a path, by these secrets. */
function signed(
  path: string,
  parameters: Record<string, string>,
  secrets: { consumer: string; token: string },
): string {
  const all = new Map(
    Object.entries({
      oauth_consumer_key: consumer.id,
      oauth_nonce: 'n0nce',
      oauth_timestamp: String(now_s()),
      oauth_signature_method: 'HMAC-SHA1',
      oauth_version: '1.0',
      ...parameters,
    }),
  );
  const text = baseString({ method: 'POST', url: `${BASE}${path}`, query: {}, parameters: all });
  const signature = createHmac('sha1', `${secrets.consumer}&${secrets.token}`).update(text).digest('base64');
  const pairs = [...all, ['oauth_signature', signature] as const];
  return `OAuth ${pairs.map(([name, value]) => `${name}="${encodeURIComponent(value)}"`).join(', ')}`;
}

interface Pair {
  readonly id: string;
  readonly secret: string;
}
const pairOf = (form: string): Pair => {
  const fields = new URLSearchParams(form);
  return { id: fields.get('oauth_token') ?? '', secret: fields.get('oauth_token_secret') ?? '' };
};

const ask = (secret = consumer.secret, project = ids.project) => {
  const authorization = signed(`${PATH}/request_token`, { oauth_callback: 'oob' }, { consumer: secret, token: '' });
  return call('', 'POST', `${PATH}/request_token`, undefined, { authorization, 'requested-project-id': project });
};
const authorize = (token: string, id: string, roles: object[] = [{ id: ids.member }]) =>
  call(token, 'PUT', `${PATH}/authorize/${id}`, { roles });
const fetchToken = (request: Pair, oauth_verifier: string) => {
  const path = `${PATH}/access_token`;
  const secrets = { consumer: consumer.secret, token: request.secret };
  return call('', 'POST', path, undefined, {
    authorization: signed(path, { oauth_token: request.id, oauth_verifier }, secrets),
  });
};
const LOGIN = { auth: { identity: { methods: ['oauth1'], oauth1: {} } } };
const loginBy = (access: Pair, secret = access.secret) =>
  call('', 'POST', '/auth/tokens', LOGIN, {
    authorization: signed('/auth/tokens', { oauth_token: access.id }, { consumer: consumer.secret, token: secret }),
  });

/** An access token, by all steps. */
async function access(roles?: object[]): Promise<Pair> {
  const request = pairOf((await ask()).body);
  const { body } = await authorize(admin, request.id, roles);
  const { status, body: form } = await fetchToken(request, body.token.oauth_verifier);
  expect(status).toBe(201);
  return pairOf(form);
}

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.user = (await call(admin, 'GET', '/users?name=admin')).body.users[0].id;
  ids.project = (await call(admin, 'GET', '/projects?name=admin')).body.projects[0].id;
  for (const name of ['member', 'reader'] as const) {
    ids[name] = (await call(admin, 'GET', `/roles?name=${name}`)).body.roles[0].id;
  }
});

beforeEach(async () => {
  clock.offset_ms = 0;
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  consumer = (await call(admin, 'POST', `${PATH}/consumers`, { consumer: {} })).body.consumer;
});

afterAll(() => api.close());

describe('a signature', () => {
  // What oauthlib makes of the same request.
  const query = { b5: '=%3D', a3: ['a', '2 q'], 'c@': '', a2: 'r b' };
  const url = 'http://parent/identity/v3/OS-OAUTH1/request_token';
  const header = (method: string, signature: string) =>
    oauthParameters(
      `OAuth realm="x", oauth_nonce="n0nce", oauth_timestamp="1700000000", oauth_version="1.0", oauth_signature_method="${method}", oauth_consumer_key="key", oauth_token="tok", oauth_callback="oob", oauth_signature="${signature}"`,
    );
  const secrets = { consumer: 's&cret', token: 't=k' };

  it.each([
    ['HMAC-SHA1', 'X%2Fs2T2OmyLtFvfW1C1Vb8VF92NA%3D'],
    ['HMAC-SHA256', 'khE3NFvl5TwdM4zj4FTC08J%2BS7Smu28P6NBR%2F82zI2Y%3D'],
  ])('by %s is that of other libraries', (method, signature) => {
    const request = { method: 'POST', url, query, parameters: header(method, signature) };
    expect(isSigned(request, secrets, 1_700_000_000)).toBe(true);
    expect(isSigned({ ...request, query: { ...query, a2: 'other' } }, secrets, 1_700_000_000)).toBe(false);
    expect(isSigned({ ...request, method: 'PUT' }, secrets, 1_700_000_000)).toBe(false);
    expect(isSigned(request, { ...secrets, token: 'other' }, 1_700_000_000)).toBe(false);
    expect([-601, 601].map((apart) => isSigned(request, secrets, 1_700_000_000 + apart))).toEqual([false, false]);
  });

  it('by what is no such method, or by none, is none', () => {
    for (const parameters of [
      header('PLAINTEXT', 's%26cret&t%3Dk'),
      header('constructor', ''),
      oauthParameters(undefined),
    ]) {
      expect(isSigned({ method: 'POST', url, query, parameters }, secrets, 1_700_000_000)).toBe(false);
    }
    expect(oauthParameters('Basic abc').size).toBe(0);
    expect(oauthParameters('OAuth a="%zz"').get('a')).toBe('%zz');
  });
});

describe('an access token', () => {
  it('gives the consumer the roles that the user said yes to, in the user’s name', async () => {
    const answer = await ask();
    expect([answer.status, answer.headers['content-type']]).toEqual([201, 'application/x-www-form-urlencoded']);
    expect(answer.body).toMatch(/^oauth_token=[0-9a-f]{32}&oauth_token_secret=[0-9a-f]{32}&oauth_expires_at=20/);
    const token = await access([{ name: 'member' }]);
    const { status, body, headers } = await loginBy(token);
    expect(status).toBe(201);
    const { methods, user, project, roles, 'OS-OAUTH1': oauth } = body.token;
    expect([methods, user.id, project.id]).toEqual([['oauth1'], ids.user, ids.project]);
    expect(roles.map(({ name }: { name: string }) => name).toSorted()).toEqual(['member', 'reader']);
    expect(oauth).toEqual({ access_token_id: token.id, consumer_id: consumer.id });
    const text = String(headers['x-subject-token']);
    expect((await call(text, 'GET', '/auth/projects')).status).toBe(200);
    // An administrator's, and yet none.
    expect((await call(text, 'GET', '/users')).status).toBe(403);
    const again = await call('', 'POST', '/auth/tokens', byToken(text));
    expect([again.status, message(again)]).toEqual([
      403,
      'You are not authorized to perform the requested action: Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead.',
    ]);
    expect((await call(text, 'GET', `/users/${ids.user}/application_credentials`)).status).toBe(403);
    expect((await call(text, 'GET', '/credentials')).body.credentials).toEqual([]);
  });

  it('is listed with its roles, and ends with the consumer, the user’s role, or by hand', async () => {
    const token = await access();
    const path = `/users/${ids.user}/OS-OAUTH1/access_tokens`;
    const { body } = await call(admin, 'GET', path);
    const shown = body.access_tokens.find(({ id }: { id: string }) => id === token.id);
    expect(shown).toMatchObject({ consumer_id: consumer.id, project_id: ids.project, authorizing_user_id: ids.user });
    expect(shown.links.roles).toBe(`${BASE}${path}/${token.id}/roles`);
    expect((await call(admin, 'GET', `${path}/${token.id}`)).body.access_token).toEqual(shown);
    const { roles } = (await call(admin, 'GET', `${path}/${token.id}/roles`)).body;
    expect(roles.map(({ id }: { id: string }) => id)).toEqual([ids.member]);
    expect((await call(admin, 'GET', `${path}/${token.id}/roles/${ids.member}`)).body.role.name).toBe('member');
    expect((await call(admin, 'GET', `${path}/${token.id}/roles/${ids.reader}`)).status).toBe(404);
    for (const wrong of [`${path}/nope`, `/users/nope/OS-OAUTH1/access_tokens/${token.id}`]) {
      expect((await call(admin, 'GET', wrong)).status).toBe(404);
    }
    const live = String((await loginBy(token)).headers['x-subject-token']);
    expect((await call(admin, 'DELETE', `${path}/${token.id}`)).status).toBe(204);
    expect((await call(live, 'GET', '/auth/projects')).status).toBe(401);
    expect((await loginBy(token)).status).toBe(404);
    const other = await access();
    const still = String((await loginBy(other)).headers['x-subject-token']);
    expect((await call(admin, 'DELETE', `${PATH}/consumers/${consumer.id}`)).status).toBe(204);
    expect((await call(still, 'GET', '/auth/projects')).status).toBe(401);
    const { events } = (await call(admin, 'GET', '/OS-REVOKE/events')).body;
    expect(events).toContainEqual(expect.objectContaining({ 'OS-OAUTH1:access_token_id': token.id }));
    expect(events).toContainEqual(expect.objectContaining({ 'OS-OAUTH1:consumer_id': consumer.id }));
  });

  it('is refused to who signs wrongly, comes too late, or shows it for another', async () => {
    expect((await ask('wrong')).status).toBe(401);
    const nobody = await ask(consumer.secret, 'nope');
    expect([nobody.status, message(nobody)]).toEqual([404, 'Could not find project: nope.']);
    const request = pairOf((await ask()).body);
    expect((await fetchToken(request, 'early')).status).toBe(401);
    const { oauth_verifier } = (await authorize(admin, request.id)).body.token;
    expect((await fetchToken(request, 'wrong')).status).toBe(401);
    expect((await fetchToken({ ...request, secret: 'wrong' }, oauth_verifier)).status).toBe(401);
    const token = pairOf((await fetchToken(request, oauth_verifier)).body);
    // Used up.
    expect((await fetchToken(request, oauth_verifier)).status).toBe(404);
    expect((await loginBy(token, 'wrong')).status).toBe(401);
    const mine = consumer;
    consumer = (await call(admin, 'POST', `${PATH}/consumers`, { consumer: {} })).body.consumer;
    expect((await loginBy(token)).status).toBe(401);
    consumer = mine;
    expect((await loginBy(token)).status).toBe(201);
    clock.offset_ms = 25 * 3_600_000;
    expect((await loginBy(token)).status).toBe(401);
  });

  it('is given once, however many fetch it at a time', async () => {
    const request = pairOf((await ask()).body);
    const { oauth_verifier } = (await authorize(admin, request.id)).body.token;
    const answers = await Promise.all([1, 2, 3].map(() => fetchToken(request, oauth_verifier)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 404, 404]);
  });
});

describe('a yes', () => {
  it('is given within eight hours, to roles that one has, and not by what was handed on', async () => {
    const request = pairOf((await ask()).body);
    const role = (await call(admin, 'POST', '/roles', { role: { name: `r${consumer.id}` } })).body.role.id;
    expect((await authorize(admin, request.id, [{ id: role }])).status).toBe(401);
    expect((await authorize(admin, request.id, [])).status).toBe(401);
    expect((await authorize(admin, 'nope')).status).toBe(404);
    const handedOn = String((await loginBy(await access([{ name: 'admin' }]))).headers['x-subject-token']);
    expect((await authorize(handedOn, request.id)).status).toBe(403);
    expect((await call(handedOn, 'GET', `/users/${ids.user}/OS-OAUTH1/access_tokens`)).status).toBe(403);
    clock.offset_ms = 9 * 3_600_000;
    expect((await authorize(admin, request.id)).status).toBe(401);
  });

  it.each([
    ['request_token', {}, 'oauth_consumer_key'],
    ['access_token', { authorization: 'OAuth oauth_consumer_key="x"' }, 'oauth_token'],
    ['access_token', { authorization: 'OAuth oauth_consumer_key="x", oauth_token="y"' }, 'oauth_verifier'],
  ])('is not to be had by %s with %j', async (path, headers, lacking) => {
    const answer = await call('', 'POST', `${PATH}/${path}`, undefined, headers);
    expect([answer.status, message(answer).slice(0, 60)]).toEqual([
      400,
      `Expecting to find ${lacking} in request. The server could not comply`.slice(0, 60),
    ]);
  });
});
