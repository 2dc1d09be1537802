/** What becomes of what tenants had, here and in children, when their project and they themselves are deleted. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SimCloud } from '../sim/cloud.ts';
import { type TestParent, testParent } from '../testing/parent.ts';

let test: TestParent;
let flavor: string;
let image: string;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ a@b';

const version = { 'openstack-api-version': 'compute 2.93' };
async function made(who: string, method: string, path: string, body?: unknown) {
  const answer = await test.api.call(who, method, path, body, version);
  expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
  return answer.body;
}
const gone = (who: string, path: string) =>
  test.eventually(async () => (await test.api.call(who, 'GET', path, undefined, version)).status === 404);
const sim = (name: string) => test.sims[name] as SimCloud;

beforeAll(async () => {
  test = await testParent();
  const small = { name: 'small', ram: 512, vcpus: 1, disk: 1 };
  flavor = (await made('admin', 'POST', '/compute/v2.1/flavors', { flavor: small })).flavor.id;
  const registered = { name: 'cirros', disk_format: 'raw', container_format: 'bare', visibility: 'public' };
  image = (await made('admin', 'POST', '/image/v2/images', registered)).id;
  await test.api.call('admin', 'PUT', `/image/v2/images/${image}/file`, Buffer.from('an image'), {
    'content-type': 'application/octet-stream',
  });
});
afterAll(() => test.stop());

async function boot(who: string, zone: string, more: object = {}): Promise<string> {
  const server = {
    name: 'one',
    flavorRef: flavor,
    imageRef: image,
    networks: 'none',
    availability_zone: zone,
    ...more,
  };
  const { id } = (await made(who, 'POST', '/compute/v2.1/servers', { server })).server;
  await test.eventually(async () => {
    const shown = (await made(who, 'GET', `/compute/v2.1/servers/${id}`)).server;
    expect(shown.fault).toBeUndefined();
    return shown.status === 'ACTIVE';
  });
  return id;
}

it('leaves nothing in a child once the things, the project and the user are deleted', async () => {
  const { state } = sim('east');
  await made('alice', 'POST', '/compute/v2.1/os-keypairs', { keypair: { name: 'mine', public_key: KEY } });
  const { network } = await made('alice', 'POST', '/network/v2.0/networks', { network: { name: 'private' } });
  const subnet = { network_id: network.id, ip_version: 4, cidr: '10.9.0.0/24' };
  await made('alice', 'POST', '/network/v2.0/subnets', { subnet });
  const server = await boot('alice', 'east', { key_name: 'mine', networks: [{ uuid: network.id }] });
  const volume = { size: 1, availability_zone: 'east' };
  const { id: volumeId } = (await made('alice', 'POST', '/volume/v3/volumes', { volume })).volume;
  const isAvailable = async () =>
    (await made('alice', 'GET', `/volume/v3/volumes/${volumeId}`)).volume.status === 'available';
  await test.eventually(isAvailable);
  const { project_id, user_id } = test.tenants.alice;
  const mirrored = [...state.projects.values()].find(({ name }) => name === project_id);
  expect(mirrored).toBeDefined();
  expect([state.keypairs.size, state.securityGroups.size]).toEqual([1, expect.any(Number)]);

  await made('alice', 'DELETE', `/compute/v2.1/servers/${server}`);
  await gone('alice', `/compute/v2.1/servers/${server}`);
  await made('alice', 'DELETE', `/volume/v3/volumes/${volumeId}`);
  await gone('alice', `/volume/v3/volumes/${volumeId}`);
  await made('alice', 'DELETE', `/network/v2.0/networks/${network.id}`);
  await made('admin', 'DELETE', `/identity/v3/projects/${project_id}`);
  await made('admin', 'DELETE', `/identity/v3/users/${user_id}`);

  const left = (): Record<string, unknown> => ({
    project: state.projects.has(mirrored?.id ?? ''),
    keypairs: state.keypairs.size,
    ports: state.ports.size,
    volumes: state.volumes.size,
    servers: [...state.servers.values()].filter(({ isDeleted }) => !isDeleted).length,
    networks: [...state.networks.values()].filter((one) => one['project_id'] === mirrored?.id).length,
    groups: [...state.securityGroups.values()].filter((one) => one['project_id'] === mirrored?.id).length,
  });
  const nothing = { project: false, keypairs: 0, ports: 0, volumes: 0, servers: 0, networks: 0, groups: 0 };
  await expect.poll(left, { timeout: 10_000 }).toEqual(nothing);
  // The parent writes it down a moment after the child has done it.
  const replicas = () =>
    test.db.query.selectFrom('replicas').select('kind').where('kind', 'not in', ['flavor', 'image']).execute();
  await expect.poll(replicas, { timeout: 10_000 }).toEqual([]);
});

it('lets a keypair outlive the project that it was made in, and admins delete what was left behind there', async () => {
  const { project } = await made('admin', 'POST', '/identity/v3/projects', {
    project: { name: 'passing', domain_id: 'default' },
  });
  const { user_id } = test.tenants.bob;
  await made('admin', 'PUT', `/identity/v3/projects/${project.id}/users/${user_id}/roles/${test.roles.member}`);
  const own = test.tokens.bob as string;
  const auth = {
    identity: { methods: ['token'], token: { id: own } },
    scope: { project: { id: project.id } },
  };
  const login = await test.api.call('', 'POST', '/identity/v3/auth/tokens', { auth });
  const there = String(login.headers['x-subject-token']);
  await made(there, 'POST', '/compute/v2.1/os-keypairs', { keypair: { name: 'kept', public_key: KEY } });
  const left = await boot(there, 'west');
  await made('admin', 'DELETE', `/identity/v3/projects/${project.id}`);
  await expect
    .poll(() => [...sim('west').state.projects.values()].some(({ name }) => name === project.id), { timeout: 10_000 })
    .toBe(false);

  await test.login('bob');
  const server = await boot('bob', 'west', { key_name: 'kept' });
  expect([...sim('west').state.keypairs.values()]).toHaveLength(1);
  await made('bob', 'DELETE', `/compute/v2.1/servers/${server}`);
  await made('admin', 'DELETE', `/compute/v2.1/servers/${left}`);
  await gone('admin', `/compute/v2.1/servers/${left}`);
  await gone('admin', `/compute/v2.1/servers/${server}`);
});

it('tells of a boot whose keypair was deleted before it could begin', async () => {
  await test.login('bob');
  await made('bob', 'POST', '/compute/v2.1/os-keypairs', { keypair: { name: 'brief', public_key: KEY } });
  await sim('east').stop();
  const wanted = { flavorRef: flavor, imageRef: image, networks: 'none', availability_zone: 'east', key_name: 'brief' };
  const { id } = (await made('bob', 'POST', '/compute/v2.1/servers', { server: { name: 'one', ...wanted } })).server;
  await made('bob', 'DELETE', '/compute/v2.1/os-keypairs/brief');
  await sim('east').start();
  const { fault } = await test.eventually(async () => {
    const { server } = await made('bob', 'GET', `/compute/v2.1/servers/${id}`);
    return server.status === 'ERROR' && server;
  }, 20_000);
  expect(fault.message).toBe(`Build of instance ${id} aborted: its keypair was deleted meanwhile.`);
  await made('bob', 'DELETE', `/compute/v2.1/servers/${id}`);
  await gone('bob', `/compute/v2.1/servers/${id}`);
}, 30_000);
