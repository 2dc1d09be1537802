import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, tokenFor } = api;

let admin = '';
let system = '';
let alice = '';
const ids = { project: '', other: '', service: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> =>
  (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
const register = (...all: object[]) =>
  call(admin, 'POST', '/registered_limits', {
    registered_limits: all.map((one) => ({ service_id: ids.service, default_limit: 5, ...one })),
  });
const limit = (...all: object[]) =>
  call(admin, 'POST', '/limits', {
    limits: all.map((one) => ({ service_id: ids.service, resource_limit: 9, ...one })),
  });
const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  const login = inDefault('admin', 'secret');
  admin = await tokenFor(password(login, ADMIN_PROJECT));
  system = await tokenFor(password(login, { system: { all: true } }));
  const member = (await call(admin, 'GET', '/roles?name=member')).body.roles[0].id;
  ids.service = (await call(admin, 'GET', '/services?type=image')).body.services[0].id;
  ids.project = await make('projects', 'project', { name: 'demo' });
  ids.other = await make('projects', 'project', { name: 'other' });
  const user = await make('users', 'user', { name: 'alice', password: 'pw', default_project_id: ids.project });
  await call(admin, 'PUT', `/projects/${ids.project}/users/${user}/roles/${member}`);
  alice = await tokenFor(password({ id: user, password: 'pw' }));
});

afterAll(() => api.close());

it('are registered by administrators, several at a time or none, and read by everybody', async () => {
  const { status, body } = await register(
    { resource_name: 'images' },
    { resource_name: 'images', region_id: 'RegionOne', default_limit: -1, description: 'all' },
  );
  const [first, second] = body.registered_limits;
  expect([status, Object.keys(body)]).toEqual([201, ['registered_limits']]);
  expect([first, second]).toEqual([
    {
      id: first.id,
      service_id: ids.service,
      region_id: null,
      resource_name: 'images',
      default_limit: 5,
      description: null,
      links: { self: `http://parent/identity/v3/registered_limits/${first.id}` },
    },
    expect.objectContaining({ region_id: 'RegionOne', default_limit: -1, description: 'all' }),
  ]);
  const twice = register({ resource_name: 'volumes' }, { resource_name: 'images' });
  expect(await answered(twice)).toEqual([
    409,
    'Conflict occurred attempting to store registered_limit - Duplicate entry.',
  ]);
  const list = (await call(alice, 'GET', '/registered_limits')).body.registered_limits;
  expect(list.map(({ id }: { id: string }) => id).toSorted()).toEqual([first.id, second.id].toSorted());
  expect((await call(alice, 'GET', '/registered_limits?region_id=RegionOne')).body.registered_limits).toEqual([second]);
  expect((await call(alice, 'GET', `/registered_limits/${first.id}`)).body.registered_limit).toEqual(first);
  expect(await answered(call(alice, 'GET', '/registered_limits/nope'))).toEqual([
    404,
    'Could not find registered limit for nope.',
  ]);
  expect((await call(alice, 'DELETE', `/registered_limits/${first.id}`)).status).toBe(403);
  expect((await answered(register({ resource_name: 'x', service_id: 'nope' })))[0]).toBe(400);
  expect((await answered(register({ resource_name: 'x', region_id: 'nope' })))[0]).toBe(400);
  expect((await answered(register({ resource_name: 'x', default_limit: -2 })))[0]).toBe(400);
  expect((await answered(register()))[0]).toBe(400);
  const change = { registered_limit: { resource_name: 'snapshots' } };
  const changed = await call(admin, 'PATCH', `/registered_limits/${second.id}`, change);
  expect([changed.status, changed.body.registered_limit.resource_name]).toEqual([200, 'snapshots']);
  const clash = { registered_limit: { resource_name: 'images', region_id: null } };
  expect((await call(admin, 'PATCH', `/registered_limits/${second.id}`, clash)).status).toBe(409);
  expect((await call(admin, 'DELETE', `/registered_limits/${second.id}`)).status).toBe(204);
});

it('are overridden for a project or a domain, which its members see, and hold what they override', async () => {
  const registered = (await call(admin, 'GET', '/registered_limits?resource_name=images')).body.registered_limits[0].id;
  const { status, body } = await limit(
    { resource_name: 'images', project_id: ids.project },
    { resource_name: 'images', domain_id: 'default' },
    { resource_name: 'images', project_id: ids.other },
  );
  const [own, domains, others] = body.limits;
  expect([status, own]).toEqual([
    201,
    {
      id: own.id,
      project_id: ids.project,
      domain_id: null,
      service_id: ids.service,
      region_id: null,
      resource_name: 'images',
      resource_limit: 9,
      description: null,
      links: { self: `http://parent/identity/v3/limits/${own.id}` },
    },
  ]);
  expect((await call(alice, 'GET', '/limits')).body.limits).toEqual([own]);
  expect((await call(admin, 'GET', '/limits')).body.limits).toEqual([]);
  expect((await call(system, 'GET', '/limits')).body.limits).toHaveLength(3);
  expect((await call(system, 'GET', `/limits?project_id=${ids.other}`)).body.limits).toEqual([others]);
  expect((await call(alice, 'GET', `/limits/${own.id}`)).body.limit).toEqual(own);
  for (const id of [domains.id, others.id, 'nope'])
    expect((await call(alice, 'GET', `/limits/${id}`)).status).toBe(403);
  expect(await answered(call(admin, 'GET', '/limits/nope'))).toEqual([404, 'Could not find limit for nope.']);
  expect(await answered(limit({ resource_name: 'images', project_id: ids.project }))).toEqual([
    409,
    'Conflict occurred attempting to store limit - Duplicate entry.',
  ]);
  expect(await answered(limit({ resource_name: 'nope', project_id: ids.project }))).toEqual([
    403,
    'Unable to create a limit that has no corresponding registered limit.',
  ]);
  for (const wrong of [
    { project_id: 'nope' },
    { domain_id: 'nope' },
    {},
    { project_id: ids.other, domain_id: 'default' },
  ]) {
    expect((await limit({ resource_name: 'images', ...wrong })).status).toBe(400);
  }
  const path = `/limits/${own.id}`;
  expect((await call(alice, 'PATCH', path, { limit: { resource_limit: 1 } })).status).toBe(403);
  expect((await call(admin, 'PATCH', path, { limit: { resource_limit: 1 } })).body.limit.resource_limit).toBe(1);
  expect((await call(admin, 'PATCH', path, { limit: { project_id: ids.other } })).status).toBe(400);
  for (const [method, change] of [['DELETE'], ['PATCH', { registered_limit: { default_limit: 1 } }]] as const) {
    expect(await answered(call(admin, method, `/registered_limits/${registered}`, change))).toEqual([
      403,
      `Unable to update or delete registered limit ${registered} because there are project limits associated with it.`,
    ]);
  }
  expect((await call(admin, 'DELETE', `/projects/${ids.other}`)).status).toBe(204);
  expect((await call(system, 'GET', '/limits')).body.limits).toHaveLength(2);
  for (const id of [own.id, domains.id]) expect((await call(admin, 'DELETE', `/limits/${id}`)).status).toBe(204);
  expect((await call(admin, 'DELETE', `/registered_limits/${registered}`)).status).toBe(204);
});

it('are flat', async () => {
  expect((await call(alice, 'GET', '/limits/model')).body.model.name).toBe('flat');
  expect((await call('', 'GET', '/limits/model')).status).toBe(401);
});
