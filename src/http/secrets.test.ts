/** Secrets of tenants, users and children never reach the log, whatever happens to the requests that carry them. */
import { Buffer } from 'node:buffer';
import { Writable } from 'node:stream';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inDefault, password } from '../testing/identity.ts';
import { objectsOf } from '../testing/objects.ts';
import { testParent } from '../testing/parent.ts';

const lines: string[] = [];
const log = pino(
  { level: 'trace' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  }),
);
const parent = await testParent({ log });
const { call } = parent.api;
const objects = objectsOf(parent);
const LATEST = { 'openstack-api-version': 'compute 2.96' };
const secret = (what: string): string => `very-secret-${what}-0451`;
const userData = Buffer.from(`#!/bin/sh\necho ${secret('user-data')}`).toString('base64');

afterAll(() => parent.stop());
beforeAll(async () => void (await objects.id('port_id')), 60_000);

/** Fails where any of them stands in the log; the log has something in it at all. */
function expectUnsaid(...secrets: readonly string[]): void {
  const said = lines.join('');
  expect(lines.length).toBeGreaterThan(5);
  for (const text of secrets) expect(said.split('\n').filter((line) => line.includes(text))).toEqual([]);
}

test('neither passwords nor tokens, of logins that succeed and that fail', async () => {
  const login = (name: string, text: string) =>
    call('', 'POST', '/identity/v3/auth/tokens', password(inDefault(name, text)));
  expect((await login('alice', parent.tenants.alice.password)).status).toBe(201);
  expect((await login('alice', secret('guess'))).status).toBe(401);
  const malformed = { auth: { identity: { methods: ['password'], password: secret('misplaced') } } };
  const refused = await call('', 'POST', '/identity/v3/auth/tokens', malformed);
  expect(refused.status).toBe(400);
  const change = { user: { original_password: secret('wrong'), password: secret('new') } };
  const url = `/identity/v3/users/${parent.tenants.rita.user_id}/password`;
  expect((await call('', 'POST', url, change)).status).toBe(401);
  await call(secret('token'), 'GET', '/compute/v2.1/servers');
  await call('alice', 'GET', '/identity/v3/auth/tokens', undefined, { 'x-subject-token': parent.tokens.alice ?? '' });
  const user = { name: 'walter', password: secret('walter'), domain_id: 'default' };
  expect((await call('admin', 'POST', '/identity/v3/users', { user })).status).toBe(201);
  expectUnsaid(
    'password-0451',
    ...['guess', 'misplaced', 'wrong', 'new', 'token', 'walter'].map(secret),
    ...Object.values(parent.tokens),
  );
});

test("neither a server's user data nor its password, brought to its child or refused", async () => {
  const server = {
    name: 'sample',
    imageRef: await objects.id('image_id'),
    flavorRef: await objects.id('flavor_id', 'compute'),
    networks: [{ port: await objects.id('port_id') }],
    adminPass: secret('admin-pass'),
    user_data: userData,
  };
  const made = await call('alice', 'POST', '/compute/v2.1/servers', { server }, LATEST);
  expect(made.status).toBe(202);
  const url = `/compute/v2.1/servers/${made.body.server.id}`;
  await parent.eventually(async () => (await call('alice', 'GET', url)).body.server.status === 'ACTIVE');
  const changed = await call('alice', 'POST', `${url}/action`, { changePassword: { adminPass: secret('changed') } });
  expect(changed.status).toBe(202);
  const refused = [
    { ...server, user_data: [userData] },
    { ...server, user_data: secret('user-data') + '!' },
    { ...server, adminPass: [secret('admin-pass')] },
    { ...server, metadata: 5, unheard_of: 1 },
    { ...server, flavorRef: 'none' },
  ];
  for (const one of refused) {
    const answer = await call('alice', 'POST', '/compute/v2.1/servers', { server: one }, LATEST);
    expect(answer.status).toBe(400);
    expect(answer.text).not.toContain(userData);
    for (const text of [secret('user-data'), secret('admin-pass')]) expect(answer.text).not.toContain(text);
  }
  expectUnsaid(userData, ...['user-data', 'admin-pass', 'changed'].map(secret));
});

test('nothing of a request or a row that the database refuses', async () => {
  const before = lines.length;
  await sql`alter table servers add constraint refuse_all check (name <> 'refused')`.execute(parent.db.query);
  const server = {
    name: 'refused',
    imageRef: await objects.id('image_id'),
    flavorRef: await objects.id('flavor_id', 'compute'),
    networks: 'none',
    adminPass: secret('admin-pass'),
    user_data: userData,
  };
  const answer = await call('alice', 'POST', '/compute/v2.1/servers', { server }, LATEST);
  expect(answer.status).toBe(500);
  expect(lines.slice(before).some((line) => line.includes('a request failed unexpectedly'))).toBe(true);
  expect(answer.text).not.toContain('refuse_all');
  expectUnsaid(userData, ...['user-data', 'admin-pass'].map(secret));
});

test("no child's credentials, while calls to it fail as well", async () => {
  const sim = parent.sims.east;
  await sim?.stop();
  const volume = { size: 1, availability_zone: 'east' };
  expect((await call('alice', 'POST', '/volume/v3/volumes', { volume })).status).toBe(202);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await sim?.start();
  const tokens = Object.values(parent.sims).flatMap(({ state }) => [...state.tokens.keys()]);
  expect(tokens.length).toBeGreaterThan(0);
  expectUnsaid(...tokens, ...Object.values(parent.sims).map(({ cloudsYamlEntry }) => cloudsYamlEntry.auth.password));
});
