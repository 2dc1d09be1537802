import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../db/database.ts';
import { conventions } from '../http/conventions.ts';
import { silent } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, publicUrl, testIdentity } from '../testing/identity.ts';
import { createIdentity } from './identity.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, authenticate, call, login, tokenFor } = api;

const create = async (kind: string, name: string, attributes: object): Promise<string> => {
  const { status, body } = await call(admin, 'POST', `/${kind}`, { [name]: attributes });
  expect(status).toBe(201);
  return body[name].id;
};
const roleId = async (name: string): Promise<string> =>
  (await call(admin, 'GET', `/roles?name=${name}`)).body.roles[0].id;

let admin = '';
let projectId = '';
let userId = '';
let memberId = '';

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  memberId = await roleId('member');
  projectId = await create('projects', 'project', { name: 'demo' });
  userId = await create('users', 'user', { name: 'alice', password: 'pw', default_project_id: projectId });
  await call(admin, 'PUT', `/projects/${projectId}/users/${userId}/roles/${memberId}`);
});

afterAll(() => api.close());

describe('bootstrap', () => {
  it('does no more the second time, and leaves the password alone', async () => {
    await Promise.all([identity.bootstrap({ adminPassword: 'other' }), identity.bootstrap({ adminPassword: 'other' })]);
    expect((await login(password(inDefault('admin', 'secret')))).status).toBe(201);
    const { body } = await call(admin, 'GET', '/role_inferences');
    const pairs = body.role_inferences.map((rule: { prior_role: { name: string }; implies: { name: string }[] }) => [
      rule.prior_role.name,
      rule.implies.map(({ name }) => name),
    ]);
    expect(pairs).toEqual([
      ['admin', ['manager']],
      ['manager', ['member']],
      ['member', ['reader']],
    ]);
    expect((await call(admin, 'GET', '/endpoints')).body.endpoints).toHaveLength(15);
  });
});

describe('issuing tokens', () => {
  it('answers as Keystone does', async () => {
    const { status, headers, body } = await login(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
    expect(status).toBe(201);
    expect(headers.vary).toBe('X-Auth-Token');
    expect(headers['x-subject-token']).toMatch(/^gAAAAA[\w-]{150,}$/);
    expect(body.token).toMatchObject({
      methods: ['password'],
      user: { name: 'admin', domain: { id: 'default', name: 'Default' }, password_expires_at: null },
      project: { name: 'admin', domain: { id: 'default', name: 'Default' } },
      is_domain: false,
    });
    expect(body.token.roles.map(({ name }: { name: string }) => name)).toEqual([
      'admin',
      'manager',
      'member',
      'reader',
    ]);
    expect(body.token.issued_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z$/);
    expect(Date.parse(body.token.expires_at) - Date.parse(body.token.issued_at)).toBe(86_400_000);
    const volume = body.token.catalog.find(({ type }: { type: string }) => type === 'volumev3');
    expect(volume).toMatchObject({ name: 'cinderv3' });
    expect(volume.endpoints).toHaveLength(3);
    expect(volume.endpoints[0]).toMatchObject({
      url: `http://parent/volume/v3/${body.token.project.id}`,
      region: 'RegionOne',
      region_id: 'RegionOne',
    });
  });

  it('leaves the catalog out when asked to', async () => {
    const { body } = await login(password(inDefault('admin', 'secret'), ADMIN_PROJECT), '?nocatalog');
    expect(body.token).not.toHaveProperty('catalog');
  });

  it('scopes to the default project, to nothing, to the system', async () => {
    const alice = { id: userId, password: 'pw' };
    expect((await login(password(alice))).body.token.project.id).toBe(projectId);
    const unscoped = (await login(password(alice, 'unscoped'))).body.token;
    expect(unscoped).not.toHaveProperty('project');
    expect(unscoped).not.toHaveProperty('roles');
    expect(unscoped).not.toHaveProperty('catalog');
    expect((await login(password(alice, { system: { all: true } }))).status).toBe(401);
    const system = (await login(password(inDefault('admin', 'secret'), { system: { all: true } }))).body.token;
    expect(system.system).toEqual({ all: true });
    expect(system.catalog.find(({ type }: { type: string }) => type === 'volumev3').endpoints).toEqual([]);
  });

  const incomplete = (what: string, where: string) =>
    `Expecting to find ${what} in ${where}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`;

  it.each<[string, unknown, number, string]>([
    ['no auth', {}, 400, incomplete('auth', 'request body')],
    ['no JSON', '{bad', 400, incomplete('valid JSON', 'request body')],
    ['no method', { auth: { identity: { methods: [] } } }, 401, 'The request you have made requires authentication.'],
    [
      'a method without its part',
      { auth: { identity: { methods: ['password'] } } },
      400,
      incomplete('password', 'identity'),
    ],
    ['no domain', password({ name: 'x', password: 'x' }), 400, incomplete('domain', 'user')],
    [
      'an empty domain',
      password({ name: 'x', password: 'x', domain: {} }),
      400,
      'Invalid input for field identity/password/user/domain: id or name must be present.',
    ],
    ['a wrong password', password(inDefault('alice', 'no')), 401, 'The request you have made requires authentication.'],
    ['an unknown user', password(inDefault('nobody', 'pw')), 401, 'The request you have made requires authentication.'],
    [
      'an unknown project',
      password(inDefault('alice', 'pw'), { project: { id: 'nope' } }),
      401,
      'The request you have made requires authentication.',
    ],
    [
      'a project without domain',
      password(inDefault('alice', 'pw'), { project: { name: 'x' } }),
      400,
      incomplete('domain', 'project'),
    ],
    [
      'two scopes',
      password(inDefault('alice', 'pw'), { project: { id: 'x' }, domain: { id: 'x' } }),
      400,
      incomplete('system, project, domain, OS-TRUST:trust or unscoped', 'scope'),
    ],
    ['no token', byToken('nope'), 404, 'Could not recognize Fernet token'],
  ])('refuses %s', async (_what, body, status, words) => {
    const answer = await login(body);
    expect([answer.status, message(answer)]).toEqual([status, words]);
    if (status === 401) expect(answer.headers['www-authenticate']).toBe('Keystone uri="http://parent/identity/v3"');
  });

  it('takes as long for a user that there is not', async () => {
    const time = async (name: string): Promise<number> => {
      const began = performance.now();
      for (let at = 0; at < 3; at++) await login(password(inDefault(name, 'wrong')));
      return performance.now() - began;
    };
    await time('nobody');
    const [known, unknown] = [await time('alice'), await time('nobody')];
    expect(unknown).toBeGreaterThan(known / 4);
  });
});

describe('rescoping', () => {
  it('keeps the end, the first audit id and the methods', async () => {
    const first = (await login(password({ id: userId, password: 'pw' }, 'unscoped'))) as Awaited<
      ReturnType<typeof login>
    >;
    clock.offset_ms = 60_000;
    const { status, body } = await login(
      byToken(String(first.headers['x-subject-token']), { project: { id: projectId } }),
    );
    clock.offset_ms = 0;
    expect(status).toBe(201);
    expect(body.token.methods).toEqual(['token', 'password']);
    expect(body.token.expires_at).toBe(first.body.token.expires_at);
    expect(body.token.audit_ids[1]).toBe(first.body.token.audit_ids[0]);
    expect(body.token.project.id).toBe(projectId);
  });
});

describe('tokens in use', () => {
  const alice = () => tokenFor(password({ id: userId, password: 'pw' }));
  const works = async (token: string) => (await call(token, 'GET', '/auth/projects')).status === 200;

  it('are shown, checked and revoked', async () => {
    const token = await alice();
    const subject = { 'x-subject-token': token };
    const shown = await call(admin, 'GET', '/auth/tokens?nocatalog', undefined, subject);
    expect(shown.status).toBe(200);
    expect(shown.headers['x-subject-token']).toBe(token);
    expect(shown.body.token.user.name).toBe('alice');
    expect((await call(admin, 'HEAD', '/auth/tokens', undefined, subject)).status).toBe(200);
    expect((await call(token, 'GET', '/auth/tokens', undefined, subject)).status).toBe(200);
    expect((await call(token, 'GET', '/auth/tokens', undefined, { 'x-subject-token': admin })).status).toBe(403);
    expect(message(await call(admin, 'GET', '/auth/tokens'))).toBe('No token in the request');
    expect((await call(token, 'DELETE', '/auth/tokens', undefined, subject)).status).toBe(204);
    expect(await works(token)).toBe(false);
    expect((await call(admin, 'GET', '/auth/tokens', undefined, subject)).status).toBe(404);
    expect((await call(admin, 'DELETE', '/auth/tokens', undefined, subject)).status).toBe(404);
  });

  it('end with their time', async () => {
    const token = await alice();
    expect(await works(token)).toBe(true);
    clock.offset_ms = 86_400_000;
    expect(await works(token)).toBe(false);
    clock.offset_ms = 0;
  });

  it.each<[string, () => Promise<unknown>, () => Promise<unknown>, boolean]>([
    [
      'the user disabled',
      () => call(admin, 'PATCH', `/users/${userId}`, { user: { enabled: false } }),
      () => call(admin, 'PATCH', `/users/${userId}`, { user: { enabled: true } }),
      false,
    ],
    [
      'the project disabled',
      () => call(admin, 'PATCH', `/projects/${projectId}`, { project: { enabled: false } }),
      () => call(admin, 'PATCH', `/projects/${projectId}`, { project: { enabled: true } }),
      true,
    ],
    [
      'the role taken away',
      () => call(admin, 'DELETE', `/projects/${projectId}/users/${userId}/roles/${memberId}`),
      () => call(admin, 'PUT', `/projects/${projectId}/users/${userId}/roles/${memberId}`),
      true,
    ],
    [
      'the password set',
      () => call(admin, 'PATCH', `/users/${userId}`, { user: { password: 'pw' } }),
      async () => undefined,
      false,
    ],
  ])('mean nothing with %s', async (_what, change, undo, again) => {
    const token = await alice();
    expect(await works(token)).toBe(true);
    await change();
    expect(await works(token)).toBe(false);
    await undo();
    expect(await works(token)).toBe(again);
  });

  it('are forgotten by other processes too', async () => {
    const other = await openDatabase({ url: db.url });
    const elsewhere = createIdentity({ db: other, publicUrl, conventions, log: silent });
    const token = await alice();
    expect((await elsewhere.authenticate(token))?.user.name).toBe('alice');
    await call(token, 'DELETE', '/auth/tokens', undefined, { 'x-subject-token': token });
    await expect.poll(() => elsewhere.authenticate(token), { timeout: 2_000, interval: 20 }).toBeUndefined();
    await elsewhere.close();
    await other.close();
  });

  it('survive a rotation of the keys', async () => {
    const token = await alice();
    await identity.rotateTokenKeys();
    expect(await works(token)).toBe(true);
    expect(await works(await alice())).toBe(true);
    for (let at = 0; at < 4; at++) await identity.rotateTokenKeys();
    expect(await works(token)).toBe(false);
    admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  });

  it('say who is an administrator', async () => {
    expect(await authenticate(admin)).toMatchObject({ isAdmin: true, system: false });
    expect(await authenticate(await alice())).toMatchObject({ isAdmin: false, roles: ['member', 'reader'] });
    const adminId = (await authenticate(admin))?.user.id ?? '';
    expect(await authenticate(await identity.issueFor(adminId, { kind: 'system' }))).toMatchObject({
      isAdmin: true,
      system: true,
    });
    expect(await authenticate(await identity.issueFor(adminId, { kind: 'unscoped' }))).toMatchObject({
      isAdmin: false,
    });
    expect(await authenticate('nope')).toBeUndefined();
  });
});

describe('passwords', () => {
  it('are changed by who knows the old one, without a token', async () => {
    const id = await create('users', 'user', { name: 'carol', password: 'old' });
    const change = (original_password: string, secret: string) =>
      call('', 'POST', `/users/${id}/password`, { user: { original_password, password: secret } });
    expect((await change('wrong', 'new')).status).toBe(401);
    expect(
      (await call('', 'POST', '/users/nope/password', { user: { original_password: 'a', password: 'b' } })).status,
    ).toBe(401);
    expect((await change('old', 'new')).status).toBe(204);
    expect((await login(password({ id, password: 'old' }))).status).toBe(401);
    expect((await login(password({ id, password: 'new' }))).status).toBe(201);
    expect((await change('new', 'x'.repeat(5000))).status).toBe(403);
  });

  it('are stored as hashes and shown to nobody', async () => {
    const { rows } = await sql<{ all: string }>`select json_agg(u)::text as all from identity_users u`.execute(
      db.query,
    );
    expect(rows[0]?.all).not.toContain('"secret"');
    expect(rows[0]?.all).toContain('$argon2id$');
    const { body } = await call(admin, 'GET', '/users');
    expect(JSON.stringify(body)).not.toMatch(/argon2|"password"|token_generation/);
  });
});
