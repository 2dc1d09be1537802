/** Between a child with a project for each tenant and one where all tenants are in the one project of an account. */
import { afterAll, expect, it } from 'vitest';
import { login } from '../../sim/testing.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { testParent } from '../../testing/parent.ts';

const parent = await testParent({ shared: ['east'] });
afterAll(() => parent.stop());
const { east, west } = parent.sims as Readonly<Record<'east' | 'west', SimCloud>>;

async function ask(who: string, method: string, path: string, body?: unknown, type = 'application/json') {
  const version = { 'openstack-api-version': 'compute 2.93', 'content-type': type };
  const answer = await parent.api.call(who, method, path, body, version);
  expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
  return answer.body;
}

it('a server goes there and back', async () => {
  const size = { name: 'small', ram: 512, vcpus: 1, disk: 1 };
  await (await login(east)).ask('compute', 'POST', '/flavors', { flavor: { ...size, name: 'theirs' } });
  const flavorRef = (await ask('admin', 'POST', '/compute/v2.1/flavors', { flavor: size })).flavor.id;
  const registered = { name: 'cirros', disk_format: 'raw', container_format: 'bare' };
  const imageRef = (await ask('alice', 'POST', '/image/v2/images', registered)).id;
  const octets = 'application/octet-stream';
  await ask('alice', 'PUT', `/image/v2/images/${imageRef}/file`, Buffer.from('an image'), octets);
  const wanted = { name: 'one', flavorRef, imageRef, networks: 'none', availability_zone: 'west' };
  const path = '/compute/v2.1/servers';
  const { id } = (await ask('alice', 'POST', path, { server: wanted })).server;
  const reached = (status: string) =>
    parent.eventually(async () => {
      const { server } = await ask('alice', 'GET', `${path}/${id}`);
      return server.status === status && server['OS-EXT-STS:task_state'] === null && server;
    }, 20_000);
  const copies = (cloud: SimCloud) => [...cloud.state.servers.values()].filter(({ isDeleted }) => !isDeleted).length;
  await reached('ACTIVE');
  for (const [from, zone, to] of [
    [west, 'east', east],
    [east, 'west', west],
  ] as const) {
    await ask('alice', 'POST', `${path}/${id}/action`, { shelve: null });
    await reached('SHELVED_OFFLOADED');
    await ask('alice', 'POST', `${path}/${id}/action`, { unshelve: { availability_zone: zone } });
    expect((await reached('ACTIVE'))['OS-EXT-AZ:availability_zone']).toBe(zone);
    await parent.eventually(async () => copies(from) === 0 && copies(to) === 1);
  }
});
