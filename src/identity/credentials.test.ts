import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, tokenFor } = api;

let admin = '';
const tokens = { alice: '', bob: '' };
const ids = { project: '', alice: '', bob: '', member: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> =>
  (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
const create = (attributes: object, token = tokens.alice) =>
  call(token, 'POST', '/credentials', {
    credential: { type: 'cert', blob: 'the secret', user_id: ids.alice, ...attributes },
  });
const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};
const listed = async (token: string, query = ''): Promise<string[]> =>
  (await call(token, 'GET', `/credentials${query}`)).body.credentials.map(({ id }: { id: string }) => id);

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.member = (await call(admin, 'GET', '/roles?name=member')).body.roles[0].id;
  ids.project = await make('projects', 'project', { name: 'demo' });
  for (const name of ['alice', 'bob'] as const) {
    ids[name] = await make('users', 'user', { name, password: 'pw', default_project_id: ids.project });
    await call(admin, 'PUT', `/projects/${ids.project}/users/${ids[name]}/roles/${ids.member}`);
    tokens[name] = await tokenFor(password({ id: ids[name], password: 'pw' }));
  }
});

afterAll(() => api.close());

describe('credentials', () => {
  it('are kept encrypted, for their user alone', async () => {
    const { status, body } = await create({});
    const { id } = body.credential;
    expect([status, body.credential]).toEqual([
      201,
      {
        id,
        type: 'cert',
        blob: 'the secret',
        user_id: ids.alice,
        project_id: null,
        links: { self: `http://parent/identity/v3/credentials/${id}` },
      },
    ]);
    const { rows } = await sql`select * from identity_credentials where id = ${id}`.execute(db.query);
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain('secret');
    expect((await call(tokens.alice, 'GET', `/credentials/${id}`)).body).toEqual(body);
    expect((await call(admin, 'GET', `/credentials/${id}`)).body).toEqual(body);
    for (const method of ['GET', 'PATCH', 'DELETE'] as const) {
      const change = method === 'PATCH' ? { credential: { blob: 'x' } } : undefined;
      expect((await call(tokens.bob, method, `/credentials/${id}`, change)).status).toBe(403);
    }
    expect((await create({}, tokens.bob)).status).toBe(403);
    const other = (await create({ type: 'totp' })).body.credential.id;
    expect((await listed(tokens.alice)).toSorted()).toEqual([id, other].toSorted());
    expect(await listed(tokens.alice, '?type=totp')).toEqual([other]);
    expect(await listed(tokens.bob)).toEqual([]);
    expect(await listed(tokens.bob, `?user_id=${ids.alice}`)).toEqual([]);
    expect(await listed(admin, `?user_id=${ids.alice}&type=cert`)).toEqual([id]);
    const patched = await call(tokens.alice, 'PATCH', `/credentials/${id}`, { credential: { blob: 'new' } });
    expect([patched.status, patched.body.credential.blob]).toEqual([200, 'new']);
    expect((await call(tokens.alice, 'GET', `/credentials/${id}`)).body.credential.blob).toBe('new');
    const moved = { credential: { blob: 'new', user_id: ids.bob } };
    expect((await call(tokens.alice, 'PATCH', `/credentials/${id}`, moved)).status).toBe(400);
    for (const each of [id, other])
      expect((await call(tokens.alice, 'DELETE', `/credentials/${each}`)).status).toBe(204);
    expect(await answered(call(admin, 'GET', `/credentials/${id}`))).toEqual([
      404,
      `Could not find credential: ${id}.`,
    ]);
    expect((await call(tokens.alice, 'GET', `/credentials/${id}`)).status).toBe(403);
  });

  it.each<[string, object, number, string]>([
    ['an EC2 key without a project', { type: 'ec2' }, 400, "'project_id' is a required property"],
    ['an EC2 key that is no JSON', { type: 'ec2', project_id: 'p' }, 400, 'Invalid blob in credential'],
    ['one without an access key', { type: 'ec2', project_id: 'p', blob: '{"a":1}' }, 400, 'Expecting to find access'],
    ['a blob that is no text', { blob: { a: 1 } }, 400, "Invalid input for field 'blob': '***' is not of type"],
    ['a user that there is not', { user_id: 'nope' }, 404, 'Could not find user: nope.'],
  ])('are refused with %s', async (_, attributes, status, words) => {
    const answer = await answered(create(attributes, admin));
    expect([answer[0], answer[1].slice(0, words.length)]).toEqual([status, words]);
  });

  it('are not had by what was delegated', async () => {
    const given = { application_credential: { name: 'all', unrestricted: true } };
    const { body } = await call(tokens.alice, 'POST', `/users/${ids.alice}/application_credentials`, given);
    const { id, secret } = body.application_credential;
    const auth = { identity: { methods: ['application_credential'], application_credential: { id, secret } } };
    const token = await tokenFor({ auth });
    const words =
      'You are not authorized to perform the requested action: Delegated tokens cannot access credentials directly.';
    expect(await answered(create({}, token))).toEqual([403, words]);
    const kept = (await create({})).body.credential.id;
    expect((await call(token, 'GET', `/credentials/${kept}`)).status).toBe(403);
    expect(await listed(token)).toEqual([]);
    expect((await call(token, 'GET', `/users/${ids.alice}/credentials/OS-EC2`)).status).toBe(403);
  });
});

describe('EC2 credentials', () => {
  const path = () => `/users/${ids.alice}/credentials/OS-EC2`;

  it('are the same things by another path', async () => {
    const { status, body } = await call(tokens.alice, 'POST', path(), { tenant_id: ids.project });
    const { access, secret, ...shown } = body.credential;
    expect([status, access, secret]).toEqual([
      201,
      expect.stringMatching(/^[0-9a-f]{32}$/),
      expect.stringMatching(/^[0-9a-f]{32}$/),
    ]);
    expect(shown).toEqual({
      user_id: ids.alice,
      tenant_id: ids.project,
      trust_id: null,
      links: { self: `http://parent/identity/v3${path()}/${access}` },
    });
    expect((await call(tokens.alice, 'GET', path())).body.credentials).toEqual([body.credential]);
    expect((await call(tokens.alice, 'GET', `${path()}/${access}`)).body).toEqual(body);
    const [plain] = (await call(tokens.alice, 'GET', '/credentials?type=ec2')).body.credentials;
    expect(JSON.parse(plain.blob)).toMatchObject({ access, secret });
    const rebound = { credential: { blob: JSON.stringify({ access, secret, trust_id: 'x' }) } };
    expect((await call(tokens.alice, 'PATCH', `/credentials/${plain.id}`, rebound)).status).toBe(400);
    const again = { type: 'ec2', project_id: ids.project, blob: plain.blob };
    expect(await answered(create(again))).toEqual([
      409,
      `Conflict occurred attempting to store credential - Duplicate entry found with ID ${plain.id}.`,
    ]);
    for (const each of [path(), `${path()}/${access}`]) expect((await call(tokens.bob, 'GET', each)).status).toBe(403);
    expect((await call(tokens.bob, 'GET', `/users/${ids.bob}/credentials/OS-EC2/${access}`)).status).toBe(403);
    expect((await call(tokens.bob, 'POST', path(), { tenant_id: ids.project })).status).toBe(403);
    expect((await call(tokens.bob, 'DELETE', `${path()}/${access}`)).status).toBe(403);
    expect((await call(tokens.alice, 'DELETE', `${path()}/${access}`)).status).toBe(204);
    expect((await call(tokens.alice, 'GET', `${path()}/${access}`)).status).toBe(404);
  });

  it('are for a project, and go with it and with their user', async () => {
    expect(await answered(call(tokens.alice, 'POST', path(), { tenant_id: 'nope' }))).toEqual([
      404,
      'Could not find project: nope.',
    ]);
    expect((await call(tokens.alice, 'POST', path(), {})).status).toBe(404);
    expect((await call(admin, 'GET', '/users/nope/credentials/OS-EC2')).status).toBe(404);
    const project = await make('projects', 'project', { name: 'passing' });
    const user = await make('users', 'user', { name: 'passing', password: 'pw' });
    await call(tokens.alice, 'POST', path(), { tenant_id: project });
    await call(admin, 'POST', `/users/${user}/credentials/OS-EC2`, { tenant_id: ids.project });
    const count = async () => (await listed(admin, '?type=ec2')).length;
    expect(await count()).toBe(2);
    await call(admin, 'DELETE', `/projects/${project}`);
    expect(await count()).toBe(1);
    await call(admin, 'DELETE', `/users/${user}`);
    expect(await count()).toBe(0);
  });
});
