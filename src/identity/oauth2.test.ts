import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, password, testIdentity } from '../testing/identity.ts';

const api = testIdentity(await testDatabase());
const { identity, call, tokenFor } = api;
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const GRANT = 'grant_type=client_credentials';

let admin = '';
const ids = { user: '', credential: '' };

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
const ask = (authorization: string | undefined, form: string, headers: Record<string, string> = FORM) =>
  call('', 'POST', '/OS-OAUTH2/token', form, { ...headers, ...(authorization === undefined ? {} : { authorization }) });
const right = (): string => basic(`${ids.credential}:s:3`);

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.user = (await call(admin, 'GET', '/users?name=admin')).body.users[0].id;
  const application_credential = { name: 'client', secret: 's:3' };
  const path = `/users/${ids.user}/application_credentials`;
  ids.credential = (await call(admin, 'POST', path, { application_credential })).body.application_credential.id;
});

afterAll(() => api.close());

it('an application credential gives a token to an OAuth client', async () => {
  for (const headers of [FORM, { 'content-type': 'application/json' }]) {
    const { status, body } = await ask(right(), GRANT, headers);
    expect([status, body.token_type, body.expires_in]).toEqual([200, 'Bearer', 86_400]);
    const shown = await call(admin, 'GET', '/auth/tokens', undefined, { 'x-subject-token': body.access_token });
    expect(shown.body.token.application_credential.id).toBe(ids.credential);
    expect([shown.body.token.methods, shown.body.token.project.name]).toEqual([['application_credential'], 'admin']);
    expect((await call(body.access_token, 'GET', '/users')).status).toBe(200);
  }
});

it.each([
  [undefined, GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization is required.'],
  ['Bearer x', GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization type bearer is not supported.'],
  [basic(':x'), GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization is invalid.'],
  [basic('x:'), GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization is invalid.'],
  [basic('x'), GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization is invalid.'],
  ['Basic %%%', GRANT, 401, 'invalid_client', 'OAuth2.0 client authorization is invalid.'],
  [basic('x:y'), '', 400, 'invalid_request', 'The parameter grant_type is required.'],
  [
    basic('x:y'),
    'grant_type=password',
    400,
    'unsupported_grant_type',
    'The parameter grant_type password is not supported.',
  ],
  [basic('nope:y'), GRANT, 404, 'other_error', 'An unknown error occurred and failed to get an OAuth2.0 access token.'],
] as const)('a client that says %j and %j is refused with %i', async (authorization, form, status, error, words) => {
  const answer = await ask(authorization, form);
  expect([answer.status, answer.body]).toEqual([status, { error, error_description: words }]);
  expect(answer.headers['www-authenticate']).toBe(
    status === 401 ? 'Keystone uri="http://parent/identity/v3"' : undefined,
  );
});

it('a wrong secret gives nothing, nor does a form that is too large', async () => {
  const wrong = await ask(basic(`${ids.credential}:nope`), GRANT);
  expect([wrong.status, wrong.body.error]).toEqual([401, 'invalid_client']);
  expect((await ask(right(), `${GRANT}&x=${'x'.repeat(20_000)}`)).status).toBe(413);
});

it('nor a credential whose user must prove more', async () => {
  const user = { options: { multi_factor_auth_rules: [['password', 'application_credential']] } };
  expect((await call(admin, 'PATCH', `/users/${ids.user}`, { user })).status).toBe(200);
  const { status, body } = await ask(right(), GRANT);
  expect([status, body.error]).toEqual([401, 'invalid_client']);
});
