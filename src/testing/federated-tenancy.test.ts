/** A parent and a child that share one Keystone: tokens, projects and the catalog are Keystone's. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble, type Assembly, keystoneEntry } from '../cli/parent.ts';
import { readConfig } from '../cli/config.ts';
import { bootstrapParent } from '../cli/identity.ts';
import { register } from '../cli/register.ts';
import { createMetrics } from '../http/metrics.ts';
import { createCloudClient } from '../openstack/client.ts';
import { entryOf, makeMember, type SimAccount } from '../sim/account.ts';
import { createSimCloud } from '../sim/cloud.ts';
import { login, type SimClient } from '../sim/testing.ts';
import { callsTo, silent } from './api.ts';
import { testDatabase } from './database.ts';

const CACHE_S = 1;
const COMPUTE = '/compute/v2.1';
const NETWORK = '/network/v2.0';

const cloud = await createSimCloud({ name: 'east', isFurnished: true });
const folder = mkdtempSync(join(tmpdir(), 'headwater-federated-'));
const configFile = join(folder, 'headwater.yaml');
const clouds = { keystone: { name: 'keystone', auth_type: 'password' as const, ...cloud.cloudsYamlEntry } };
writeFileSync(
  configFile,
  `public_url: http://parent.test
data_dir: ${folder}
identity: { url: "${cloud.authUrl}", cloud: keystone, cache_s: ${CACHE_S} }
children:
  east: { cloud: keystone, zones: { east: nova }, tenancy: federated }
`,
);
const config = readConfig(configFile);
const keystone = config.keystone as NonNullable<typeof config.keystone>;
const db = await testDatabase();
const tokens: Record<string, string> = {};
let parent: Assembly;
let call: ReturnType<typeof callsTo>;
let alice: SimAccount;
let bob: SimAccount;
let operator: SimClient;

async function eventually<Found>(look: () => Promise<Found | undefined | false>): Promise<Found> {
  const until_ms = Date.now() + 20_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > until_ms) throw new Error('it did not come to be within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

beforeAll(async () => {
  const client = (entry: typeof clouds.keystone, name: string) => createCloudClient({ entry, name, backoff_ms: 5 });
  parent = await assemble({
    db,
    children: [
      {
        config: { name: 'east', zones: { east: 'nova' }, tenancy: 'federated' },
        api: client(clouds.keystone, 'east'),
      },
    ],
    keystone: {
      url: keystone.url,
      api: createCloudClient({ entry: keystoneEntry(keystone, clouds), name: 'keystone', backoff_ms: 5 }),
      cache_s: CACHE_S,
    },
    publicUrl: 'http://parent.test',
    data_dir: folder,
    log: silent,
    metrics: createMetrics({ process: false }),
  });
  call = callsTo(parent.server, (who) => tokens[who] ?? who);
  operator = await login(cloud);
  tokens.operator = operator.token;
  alice = await makeMember(cloud, 'alice');
  bob = await makeMember(cloud, 'bob');
  for (const who of ['alice', 'bob']) tokens[who] = (await login(cloud, undefined, entryOf(cloud, who).auth)).token;
  await parent.cascade.start();
});

afterAll(async () => {
  await parent.stop();
  await cloud.close();
});

describe("tokens are Keystone's", () => {
  it('which say who calls, with which roles', async () => {
    expect((await call('alice', 'GET', `${COMPUTE}/servers`)).status).toBe(200);
    expect((await call('alice', 'GET', `${COMPUTE}/os-services`)).status).toBe(403);
    expect((await call('operator', 'GET', `${COMPUTE}/os-services`)).status).toBe(200);
  });

  it('and one that Keystone does not know is nobody, who is told where to get one', async () => {
    for (const token of ['gAAAAAnothing', 'a b', 'x'.repeat(9000)]) {
      const answer = await call(token, 'GET', `${COMPUTE}/servers`);
      expect(answer.status, token.slice(0, 20)).toBe(401);
      expect(answer.headers['www-authenticate']).toBe(`Keystone uri="${keystone.url}"`);
    }
  });

  it('are asked about once within the time that an answer is believed', async () => {
    await new Promise((resolve) => setTimeout(resolve, CACHE_S * 1000 + 50));
    cloud.requests.reset();
    await Promise.all(Array.from({ length: 8 }, () => call('alice', 'GET', `${COMPUTE}/flavors`)));
    expect(cloud.requests.list.filter(({ path }) => path.endsWith('/auth/tokens'))).toHaveLength(1);
  });

  it('hold no longer than that when they are revoked', async () => {
    const { token } = await login(cloud, undefined, entryOf(cloud, 'bob').auth);
    expect((await call(token, 'GET', `${COMPUTE}/servers`)).status).toBe(200);
    cloud.state.tokens.delete(token);
    await eventually(async () => (await call(token, 'GET', `${COMPUTE}/servers`)).status === 401);
  });

  it('have the roles that Keystone says they have by then', async () => {
    const { token } = await login(cloud, undefined, entryOf(cloud, 'bob').auth);
    const services = `${COMPUTE}/os-services`;
    expect((await call(token, 'GET', services)).status).toBe(403);
    const known = cloud.state.tokens.get(token) as NonNullable<ReturnType<typeof cloud.state.tokens.get>>;
    const [role] = [...cloud.state.roles].find(([, name]) => name === 'admin') ?? [];
    const assignment = `${bob.projectId}/${bob.userId}/${role}`;
    cloud.state.assignments.add(assignment);
    cloud.state.tokens.set(token, { ...known, roles: [...known.roles, 'admin'] });
    await eventually(async () => (await call(token, 'GET', services)).status === 200);
    cloud.state.assignments.delete(assignment);
    await eventually(async () => (await call(token, 'GET', services)).status === 403);
    cloud.state.tokens.set(token, { ...known, roles: ['reader'] });
    const network = { network: { name: 'refused' } };
    await eventually(async () => (await call(token, 'POST', `${NETWORK}/networks`, network)).status === 403);
    expect((await call(token, 'GET', `${COMPUTE}/servers`)).status).toBe(200);
  });

  it('are not issued here: identity is not served, and every service refuses who has none', async () => {
    expect((await call('', 'POST', '/identity/v3/auth/tokens', {})).status).toBe(404);
    expect((await call('alice', 'GET', '/identity/v3/projects')).status).toBe(404);
    expect((await call('', 'GET', `${NETWORK}/networks`)).status).toBe(401);
    const { headwater } = (await call('', 'GET', '/')).body;
    expect(headwater.map(({ type }: { type: string }) => type)).not.toContain('identity');
  });

  it('cannot be told while Keystone is away, which is a 503', async () => {
    const { token } = await login(cloud, undefined, entryOf(cloud, 'bob').auth);
    cloud.state.tokens.delete(token);
    await cloud.stop();
    try {
      const answer = await call(token, 'GET', `${NETWORK}/networks`);
      expect(answer.status).toBe(503);
      expect(answer.text).toContain('The identity service cannot be reached now.');
      expect(answer.text).not.toContain('127.0.0.1');
    } finally {
      await cloud.start();
    }
  });
});

it('boots a server in the project of the same id, in which nobody but its tenant sees it', async () => {
  await eventually(async () => (await parent.cascade.children(db.query)).every(({ up }) => up));
  await eventually(async () => (await call('alice', 'GET', `${COMPUTE}/servers`)).status === 200);
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await call('alice', method, path, body);
    expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
    return answer.body;
  };
  const flavor = { flavor: { name: 'small', ram: 512, vcpus: 1, disk: 1 } };
  const flavorId = (await call('operator', 'POST', `${COMPUTE}/flavors`, flavor)).body.flavor.id;
  const network = (await ask('POST', `${NETWORK}/networks`, { network: { name: 'net' } })).network;
  expect(network.project_id).toBe(alice.projectId);
  await ask('POST', `${NETWORK}/subnets`, { subnet: { network_id: network.id, ip_version: 4, cidr: '10.1.0.0/24' } });
  const image = await ask('POST', '/image/v2/images', { name: 'i', disk_format: 'raw', container_format: 'bare' });
  const put = await parent.server.inject({
    method: 'PUT',
    url: `/image/v2/images/${image.id}/file`,
    headers: { 'x-auth-token': tokens.alice ?? '', 'content-type': 'application/octet-stream' },
    payload: Buffer.from('data'),
  });
  expect(put.statusCode).toBe(204);
  const wanted = { name: 'vm', imageRef: image.id, flavorRef: flavorId, networks: [{ uuid: network.id }] };
  const { id } = (await ask('POST', `${COMPUTE}/servers`, { server: wanted })).server;
  await eventually(async () => {
    const { status, fault } = (await ask('GET', `${COMPUTE}/servers/${id}`)).server;
    if (status === 'ERROR') throw new Error(JSON.stringify(fault));
    return status === 'ACTIVE';
  });
  expect([...cloud.state.servers.values()].map(({ projectId }) => projectId)).toEqual([alice.projectId]);
  expect((await call('bob', 'GET', `${COMPUTE}/servers/${id}`)).status).toBe(404);
  expect((await call('bob', 'GET', `${COMPUTE}/servers`)).body.servers).toEqual([]);
  expect((await call('bob', 'GET', `${NETWORK}/networks/${network.id}`)).status).toBe(404);
  // No project was made beside the tenant's own, and its quotas are as they were.
  expect([...cloud.state.projects.values()].map(({ name }) => name)).not.toContain(alice.projectId);
  expect(cloud.requests.count(/PUT .*(quotas|quota-sets)/)).toBe(0);
  await ask('DELETE', `${COMPUTE}/servers/${id}`);
  await eventually(async () => (await call('alice', 'GET', `${COMPUTE}/servers/${id}`)).status === 404);
});

it('knows the projects that tokens or administrators named', async () => {
  const quota = `${COMPUTE}/os-quota-sets/${bob.projectId}`;
  expect((await call('operator', 'PUT', quota, { quota_set: { cores: 7 } })).status).toBe(200);
  const { rows } = await sql<{ name: string }>`select name from identity_projects where id = ${bob.projectId}`.execute(
    db.query,
  );
  expect(rows).toEqual([{ name: 'bob' }]);
});

describe('headwater register', () => {
  it("enters the endpoints in Keystone's catalog, once", async () => {
    const said = await register({ config: configFile }, clouds);
    expect(said).toContain('made the region Headwater');
    expect(said).toContain('made the public endpoint of compute: http://parent.test/compute/v2.1');
    expect(said).toContain(`made the public endpoint of identity: ${keystone.url}`);
    const { endpoints } = (await operator.ask('identity', 'GET', '/endpoints')).body as { endpoints: object[] };
    expect(endpoints).toHaveLength(15);
    cloud.requests.reset();
    expect(await register({ config: configFile }, clouds)).toBe('the catalog is as it should be\n');
    // However many endpoints there are, they are asked for once.
    expect(cloud.requests.count(/^GET identity \/(endpoints|services)$/)).toBe(2);
    expect((await operator.ask('identity', 'GET', '/endpoints')).body.endpoints).toHaveLength(15);
  });

  it('corrects what changed, and takes out what it made', async () => {
    const { endpoints } = (await operator.ask('identity', 'GET', '/endpoints')).body as { endpoints: { id: string }[] };
    const path = `/endpoints/${endpoints[0]?.id ?? ''}`;
    await operator.ask('identity', 'PATCH', path, { endpoint: { url: 'http://old.test' } });
    expect((await register({ config: configFile }, clouds)).trim().split('\n')).toHaveLength(1);
    await register({ config: configFile, remove: true }, clouds);
    expect((await operator.ask('identity', 'GET', '/endpoints')).body.endpoints).toEqual([]);
    expect((await operator.ask('identity', 'GET', '/regions/Headwater')).status).toBe(404);
  });
});

it('has no accounts of its own to bootstrap', async () => {
  await expect(bootstrapParent({ config: configFile })).rejects.toThrow('headwater register');
});

it('is refused by the configuration without a Keystone to share', () => {
  const path = join(folder, 'alone.yaml');
  writeFileSync(path, 'children: { a: { cloud: a, zones: { a: nova }, tenancy: federated } }\n');
  expect(() => readConfig(path)).toThrow('there is no Keystone to share');
});
