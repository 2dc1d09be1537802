import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { createCascade } from '../cascade/cascade.ts';
import type { ChildConfig } from '../cascade/contract.ts';
import { network as convention } from '../http/conventions.ts';
import type { CloudApi } from '../openstack/contract.ts';
import { silent, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { edgeOperations, edgeRules } from './edge.ts';
import { createPortEvents } from './port-events.ts';
import { NO_TOPOLOGY } from './topology.ts';

const db = await testDatabase();
// No proxies run here: nobody asks the children anything.
const nothing = { close: async () => undefined } as unknown as CloudApi;
const config = (name: string): ChildConfig => ({ name, zones: { [name]: 'nova' }, tenancy: 'mirrored' });
const cascade = await createCascade({
  db,
  log: silent,
  children: ['east', 'west'].map((name) => ({ config: config(name), api: nothing })),
});
await sql`update children set up = true, seen_at = clock_timestamp() where name = 'east'`.execute(db.query);
const parts = { db, cascade, events: createPortEvents(), topology: NO_TOPOLOGY, bindNetwork: async () => true };
const api = testApi([{ convention, operations: edgeOperations(parts), rules: edgeRules }]);
const call = (who: string, method: string, path: string, body?: unknown) =>
  api.call(who, method, `/network/v2.0${path}`, body);
const type = (answer: { body: { NeutronError: { type: string } } }) => answer.body.NeutronError.type;
afterAll(() => api.close());

it('the root lists the core resources', async () => {
  const { body } = await call('alice', 'GET', '/');
  expect(body.resources.map((one: { name: string }) => one.name)).toEqual(['network', 'subnet', 'subnetpool', 'port']);
  expect(body.resources[0]).toMatchObject({
    collection: 'networks',
    links: [{ rel: 'self', href: expect.stringMatching(/\/network\/v2\.0\/networks$/) }],
  });
});

describe('agents', () => {
  it('are two proxies for each child, shown to admins', async () => {
    expect((await call('alice', 'GET', '/agents')).body).toEqual({ agents: [] });
    const { body } = await call('admin', 'GET', '/agents?host=east');
    expect(body.agents.map(({ binary }: { binary: string }) => binary).sort()).toEqual(['l2-proxy', 'l3-proxy']);
    const kept = await call('admin', 'DELETE', `/agents/${body.agents[0].id}`);
    expect([kept.status, kept.body.NeutronError.message]).toEqual([400, expect.stringContaining('is a proxy of east')]);
    expect((await call('admin', 'DELETE', '/agents/none')).body.NeutronError.type).toBe('AgentNotFound');
    for (const method of ['GET', 'PUT', 'DELETE'] as const) {
      const hidden = await call('alice', method, `/agents/${body.agents[0].id}`, { agent: {} });
      expect([hidden.status, hidden.body.NeutronError.type]).toEqual([404, 'HTTPNotFound']);
    }
    expect(body.agents[0]).toMatchObject({
      host: 'east',
      alive: true,
      admin_state_up: true,
      availability_zone: 'east',
    });
    const down = await call('admin', 'GET', '/agents?alive=false&fields=host');
    expect(down.body.agents).toEqual([{ host: 'west' }, { host: 'west' }]);
    expect((await call('admin', 'GET', '/agents?bogus=1')).status).toBe(400);
  });

  it('are disabled and enabled', async () => {
    const { body } = await call('admin', 'GET', '/agents?host=west&binary=l3-proxy');
    const { id } = body.agents[0];
    const changed = await call('admin', 'PUT', `/agents/${id}`, {
      agent: { admin_state_up: false, description: 'moving' },
    });
    expect(changed.body.agent).toMatchObject({ id, admin_state_up: false, description: 'moving' });
    expect((await call('admin', 'GET', `/agents/${id}`)).body.agent.admin_state_up).toBe(false);
    expect((await call('admin', 'PUT', `/agents/${id}`, { agent: { bogus: 1 } })).status).toBe(400);
    expect(type(await call('admin', 'GET', '/agents/nope'))).toBe('AgentNotFound');
  });
});

describe('availability zones', () => {
  it('show for networks and routers, to everybody', async () => {
    const { body } = await call('rita', 'GET', '/availability_zones?resource=router');
    expect(body.availability_zones).toEqual([
      { name: 'east', resource: 'router', state: 'available' },
      { name: 'west', resource: 'router', state: 'unavailable' },
    ]);
  });

  it('are checked where a router hints at them', async () => {
    const hint = (zone: string) => call('alice', 'POST', '/routers', { router: { availability_zone_hints: [zone] } });
    expect(type(await hint('north'))).toBe('AvailabilityZoneNotFound');
    const { body } = await hint('east');
    expect(body.router).toMatchObject({ availability_zone_hints: ['east'], availability_zones: ['east'] });
  });
});

describe('quotas', () => {
  it('are read by whose they are and by admins', async () => {
    expect((await call('alice', 'GET', '/quotas/p1')).body.quota).toMatchObject({ network: 100, floatingip: 50 });
    expect((await call('alice', 'GET', '/quotas/p2')).status).toBe(403);
    expect((await call('alice', 'GET', '/quotas')).status).toBe(403);
    expect((await call('alice', 'GET', '/quotas/tenant')).body).toEqual({ tenant: { tenant_id: 'p1' } });
    const { body } = await call('alice', 'GET', '/quotas/p1/details.json');
    expect(body.quota.router).toEqual({ limit: 10, used: 1, reserved: 0 });
  });

  it('are set and reset by admins', async () => {
    const set = (quota: unknown) => call('admin', 'PUT', '/quotas/p3', { quota });
    expect((await call('alice', 'PUT', '/quotas/p1', { quota: { network: 1 } })).status).toBe(403);
    expect((await set({ bogus: 1 })).body.NeutronError.message).toBe("Unrecognized attribute(s) 'bogus'");
    expect((await set({ network: -2 })).body.NeutronError.message).toContain('must be at least');
    expect((await set({ network: null })).status).toBe(400);
    expect((await set({ network: '5' })).body.quota.network).toBe(5);
    expect((await call('admin', 'GET', '/quotas')).body.quotas).toMatchObject([{ project_id: 'p3', network: 5 }]);
    expect((await call('admin', 'GET', '/quotas/p3/default')).body.quota.network).toBe(100);
    expect((await call('admin', 'DELETE', '/quotas/p3')).status).toBe(204);
    expect(type(await call('admin', 'DELETE', '/quotas/p3'))).toBe('TenantQuotaNotFound');
    expect((await call('admin', 'PUT', '/quotas/p1', { quota: { router: 0, check_limit: true } })).status).toBe(400);
  });
});

describe('extensions', () => {
  it('are listed, shown and refused', async () => {
    const { body } = await call('rita', 'GET', '/extensions');
    const aliases = body.extensions.map(({ alias }: { alias: string }) => alias);
    expect(aliases).toEqual(expect.arrayContaining(['router', 'external-net', 'security-group', 'quotas', 'agent']));
    expect((await call('rita', 'GET', '/extensions/router')).body.extension.alias).toBe('router');
    expect((await call('rita', 'GET', '/extensions/nope')).status).toBe(404);
    expect((await call('rita', 'GET', '/service-providers')).body).toEqual({ service_providers: [] });
  });
});

describe('tags', () => {
  it('are set, added, found and removed', async () => {
    const { body } = await call('alice', 'POST', '/routers', { router: { name: 'tagged' } });
    const path = `/routers/${body.router.id}/tags`;
    expect((await call('alice', 'PUT', path, { tags: ['a', 'b'] })).body).toEqual({ tags: ['a', 'b'] });
    const added = await call('alice', 'PUT', `${path}/c`);
    expect([added.status, added.text]).toEqual([201, 'null']);
    expect((await call('alice', 'GET', `${path}/c`)).status).toBe(204);
    expect((await call('alice', 'GET', path)).body).toEqual({ tags: ['a', 'b', 'c'] });
    const names = async (query: string) =>
      (await call('alice', 'GET', `/routers?name=tagged&${query}`)).body.routers.length;
    expect([await names('tags=a,b'), await names('tags=a,x'), await names('tags-any=a,x')]).toEqual([1, 0, 1]);
    expect([await names('not-tags=a,b'), await names('not-tags-any=x')]).toEqual([0, 1]);
    expect((await call('alice', 'DELETE', `${path}/c`)).status).toBe(204);
    expect(type(await call('alice', 'DELETE', `${path}/c`))).toBe('TagNotFound');
    expect((await call('alice', 'DELETE', path)).status).toBe(204);
    expect((await call('alice', 'GET', path)).body).toEqual({ tags: [] });
  });

  it("are refused where they are malformed or another project's", async () => {
    const { body } = await call('alice', 'POST', '/routers', { router: {} });
    const path = `/routers/${body.router.id}/tags`;
    const put = (tags: unknown) => call('alice', 'PUT', path, tags);
    for (const bad of [
      { tags: ['a', 'a'] },
      { tags: 'a' },
      {},
      { tags: [1] },
      { tags: ['x'.repeat(256)] },
      undefined,
    ]) {
      expect(type(await put(bad))).toBe('InvalidInput');
    }
    // As many as a body holds are counted before they are compared.
    const flood = await put({ tags: Array.from({ length: 100_000 }, (_, at) => String(at)) });
    expect(flood.body.NeutronError.message).toContain('at most 512 tags');
    expect(type(await call('bob', 'GET', path))).toBe('TagResourceNotFound');
    expect((await call('rita', 'PUT', path, { tags: [] })).status).toBe(403);
    expect(type(await call('alice', 'GET', `/networks/${randomUUID()}/tags`))).toBe('TagResourceNotFound');
  });

  it('of a network that is only seen cannot be changed', async () => {
    const id = randomUUID();
    await sql`insert into networks (id, project_id, name, external, external_shared, mtu) values (${id}, '', 'public', true, true, 1500)`.execute(
      db.query,
    );
    expect((await call('alice', 'GET', `/networks/${id}/tags`)).status).toBe(200);
    expect((await call('alice', 'PUT', `/networks/${id}/tags`, { tags: ['mine'] })).status).toBe(403);
    expect((await call('admin', 'PUT', `/networks/${id}/tags`, { tags: ['ours'] })).status).toBe(200);
  });
});
