import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, password, testIdentity } from '../testing/identity.ts';
import { ConfigError } from './config-error.ts';
import { bootstrapParent, rotateKeys } from './identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { call, login, tokenFor } = api;
const VARIABLE = 'HEADWATER_TEST_ADMIN_PASSWORD';
let folder = '';
let config = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headwater-bootstrap-'));
  config = join(folder, 'headwater.yaml');
  const lines = [
    `database: { url: "${db.url}" }`,
    `data_dir: ${folder}`,
    'listen: 127.0.0.1:8561',
    `admin_password_env: ${VARIABLE}`,
    'children: { east: { cloud: nowhere, zones: { east: nova } } }',
  ];
  await writeFile(config, lines.join('\n'));
});

afterAll(async () => {
  delete process.env[VARIABLE];
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

it('bootstraps once, leaves what is there alone, and recovers the administrator when asked to', async () => {
  await expect(bootstrapParent({ config })).rejects.toThrow(`${VARIABLE}, which is not set`);
  process.env[VARIABLE] = 'first';
  expect(await bootstrapParent({ config })).toBe(
    `http://127.0.0.1:8561/identity/v3 is ready; the password of user admin is that of ${VARIABLE}\n`,
  );
  const token = await tokenFor(password(inDefault('admin', 'first'), ADMIN_PROJECT));
  process.env[VARIABLE] = 'second';
  expect(await bootstrapParent({ config })).toContain('was ready');
  expect((await login(password(inDefault('admin', 'second')))).status).toBe(401);

  const [user] = (await call(token, 'GET', '/users?name=admin')).body.users;
  const [project] = (await call(token, 'GET', '/projects?name=admin')).body.projects;
  const [role] = (await call(token, 'GET', '/roles?name=admin')).body.roles;
  await call(token, 'DELETE', `/projects/${project.id}/users/${user.id}/roles/${role.id}`);
  expect((await login(password(inDefault('admin', 'first'), ADMIN_PROJECT))).status).toBe(401);
  expect(await bootstrapParent({ config, recover: true })).toContain(`is that of ${VARIABLE}`);
  expect((await login(password(inDefault('admin', 'second'), ADMIN_PROJECT))).status).toBe(201);
  expect((await login(password(inDefault('admin', 'first')))).status).toBe(401);
});

it('rotates the keys of processes that serve, whose tokens hold on for three rotations', async () => {
  const token = await tokenFor(password(inDefault('admin', 'second'), ADMIN_PROJECT));
  const holds = async () => (await call(token, 'GET', '/auth/projects')).status;
  expect(await rotateKeys({ config })).toBe(
    'tokens are now signed with key 2; those signed with key 1 and later hold\n',
  );
  expect(await holds()).toBe(200);
  for (const _ of [3, 4]) await rotateKeys({ config });
  expect(await holds()).toBe(200);
  expect(await rotateKeys({ config })).toBe(
    'tokens are now signed with key 5; those signed with key 2 and later hold\n',
  );
  await expect.poll(holds, { timeout: 5000 }).toBe(401);
  expect((await login(password(inDefault('admin', 'second')))).status).toBe(201);
});

it('tells of a database that cannot be used in one line, without its password', async () => {
  const path = join(folder, 'broken.yaml');
  for (const [url, why] of [
    ['postgres://u:very-secret/x@h/d', 'Invalid URL'],
    ['postgres://u:very-secret@127.0.0.1:5/d', 'connect ECONNREFUSED 127.0.0.1:5'],
  ]) {
    const lines = [
      `database: { url: "${url}" }`,
      `data_dir: ${folder}`,
      'children: { a: { cloud: a, zones: { a: n } } }',
    ];
    await writeFile(path, lines.join('\n'));
    for (const command of [bootstrapParent, rotateKeys]) {
      const failure = await command({ config: path }).catch((error: unknown) => error);
      expect([failure instanceof ConfigError, String(failure)]).toEqual([
        true,
        `ConfigError: cannot use the database: ${why}`,
      ]);
    }
  }
});
