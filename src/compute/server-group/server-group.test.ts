import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { computeTest } from '../testing.ts';
import { childrenOfGroup, joinServerGroup } from './server-group.ts';

const test = await computeTest();
const { call, db } = test;
afterAll(() => test.close());

const make = (server_group: object, minor?: number, who = 'alice') =>
  call(who, 'POST', '/os-server-groups', { server_group }, minor);

describe('server groups', () => {
  it('have policies in the form of the microversion', async () => {
    const made = await make({ name: 'g', policy: 'anti-affinity', rules: { max_server_per_host: '2' } });
    expect(made.body.server_group).toMatchObject({
      policy: 'anti-affinity',
      rules: { max_server_per_host: 2 },
      members: [],
      project_id: 'p1',
      user_id: 'alice',
    });
    const old = (await make({ name: 'old', policies: ['affinity'] }, 12)).body.server_group;
    expect(old).toEqual({ id: old.id, name: 'old', policies: ['affinity'], metadata: {}, members: [] });
    expect((await make({ name: 'x', policies: ['soft-affinity'] }, 14)).status).toBe(400);
    expect((await make({ name: 'x', policies: ['affinity'] })).status).toBe(400);
    expect((await make({ name: 'x', policy: 'affinity', rules: { max_server_per_host: 2 } })).status).toBe(400);
    expect((await make({ name: 'x', policy: 'affinity' }, 96, 'rita')).status).toBe(403);
  });

  it('show members that live, and are nobody else’s', async () => {
    const { id } = (await make({ name: 'm', policy: 'affinity' })).body.server_group;
    await sql`insert into servers (id, project_id, child, deleted_at)
      values ('s1', 'p1', 'east', null), ('s2', 'p1', 'east', now())`.execute(db.query);
    await db.transaction((tx) => joinServerGroup(tx, id, ['s1', 's2']));
    await db.transaction((tx) => joinServerGroup(tx, id, ['s1']));
    expect((await call('rita', 'GET', `/os-server-groups/${id}`)).body.server_group.members).toEqual(['s1']);
    expect([...(await childrenOfGroup(db.query, id))]).toEqual([['east', 1]]);
    const foreign = await call('bob', 'GET', `/os-server-groups/${id}`);
    expect([foreign.status, foreign.body.itemNotFound.message]).toEqual([
      404,
      `Instance group ${id} could not be found.`,
    ]);
    expect((await call('bob', 'DELETE', `/os-server-groups/${id}`)).status).toBe(404);
    expect((await call('bob', 'GET', '/os-server-groups?all_projects=1')).body.server_groups).toEqual([]);
    const names = (await call('admin', 'GET', '/os-server-groups?all_projects=1&limit=2&offset=1')).body.server_groups;
    expect(names.map(({ name }: { name: string }) => name)).toEqual(['old', 'm']);
    expect((await call('alice', 'DELETE', `/os-server-groups/${id}`)).status).toBe(204);
    expect((await call('alice', 'DELETE', `/os-server-groups/${id}`)).status).toBe(404);
  });

  it('are counted in the quota', async () => {
    expect((await call('rita', 'GET', '/limits')).body.limits.absolute.totalServerGroupsUsed).toBe(2);
    await call('admin', 'PUT', '/os-quota-sets/p1', { quota_set: { server_groups: 2 } });
    const over = await make({ name: 'more', policy: 'affinity' });
    expect([over.status, over.body.forbidden.message]).toEqual([403, 'Quota exceeded, too many server groups.']);
    expect((await call('rita', 'GET', '/limits')).body.limits.absolute.totalServerGroupsUsed).toBe(2);
  });
});

describe('small lists', () => {
  it('answer clients that look before they ask', async () => {
    const { extensions } = (await call('rita', 'GET', '/extensions')).body;
    expect(extensions.map(({ alias }: { alias: string }) => alias)).toContain('os-keypairs');
    expect((await call('rita', 'GET', '/extensions/os-keypairs')).body.extension.name).toBe('Keypairs');
    expect((await call('rita', 'GET', '/extensions/constructor')).status).toBe(404);
  });
});
