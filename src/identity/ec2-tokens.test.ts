import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, authenticate, call, login, tokenFor } = api;

let admin = '';
let alice = '';
const ids = { project: '', alice: '', member: '' };
let keys = { access: '', secret: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> =>
  (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
/** A request as an S3 client signs it and an S3 service passes it on. */
const s3 = (secret: string, access: string) => {
  const text = 'GET\n\n\n\n/bucket';
  const signature = createHmac('sha1', secret).update(text).digest('base64');
  return { credentials: { access, token: Buffer.from(text).toString('base64url'), signature } };
};
const ec2 = (secret: string, access: string, timestamp = new Date().toISOString()) => {
  const query = `AWSAccessKeyId=${access}&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=${encodeURIComponent(timestamp)}`;
  const signature = createHmac('sha256', secret).update(`GET\nhost\n/\n${query}`).digest('base64');
  const params = { AWSAccessKeyId: access, SignatureVersion: '2', SignatureMethod: 'HmacSHA256', Timestamp: timestamp };
  return { credentials: { access, host: 'host', verb: 'GET', path: '/', params, signature } };
};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.member = (await call(admin, 'GET', '/roles?name=member')).body.roles[0].id;
  ids.project = await make('projects', 'project', { name: 'demo' });
  ids.alice = await make('users', 'user', { name: 'alice', password: 'pw', default_project_id: ids.project });
  await call(admin, 'PUT', `/projects/${ids.project}/users/${ids.alice}/roles/${ids.member}`);
  alice = await tokenFor(password({ id: ids.alice, password: 'pw' }));
  const path = `/users/${ids.alice}/credentials/OS-EC2`;
  keys = (await call(alice, 'POST', path, { tenant_id: ids.project })).body.credential;
});

afterAll(() => api.close());

it('tell a service who signed, in the key’s project', async () => {
  for (const [path, body] of [
    ['/s3tokens', s3(keys.secret, keys.access)],
    ['/ec2tokens', ec2(keys.secret, keys.access)],
  ] as const) {
    const { status, body: answer } = await call(admin, 'POST', path, body);
    expect([status, answer.token]).toMatchObject([
      200,
      { methods: ['ec2credential'], user: { id: ids.alice }, project: { id: ids.project }, roles: [{}, {}] },
    ]);
    expect((await call(alice, 'POST', path, body)).status).toBe(403);
    expect((await call('', 'POST', path, body)).status).toBe(401);
  }
});

it('are refused for another secret, key or time', async () => {
  const status = async (path: string, body: object) => (await call(admin, 'POST', path, body)).status;
  expect(await status('/s3tokens', s3('wrong', keys.access))).toBe(401);
  expect(await status('/s3tokens', s3(keys.secret, 'nope'))).toBe(404);
  expect(await status('/ec2tokens', ec2('wrong', keys.access))).toBe(401);
  expect(await status('/ec2tokens', ec2(keys.secret, keys.access, '2026-01-01T00:00:00Z'))).toBe(401);
  expect(await status('/ec2tokens', { credentials: {} })).toBe(401);
  expect(await status('/ec2tokens', {})).toBe(400);
});

it('are tokens that make no other, nor anything lasting', async () => {
  const { headers } = await call(admin, 'POST', '/ec2tokens', ec2(keys.secret, keys.access));
  const token = String(headers['x-subject-token']);
  expect((await authenticate(token))?.roles).toEqual(['member', 'reader']);
  expect((await login(byToken(token))).status).toBe(403);
  for (const path of ['/auth/catalog', '/auth/projects', `/users/${ids.alice}`]) {
    const { status, body } = await call(token, 'GET', path);
    expect([status, body.error.message], path).toEqual([
      403,
      'You are not authorized to perform the requested action.',
    ]);
  }
  expect((await call(token, 'GET', `/users/${ids.alice}/application_credentials`)).status).toBe(403);
  expect((await call(token, 'GET', `/users/${ids.alice}/credentials/OS-EC2`)).status).toBe(403);
  const trust = { trustor_user_id: ids.alice, trustee_user_id: ids.alice, impersonation: false };
  expect((await call(token, 'POST', '/OS-TRUST/trusts', { trust })).status).toBe(403);
});

it('draw their rights from what the key is bound to', async () => {
  const given = { application_credential: { name: 'narrow', roles: [{ name: 'reader' }] } };
  const { body } = await call(alice, 'POST', `/users/${ids.alice}/application_credentials`, given);
  const app_cred_id = body.application_credential.id;
  const blob = JSON.stringify({ access: 'narrow', secret: 's', app_cred_id });
  await call(alice, 'POST', '/credentials', {
    credential: { type: 'ec2', user_id: ids.alice, project_id: ids.project, blob },
  });
  const { body: answer } = await call(admin, 'POST', '/ec2tokens', ec2('s', 'narrow'));
  expect(answer.token.roles.map(({ name }: { name: string }) => name)).toEqual(['reader']);
  const { headers } = await call(admin, 'POST', '/ec2tokens', ec2('s', 'narrow'));
  expect((await call(String(headers['x-subject-token']), 'GET', '/auth/projects')).status).toBe(403);
  await call(alice, 'DELETE', `/users/${ids.alice}/application_credentials/${app_cred_id}`);
  expect((await call(admin, 'POST', '/ec2tokens', ec2('s', 'narrow'))).status).toBe(401);
});
