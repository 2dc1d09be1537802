import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, login, tokenFor } = api;

let admin = '';
const ids = { project: '', service: '', public: '', internal: '' };
const GROUPS = '/OS-EP-FILTER/endpoint_groups';

const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};
/** The catalog of the project: how many endpoints each service has. */
const catalog = async (): Promise<Record<string, number>> => {
  const { body } = await login(password(inDefault('admin', 'secret'), { project: { id: ids.project } }));
  return Object.fromEntries(
    body.token.catalog.map(({ type, endpoints }: { type: string; endpoints: object[] }) => [type, endpoints.length]),
  );
};
const idsOf = (list: { id: string }[]): string[] => list.map(({ id }) => id);

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  const make = async (kind: string, name: string, attributes: object): Promise<string> =>
    (await call(admin, 'POST', `/${kind}`, { [name]: attributes })).body[name].id;
  ids.project = await make('projects', 'project', { name: 'demo' });
  ids.service = await make('services', 'service', { type: 'sample' });
  for (const face of ['public', 'internal'] as const) {
    const endpoint = { service_id: ids.service, interface: face, url: 'http://sample', region: 'made-by-name' };
    ids[face] = await make('endpoints', 'endpoint', endpoint);
  }
  const [user] = (await call(admin, 'GET', '/users?name=admin')).body.users;
  const [role] = (await call(admin, 'GET', '/roles?name=admin')).body.roles;
  await call(admin, 'PUT', `/projects/${ids.project}/users/${user.id}/roles/${role.id}`);
});

afterAll(() => api.close());

it('show a project one endpoint, or all where none is said', async () => {
  expect(Object.keys(await catalog()).length).toBeGreaterThan(4);
  const path = `/OS-EP-FILTER/projects/${ids.project}/endpoints/${ids.public}`;
  expect((await call(admin, 'PUT', path)).status).toBe(204);
  expect(await answered(call(admin, 'PUT', path))).toEqual([
    409,
    'Conflict occurred attempting to store project_endpoint - Duplicate entry.',
  ]);
  for (const method of ['GET', 'HEAD'] as const) expect((await call(admin, method, path)).status).toBe(204);
  expect(await catalog()).toEqual({ sample: 1 });
  const listed = await call(admin, 'GET', `/OS-EP-FILTER/projects/${ids.project}/endpoints`);
  expect([listed.body.endpoints[0].region, idsOf(listed.body.endpoints)]).toEqual(['made-by-name', [ids.public]]);
  const owners = await call(admin, 'GET', `/OS-EP-FILTER/endpoints/${ids.public}/projects`);
  expect(idsOf(owners.body.projects)).toEqual([ids.project]);
  expect(owners.body.links.self).toBe(`http://parent/identity/v3/OS-EP-FILTER/endpoints/${ids.public}/projects`);
  expect((await call(admin, 'DELETE', path)).status).toBe(204);
  expect(await answered(call(admin, 'DELETE', path))).toEqual([
    404,
    `Endpoint ${ids.public} not found in project ${ids.project}`,
  ]);
  expect((await call(admin, 'PUT', path.replace(ids.public, 'nope'))).status).toBe(404);
  expect((await call(admin, 'PUT', path.replace(ids.project, 'nope'))).status).toBe(404);
  expect(Object.keys(await catalog()).length).toBeGreaterThan(4);
});

it('show a project all endpoints that fit a group', async () => {
  const given = { name: 'samples', filters: { service_id: ids.service } };
  const { status, body } = await call(admin, 'POST', GROUPS, { endpoint_group: given });
  const { id } = body.endpoint_group;
  expect([status, body.endpoint_group]).toEqual([
    201,
    { id, ...given, description: null, links: { self: `http://parent/identity/v3${GROUPS}/${id}` } },
  ]);
  expect((await call(admin, 'GET', `${GROUPS}?name=samples`)).body.endpoint_groups).toEqual([body.endpoint_group]);
  expect((await call(admin, 'HEAD', `${GROUPS}/${id}`)).status).toBe(200);
  const fitting = async () => idsOf((await call(admin, 'GET', `${GROUPS}/${id}/endpoints`)).body.endpoints).toSorted();
  expect(await fitting()).toEqual([ids.public, ids.internal].toSorted());
  const association = `${GROUPS}/${id}/projects/${ids.project}`;
  expect((await call(admin, 'GET', association)).status).toBe(404);
  expect((await call(admin, 'PUT', association)).status).toBe(204);
  expect((await call(admin, 'PUT', association)).status).toBe(409);
  expect((await call(admin, 'GET', association)).body.project_endpoint_group).toMatchObject({
    endpoint_group_id: id,
    project_id: ids.project,
  });
  expect(await catalog()).toEqual({ sample: 2 });
  const change = { endpoint_group: { filters: { service_id: ids.service, interface: 'public' } } };
  expect((await call(admin, 'PATCH', `${GROUPS}/${id}`, change)).status).toBe(200);
  expect([await fitting(), await catalog()]).toEqual([[ids.public], { sample: 1 }]);
  expect(idsOf((await call(admin, 'GET', `${GROUPS}/${id}/projects`)).body.projects)).toEqual([ids.project]);
  const groups = await call(admin, 'GET', `/OS-EP-FILTER/projects/${ids.project}/endpoint_groups`);
  expect(idsOf(groups.body.endpoint_groups)).toEqual([id]);
  expect((await call(admin, 'DELETE', association)).status).toBe(204);
  expect((await call(admin, 'DELETE', association)).status).toBe(404);
  await call(admin, 'PUT', association);
  expect((await call(admin, 'DELETE', `${GROUPS}/${id}`)).status).toBe(204);
  expect(Object.keys(await catalog()).length).toBeGreaterThan(4);
  expect(await answered(call(admin, 'GET', `${GROUPS}/${id}`))).toEqual([404, `Could not find Endpoint Group: ${id}.`]);
});

it.each([
  [{ name: 'x', filters: {} }, 'filters field is required and cannot be empty'],
  [{ name: 'x', filters: { zz: '1' } }, 'Expecting to find service_id or region_id or interface in endpoint_group.'],
  [{ filters: { interface: 'public' } }, "'name' is a required property"],
])('refuse the group %j', async (endpoint_group, words) => {
  const [status, text] = await answered(call(admin, 'POST', GROUPS, { endpoint_group }));
  expect([status, text.slice(0, words.length)]).toEqual([400, words]);
});

it('leave consumers their secrets, which are shown once', async () => {
  const path = '/OS-OAUTH1/consumers';
  const { status, body } = await call(admin, 'POST', path, { consumer: { description: 'd', more: 1 } });
  const { secret, ...shown } = body.consumer;
  expect([status, secret]).toEqual([201, expect.stringMatching(/^[0-9a-f]{32}$/)]);
  expect(shown).toMatchObject({ description: 'd', more: 1 });
  const one = `${path}/${shown.id}`;
  expect((await call(admin, 'GET', one)).body.consumer).toEqual(shown);
  expect((await call(admin, 'GET', path)).body.consumers).toEqual([shown]);
  expect((await call(admin, 'PATCH', one, { consumer: { description: 'e' } })).body.consumer.description).toBe('e');
  expect((await call(admin, 'PATCH', one, { consumer: { secret: 'e' } })).status).toBe(400);
  expect((await call(admin, 'DELETE', one)).status).toBe(204);
  expect(await answered(call(admin, 'GET', one))).toEqual([404, 'Consumer not found']);
});

it('take regions by the id in their path', async () => {
  const { status, body } = await call(admin, 'PUT', '/regions/north', { region: { description: 'cold' } });
  expect([status, body.region]).toMatchObject([201, { id: 'north', description: 'cold' }]);
  expect((await call(admin, 'PUT', '/regions/north', { region: {} })).status).toBe(409);
  expect(await answered(call(admin, 'PUT', '/regions/south', { region: { id: 'north' } }))).toEqual([
    400,
    'Conflicting region IDs specified: "south" != "north"',
  ]);
});
