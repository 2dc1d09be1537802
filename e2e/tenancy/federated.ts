/**
 * `federated`: a real child's own Keystone is the parent's, too. Its administrator makes tenants, the real client logs in
 * there and finds the parent's endpoints in its catalog, and what Keystone says of a token holds at the parent.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChildReport } from '../../src/cli/check/finding.ts';
import type { Server } from '../client/names.ts';
import { clientOf } from '../harness/openstack.ts';
import { api, list } from '../harness/rest.ts';
import { addClouds, childEntry, entryAs, secondParent, type Second } from '../harness/second.ts';
import { until } from '../harness/until.ts';
import { patiently } from '../harness/wiring.ts';
import { grant, make, makePerson, type Person, removePerson, send } from './accounts.ts';
import { emptyProject, heldIn } from './holdings.ts';

const REGION = 'e2e-federated';
const TENANT = 'federated-tenant';
const OTHER = 'federated-other';
/** What Keystone says of a token is believed for so long. */
const CACHE_S = 1;

const configuration = (
  auth_url: string,
) => `identity: { url: "${auth_url}", cloud: child1, region: ${REGION}, cache_s: ${CACHE_S} }
children:
  cloud: { cloud: child1, zones: { fed: nova }, tenancy: federated }
`;

interface Row {
  readonly ID: string;
  readonly Name: string;
}

/** The chapter; its objects are gone when it ends. */
export function federatedTenancy(): void {
  const password = randomBytes(12).toString('hex');
  const operator = clientOf('federated-admin');
  const tenant = clientOf(TENANT);
  const keystone = childEntry('child1').auth.auth_url ?? '';
  let parent: Second;
  const projectThere = () => person?.project ?? '';
  let person: Person | undefined;
  let catalogBefore: string;

  /** Endpoints, services and regions, as Keystone lists them. */
  const catalog = async (): Promise<string> => {
    const lists = await Promise.all(
      ['endpoints', 'services', 'regions'].map((kind) => list(api('child1'), 'identity', `/${kind}`, kind)),
    );
    return JSON.stringify(lists.map((all) => all.map(({ id }) => id).sort()));
  };

  /** A token of the tenant's, straight from Keystone. */
  async function tokenOf(name: string): Promise<string> {
    const user = { name, password, domain: { id: 'default' } };
    const scope = { project: { name, domain: { id: 'default' } } };
    const auth = { identity: { methods: ['password'], password: { user } }, scope };
    const answer = await fetch(`${keystone}/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth }),
    });
    if (answer.status !== 201) throw new Error(`no token for ${name}: ${answer.status}`);
    return answer.headers.get('x-subject-token') ?? '';
  }

  /** What the parent answers to a token. */
  const statusOf = async (token: string, path = '/compute/v2.1/servers'): Promise<number> =>
    (await fetch(`${parent.url}${path}`, { headers: { 'x-auth-token': token } })).status;
  const becomes = (token: string, status: number, path?: string) =>
    until(`the parent answers ${status}`, async () => (await statusOf(token, path)) === status, {
      timeout_ms: CACHE_S * 1000 + 10_000,
      every_ms: 100,
    });

  beforeAll(async () => {
    catalogBefore = await catalog();
    const child1 = childEntry('child1');
    parent = await secondParent(configuration(keystone), { child1 });
    const there = { ...child1, region_name: REGION };
    addClouds({
      'federated-admin': there,
      [TENANT]: entryAs(there, TENANT, password),
      [OTHER]: entryAs(there, OTHER, password),
      // The same tenant at the child itself.
      'federated-below': entryAs(child1, TENANT, password),
    });
    await parent.start();
    person = await makePerson('child1', TENANT, password);
    await makePerson('child1', OTHER, password);
  });

  afterAll(async () => {
    if ((await catalog()) !== catalogBefore) await parent?.headwater('register', '--remove');
    await parent?.stop();
    if (person !== undefined) await emptyProject('child1', person.project);
    for (const name of [TENANT, OTHER]) await removePerson('child1', name);
    expect(await catalog()).toBe(catalogBefore);
  });

  it('is told by headwater check from a child with another Keystone', async () => {
    const shared = ({ children }: { children: ChildReport[] }) =>
      children[0]?.findings.filter(({ topic }) => topic === 'shared Keystone').map(({ state }) => state);
    const another = await secondParent(configuration(childEntry('child2').auth.auth_url ?? ''), {
      child1: childEntry('child1'),
    });
    const found = await Promise.all([parent, another].map((one) => one.headwater('check', '--json')));
    expect(found.map(({ stdout }) => shared(JSON.parse(stdout)))).toEqual([['holds'], ['essential']]);
    expect(found.map(({ status }) => status)).toEqual([0, 1]);
    await another.stop();
  });

  it("enters the parent's endpoints in Keystone's catalog, where the client finds them", async () => {
    const { status, stdout } = await parent.headwater('register');
    expect(status).toBe(0);
    expect(stdout).toContain(`made the region ${REGION}`);
    expect((await parent.headwater('register')).stdout).toBe('the catalog is as it should be\n');
    const endpoints = await operator.json<{ URL: string; 'Service Type': string; Interface: string }[]>(
      'endpoint',
      'list',
      '--region',
      REGION,
    );
    expect(endpoints).toHaveLength(15);
    const compute = endpoints.find((one) => one['Service Type'] === 'compute' && one.Interface === 'public');
    expect(compute?.URL).toBe(`${parent.url}/compute/v2.1`);
  });

  it('boots a server by the real client, in the project of the same id', async () => {
    await Promise.all([
      operator('flavor', 'create', TENANT, '--ram', '128', '--disk', '1', '--vcpus', '1'),
      tenant('keypair', 'create', TENANT),
      tenant('volume', 'create', TENANT, '--size', '1'),
      tenant('network', 'create', TENANT),
    ]);
    await tenant('subnet', 'create', TENANT, '--network', TENANT, '--subnet-range', '10.98.0.0/24');
    const image = await send<{ id: string }>(TENANT, 'image', 'POST', '/images', {
      name: TENANT,
      disk_format: 'raw',
      container_format: 'bare',
    });
    await api(TENANT).call({
      service: 'image',
      method: 'PUT',
      path: `/images/${image.id}/file`,
      body: new Uint8Array(50_000).fill(0x48),
      contentType: 'application/octet-stream',
    });
    const boot = ['--image', TENANT, '--flavor', TENANT, '--network', TENANT, '--key-name', TENANT];
    await tenant('server', 'create', TENANT, ...boot, '--availability-zone', 'fed', '--wait');
    expect(await tenant.value('status', 'server', 'show', TENANT)).toBe('ACTIVE');
    expect(await tenant.value('project_id', 'server', 'show', TENANT)).toBe(projectThere());
    await until('the volume is available', async () => {
      return (await tenant.value('status', 'volume', 'show', TENANT)) === 'available';
    });
    const held = await heldIn('child1', projectThere());
    expect(Object.keys(held)).toEqual(expect.arrayContaining(['networks', 'ports', 'servers', 'subnets', 'volumes']));
    expect(held.servers).toHaveLength(1);
    // The child's own users of that project see the copy there, since the project is theirs.
    const below = await list<Server>(api('federated-below'), 'compute', '/servers/detail', 'servers');
    expect(below.map(({ name }) => name)).toEqual([TENANT]);
    expect(below[0]?.id).not.toBe(await tenant.value('id', 'server', 'show', TENANT));
  });

  it('shows nothing of what a tenant makes in the child itself', async () => {
    const name = `${TENANT}-below`;
    const id = await make('federated-below', 'network', '/networks', 'network', { name });
    const volume = await make('federated-below', 'volume', '/volumes', 'volume', { name, size: 1 });
    expect((await tenant.json<Row[]>('network', 'list')).map(({ Name }) => Name).sort()).toEqual(
      ['public', TENANT].sort(),
    );
    expect(await tenant.json<Row[]>('volume', 'list')).toHaveLength(1);
    await send('federated-below', 'network', 'DELETE', `/networks/${id}`);
    await patiently('the volume in the child can be deleted', async () => {
      const query = { name };
      const [found] = await list(api('federated-below'), 'volume', '/volumes/detail', 'volumes', query);
      return found?.status === 'available';
    });
    await send('federated-below', 'volume', 'DELETE', `/volumes/${volume}`);
  });

  it('shows a tenant nothing of another', async () => {
    const other = clientOf(OTHER);
    expect(await other.json<Row[]>('server', 'list')).toEqual([]);
    expect(await other.json<Row[]>('volume', 'list')).toEqual([]);
    expect((await other.json<Row[]>('network', 'list')).map(({ Name }) => Name)).toEqual(['public']);
    expect(await other.refused('server', 'show', await tenant.value('id', 'server', 'show', TENANT))).toContain('No');
  });

  describe('what Keystone says of a token', () => {
    it('holds: one that was revoked is refused', async () => {
      const token = await tokenOf(TENANT);
      expect(await statusOf(token)).toBe(200);
      const headers = { 'x-auth-token': token, 'x-subject-token': token };
      expect((await fetch(`${keystone}/auth/tokens`, { method: 'DELETE', headers })).status).toBe(204);
      await becomes(token, 401);
      expect(await statusOf(await tokenOf(TENANT))).toBe(200);
    });

    it('holds: roles that come and go', async () => {
      const services = '/compute/v2.1/os-services';
      expect(await statusOf(await tokenOf(OTHER), services)).toBe(403);
      const [project] = await list(api('child1'), 'identity', '/projects', 'projects', { name: OTHER });
      const [user] = await list(api('child1'), 'identity', '/users', 'users', { name: OTHER });
      const other = { project: project?.id ?? '', user: user?.id ?? '' };
      await grant('child1', other, 'admin');
      const token = await tokenOf(OTHER);
      expect(await statusOf(token, services)).toBe(200);
      await grant('child1', other, 'admin', 'DELETE');
      await until('the parent refuses it', async () => (await statusOf(token, services)) >= 401, { every_ms: 100 });
      expect(await statusOf(await tokenOf(OTHER), services)).toBe(403);
    });

    it('holds: a user who was disabled is nobody', async () => {
      const token = await tokenOf(OTHER);
      expect(await statusOf(token)).toBe(200);
      const [user] = await list(api('child1'), 'identity', '/users', 'users', { name: OTHER });
      await send('child1', 'identity', 'PATCH', `/users/${user?.id}`, { user: { enabled: false } });
      await becomes(token, 401);
      await expect(tokenOf(OTHER)).rejects.toThrow('401');
    });
  });

  it('leaves nothing, and takes the endpoints out of the catalog again', async () => {
    await tenant('server', 'delete', '--wait', TENANT);
    const kinds = ['volume', 'keypair', 'network', 'image'];
    await Promise.all([...kinds.map((kind) => tenant(kind, 'delete', TENANT)), operator('flavor', 'delete', TENANT)]);
    await patiently('the project in the child is empty', async () => {
      const { security_groups: _, ...held } = await heldIn('child1', projectThere());
      if (Object.keys(held).length > 0) throw new Error(JSON.stringify(held));
      return true;
    });
    const flavors = async () => (await list(api('child1'), 'compute', '/flavors', 'flavors')).map(({ name }) => name);
    await patiently('the child has no such flavor', async () => !(await flavors()).includes(TENANT));
    const { status, stdout } = await parent.headwater('register', '--remove');
    expect(status).toBe(0);
    expect(stdout).toContain(`took out the region ${REGION}`);
    expect(await catalog()).toBe(catalogBefore);
  });
}
