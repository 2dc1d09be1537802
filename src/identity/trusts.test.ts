import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, authenticate, call, login, tokenFor } = api;

let admin = '';
const tokens = { alice: '', bob: '', carol: '' };
const ids = { project: '', other: '', alice: '', bob: '', carol: '', member: '', reader: '', admin: '' };
const PATH = '/OS-TRUST/trusts';

const make = async (kind: string, name: string, attributes: object): Promise<string> =>
  (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
const grant = (project: string, user: string, role: string) => `/projects/${project}/users/${user}/roles/${role}`;
const trustBody = (attributes: object = {}) => ({
  trust: {
    trustor_user_id: ids.alice,
    trustee_user_id: ids.bob,
    project_id: ids.project,
    impersonation: false,
    roles: [{ name: 'member' }],
    ...attributes,
  },
});
const create = (attributes: object = {}, token = tokens.alice) => call(token, 'POST', PATH, trustBody(attributes));
const made = async (attributes: object = {}): Promise<string> => {
  const { status, body } = await create(attributes);
  expect([status, body.error]).toEqual([201, undefined]);
  return body.trust.id;
};
const byTrust = (user: 'alice' | 'bob' | 'carol', id: string) =>
  password({ id: ids[user], password: 'pw' }, { 'OS-TRUST:trust': { id } });
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
  for (const name of ['alice', 'bob', 'carol'] as const) {
    ids[name] = await make('users', 'user', { name, password: 'pw' });
  }
  for (const project of [ids.project, ids.other]) await call(admin, 'PUT', grant(project, ids.alice, ids.member));
  tokens.alice = await tokenFor(password({ id: ids.alice, password: 'pw' }, { project: { id: ids.project } }));
  for (const name of ['bob', 'carol'] as const)
    tokens[name] = await tokenFor(password({ id: ids[name], password: 'pw' }));
});

afterAll(() => api.close());

describe('a trust', () => {
  it('is shown to both of its users with its roles, and to nobody else', async () => {
    const { status, body } = await create({ expires_at: '2999-01-01T00:00:00.5Z' });
    const { id, roles } = body.trust;
    expect(status).toBe(201);
    expect(body.trust).toMatchObject({
      trustor_user_id: ids.alice,
      trustee_user_id: ids.bob,
      project_id: ids.project,
      impersonation: false,
      expires_at: '2999-01-01T00:00:00.500000Z',
      remaining_uses: null,
      redelegated_trust_id: null,
      redelegation_count: 0,
      deleted_at: null,
      roles_links: { next: null, previous: null },
      links: { self: `http://parent/identity/v3${PATH}/${id}` },
    });
    expect(roles).toMatchObject([{ id: ids.member, name: 'member', links: {} }]);
    for (const who of ['alice', 'bob'] as const) {
      expect((await call(tokens[who], 'GET', `${PATH}/${id}`)).body.trust).toEqual(body.trust);
      expect((await call(tokens[who], 'GET', `${PATH}/${id}/roles`)).body.roles).toEqual(roles);
      expect((await call(tokens[who], 'GET', `${PATH}/${id}/roles/${ids.member}`)).body.role).toEqual(roles[0]);
      expect((await call(tokens[who], 'HEAD', `${PATH}/${id}/roles/${ids.admin}`)).status).toBe(404);
    }
    expect((await call(tokens.carol, 'GET', `${PATH}/${id}`)).status).toBe(403);
    expect((await call(tokens.carol, 'GET', `${PATH}/${id}/roles`)).status).toBe(403);
    expect((await call(admin, 'GET', `${PATH}/${id}`)).status).toBe(200);
    const listed = async (token: string, query: string) => {
      const answer = await call(token, 'GET', `${PATH}${query}`);
      return answer.status === 200 ? answer.body.trusts.map((trust: { id: string }) => trust.id) : answer.status;
    };
    expect(await listed(tokens.alice, `?trustor_user_id=${ids.alice}`)).toEqual([id]);
    expect(await listed(tokens.bob, `?trustee_user_id=${ids.bob}`)).toEqual([id]);
    expect(await listed(tokens.alice, `?trustee_user_id=${ids.alice}`)).toEqual([]);
    expect(await listed(tokens.bob, `?trustor_user_id=${ids.alice}`)).toBe(403);
    expect(await listed(tokens.bob, `?trustor_user_id=${ids.alice}&trustee_user_id=${ids.bob}`)).toBe(403);
    expect(await listed(tokens.alice, '')).toBe(403);
    for (const [query, rule] of [
      ['', 'list_trusts'],
      [`?trustor_user_id=${ids.alice}`, 'list_trusts_for_trustor'],
      [`?trustee_user_id=${ids.alice}`, 'list_trusts_for_trustee'],
    ]) {
      const words = `You are not authorized to perform the requested action: identity:${rule}.`;
      expect(await answered(call(tokens.carol, 'GET', `${PATH}${query}`))).toEqual([403, words]);
    }
    expect(await listed(admin, '')).toEqual([id]);
    expect((await call(tokens.bob, 'DELETE', `${PATH}/${id}`)).status).toBe(403);
    expect((await call(tokens.alice, 'DELETE', `${PATH}/${id}`)).status).toBe(204);
    for (const method of ['GET', 'DELETE'] as const) {
      expect(await answered(call(tokens.alice, method, `${PATH}/${id}`))).toEqual([
        404,
        `Could not find trust: ${id}.`,
      ]);
    }
  });

  it.each<[string, object, number, string]>([
    ['no role', { roles: [] }, 403, 'At least one role should be specified'],
    ['a role that the trustor lacks', { roles: [{ name: 'admin' }] }, 404, 'Could not find role'],
    ['a role that there is not', { roles: [{ name: 'nope' }] }, 404, 'Role nope is not defined'],
    ['no such trustee', { trustee_user_id: 'nope' }, 404, 'Could not find user: nope.'],
    ['no such project', { project_id: 'nope' }, 404, 'Could not find project: nope.'],
    ['an end that is none', { expires_at: 'bad.123Z' }, 400, 'Timestamp not in expected format.'],
    ['no uses', { remaining_uses: 0 }, 400, "Invalid input for field 'remaining_uses'"],
    ['uses and redelegation', { remaining_uses: 2, allow_redelegation: true }, 400, 'remaining_uses must not be set'],
    [
      'too many redelegations',
      { allow_redelegation: true, redelegation_count: 9 },
      403,
      'You are not authorized to perform the requested action.',
    ],
  ])('is refused with %s', async (_, attributes, status, words) => {
    const answer = await answered(create(attributes));
    expect([answer[0], answer[1].includes(words) ? words : answer[1]]).toEqual([status, words]);
  });

  it('is made by its trustor alone, and not by an application credential', async () => {
    expect((await create({}, tokens.bob)).status).toBe(403);
    expect((await create({}, admin)).status).toBe(403);
    const path = `/users/${ids.alice}/application_credentials`;
    const { body } = await call(tokens.alice, 'POST', path, {
      application_credential: { name: 'free', unrestricted: true },
    });
    const { id, secret } = body.application_credential;
    const auth = { identity: { methods: ['application_credential'], application_credential: { id, secret } } };
    const token = await tokenFor({ auth });
    expect(await answered(create({}, token))).toEqual([
      403,
      'You are not authorized to perform the requested action: Delegated tokens cannot manage trusts..',
    ]);
  });
});

describe('a token by a trust', () => {
  it('has the trust’s roles on its project, as the trustee', async () => {
    const id = await made();
    const { status, body } = await login(byTrust('bob', id));
    expect(status).toBe(201);
    expect(body.token).toMatchObject({
      methods: ['password'],
      user: { id: ids.bob },
      project: { id: ids.project },
      roles: [{ name: 'member' }, { name: 'reader' }],
      'OS-TRUST:trust': {
        id,
        impersonation: false,
        trustor_user: { id: ids.alice },
        trustee_user: { id: ids.bob },
      },
    });
    expect(body.token.catalog.length).toBeGreaterThan(0);
    expect((await login(byToken(tokens.bob, { 'OS-TRUST:trust': { id } }))).body.token.project.id).toBe(ids.project);
    expect((await login(byTrust('carol', id))).status).toBe(403);
    expect((await login(byTrust('alice', id))).status).toBe(403);
    expect((await login(byTrust('bob', 'nope'))).status).toBe(401);
    expect((await login(password({ id: ids.bob, password: 'pw' }, { 'OS-TRUST:trust': {} }))).status).toBe(400);
  });

  it('is the trustor’s where the trust says so, and makes no lasting thing', async () => {
    const token = await tokenFor(byTrust('bob', await made({ impersonation: true })));
    expect((await authenticate(token))?.user.id).toBe(ids.alice);
    expect((await call(token, 'GET', `/users/${ids.alice}`)).status).toBe(200);
    const path = `/users/${ids.alice}/application_credentials`;
    expect((await call(token, 'GET', path)).status).toBe(403);
    expect((await call(token, 'POST', path, { application_credential: { name: 'x' } })).status).toBe(403);
    expect(await answered(login(byToken(token, { project: { id: ids.other } })))).toEqual([
      403,
      'You are not authorized to perform the requested action: Using trust-scoped token to create another token. Create a new trust-scoped token instead.',
    ]);
  });

  it('is had as often as the trust says, also when all ask at once', async () => {
    const id = await made({ remaining_uses: 2 });
    const statuses = (await Promise.all([1, 2, 3, 4].map(() => login(byTrust('bob', id))))).map(({ status }) => status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(2);
    expect((await call(tokens.alice, 'GET', `${PATH}/${id}`)).status).toBe(404);
    const single = await made({ remaining_uses: 1 });
    const token = await tokenFor(byTrust('bob', single));
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(200);
    expect((await login(byTrust('bob', single))).status).toBe(401);
  });

  it('ends with the trust: when it expires, is deleted, or its trustor loses a role or their old password', async () => {
    const ends = async (how: () => Promise<unknown>, mend?: () => Promise<unknown>): Promise<number[]> => {
      const id = await made({ expires_at: new Date(Date.now() + 3_600_000).toISOString() });
      const token = await tokenFor(byTrust('bob', id));
      const uses = async () => (await call(token, 'GET', '/auth/projects')).status;
      const before = await uses();
      await how();
      const after = await uses();
      await mend?.();
      await call(admin, 'DELETE', `${PATH}/${id}`);
      return [before, after];
    };
    const role = grant(ids.project, ids.alice, ids.member);
    const patch = (user: string, attributes: object) => call(admin, 'PATCH', `/users/${user}`, { user: attributes });
    expect(
      await ends(
        async () => void (clock.offset_ms = 3_700_000),
        async () => void (clock.offset_ms = 0),
      ),
    ).toEqual([200, 401]);
    expect(
      await ends(
        () => call(admin, 'DELETE', role),
        () => call(admin, 'PUT', role),
      ),
    ).toEqual([200, 401]);
    expect(await ends(() => patch(ids.alice, { password: 'pw' }))).toEqual([200, 401]);
    tokens.alice = await tokenFor(password({ id: ids.alice, password: 'pw' }, { project: { id: ids.project } }));
    expect(await ends(() => patch(ids.bob, { password: 'pw' }))).toEqual([200, 401]);
    const disabled = ends(
      () => patch(ids.alice, { enabled: false }),
      () => patch(ids.alice, { enabled: true }),
    );
    expect(await disabled).toEqual([200, 401]);
    tokens.alice = await tokenFor(password({ id: ids.alice, password: 'pw' }, { project: { id: ids.project } }));
    const id = await made();
    const token = await tokenFor(byTrust('bob', id));
    expect((await call(tokens.alice, 'DELETE', `${PATH}/${id}`)).status).toBe(204);
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(401);
  });
});

describe('redelegation', () => {
  const onward = (token: string, attributes: object = {}) =>
    create({ trustor_user_id: ids.bob, trustee_user_id: ids.carol, ...attributes }, token);

  it('hands on as often as the first trust allows, and ends with it', async () => {
    const id = await made({ allow_redelegation: true, redelegation_count: 1 });
    const bob = await tokenFor(byTrust('bob', id));
    const { status, body } = await onward(bob, { allow_redelegation: true });
    expect([status, body.trust.redelegated_trust_id, body.trust.redelegation_count]).toEqual([201, id, 0]);
    const carol = await tokenFor(byTrust('carol', body.trust.id));
    expect((await authenticate(carol))?.roles).toEqual(['member', 'reader']);
    expect((await create({ trustor_user_id: ids.carol, trustee_user_id: ids.bob }, carol)).status).toBe(403);
    expect((await call(tokens.alice, 'DELETE', `${PATH}/${id}`)).status).toBe(204);
    expect((await call(carol, 'GET', '/auth/projects')).status).toBe(401);
    expect((await call(admin, 'GET', `${PATH}/${body.trust.id}`)).status).toBe(404);
  });

  it('gives no more than was given', async () => {
    const first = { allow_redelegation: true, roles: [{ name: 'reader' }], expires_at: '2990-01-01T00:00:00Z' };
    const bob = await tokenFor(byTrust('bob', await made(first)));
    for (const attributes of [
      { roles: [{ name: 'member' }] },
      { impersonation: true },
      { expires_at: '2991-01-01T00:00:00Z' },
      { remaining_uses: 1 },
      { allow_redelegation: true, redelegation_count: 3 },
      { project_id: ids.other },
    ]) {
      // Keystone does not say why.
      expect((await onward(bob, { roles: [{ name: 'reader' }], ...attributes })).body.error).toEqual({
        code: 403,
        title: 'Forbidden',
        message: 'You are not authorized to perform the requested action.',
      });
    }
    const { body } = await onward(bob, { roles: [{ name: 'reader' }] });
    expect(body.trust.expires_at).toBe('2990-01-01T00:00:00.000000Z');
    expect((await onward(await tokenFor(byTrust('bob', await made())))).status).toBe(403);
  });
});

it('of a user who is deleted is gone', async () => {
  const user = await make('users', 'user', { name: 'passing', password: 'pw' });
  const id = await made({ trustee_user_id: user });
  expect((await call(admin, 'DELETE', `/users/${user}`)).status).toBe(204);
  expect((await call(admin, 'GET', `${PATH}/${id}`)).status).toBe(404);
});
