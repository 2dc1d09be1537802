import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, authenticate, call, login, tokenFor } = api;

let admin = '';
let alice = '';
const ids = { project: '', other: '', alice: '', bob: '', member: '', reader: '', admin: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> =>
  (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
const byCredential = (application_credential: object, scope?: object) => ({
  auth: {
    identity: { methods: ['application_credential'], application_credential },
    ...(scope === undefined ? {} : { scope }),
  },
});
const credentials = () => `/users/${ids.alice}/application_credentials`;
const create = async (attributes: object, token = alice) =>
  call(token, 'POST', credentials(), { application_credential: attributes });
const made = async (attributes: object): Promise<{ id: string; secret: string }> => {
  const { status, body } = await create(attributes);
  expect([status, body.error]).toEqual([201, undefined]);
  return body.application_credential;
};
const tokenBy = async (attributes: object): Promise<string> => {
  const { id, secret } = await made(attributes);
  return tokenFor(byCredential({ id, secret }));
};
const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  for (const { id, name } of (await call(admin, 'GET', '/roles')).body.roles) {
    if (name in ids) ids[name as 'member'] = id;
  }
  ids.project = await make('projects', 'project', { name: 'demo' });
  ids.other = await make('projects', 'project', { name: 'other' });
  for (const name of ['alice', 'bob'] as const) {
    ids[name] = await make('users', 'user', { name, password: 'pw', default_project_id: ids.project });
    await call(admin, 'PUT', `/projects/${ids.project}/users/${ids[name]}/roles/${ids.member}`);
  }
  await call(admin, 'PUT', `/projects/${ids.other}/users/${ids.alice}/roles/${ids.member}`);
  alice = await tokenFor(password({ id: ids.alice, password: 'pw' }));
});

afterAll(() => api.close());

describe('an application credential', () => {
  it('shows its secret once, and logs in for its project with its roles', async () => {
    const { body } = await create({ name: 'ci', description: 'for CI', expires_at: '2999-01-01T00:00:00.123456' });
    const { id, secret, ...shown } = body.application_credential;
    expect(secret).toMatch(/^[\w-]{86}$/);
    expect(shown).toMatchObject({
      name: 'ci',
      description: 'for CI',
      user_id: ids.alice,
      project_id: ids.project,
      expires_at: '2999-01-01T00:00:00.123456',
      unrestricted: false,
      links: { self: `http://parent/identity/v3/application_credentials/${id}` },
    });
    expect(shown).not.toHaveProperty('access_rules');
    expect(shown.roles.map(({ name }: { name: string }) => name)).toEqual(['member', 'reader']);
    expect((await call(alice, 'GET', `${credentials()}/${id}`)).body.application_credential).toEqual({ id, ...shown });
    expect((await call(alice, 'GET', `${credentials()}?name=ci`)).body.application_credentials).toEqual([
      { id, ...shown },
    ]);
    expect((await call(alice, 'GET', `${credentials()}?name=none`)).body.application_credentials).toEqual([]);

    const { token } = (await login(byCredential({ id, secret }))).body;
    expect(token).toMatchObject({
      methods: ['application_credential'],
      user: { id: ids.alice },
      project: { id: ids.project },
      roles: [{ name: 'member' }, { name: 'reader' }],
      application_credential: { id, name: 'ci', restricted: true },
    });
    const byName = { name: 'ci', secret, user: { name: 'alice', domain: { name: 'Default' } } };
    expect((await login(byCredential(byName))).status).toBe(201);
  });

  it.each<[string, object, number, string]>([
    ['the secret is wrong', { id: 'ID', secret: 'x' }, 401, 'The request you have made requires authentication.'],
    ['there is none', { id: 'ID' }, 401, 'The request you have made requires authentication.'],
    ['the id is unknown', { id: 'nope', secret: 'x' }, 404, 'Could not find Application Credential: nope.'],
    ['nothing names it', { secret: 'x' }, 400, 'Expecting to find name or ID in application credential.'],
    ['its user is not said', { name: 'ci', secret: 'x' }, 400, 'Expecting to find user in application credential.'],
    ['it is another user’s', { name: 'ci', secret: 'x', user: { id: 'bob' } }, 401, 'The request you have'],
    ['the domain is not said', { name: 'ci', user: { name: 'alice' } }, 400, 'Expecting to find domain in user.'],
  ])('does not log in where %s', async (_, given, status, words) => {
    const { id } = await made({ name: `refused ${JSON.stringify(given)}` });
    const answer = await answered(login(byCredential('id' in given && given.id === 'ID' ? { ...given, id } : given)));
    expect([answer[0], answer[1].startsWith(words)]).toEqual([status, true]);
  });

  it('chooses no scope, and proves nothing beside another user’s password', async () => {
    const { id, secret } = await made({ name: 'scopeless' });
    expect(await answered(login(byCredential({ id, secret }, { project: { id: ids.other } })))).toEqual([
      401,
      'Error authenticating with application credential: Application credentials cannot request a scope.',
    ]);
    const { auth } = byCredential({ id, secret });
    const both = { ...auth.identity, methods: ['application_credential', 'password'] };
    const withPassword = (user: string) => ({
      auth: { identity: { ...both, password: { user: { id: user, password: 'pw' } } } },
    });
    expect((await login(withPassword(ids.bob))).status).toBe(401);
    const { status, body } = await login(withPassword(ids.alice));
    expect([status, body.token.methods, body.token.application_credential.id]).toEqual([
      201,
      ['password', 'application_credential'],
      id,
    ]);
  });

  it('gives no role that its maker lacks, and none any more that they lost', async () => {
    expect(await answered(create({ name: 'x', roles: [{ id: ids.admin }] }))).toEqual([
      400,
      'Invalid application credential: Cannot create an application credential with unassigned role',
    ]);
    expect(await answered(create({ name: 'x', roles: [{ name: 'nope' }] }))).toEqual([404, 'Role nope is not defined']);
    const reading = await tokenBy({ name: 'reading', roles: [{ name: 'reader' }] });
    expect((await authenticate(reading))?.roles).toEqual(['reader']);
    // A role brings what it implies.
    expect((await authenticate(await tokenBy({ name: 'members', roles: [{ id: ids.member }] })))?.roles).toEqual([
      'member',
      'reader',
    ]);
    const late = await make('users', 'user', { name: 'late', password: 'pw', default_project_id: ids.project });
    const group = await make('groups', 'group', { name: 'lates' });
    await call(admin, 'PUT', `/groups/${group}/users/${late}`);
    await call(admin, 'PUT', `/projects/${ids.project}/groups/${group}/roles/${ids.member}`);
    const own = await tokenFor(password({ id: late, password: 'pw' }));
    const path = `/users/${late}/application_credentials`;
    const { body } = await call(own, 'POST', path, { application_credential: { name: 'late' } });
    const by = byCredential({ id: body.application_credential.id, secret: body.application_credential.secret });
    const token = await tokenFor(by);
    expect((await call(token, 'GET', `/users/${late}`)).status).toBe(200);
    await call(admin, 'DELETE', `/groups/${group}/users/${late}`);
    expect((await call(token, 'GET', `/users/${late}`)).status).toBe(401);
    expect((await login(by)).status).toBe(401);
  });

  it('goes with the role that was given to its maker directly, and when they are disabled', async () => {
    const grant = `/projects/${ids.other}/users/${ids.alice}/roles/${ids.member}`;
    const there = await tokenFor(password({ id: ids.alice, password: 'pw' }, { project: { id: ids.other } }));
    const { body } = await create({ name: 'elsewhere' }, there);
    const path = `${credentials()}/${body.application_credential.id}`;
    expect((await call(alice, 'GET', path)).status).toBe(200);
    await call(admin, 'DELETE', grant);
    expect((await call(alice, 'GET', path)).status).toBe(404);
    const kept = await made({ name: 'gone when disabled' });
    await call(admin, 'PATCH', `/users/${ids.alice}`, { user: { enabled: false } });
    await call(admin, 'PATCH', `/users/${ids.alice}`, { user: { enabled: true } });
    expect((await login(byCredential(kept))).status).toBe(404);
    alice = await tokenFor(password({ id: ids.alice, password: 'pw' }));
  });

  it('ends when it says, and its tokens with it', async () => {
    for (const [expires_at, words] of [
      ['bad', 'Timestamp not in expected format.'],
      ['2020-01-01T00:00:00Z', "The 'expires_at' must not be before now."],
    ]) {
      const [status, text] = await answered(create({ name: 'x', expires_at }));
      expect([status, text.startsWith(words ?? '')]).toEqual([400, true]);
    }
    const given = await made({ name: 'short', expires_at: new Date(Date.now() + 60_000).toISOString() });
    const { headers, body } = await login(byCredential(given));
    expect(Date.parse(body.token.expires_at)).toBeLessThanOrEqual(Date.now() + 60_000);
    clock.offset_ms = 61_000;
    expect((await call(String(headers['x-subject-token']), 'GET', '/auth/projects')).status).toBe(401);
    expect((await login(byCredential(given))).status).toBe(401);
    clock.offset_ms = 0;
  });

  it('has a name of its own among its user’s', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => create({ name: 'twin' })));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409, 409]);
    expect(message(answers.find(({ status }) => status === 409) as never)).toBe(
      'Conflict occurred attempting to store application_credential - Duplicate entry found with name twin.',
    );
  });

  it('is its user’s alone, also under another user’s path', async () => {
    const { id } = await made({ name: 'private' });
    const bob = await tokenFor(password({ id: ids.bob, password: 'pw' }));
    for (const path of [credentials(), `${credentials()}/${id}`, `/users/${ids.bob}/application_credentials/${id}`]) {
      expect((await call(bob, 'GET', path)).status).toBe(403);
    }
    expect((await call(bob, 'DELETE', `/users/${ids.bob}/application_credentials/${id}`)).status).toBe(403);
    expect((await create({ name: 'x' }, bob)).status).toBe(403);
    expect((await create({ name: 'x' }, admin)).status).toBe(403);
    expect((await call(admin, 'GET', `${credentials()}/${id}`)).status).toBe(200);
    expect((await call(admin, 'DELETE', `${credentials()}/${id}`)).status).toBe(204);
    expect(await answered(call(admin, 'DELETE', `${credentials()}/${id}`))).toEqual([
      404,
      `Could not find Application Credential: ${id}.`,
    ]);
  });
});

describe('a token by an application credential', () => {
  it('makes no other token, and where it is restricted no other credential', async () => {
    const restricted = await tokenBy({ name: 'restricted' });
    const words =
      "You are not authorized to perform the requested action: Using method 'application_credential' is not allowed for managing additional application credentials..";
    expect(await answered(create({ name: 'x' }, restricted))).toEqual([403, words]);
    const { id } = await made({ name: 'victim' });
    expect(await answered(call(restricted, 'DELETE', `${credentials()}/${id}`))).toEqual([403, words]);
    expect((await call(restricted, 'GET', `${credentials()}/${id}`)).status).toBe(200);
    expect((await login(byToken(restricted, { project: { id: ids.project } }))).status).toBe(403);

    const free = await tokenBy({ name: 'free', unrestricted: true });
    expect((await create({ name: 'child' }, free)).status).toBe(201);
    expect((await call(free, 'DELETE', `${credentials()}/${id}`)).status).toBe(204);
    expect((await login(byToken(free))).status).toBe(403);
  });

  it('ends at once with the credential, and with its user’s old password', async () => {
    const first = await made({ name: 'first' });
    const token = await tokenFor(byCredential(first));
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(200);
    await call(alice, 'DELETE', `${credentials()}/${first.id}`);
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(401);
    const second = await made({ name: 'second' });
    const other = await tokenFor(byCredential(second));
    const change = { user: { original_password: 'pw', password: 'new' } };
    expect((await call('', 'POST', `/users/${ids.alice}/password`, change)).status).toBe(204);
    expect((await call(other, 'GET', '/auth/projects')).status).toBe(401);
    // The credential itself is no password.
    expect((await login(byCredential(second))).status).toBe(201);
    await call('', 'POST', `/users/${ids.alice}/password`, { user: { original_password: 'new', password: 'pw' } });
    alice = await tokenFor(password({ id: ids.alice, password: 'pw' }));
  });
});

describe('access rules', () => {
  const rule = { service: 'identity', method: 'GET', path: '/v3/users/*' };

  it('are kept once, outlive their credentials, and go when none has them', async () => {
    const { body } = await create({ name: 'ruled', access_rules: [rule, rule] });
    const [{ id: ruleId, ...shown }, ...more] = body.application_credential.access_rules;
    expect([shown, more]).toEqual([rule, []]);
    const again = (await create({ name: 'ruled too', access_rules: [{ id: ruleId }] })).body.application_credential;
    expect(again.access_rules).toEqual([{ id: ruleId, ...rule }]);
    const path = `/users/${ids.alice}/access_rules`;
    const { access_rules } = (await call(alice, 'GET', `${path}?service=identity`)).body;
    expect(access_rules).toEqual([
      { id: ruleId, ...rule, links: { self: `http://parent/identity/v3/access_rules/${ruleId}` } },
    ]);
    expect((await call(alice, 'GET', `${path}?method=POST`)).body.access_rules).toEqual([]);
    expect(await answered(call(alice, 'DELETE', `${path}/${ruleId}`))).toEqual([
      403,
      'May not delete access rule in use',
    ]);
    for (const { id } of [body.application_credential, again]) await call(alice, 'DELETE', `${credentials()}/${id}`);
    expect((await call(alice, 'GET', `${path}/${ruleId}`)).body.access_rule).toEqual(access_rules[0]);
    const bob = await tokenFor(password({ id: ids.bob, password: 'pw' }));
    expect((await call(bob, 'GET', `${path}/${ruleId}`)).status).toBe(403);
    expect((await call(bob, 'GET', `/users/${ids.bob}/access_rules/${ruleId}`)).status).toBe(404);
    expect((await call(bob, 'DELETE', `/users/${ids.bob}/access_rules/${ruleId}`)).status).toBe(404);
    expect((await call(alice, 'DELETE', `${path}/${ruleId}`)).status).toBe(204);
    expect(await answered(call(alice, 'GET', `${path}/${ruleId}`))).toEqual([
      404,
      `Could not find Access Rule: ${ruleId}.`,
    ]);
    expect((await create({ name: 'x', access_rules: [{ id: ruleId }] })).status).toBe(400);
  });

  it('let a token make the requests that they name and no other', async () => {
    const token = await tokenBy({ name: 'narrow', access_rules: [rule] });
    expect((await call(token, 'GET', `/users/${ids.alice}`)).status).toBe(200);
    expect((await call(token, 'GET', `/users/${ids.alice}/projects`)).status).toBe(401);
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(401);
    expect((await call(token, 'HEAD', `/users/${ids.alice}`)).status).toBe(401);
    const shut = await tokenBy({ name: 'shut', access_rules: [{ ...rule, service: 'compute' }] });
    expect((await call(shut, 'GET', `/users/${ids.alice}`)).status).toBe(401);
    // Whoever asks what it means must say to hold the rules against requests.
    const show = (headers: object) =>
      call(admin, 'GET', '/auth/tokens', undefined, { 'x-subject-token': token, ...headers });
    expect(await answered(show({}))).toEqual([404, 'Failed to validate token']);
    const { status, body } = await show({ 'openstack-identity-access-rules': '1.0' });
    expect(status).toBe(200);
    expect(body.token.application_credential.access_rules).toMatchObject([rule]);
  });
});
