/** Requests that Keystone (Zed) was given too: what it answered to each stands here. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, call, login, tokenFor } = api;

let admin = '';
const ids: Record<string, string> = {};
const MALFORMED =
  'The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.';
const SCOPES = `Expecting to find system, project, domain, OS-TRUST:trust or unscoped in scope. ${MALFORMED}`;

const make = async (kind: string, name: string, attributes: object): Promise<string> => {
  const { status, body } = await call(admin, 'POST', `/${kind}`, { [name]: attributes });
  expect(status).toBe(201);
  return body[name].id;
};
/** Fills in ids by their names: `USER`. */
const filled = <T>(value: T): T =>
  JSON.parse(JSON.stringify(value).replace(/[A-Z]{4,}/g, (name) => ids[name] ?? name)) as T;
const names = (list: { name: string }[]): string[] => list.map(({ name }) => name).toSorted();

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.USER = await make('users', 'user', { name: 'alice', password: 'pw' });
  ids.OTHER = await make('users', 'user', { name: 'bob', password: 'pw', enabled: false });
  ids.PROJECT = await make('projects', 'project', { name: 'demo' });
  ids.GROUP = await make('groups', 'group', { name: 'staff' });
  ids.ROLE = await make('roles', 'role', { name: 'cook' });
  ids.OWNED = await make('roles', 'role', { name: 'waiter', domain_id: 'default' });
  ids.SERVICE = await make('services', 'service', { type: 'sample' });
  ids.POLICY = await make('policies', 'policy', { type: 'text', blob: '' });
  ids.REGION = await make('regions', 'region', { id: 'outer' });
  for (const id of [ids.USER, ids.OTHER]) await call(admin, 'PUT', `/groups/${ids.GROUP}/users/${id}`);
});

afterAll(() => api.close());

describe('a login', () => {
  const by = (user: object | undefined, scope?: unknown) => ({
    auth: { identity: { methods: ['password'], password: user === undefined ? {} : { user } }, scope },
  });
  const right = { id: 'USER', password: 'pw' };
  it.each([
    [undefined, 400, `Expecting to find auth in request body. ${MALFORMED}`],
    [{ auth: null }, 400, `Expecting to find auth in request body. ${MALFORMED}`],
    [[], 400, `Expecting to find valid JSON in request body. ${MALFORMED}`],
    [{ auth: {} }, 400, "'identity' is a required property"],
    [
      { auth: { identity: { methods: 'password' } } },
      400,
      "Invalid input for field 'identity/methods': 'password' is not of type 'array'",
    ],
    [{ auth: { identity: { methods: ['nope'] } } }, 400, `Expecting to find nope in identity. ${MALFORMED}`],
    [
      { auth: { identity: { methods: ['nope'], nope: {} } } },
      401,
      'Attempted to authenticate with an unsupported method.',
    ],
    [by(undefined), 400, `Expecting to find user in None. ${MALFORMED}`],
    [by({}), 400, 'Invalid input for field identity/password/user: id or name must be present.'],
    [by({ name: 'alice', password: 'pw' }), 400, `Expecting to find domain in user. ${MALFORMED}`],
    [by({ id: 'USER' }), 401, 'The request you have made requires authentication.'],
    [by(right, {}), 400, SCOPES],
    [by(right, 'nope'), 400, SCOPES],
    [by({ ...right, password: 'wrong' }, {}), 400, SCOPES],
    [by(right, { project: { id: 'x' }, domain: { id: 'x' } }), 400, SCOPES],
    [by(right, { system: 'all' }), 400, "Invalid input for field 'scope/system': 'all' is not of type 'object'"],
    [by(right, 1), 400, "Invalid input for field 'scope': 1 is not of type 'object', 'string'"],
  ])('by %j is answered %i', async (body, status, words) => {
    const answer = await login(filled(body ?? null) ?? undefined);
    expect([answer.status, message(answer)]).toEqual([status, words]);
  });

  it('for the system takes it whole, and names the methods there are where it asks for another', async () => {
    const { body } = await login(password(inDefault('admin', 'secret'), { system: { all: false } }));
    expect(body.token.system).toEqual({ all: true });
    const other = await login({ auth: { identity: { methods: ['nope'], nope: {} } } });
    expect(other.body.error.identity.methods).toContain('password');
  });

  it('is told without the catalog where the query has its name at all', async () => {
    for (const query of ['?nocatalog', '?nocatalog=false']) {
      const { body } = await login(password(inDefault('admin', 'secret'), ADMIN_PROJECT), query);
      expect([body.token.project.name, body.token.catalog]).toEqual(['admin', undefined]);
    }
  });
});

describe('a token', () => {
  const subject = (text: string, query = '') =>
    call(admin, 'GET', `/auth/tokens${query}`, undefined, { 'x-subject-token': text });

  it('that is none, or none any more, is told apart', async () => {
    const token = await tokenFor(password({ id: ids.USER, password: 'pw' }));
    await call(token, 'DELETE', '/auth/tokens', undefined, { 'x-subject-token': token });
    for (const [text, words] of [
      ['', 'No token in the request'],
      ['nonsense', 'Could not recognize Fernet token'],
      [token, 'Failed to validate token'],
    ] as const) {
      const { status, body } = await subject(text);
      expect([status, body.error.message]).toEqual([404, words]);
      if (text === '') continue;
      const rescoped = await login(byToken(text));
      expect([rescoped.status, message(rescoped)]).toEqual([404, words]);
    }
  });

  it('that has ended is shown for two days to who allows for that, and opens nothing', async () => {
    const token = await tokenFor(password({ id: ids.USER, password: 'pw' }));
    const revoked = await tokenFor(password({ id: ids.USER, password: 'pw' }));
    await call(revoked, 'DELETE', '/auth/tokens', undefined, { 'x-subject-token': revoked });
    const before = admin;
    const after = async (hours: number): Promise<void> => {
      clock.offset_ms = hours * 3_600_000;
      admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
    };
    await after(25);
    expect((await subject(token)).status).toBe(404);
    expect((await subject(token, '?allow_expired=0')).status).toBe(404);
    const { status, body } = await subject(token, '?allow_expired=1');
    expect([status, body.token.user.id]).toEqual([200, ids.USER]);
    expect((await subject(revoked, '?allow_expired=1')).status).toBe(404);
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(401);
    const end = await call(admin, 'DELETE', '/auth/tokens?allow_expired=1', undefined, { 'x-subject-token': token });
    expect(end.status).toBe(404);
    await after(73);
    expect((await subject(token, '?allow_expired=1')).status).toBe(404);
    clock.offset_ms = 0;
    admin = before;
  });

  it('shows its catalog only where it is for a project', async () => {
    for (const scope of ['unscoped', { system: { all: true } }]) {
      const token = await tokenFor(password(inDefault('admin', 'secret'), scope));
      const answer = await call(token, 'GET', '/auth/catalog');
      expect([answer.status, message(answer)]).toEqual([
        403,
        'You are not authorized to perform the requested action.',
      ]);
    }
  });
});

describe('a change', () => {
  it.each([
    ['PATCH', '/users/USER', { user: {} }, 400, '{} does not have enough properties'],
    ['PATCH', '/projects/PROJECT', { project: {} }, 400, '{} does not have enough properties'],
    ['PATCH', '/regions/outer', { region: {} }, 400, '{} does not have enough properties'],
    ['PATCH', '/users/USER', { user: { id: 'x' } }, 400, 'Cannot change ID'],
    ['PATCH', '/services/SERVICE', { service: { id: 'x' } }, 400, 'Cannot change ID'],
    ['PATCH', '/roles/ROLE', { role: { domain_id: 'default' } }, 400, 'Update of `domain_id` is not allowed.'],
    ['PATCH', '/users/USER', undefined, 400, "'user' is a required property"],
    [
      'PATCH',
      '/users/USER',
      { user: { name: 'admin' } },
      409,
      'Conflict occurred attempting to store user - Duplicate entry found with name admin.',
    ],
    [
      'POST',
      '/users',
      { user: { name: 'new', default_project_id: 'default' } },
      400,
      "User's default project ID cannot be a domain ID: default",
    ],
    ['POST', '/users', { user: { name: ' ' } }, 400, "Invalid input for field 'name': ' ' does not match '[\\\\S]+'"],
    [
      'POST',
      '/domains',
      { domain: { name: 'new', explicit_domain_id: 'x' } },
      400,
      'Domain ID does not conform to required UUID format.',
    ],
    [
      'POST',
      '/projects',
      { project: { name: 'new', tags: ['a,b'] } },
      400,
      "Invalid input for field 'tags/0': 'a,b' does not match '^[^,/]*$'",
    ],
    ['PUT', '/projects/PROJECT/tags', { tags: ['a', 'a'] }, 400, "['a', 'a'] has non-unique elements"],
    ['PUT', '/projects/PROJECT/tags/a,b', undefined, 400, "'a,b' does not match '^[^,/]*$'"],
    [
      'PUT',
      '/system/users/USER/roles/OWNED',
      undefined,
      400,
      'Role OWNED is a domain-specific role. Unable to use a domain-specific role in a system assignment.',
    ],
    ['GET', '/projects/PROJECT/users/USER/roles/nope', undefined, 404, 'Could not find role: nope.'],
    ['GET', '/projects/PROJECT/users/nope/roles/ROLE', undefined, 404, 'Could not find user: nope.'],
    [
      'GET',
      '/role_assignments?scope.project.id=PROJECT&scope.domain.id=default',
      undefined,
      400,
      'Specify a domain or project, not both',
    ],
    [
      'GET',
      '/role_assignments?include_subtree',
      undefined,
      400,
      'scope.project.id must be specified if include_subtree is also specified',
    ],
    ['GET', '/role_assignments?include_subtree&scope.project.id=x', undefined, 404, 'Could not find project: x.'],
    [
      'POST',
      '/policies',
      { policy: { type: 'x', blob: {} } },
      400,
      "Invalid input for field 'blob': '***' is not of type 'string'",
    ],
  ] as const)('%s %s %j is answered %i', async (method, path, body, status, words) => {
    const answer = await call(admin, method, filled(path), filled(body ?? null) ?? undefined);
    expect([answer.status, message(answer)]).toEqual([status, filled(words)]);
  });

  it('of options leaves the others, and takes away what is null', async () => {
    const options = async (kind: string, id: string, given: object): Promise<object> => {
      const { status, body } = await call(admin, 'PATCH', `/${kind}s/${id}`, { [kind]: { options: given } });
      expect(status).toBe(200);
      return body[kind].options;
    };
    const lock = { lock_password: true };
    const id = await make('users', 'user', { name: 'optional', options: { ...lock, ignore_password_expiry: null } });
    expect((await call(admin, 'GET', `/users/${id}`)).body.user.options).toEqual(lock);
    expect(await options('user', id, { ignore_user_inactivity: true })).toEqual({
      ...lock,
      ignore_user_inactivity: true,
    });
    expect(await options('user', id, { lock_password: null })).toEqual({ ignore_user_inactivity: true });
    for (const [kind, of] of [
      ['project', ids.PROJECT],
      ['role', ids.ROLE],
    ] as const) {
      expect(await options(kind, of ?? '', { immutable: true })).toEqual({ immutable: true });
      expect((await call(admin, 'DELETE', `/${kind}s/${of}`)).status).toBe(403);
      expect(await options(kind, of ?? '', { immutable: null })).toEqual({});
    }
  });

  it('of the tags of an immutable project is refused in words of its own, and none is added twice', async () => {
    const id = await make('projects', 'project', { name: 'fixed', tags: ['a'] });
    const again = await call(admin, 'PUT', `/projects/${id}/tags/a`);
    expect([again.status, message(again)]).toEqual([400, "['a', 'a'] has non-unique elements"]);
    await call(admin, 'PATCH', `/projects/${id}`, { project: { options: { immutable: true } } });
    for (const [method, path, verb, verbing] of [
      ['PUT', '/tags/b', 'create', 'creating'],
      ['PUT', '/tags', 'update', 'updating'],
      ['DELETE', '/tags', 'delete', 'deleting'],
    ] as const) {
      const answer = await call(admin, method, `/projects/${id}${path}`, path === '/tags' ? { tags: [] } : undefined);
      const words = `Cannot ${verb} project tags for ${id}, project is immutable. Set "immutable" option to false before ${verbing} project tags.`;
      expect([answer.status, message(answer)]).toEqual([403, words]);
    }
  });

  it('that lets a role imply another is made once', async () => {
    const path = `/roles/${ids.ROLE}/implies/${(await call(admin, 'GET', '/roles?name=reader')).body.roles[0].id}`;
    expect((await call(admin, 'PUT', path)).status).toBe(201);
    const again = await call(admin, 'PUT', path);
    expect([again.status, message(again)]).toEqual([
      409,
      'Conflict occurred attempting to store implied_role - Duplicate entry.',
    ]);
  });

  it('that deletes a region takes along those in it, unless one of them has endpoints', async () => {
    await make('regions', 'region', { id: 'middle', parent_region_id: 'outer' });
    await make('regions', 'region', { id: 'inner', parent_region_id: 'middle' });
    const endpoint = { service_id: ids.SERVICE, interface: 'public', url: 'http://sample', region_id: 'inner' };
    const id = await make('endpoints', 'endpoint', endpoint);
    expect((await call(admin, 'DELETE', '/regions/outer')).status).toBe(403);
    expect((await call(admin, 'DELETE', `/endpoints/${id}`)).status).toBe(204);
    expect((await call(admin, 'DELETE', '/regions/outer')).status).toBe(204);
    for (const region of ['middle', 'inner']) expect((await call(admin, 'GET', `/regions/${region}`)).status).toBe(404);
  });
});

describe('a list', () => {
  it.each([
    ['/users?enabled=false', ['bob']],
    ['/users?enabled=0', ['bob']],
    ['/users?enabled&name__contains=i', ['admin', 'alice', 'optional']],
    ['/users?enabled=nonsense&name=alice', ['alice']],
    ['/users?domain_id__startswith=def&name__iendswith=ICE', ['alice']],
    ['/users?domain_id__contains=nope', []],
    ['/users?idp_id=any', []],
    ['/users?unique_id=any', []],
    ['/groups/GROUP/users', ['alice', 'bob']],
    ['/groups/GROUP/users?enabled=false', ['bob']],
    ['/groups/GROUP/users?name__startswith=al', ['alice']],
    ['/groups/GROUP/users?email=nobody', ['alice', 'bob']],
    ['/users/USER/groups?name=nope', []],
    ['/users/USER/groups?name=staff', ['staff']],
  ])('%s has %j', async (path, expected) => {
    const { status, body } = await call(admin, 'GET', filled(path));
    expect([status, names(body.users ?? body.groups)]).toEqual([200, expected]);
    expect(body.links.self).toBe(`http://parent/identity/v3${filled(path)}`);
  });

  it('of assignments with names tells the domain of a role that has one', async () => {
    const path = `/projects/${ids.PROJECT}/users/${ids.USER}/roles/${ids.OWNED}`;
    expect((await call(admin, 'PUT', path)).status).toBe(204);
    const { body } = await call(admin, 'GET', `/role_assignments?user.id=${ids.USER}&include_names`);
    expect(body.role_assignments[0].role).toEqual({
      id: ids.OWNED,
      name: 'waiter',
      domain: { id: 'default', name: 'Default' },
    });
  });

  it('of services shows a description only where one was given', async () => {
    const described = await make('services', 'service', { type: 'other', description: '' });
    expect((await call(admin, 'GET', `/services/${described}`)).body.service.description).toBe('');
    expect((await call(admin, 'GET', `/services/${ids.SERVICE}`)).body.service).not.toHaveProperty('description');
  });
});
