import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { computeTest } from '../testing.ts';
import { computeQuotas } from './quotas.ts';

const test = await computeTest({}, { projectExists: async (_query, id) => id !== 'ghost' });
const { call, db } = test;
afterAll(() => test.close());

describe('quota sets', () => {
  it('show the limits of the microversion, to the project itself and admins', async () => {
    const now = (await call('rita', 'GET', '/os-quota-sets/p1')).body.quota_set;
    expect(now).toEqual({
      id: 'p1',
      instances: 10,
      cores: 20,
      ram: 51_200,
      key_pairs: 100,
      server_groups: 10,
      server_group_members: 10,
      metadata_items: 128,
    });
    const old = (await call('rita', 'GET', '/os-quota-sets/p1', undefined, 1)).body.quota_set;
    expect(old).toMatchObject({ floating_ips: -1, injected_files: 5 });
    expect((await call('bob', 'GET', '/os-quota-sets/p1')).status).toBe(403);
    expect((await call('admin', 'GET', '/os-quota-sets/ghost')).body.badRequest.message).toBe(
      'Project ID ghost is not a valid project.',
    );
    expect((await call('bob', 'GET', '/os-quota-sets/p1/defaults')).body.quota_set.cores).toBe(20);
  });

  it('are set by admins, not below what is in use unless forced, and reset', async () => {
    await db.transaction((tx) => computeQuotas().reserve(tx, 'p1', { cores: 4 }));
    const put = (quota_set: object, who = 'admin', query = '') =>
      call(who, 'PUT', `/os-quota-sets/p1${query}`, { quota_set });
    expect((await put({ cores: 8 }, 'alice')).status).toBe(403);
    expect((await put({ cores: '8', ram: -1 })).body.quota_set).toMatchObject({ cores: 8, ram: -1 });
    expect((await put({ cores: 2 })).body.badRequest.message).toBe(
      'Quota limit 2 for cores must be greater than or equal to already used and reserved 4.',
    );
    expect((await put({ cores: 2, force: true })).body.quota_set.cores).toBe(2);
    expect((await put({ nonsense: 2 })).status).toBe(400);
    expect((await put({ cores: -2 })).status).toBe(400);
    expect((await call('rita', 'GET', '/os-quota-sets/p1/detail')).body.quota_set.cores).toEqual({
      limit: 2,
      in_use: 4,
      reserved: 0,
    });
    expect((await put({ cores: 4 }, 'admin', '?user_id=alice')).body.quota_set.cores).toBe(4);
    expect((await call('rita', 'GET', '/os-quota-sets/p1')).body.quota_set.cores).toBe(2);
    expect((await call('admin', 'DELETE', '/os-quota-sets/p1')).status).toBe(202);
    expect((await call('rita', 'GET', '/os-quota-sets/p1')).body.quota_set.cores).toBe(20);
  });

  it('take their defaults from the default class', async () => {
    const path = '/os-quota-class-sets/default';
    expect((await call('alice', 'GET', path)).status).toBe(403);
    const set = await call('admin', 'PUT', path, { quota_class_set: { instances: 50 } });
    expect(set.body.quota_class_set).toMatchObject({ instances: 50, server_groups: 10 });
    expect((await call('rita', 'GET', '/os-quota-sets/p1')).body.quota_set.instances).toBe(50);
    expect((await call('admin', 'GET', path, undefined, 49)).body.quota_class_set).not.toHaveProperty('server_groups');
  });

  it('show as limits with what is used of them', async () => {
    const { body } = await call('rita', 'GET', '/limits');
    expect(body.limits.rate).toEqual([]);
    expect(body.limits.absolute).toMatchObject({ maxTotalCores: 20, totalCoresUsed: 4, maxTotalInstances: 50 });
    expect(body.limits.absolute).not.toHaveProperty('maxPersonality');
    expect((await call('rita', 'GET', '/limits?tenant_id=p2')).status).toBe(403);
    expect((await call('admin', 'GET', '/limits?tenant_id=p1')).body.limits.absolute.totalCoresUsed).toBe(4);
    const old = (await call('rita', 'GET', '/limits', undefined, 1)).body.limits.absolute;
    expect(old).toMatchObject({ maxImageMeta: 128, maxSecurityGroups: -1, totalFloatingIpsUsed: 0 });
  });
});

describe('tenant usage', () => {
  const flavor = { name: 'f', vcpus: 2, ram: 1000, disk: 10, ephemeral: 5 };
  const add = (id: string, project: string, launched_at: string, terminated_at: string | null) =>
    sql`insert into servers (id, project_id, name, vm_state, launched_at, terminated_at, body)
      values (${id}, ${project}, ${id}, 'active', ${launched_at}, ${terminated_at},
              ${JSON.stringify({ flavor_copy: flavor })}::jsonb)`.execute(db.query);

  it('adds up hours of flavors, of deleted servers too', async () => {
    await add('a', 'p1', '2026-01-01T00:00:00Z', null);
    await add('b', 'p1', '2026-01-01T00:00:00Z', '2026-01-01T06:00:00Z');
    await add('c', 'p2', '2026-01-01T11:00:00Z', null);
    await add('d', 'p1', '2025-01-01T00:00:00Z', '2025-01-02T00:00:00Z');
    const period = 'start=2026-01-01T00:00:00&end=2026-01-01T12:00:00';
    const { tenant_usage } = (await call('rita', 'GET', `/os-simple-tenant-usage/p1?${period}`)).body;
    expect(tenant_usage).toMatchObject({
      tenant_id: 'p1',
      total_hours: 18,
      total_vcpus_usage: 36,
      total_memory_mb_usage: 18_000,
      total_local_gb_usage: 270,
      start: '2026-01-01T00:00:00.000000',
    });
    expect(tenant_usage.server_usages[1]).toMatchObject({
      instance_id: 'b',
      state: 'terminated',
      hours: 6,
      ended_at: '2026-01-01T06:00:00.000000',
      uptime: 21_600,
    });
    expect((await call('bob', 'GET', `/os-simple-tenant-usage/p1?${period}`)).status).toBe(403);
    const all = (await call('admin', 'GET', `/os-simple-tenant-usage?${period}`)).body.tenant_usages;
    expect(all.map(({ tenant_id, total_hours }: Record<string, unknown>) => [tenant_id, total_hours])).toEqual([
      ['p1', 18],
      ['p2', 1],
    ]);
    expect(all[0]).not.toHaveProperty('server_usages');
    const page = (await call('admin', 'GET', `/os-simple-tenant-usage?${period}&limit=2&detailed=1`)).body;
    const next = new URL(page.tenant_usages_links[0].href);
    const rest = (await call('admin', 'GET', `/os-simple-tenant-usage${next.search}`)).body.tenant_usages;
    expect(rest[0].server_usages.map((one: Record<string, unknown>) => one.instance_id)).toEqual(['c']);
  });

  it('refuses times that are none', async () => {
    expect((await call('rita', 'GET', '/os-simple-tenant-usage/p1?start=yesterday')).status).toBe(400);
    const turned = await call(
      'rita',
      'GET',
      '/os-simple-tenant-usage/p1?start=2026-01-02T00:00:00&end=2026-01-01T00:00:00',
    );
    expect(turned.body.badRequest.message).toContain('Invalid start time.');
    expect((await call('bob', 'GET', '/os-simple-tenant-usage/p2')).body.tenant_usage).toMatchObject({
      tenant_id: 'p2',
    });
  });
});
