/**
 * `shared`: a parent over a real child in which it is but a customer: one project, one account, no administrator. Two
 * tenants do the same under the same names, beside what stands in that project by itself.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ChildReport } from '../../src/cli/check/finding.ts';
import { servers } from '../client/names.ts';
import { clientOf } from '../harness/openstack.ts';
import { api, list, refusal } from '../harness/rest.ts';
import { addClouds, childEntry, entryAs, parentEntry, secondParent, type Second } from '../harness/second.ts';
import { until } from '../harness/until.ts';
import { patiently } from '../harness/wiring.ts';
import { make, makePerson, type Person, removePerson, send } from './accounts.ts';
import * as holdings from './holdings.ts';
import { emptyProject, heldIn, type Holdings, isActive, NAME, removeServer } from './holdings.ts';

const ACCOUNT = 'e2e-shared';
const TENANTS = ['shared-alice', 'shared-bob'] as const;
const CHILDREN = `children:
  cloud: { cloud: ${ACCOUNT}, zones: { shared: nova }, tenancy: shared }
`;
const SIZE = { ram: 128, vcpus: 1, disk: 1 };
const ODD = { ram: 136, vcpus: 1, disk: 1 };

/** The chapter; its objects are gone when it ends. */
export function sharedTenancy(): void {
  const password = randomBytes(12).toString('hex');
  const held = new Map<(typeof TENANTS)[number], Holdings>();
  const people = new Map<(typeof TENANTS)[number], Person>();
  let parent: Second;
  const projectThere = () => account?.project ?? '';
  let account: Person | undefined;
  let flavor = '';
  let oddFlavor = '';
  let external = '';
  let before: Awaited<ReturnType<typeof heldIn>>;
  const own = { server: '', network: '' };
  const copies = async () =>
    (await servers('child1')).filter(({ tags }) => tags.some((tag) => tag.startsWith('headwater:')));
  const copyOf = async (id: string) => (await copies()).find(({ tags }) => tags.includes(`headwater:${id}`));
  const flavorsThere = async () =>
    (await list(api('child1'), 'compute', '/flavors', 'flavors')).map(({ id }) => id).sort();
  let flavorsBefore: string[];

  beforeAll(async () => {
    account = await makePerson('child1', ACCOUNT, password);
    const entry = entryAs(childEntry('child1'), ACCOUNT, password);
    parent = await secondParent(CHILDREN, { [ACCOUNT]: entry });
    const admin = parentEntry(parent.url, 'admin', parent.passwords.admin);
    const tenants = TENANTS.map((who) => [who, parentEntry(parent.url, who, password)] as const);
    addClouds({ 'shared-account': entry, 'shared-admin': admin, ...Object.fromEntries(tenants) });
    // What stands in the project by itself, under the very names that the tenants are going to use.
    own.network = await make('shared-account', 'network', '/networks', 'network', { name: NAME });
    const range = { name: NAME, network_id: own.network, ip_version: 4, cidr: holdings.CIDR };
    await make('shared-account', 'network', '/subnets', 'subnet', range);
    await send('shared-account', 'compute', 'POST', '/os-keypairs', { keypair: { name: NAME, type: 'ssh' } });
    const [image] = await list(api('shared-account'), 'image', '/images', 'images', { name: 'cirros' });
    own.server = await make('shared-account', 'compute', '/servers', 'server', {
      name: NAME,
      flavorRef: '42',
      imageRef: image?.id,
      networks: [{ uuid: own.network }],
    });
    await Promise.all([parent.start(), isActive('shared-account', own.server)]);
    before = await heldIn('child1', projectThere());
    flavorsBefore = await flavorsThere();
    for (const who of TENANTS) people.set(who, await makePerson('shared-admin', who, password));
    flavor = await make('shared-admin', 'compute', '/flavors', 'flavor', { name: 'small', ...SIZE });
    oddFlavor = await make('shared-admin', 'compute', '/flavors', 'flavor', { name: 'odd', ...ODD });
    external = await until('the external network of the child', async () => {
      const query = { 'router:external': 'true' };
      return (await list(api('shared-alice'), 'network', '/networks', 'networks', query))[0]?.id;
    });
  });

  afterAll(async () => {
    await parent?.stop();
    const flavors = await list(api('child1'), 'compute', '/flavors', 'flavors');
    for (const { id, name } of flavors.filter((one) => one.name.startsWith('e2e-odd'))) {
      await send('child1', 'compute', 'DELETE', `/flavors/${id}`, undefined, [404]).catch(() => name);
    }
    if (account !== undefined) await emptyProject('child1', account.project);
    await removePerson('child1', ACCOUNT);
  });

  it('is found whole by headwater check, with what tenants do without', async () => {
    const { status, stdout } = await parent.headwater('check', '--json');
    const { whole, children } = JSON.parse(stdout) as { whole: boolean; children: ChildReport[] };
    expect({ status, whole }).toEqual({ status: 0, whole: true });
    const said = (topic: string) => children[0]?.findings.filter((one) => one.topic === topic).map(({ says }) => says);
    expect(said('tenancy')?.[0]).toContain('the account has the roles member');
    expect(said('flavors')?.[0]).toContain('m1.nano (1 vCPUs, 128 MB, 1 GB)');
    expect(said('qos')?.[0]).toContain('does not let the account');
    expect(said('floating ips')?.[0]).toContain('does not let the account');
  });

  it('boots servers of two tenants under the same names, in the one project', async () => {
    const made = await Promise.all(
      TENANTS.map(async (who) => [who, await holdings.furnishTenant(who, flavor, external)] as const),
    );
    for (const [who, things] of made) held.set(who, things);
    for (const [, { server }] of made) {
      const copy = await copyOf(server);
      expect(copy).toMatchObject({ name: NAME, tenant_id: projectThere(), flavor: { original_name: 'm1.nano' } });
    }
    const keys = (await Promise.all(made.map(([, { server }]) => copyOf(server)))).map((copy) => copy?.key_name);
    expect(new Set([...keys, NAME]).size).toBe(3);
    expect(await flavorsThere()).toEqual(flavorsBefore);
    const now = await heldIn('child1', projectThere());
    const counts = Object.fromEntries(Object.entries(now).map(([kind, things]) => [kind, things.length]));
    expect(counts).toMatchObject({ servers: 3, networks: 3, subnets: 3, volumes: 2, images: 2, routers: 2 });
  });

  it('gives each router its way out', async () => {
    for (const who of TENANTS) {
      const id = held.get(who)?.router;
      const copy = await until(`the router of ${who} has a gateway in the child`, async () => {
        const query = { name: id ?? '' };
        const [found] = await list<{ id: string; external_gateway_info: { external_fixed_ips: object[] } | null }>(
          api('child1'),
          'network',
          '/routers',
          'routers',
          query,
        );
        return found?.external_gateway_info?.external_fixed_ips.length === 1 && found;
      });
      expect(copy.external_gateway_info).not.toBeNull();
      const { router } = await send<{ router: { status: string } }>(who, 'network', 'GET', `/routers/${id}`);
      expect(router.status).toBe('ACTIVE');
    }
  });

  it('shows no tenant anything of the other, nor of what stands in the project by itself', async () => {
    for (const [who, other] of [TENANTS, TENANTS.toReversed()] as const) {
      const mine = held.get(who as 'shared-alice') as Holdings;
      for (const [service, path] of holdings.seenPaths(held.get(other as 'shared-bob') as Holdings)) {
        const answer = await api(who as 'shared-alice').call({ service, method: 'GET', path, accept: [404] });
        expect(answer.status, `${path} as ${who}`).toBe(404);
      }
      const seen = await holdings.seenBy(who as 'shared-alice');
      expect(seen).toMatchObject({
        servers: [mine.server],
        volumes: [mine.volume],
        images: [mine.image],
        networks: [mine.network],
        subnets: [mine.subnet],
        routers: [mine.router],
      });
      expect(seen.security_groups).toHaveLength(2);
      expect(seen.security_groups).toContain(mine.group);
      expect(await holdings.keysOf(who as 'shared-alice')).toEqual([NAME]);
      const client = clientOf(who as string);
      expect(await client.json<object[]>('server', 'list')).toHaveLength(1);
      expect(await client.json<object[]>('volume', 'list')).toHaveLength(1);
    }
    const all = await servers('shared-admin', { all_tenants: '1' });
    expect(all.map(({ id }) => id).sort()).toEqual(TENANTS.map((who) => held.get(who)?.server).sort());
    const volumes = await list(api('shared-admin'), 'volume', '/volumes', 'volumes', { all_tenants: '1' });
    expect(volumes).toHaveLength(2);
  });

  /** Boots a server of the odd size on the first tenant's network. */
  const bootOdd = async (): Promise<string> => {
    const { image, network } = held.get('shared-alice') as Holdings;
    const server = { name: 'odd', flavorRef: oddFlavor, imageRef: image, networks: [{ uuid: network }] };
    return make('shared-alice', 'compute', '/servers', 'server', server);
  };

  it('says which sizes the child has no flavor of', async () => {
    const id = await bootOdd();
    const fault = await until('the server has a fault', async () => {
      const { server } = await send<{ server: { status: string; fault?: { message: string } } }>(
        'shared-alice',
        'compute',
        'GET',
        `/servers/${id}`,
      );
      return server.status === 'ERROR' && server.fault?.message;
    });
    expect(fault).toContain('no flavor of the sizes of flavor odd (1 vCPUs, 136 MB of memory, 1 GB of disk)');
    await removeServer('shared-alice', id);
  });

  it('matches a flavor as the operator of the child makes, changes and deletes it', async () => {
    const there = async (name: string, size: object) =>
      make('child1', 'compute', '/flavors', 'flavor', { name, ...size });
    const gone = (id: string) => send('child1', 'compute', 'DELETE', `/flavors/${id}`);
    const bootedWith = async () => {
      const id = await bootOdd();
      await isActive('shared-alice', id);
      const copy = await copyOf(id);
      await removeServer('shared-alice', id);
      return copy?.flavor.original_name;
    };
    const first = await there('e2e-odd-1', ODD);
    expect(await bootedWith()).toBe('e2e-odd-1');
    await gone(first);
    // The same id with other sizes, and another one that fits.
    const changed = await make('child1', 'compute', '/flavors', 'flavor', {
      id: first,
      name: 'e2e-odd-1',
      ...ODD,
      ram: 152,
    });
    const second = await there('e2e-odd-2', ODD);
    expect(await bootedWith()).toBe('e2e-odd-2');
    await gone(changed);
    await gone(second);
  });

  it('refuses at once what such an account cannot do', async () => {
    const { server, network } = held.get('shared-alice') as Holdings;
    const [port] = await list(api('shared-alice'), 'network', '/ports', 'ports', { device_id: server });
    const post = (path: string, body: object) => ({ service: 'network', method: 'POST', path, body }) as const;
    const floating = post('/floatingips', { floatingip: { floating_network_id: external, port_id: port?.id } });
    expect(await refusal(api('shared-alice'), floating)).toMatchObject({
      status: 409,
      message: expect.stringContaining('does not let addresses be chosen'),
    });
    const policy = await make('shared-admin', 'network', '/qos/policies', 'policy', { name: NAME, shared: true });
    const slow = { port: { network_id: network, qos_policy_id: policy } };
    expect(await refusal(api('shared-alice'), post('/ports', slow))).toMatchObject({
      status: 409,
      message: expect.stringContaining('does not let QoS policies be made'),
    });
    await send('shared-admin', 'network', 'DELETE', `/qos/policies/${policy}`);
    const migrate = {
      service: 'compute',
      method: 'POST',
      path: `/servers/${server}/action`,
      body: { migrate: null },
    } as const;
    expect(await refusal(api('shared-admin'), migrate)).toMatchObject({
      status: 409,
      message: expect.stringContaining('lets only its own administrators do that'),
    });
  });

  it('leaves nothing but what stands there by itself', async () => {
    await Promise.all([...held].map(([who, things]) => holdings.clearTenant(who, things)));
    // With a tenant goes the security group that every project has.
    for (const who of TENANTS) await removePerson('shared-admin', who);
    const ids = (of: typeof before) => Object.values(of).flatMap((things) => things.map(({ id }) => id));
    await patiently('the project holds what it held before', async () => {
      const now = await heldIn('child1', projectThere());
      const isSame = JSON.stringify(ids(now).sort()) === JSON.stringify(ids(before).sort());
      if (!isSame) throw new Error(JSON.stringify(now, null, 1));
      return true;
    });
    expect(await holdings.keysOf('shared-account')).toEqual([NAME]);
    expect(await flavorsThere()).toEqual(flavorsBefore);
    await removeServer('shared-account', own.server);
    await send('shared-account', 'network', 'DELETE', `/networks/${own.network}`);
    await send('shared-account', 'compute', 'DELETE', `/os-keypairs/${NAME}`);
    const rest = await heldIn('child1', projectThere());
    expect(Object.keys(rest)).toEqual(['security_groups']);
  });
}
