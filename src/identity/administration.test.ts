import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sql } from 'kysely';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, login, tokenFor } = api;

let admin = '';
let member = '';
const ids = { project: '', user: '', admin: '', adminProject: '', member: '', reader: '', adminRole: '' };

const create = async (kind: string, name: string, attributes: object): Promise<string> => {
  const { status, body } = await call(admin, 'POST', `/${kind}`, { [name]: attributes });
  expect(status).toBe(201);
  return body[name].id;
};
const named = async (kind: string, name: string): Promise<string> =>
  (await call(admin, 'GET', `/${kind}?name=${name}`)).body[kind][0].id;
const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.project = await create('projects', 'project', { name: 'demo' });
  ids.user = await create('users', 'user', { name: 'alice', password: 'pw', default_project_id: ids.project });
  ids.admin = await named('users', 'admin');
  ids.adminProject = await named('projects', 'admin');
  ids.member = await named('roles', 'member');
  ids.reader = await named('roles', 'reader');
  ids.adminRole = await named('roles', 'admin');
  await call(admin, 'PUT', `/projects/${ids.project}/users/${ids.user}/roles/${ids.member}`);
  member = await tokenFor(password({ id: ids.user, password: 'pw' }));
});

afterAll(() => api.close());

describe('a member', () => {
  it.each<[string, number]>([
    ['/users/USER', 200],
    ['/users/ADMIN', 403],
    ['/users/nope', 403],
    ['/users', 403],
    ['/projects/PROJECT', 200],
    ['/projects/OTHER', 403],
    ['/projects/nope', 403],
    ['/projects', 403],
    ['/users/USER/projects', 200],
    ['/users/ADMIN/projects', 403],
    ['/users/USER/groups', 200],
    ['/users/ADMIN/groups', 403],
    ['/roles', 403],
    ['/role_assignments?user.id=USER', 403],
    ['/services', 403],
    ['/endpoints', 403],
    ['/regions', 200],
    ['/domains', 403],
    ['/domains/default', 200],
    ['/groups', 403],
    ['/system/users/USER/roles', 403],
    ['/projects/PROJECT/users/USER/roles', 403],
    ['/auth/catalog', 200],
    ['/auth/system', 200],
  ])('reading %s gets %i', async (path, status) => {
    const filled = path
      .replace('USER', ids.user)
      .replace('ADMIN', ids.admin)
      .replace('PROJECT', ids.project)
      .replace('OTHER', ids.adminProject);
    expect((await call(member, 'GET', filled)).status).toBe(status);
  });

  it('asks by HEAD for all that GET reads, and gets no body', async () => {
    for (const [path, status] of [
      [`/users/${ids.user}`, 200],
      [`/users/${ids.user}/projects`, 200],
      ['/auth/projects', 200],
      ['/users', 403],
      ['/nothing', 404],
    ] as const) {
      const answer = await call(member, 'HEAD', path);
      expect([path, answer.status, answer.body]).toEqual([path, status, '']);
    }
  });

  it('changes nothing, and hears why in Keystone’s words', async () => {
    const refusal = (rule: string) => [
      403,
      `You are not authorized to perform the requested action: identity:${rule}.`,
    ];
    expect(await answered(call(member, 'POST', '/projects', { project: {} }))).toEqual(refusal('create_project'));
    expect(await answered(call(member, 'PATCH', `/users/${ids.user}`, { user: { email: 'a' } }))).toEqual(
      refusal('update_user'),
    );
    const grant = `/projects/${ids.project}/users/${ids.user}/roles/${ids.adminRole}`;
    expect(await answered(call(member, 'PUT', grant))).toEqual(refusal('create_grant'));
    expect(await answered(call(member, 'DELETE', `/projects/${ids.project}`))).toEqual(refusal('delete_project'));
  });
});

describe('projects', () => {
  it('keep and show attributes that nobody knows', async () => {
    const id = await create('projects', 'project', { name: 'extra', foo: 'bar', links: 'no' });
    const { body } = await call(admin, 'PATCH', `/projects/${id}`, { project: { more: { deep: 1 } } });
    expect(body.project).toMatchObject({
      foo: 'bar',
      more: { deep: 1 },
      parent_id: 'default',
      description: '',
      is_domain: false,
      tags: [],
      options: {},
      links: { self: `http://parent/identity/v3/projects/${id}` },
    });
    const large = await call(admin, 'PATCH', `/projects/${id}`, { project: { large: 'x'.repeat(20_000) } });
    expect(large.status).toBe(400);
  });

  it('have one name each in a domain, also when two ask at once', async () => {
    const body = { project: { name: 'twin' } };
    const answers = await Promise.all([1, 2, 3, 4].map(() => call(admin, 'POST', '/projects', body)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409, 409, 409]);
    const id = await named('projects', 'twin');
    expect(message(answers.find(({ status }) => status === 409) as never)).toBe(
      `Conflict occurred attempting to store project - it is not permitted to have two projects with either the same name or same id in the same domain: name is twin, project id ${id}.`,
    );
  });

  it.each<[object, string]>([
    [{ name: '' }, "Invalid input for field 'name': '' is too short"],
    [{ name: 5 }, "Invalid input for field 'name': 5 is not of type 'string'"],
    [{}, "'name' is a required property"],
    [{ name: 'x', domain_id: 'nope' }, 'Could not find domain: nope.'],
    [{ name: 'x', parent_id: 'nope' }, 'Could not find project: nope.'],
  ])('are refused as %j', async (project, words) => {
    const [status, text] = await answered(call(admin, 'POST', '/projects', { project }));
    expect([status, text.split('\n')[0]]).toEqual([400, words]);
  });

  it('form a tree that is taken down from its leaves', async () => {
    const top = await create('projects', 'project', { name: 'top' });
    const leaf = await create('projects', 'project', { name: 'leaf', parent_id: top });
    const tree = (await call(admin, 'GET', `/projects/${top}?parents_as_ids&subtree_as_ids`)).body.project;
    expect([tree.parents, tree.subtree]).toEqual([{ default: null }, { [leaf]: null }]);
    expect((await call(admin, 'DELETE', `/projects/${top}`)).status).toBe(403);
    expect((await call(admin, 'PATCH', `/projects/${top}`, { project: { enabled: false } })).status).toBe(403);
    expect(await answered(call(admin, 'PATCH', `/projects/${leaf}`, { project: { parent_id: 'default' } }))).toEqual([
      403,
      'Update of `parent_id` is not allowed.',
    ]);
    expect((await call(admin, 'DELETE', `/projects/${leaf}`)).status).toBe(204);
    expect((await call(admin, 'DELETE', `/projects/${top}`)).status).toBe(204);
    expect(await answered(call(admin, 'GET', `/projects/${top}`))).toEqual([404, `Could not find project: ${top}.`]);
  });

  it('take their assignments along, and ask those who listen', async () => {
    const heard: string[] = [];
    identity.onProjectDeleted(async (tx, id) => {
      const { rows } = await sql<{ name: string }>`select name from identity_projects where id = ${id}`.execute(tx);
      heard.push(rows[0]?.name ?? '');
      if (rows[0]?.name === 'kept') throw new Error('something hangs on it');
    });
    const gone = await create('projects', 'project', { name: 'gone' });
    const kept = await create('projects', 'project', { name: 'kept' });
    await call(admin, 'PUT', `/projects/${gone}/users/${ids.user}/roles/${ids.reader}`);
    expect((await call(admin, 'DELETE', `/projects/${gone}`)).status).toBe(204);
    expect((await call(admin, 'GET', `/role_assignments?scope.project.id=${gone}`)).body.role_assignments).toEqual([]);
    expect((await call(admin, 'DELETE', `/projects/${kept}`)).status).toBe(500);
    expect((await call(admin, 'GET', `/projects/${kept}`)).status).toBe(200);
    expect(heard).toEqual(['gone', 'kept']);
  });

  it('carry tags, which filter', async () => {
    const path = `/projects/${ids.project}/tags`;
    expect((await call(admin, 'PUT', path, { tags: ['a', 'b'] })).body.tags).toEqual(['a', 'b']);
    expect((await call(admin, 'PUT', `${path}/c`)).status).toBe(201);
    expect((await call(member, 'GET', path)).body.tags).toEqual(['a', 'b', 'c']);
    expect((await call(admin, 'GET', '/projects?tags=a,c')).body.projects.map(({ id }: { id: string }) => id)).toEqual([
      ids.project,
    ]);
    expect((await call(admin, 'DELETE', `${path}/a`)).status).toBe(204);
    expect(await answered(call(admin, 'DELETE', `${path}/a`))).toEqual([404, 'Could not find project tag: a.']);
  });
});

describe('role assignments', () => {
  const list = async (query: string) => (await call(admin, 'GET', `/role_assignments?${query}`)).body.role_assignments;

  it('are given, checked, listed by name and taken away', async () => {
    const path = `/projects/${ids.adminProject}/users/${ids.user}/roles/${ids.reader}`;
    expect((await call(admin, 'PUT', path)).status).toBe(204);
    expect((await call(admin, 'PUT', path)).status).toBe(204);
    expect((await call(admin, 'HEAD', path)).status).toBe(204);
    expect(await list(`user.id=${ids.user}&scope.project.id=${ids.adminProject}&include_names=True`)).toEqual([
      {
        links: { assignment: `http://parent/identity/v3${path}` },
        scope: { project: { id: ids.adminProject, name: 'admin', domain: { id: 'default', name: 'Default' } } },
        user: { id: ids.user, name: 'alice', domain: { id: 'default', name: 'Default' } },
        role: { id: ids.reader, name: 'reader' },
      },
    ]);
    expect((await call(admin, 'DELETE', path)).status).toBe(204);
    expect(await answered(call(admin, 'DELETE', path))).toEqual([
      404,
      `Could not find role assignment with role: ${ids.reader}, user or group: ${ids.user}, project, domain, or system: ${ids.adminProject}.`,
    ]);
    expect((await call(admin, 'HEAD', path)).status).toBe(404);
  });

  it.each([
    ['/projects/PROJECT/users/USER/roles/nope', 'Could not find role: nope.'],
    ['/projects/PROJECT/users/nope/roles/READER', 'Could not find user: nope.'],
    ['/projects/nope/users/USER/roles/READER', 'Could not find project: nope.'],
    ['/domains/nope/users/USER/roles/READER', 'Could not find domain: nope.'],
  ])('need both ends: %s', async (path, words) => {
    const filled = path.replace('PROJECT', ids.project).replace('USER', ids.user).replace('READER', ids.reader);
    expect(await answered(call(admin, 'PUT', filled))).toEqual([404, words]);
  });

  it('reach the members of a group, until they leave', async () => {
    const group = await create('groups', 'group', { name: 'staff' });
    const project = await create('projects', 'project', { name: 'staffed' });
    await call(admin, 'PUT', `/projects/${project}/groups/${group}/roles/${ids.member}`);
    const scoped = password({ id: ids.user, password: 'pw' }, { project: { id: project } });
    expect((await login(scoped)).status).toBe(401);
    expect((await call(admin, 'PUT', `/groups/${group}/users/${ids.user}`)).status).toBe(204);
    const token = await tokenFor(scoped);
    expect((await call(token, 'GET', `/users/${ids.user}/groups`)).body.groups[0].name).toBe('staff');
    const effective = await list(`user.id=${ids.user}&scope.project.id=${project}&effective&include_names`);
    expect(effective.map(({ role }: { role: { name: string } }) => role.name).toSorted()).toEqual(['member', 'reader']);
    expect((await call(admin, 'DELETE', `/groups/${group}/users/${ids.user}`)).status).toBe(204);
    expect((await call(token, 'GET', '/auth/projects')).status).toBe(401);
    expect((await call(admin, 'HEAD', `/groups/${group}/users/${ids.user}`)).status).toBe(404);
    member = await tokenFor(password({ id: ids.user, password: 'pw' }));
  });

  it('are inherited below the domain and the project they are given on, not on it', async () => {
    const top = await create('projects', 'project', { name: 'inherits' });
    const below = await create('projects', 'project', { name: 'inherited', parent_id: top });
    const path = `/OS-INHERIT/projects/${top}/users/${ids.user}/roles/${ids.reader}/inherited_to_projects`;
    expect((await call(admin, 'PUT', path)).status).toBe(204);
    const to = (id: string) => login(password({ id: ids.user, password: 'pw' }, { project: { id } }));
    expect((await to(top)).status).toBe(401);
    expect((await to(below)).body.token.roles).toEqual([{ id: ids.reader, name: 'reader' }]);
    const domain = `/OS-INHERIT/domains/default/users/${ids.user}/roles/${ids.reader}/inherited_to_projects`;
    expect((await call(admin, 'PUT', domain)).status).toBe(204);
    expect((await to(top)).status).toBe(201);
    expect((await call(admin, 'DELETE', domain)).status).toBe(204);
    expect((await to(top)).status).toBe(401);
  });

  it('cannot make an administrator by implication, nor lose the built-in roles', async () => {
    expect((await call(admin, 'PUT', `/roles/${ids.reader}/implies/${ids.adminRole}`)).status).toBe(403);
    expect(await answered(call(admin, 'DELETE', `/roles/${ids.adminRole}`))).toEqual([
      403,
      `Unable to delete immutable role resource: \`${ids.adminRole}. Set resource option "immutable" to false first.`,
    ]);
  });
});

describe('domains', () => {
  it('are read by their readers alone, and go with all that they hold', async () => {
    const domain = await create('domains', 'domain', { name: 'lab' });
    const user = await create('users', 'user', { name: 'alice', password: 'lab', domain_id: domain });
    const project = await create('projects', 'project', { name: 'demo', domain_id: domain });
    await call(admin, 'PUT', `/domains/${domain}/users/${user}/roles/${ids.reader}`);
    const reader = await tokenFor(password({ id: user, password: 'lab' }, { domain: { name: 'lab' } }));
    const names = (body: Record<string, { name: string }[]>, kind: string) => body[kind]?.map(({ name }) => name);
    expect(names((await call(reader, 'GET', '/users')).body, 'users')).toEqual(['alice']);
    expect(names((await call(reader, 'GET', '/projects')).body, 'projects')).toEqual(['demo']);
    expect((await call(reader, 'GET', '/users?domain_id=default')).status).toBe(403);
    expect((await call(reader, 'GET', `/users/${ids.user}`)).status).toBe(403);
    expect((await call(reader, 'GET', `/projects/${project}`)).status).toBe(200);
    const listed = (await call(reader, 'GET', '/role_assignments')).body.role_assignments;
    expect(listed).toHaveLength(1);
    expect((await call(reader, 'POST', '/users', { user: { name: 'x', domain_id: domain } })).status).toBe(403);

    expect(await answered(call(admin, 'DELETE', `/domains/${domain}`))).toEqual([
      403,
      'Cannot delete a domain that is enabled, please disable it first.',
    ]);
    await call(admin, 'PATCH', `/domains/${domain}`, { domain: { enabled: false } });
    expect((await call(reader, 'GET', '/auth/domains')).status).toBe(401);
    expect((await call(admin, 'DELETE', `/domains/${domain}`)).status).toBe(204);
    expect((await call(admin, 'GET', `/users/${user}`)).status).toBe(404);
    expect((await call(admin, 'GET', `/projects/${project}`)).status).toBe(404);
  });
});

describe('projects that act as domains', () => {
  it('are the domains, by another name', async () => {
    const given = { name: 'acting', is_domain: true, domain_id: null, description: 'both' };
    const { status, body } = await call(admin, 'POST', '/projects', { project: given });
    const { id } = body.project;
    const shown = {
      id,
      name: 'acting',
      description: 'both',
      domain_id: null,
      parent_id: null,
      is_domain: true,
      enabled: true,
      tags: [],
      options: {},
      links: { self: `http://parent/identity/v3/projects/${id}` },
    };
    expect([status, body.project]).toEqual([201, shown]);
    expect((await call(admin, 'GET', `/projects/${id}`)).body.project).toEqual(shown);
    expect((await call(admin, 'GET', `/domains/${id}`)).body.domain).toMatchObject({ name: 'acting', enabled: true });
    expect((await call(admin, 'GET', '/projects?is_domain=True&name=acting')).body.projects).toEqual([shown]);
    expect((await call(admin, 'GET', '/projects?name=acting')).body.projects).toEqual([]);
    expect((await call(admin, 'GET', '/projects?is_domain=True&domain_id=default')).body.projects).toEqual([]);
    const within = await create('projects', 'project', { name: 'within', parent_id: id });
    expect((await call(admin, 'GET', `/projects/${within}`)).body.project).toMatchObject({
      domain_id: id,
      parent_id: id,
    });
    const wrong = { project: { name: 'x', is_domain: true, domain_id: 'default' } };
    expect(await answered(call(admin, 'POST', '/projects', wrong))).toEqual([
      400,
      'only root projects are allowed to act as domains.',
    ]);
    expect((await call(admin, 'DELETE', `/projects/${id}`)).status).toBe(403);
    const disabled = await call(admin, 'PATCH', `/projects/${id}`, { project: { enabled: false } });
    expect(disabled.body.project).toEqual({ ...shown, enabled: false });
    expect((await call(admin, 'DELETE', `/projects/${id}`)).status).toBe(204);
    expect((await call(admin, 'GET', `/domains/${id}`)).status).toBe(404);
    expect((await call(member, 'GET', '/projects?is_domain=True')).status).toBe(403);
    expect((await call(member, 'GET', '/projects/default')).status).toBe(403);
  });
});

describe('users and the catalog', () => {
  it('are refused in Keystone’s words', async () => {
    expect(await answered(call(admin, 'POST', '/users', { user: { name: 'alice' } }))).toEqual([
      409,
      'Conflict occurred attempting to store user - Duplicate entry found with name alice at domain ID default.',
    ]);
    expect(await answered(call(admin, 'POST', '/users', { user: { name: 'x', domain_id: 'nope' } }))).toEqual([
      404,
      'Could not find domain: nope.',
    ]);
    expect(await answered(call(admin, 'PATCH', `/users/${ids.user}`, { user: { domain_id: 'nope' } }))).toEqual([
      400,
      'Cannot change Domain ID',
    ]);
    expect((await call(admin, 'PATCH', `/users/${ids.user}`, { user: { name: 'admin' } })).status).toBe(409);
  });

  it('shows what an operator adds, and keeps the rest through a restart', async () => {
    const service = await create('services', 'service', { name: 'swift', type: 'object-store' });
    const url = 'https://objects/v1/AUTH_$(project_id)s';
    await create('endpoints', 'endpoint', { service_id: service, interface: 'public', region_id: 'RegionOne', url });
    await identity.bootstrap({ adminPassword: 'secret' });
    const { body } = await call(member, 'GET', '/auth/catalog');
    const entry = body.catalog.find(({ type }: { type: string }) => type === 'object-store');
    expect(entry.endpoints[0].url).toBe(`https://objects/v1/AUTH_${ids.project}`);
    expect((await call(admin, 'DELETE', '/regions/RegionOne')).status).toBe(403);
    expect((await call(admin, 'DELETE', `/services/${service}`)).status).toBe(204);
    expect(JSON.stringify((await call(member, 'GET', '/auth/catalog')).body)).not.toContain('object-store');
    const bad = { endpoint: { service_id: 'nope', interface: 'public', url: 'http://x' } };
    expect((await call(admin, 'POST', '/endpoints', bad)).status).toBe(400);
  });
});
