import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attemptsOf } from './boot-group.ts';
import { type ServerTest, serverTest } from './testing.ts';

let test: ServerTest;
beforeAll(async () => {
  test = await serverTest({ proxies: false });
  const quota_set = { instances: 100, cores: 100, ram: -1, server_groups: 100 };
  expect((await test.call('admin', 'PUT', '/os-quota-sets/p1', { quota_set })).status).toBe(200);
});
afterAll(() => test.close());

async function groupOf(policy: string, rules?: object): Promise<string> {
  const server_group = { name: policy, policy, ...(rules === undefined ? {} : { rules }) };
  const made = await test.call('alice', 'POST', '/os-server-groups', { server_group });
  expect(made.status, made.text).toBe(200);
  return made.body.server_group.id;
}

/** Boots into the group; gives the status and where each server went, `none` where nothing was left. */
async function boot(group: string, more: object = {}): Promise<[number, string[]]> {
  const server = { name: 'one', flavorRef: test.flavor, imageRef: test.image, networks: 'none', ...more };
  const hints = { 'os:scheduler_hints': { group } };
  const made = await test.call('alice', 'POST', '/servers', {
    server: { ...server, return_reservation_id: true },
    ...hints,
  });
  if (made.status !== 202) return [made.status, [made.body.forbidden?.message ?? made.text]];
  const { rows } = await sql<{ child: string | null; status: string }>`select child, status from servers
    where reservation_id = ${made.body.reservation_id} order by child`.execute(test.db.query);
  return [made.status, rows.map(({ child, status }) => child ?? `none ${status}`)];
}

describe('the servers of a group', () => {
  it('keep apart, until no child is left', async () => {
    const group = await groupOf('anti-affinity');
    const [, first] = await boot(group);
    const [, second] = await boot(group);
    expect([...first, ...second].sort()).toEqual(['east', 'west']);
    expect(await boot(group)).toEqual([202, ['none ERROR']]);
    const shown = (await test.call('alice', 'GET', '/servers/detail?status=ERROR')).body.servers[0];
    expect(shown.fault.message).toMatch(/^No valid host was found/);
    const fresh = await groupOf('anti-affinity');
    expect(await boot(fresh, { min_count: 2 })).toEqual([202, ['east', 'west']]);
    expect(await boot(await groupOf('anti-affinity'), { min_count: 3 })).toEqual([
      202,
      ['none ERROR', 'none ERROR', 'none ERROR'],
    ]);
    const two = await groupOf('anti-affinity', { max_server_per_host: 2 });
    expect((await boot(two, { min_count: 4 }))[1]).toEqual(['east', 'east', 'west', 'west']);
  });

  it('keep apart when they are booted at once', async () => {
    const group = await groupOf('anti-affinity');
    const ended = await Promise.all([boot(group), boot(group), boot(group)]);
    expect(ended.flatMap(([, children]) => children).sort()).toEqual(['east', 'none ERROR', 'west']);
  });

  it('keep together, or as far as they can', async () => {
    for (const policy of ['affinity', 'soft-affinity']) {
      const group = await groupOf(policy);
      const [, first] = await boot(group, { availability_zone: 'west' });
      expect([policy, first, (await boot(group, { min_count: 3 }))[1]]).toEqual([
        policy,
        ['west'],
        ['west', 'west', 'west'],
      ]);
      const [, far] = await boot(group, { availability_zone: 'east' });
      expect([policy, far]).toEqual([policy, policy === 'affinity' ? ['none ERROR'] : ['east']]);
    }
    expect((await boot(await groupOf('soft-anti-affinity'), { min_count: 4 }))[1]).toEqual([
      'east',
      'east',
      'west',
      'west',
    ]);
  });

  it('stay where the network comes to live', async () => {
    const network = [{ uuid: test.network }];
    const [, places] = await boot(await groupOf('soft-anti-affinity'), { min_count: 3, networks: network });
    expect(new Set(places).size).toBe(1);
    expect(await boot(await groupOf('anti-affinity'), { min_count: 2, networks: network })).toEqual([
      202,
      ['none ERROR', 'none ERROR'],
    ]);
  });

  it('are no more than the quota allows', async () => {
    await test.call('admin', 'PUT', '/os-quota-sets/p1', { quota_set: { server_group_members: 2 } });
    const group = await groupOf('soft-affinity');
    expect((await boot(group))[0]).toBe(202);
    expect(await boot(group, { min_count: 2 })).toEqual([403, ['Quota exceeded, too many servers in group']]);
    expect((await boot(group))[0]).toBe(202);
    expect((await boot(group))[0]).toBe(403);
  });

  it('go by what is best, and then by what is left', () => {
    const used = new Map([
      ['east', 2],
      ['west', 1],
    ]);
    expect(attemptsOf({ policy: 'soft-anti-affinity', rules: {} }, used)).toEqual([
      { exclude: ['east', 'west'] },
      { exclude: ['east'] },
      { exclude: [] },
    ]);
  });
});
