import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, tokenFor } = api;

let admin = '';
const ids = { service: '', other: '', inner: '', outer: '', none: '', first: '', second: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> => {
  const { status, body } = await call(admin, 'POST', `/${kind}`, { [name]: attributes });
  expect(status).toBe(201);
  return body[name].id;
};
const at = (policyId: string, below: string) => `/policies/${policyId}/OS-ENDPOINT-POLICY/${below}`;
const give = async (policyId: string, below: string): Promise<void> => {
  expect((await call(admin, 'PUT', at(policyId, below))).status).toBe(204);
};
/** The policy that holds for an endpoint. */
const holding = async (endpointId: string): Promise<string | undefined> =>
  (await call(admin, 'GET', `/endpoints/${endpointId}/OS-ENDPOINT-POLICY/policy`)).body.policy?.id;
const listed = async (policyId: string): Promise<string[]> =>
  (await call(admin, 'GET', at(policyId, 'endpoints'))).body.endpoints.map(({ id }: { id: string }) => id).toSorted();

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.service = await make('services', 'service', { type: 'sample' });
  ids.other = await make('services', 'service', { type: 'other' });
  await make('regions', 'region', { id: 'outer' });
  await make('regions', 'region', { id: 'inner', parent_region_id: 'outer' });
  const endpoint = { interface: 'public', url: 'http://sample' };
  ids.inner = await make('endpoints', 'endpoint', { ...endpoint, service_id: ids.service, region_id: 'inner' });
  ids.outer = await make('endpoints', 'endpoint', { ...endpoint, service_id: ids.service, region_id: 'outer' });
  ids.none = await make('endpoints', 'endpoint', { ...endpoint, service_id: ids.service });
});

beforeEach(async () => {
  for (const { id } of (await call(admin, 'GET', '/policies')).body.policies) {
    await call(admin, 'DELETE', `/policies/${id}`);
  }
  ids.first = await make('policies', 'policy', { blob: '{}', type: 'application/json' });
  ids.second = await make('policies', 'policy', { blob: '{}', type: 'application/json' });
});

afterAll(() => api.close());

describe('a policy', () => {
  it.each(['endpoints/INNER', 'services/SERVICE', 'services/SERVICE/regions/inner'])(
    'is given to %s and taken away',
    async (form) => {
      const below = form.replace('INNER', ids.inner).replace('SERVICE', ids.service);
      const path = at(ids.first, below);
      const lacking = await call(admin, 'GET', path);
      expect([lacking.status, message(lacking)]).toEqual([404, 'Could not find policy association.']);
      for (const _ of ['once', 'again']) await give(ids.first, below);
      for (const method of ['GET', 'HEAD'] as const) expect((await call(admin, method, path)).status).toBe(204);
      expect(await holding(ids.inner)).toBe(ids.first);
      for (const _ of ['once', 'again']) expect((await call(admin, 'DELETE', path)).status).toBe(204);
      expect((await call(admin, 'HEAD', path)).status).toBe(404);
    },
  );

  it('takes the place of another', async () => {
    await give(ids.first, `services/${ids.service}`);
    await give(ids.second, `services/${ids.service}`);
    expect((await call(admin, 'HEAD', at(ids.first, `services/${ids.service}`))).status).toBe(404);
    expect(await holding(ids.inner)).toBe(ids.second);
    expect(await listed(ids.first)).toEqual([]);
  });

  it('is that of the endpoint before that of its regions, and of these before that of its service', async () => {
    const third = await make('policies', 'policy', { blob: '{}', type: 'application/json' });
    await give(ids.first, `services/${ids.service}`);
    expect([await holding(ids.inner), await holding(ids.none)]).toEqual([ids.first, ids.first]);
    await give(ids.second, `services/${ids.service}/regions/outer`);
    // By way of the region that its own is in; another service's is not its own.
    await give(third, `services/${ids.other}/regions/inner`);
    expect([await holding(ids.inner), await holding(ids.outer), await holding(ids.none)]).toEqual([
      ids.second,
      ids.second,
      ids.first,
    ]);
    await give(third, `services/${ids.service}/regions/inner`);
    expect([await holding(ids.inner), await holding(ids.outer)]).toEqual([third, ids.second]);
    await give(ids.first, `endpoints/${ids.inner}`);
    expect(await holding(ids.inner)).toBe(ids.first);
  });

  it('lists the endpoints that it is given to, each once', async () => {
    await give(ids.first, `services/${ids.service}/regions/outer`);
    expect(await listed(ids.first)).toEqual([ids.inner, ids.outer].toSorted());
    await give(ids.first, `endpoints/${ids.inner}`);
    await give(ids.first, `services/${ids.service}`);
    expect(await listed(ids.first)).toEqual([ids.inner, ids.outer, ids.none].toSorted());
    const { body } = await call(admin, 'GET', at(ids.first, 'endpoints'));
    expect(body.links.self).toBe(`http://parent/identity/v3${at(ids.first, 'endpoints')}`);
  });

  it('and what it is given to must be there, and goes with it', async () => {
    for (const [path, words] of [
      [at('nope', `services/${ids.service}`), 'Could not find policy: nope.'],
      [at(ids.first, 'endpoints/nope'), 'Could not find endpoint: nope.'],
      [at(ids.first, 'services/nope'), 'Could not find service: nope.'],
      [at(ids.first, `services/${ids.service}/regions/nope`), 'Could not find region: nope.'],
    ] as const) {
      for (const method of ['GET', 'PUT', 'DELETE'] as const) {
        const answer = await call(admin, method, path);
        expect([answer.status, message(answer)]).toEqual([404, words]);
      }
    }
    const nothing = await call(admin, 'GET', `/endpoints/${ids.inner}/OS-ENDPOINT-POLICY/policy`);
    expect([nothing.status, message(nothing)]).toEqual([404, `No policy is associated with endpoint ${ids.inner}.`]);
    const service = await make('services', 'service', { type: 'short-lived' });
    await give(ids.first, `services/${service}`);
    await give(ids.first, `endpoints/${ids.inner}`);
    expect((await call(admin, 'DELETE', `/services/${service}`)).status).toBe(204);
    expect((await call(admin, 'DELETE', `/policies/${ids.first}`)).status).toBe(204);
    expect(await holding(ids.inner)).toBe(undefined);
  });
});
