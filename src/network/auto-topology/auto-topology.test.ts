import { expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make } = await networkTest();
const path = (project: string): string => `/auto-allocated-topology/${project}`;
const fault = (answer: Awaited<ReturnType<typeof call>>) => [
  answer.status,
  answer.body?.NeutronError?.type,
  answer.body?.NeutronError?.message,
];
const count = async (who: string, what: string): Promise<number> =>
  (await call(who, 'GET', `/${what}`)).body[what].filter(({ name }: { name: string }) => name.startsWith('auto_'))
    .length;

it('needs an external network and a subnet pool that are the default', async () => {
  const answers = async () => [
    await call('alice', 'GET', path('p1')),
    await call('alice', 'GET', `${path('p1')}?fields=dry-run`),
  ];
  for (const answer of await answers()) {
    expect(fault(answer)).toEqual([
      409,
      'AutoAllocationFailure',
      'Deployment error: No default router:external network.',
    ]);
  }
  const external = await make('admin', 'network', { name: 'public', 'router:external': true, is_default: true });
  await make('admin', 'subnet', { network_id: external.id, cidr: '203.0.113.0/24', ip_version: 4 });
  for (const answer of await answers()) {
    expect(fault(answer)[2]).toBe('Deployment error: No default subnetpools defined.');
  }
  const second = { 'router:external': true, is_default: true };
  expect(fault(await call('admin', 'POST', '/networks', { network: second }))).toEqual([
    409,
    'DefaultExternalNetworkExists',
    `A default external network already exists: ${external.id}.`,
  ]);
  const pool = { name: 'default', prefixes: ['10.64.0.0/16'], default_prefixlen: 26, is_default: true, shared: true };
  await make('admin', 'subnetpool', pool);
  const [, dry] = await answers();
  expect(dry?.body).toEqual({ auto_allocated_topology: { id: 'dry-run=pass', tenant_id: 'p1' } });
});

it('is made once, however often and by how many at once it is asked for', async () => {
  const answers = await Promise.all(['p1', 'None', 'p1'].map((project) => call('alice', 'GET', path(project))));
  const ids = new Set(answers.map(({ body }) => body.auto_allocated_topology.id));
  expect(ids.size).toBe(1);
  const [id = ''] = ids;
  expect([await count('alice', 'networks'), await count('alice', 'routers'), await count('alice', 'subnets')]).toEqual([
    1, 1, 1,
  ]);
  const [subnet] = (await call('alice', 'GET', `/subnets?network_id=${id}`)).body.subnets;
  expect(subnet).toMatchObject({ name: 'auto_allocated_subnet_v4', project_id: 'p1', cidr: '10.64.0.0/26' });
  const [router] = (await call('alice', 'GET', '/routers?name=auto_allocated_router')).body.routers;
  expect(router.external_gateway_info).toMatchObject({ enable_snat: true });
  const ports = await call('alice', 'GET', `/ports?device_id=${router.id}&network_id=${id}`);
  expect(ports.body.ports).toHaveLength(1);
});

it('is each project’s own', async () => {
  expect(fault(await call('bob', 'GET', path('p1')))[1]).toBe('NotAuthorized');
  expect((await call('bob', 'DELETE', path('p1'))).status).toBe(403);
  expect((await call('rita', 'DELETE', path('p1'))).status).toBe(403);
  expect((await call('admin', 'GET', `${path('p2')}?fields=dry-run`)).body.auto_allocated_topology.tenant_id).toBe(
    'p2',
  );
  expect(fault(await call('alice', 'GET', `${path('p1')}?fields=id`))[1]).toBe('BadRequest');
  const made = (await call('admin', 'GET', path('p2'))).body.auto_allocated_topology;
  expect((await call('bob', 'GET', `/networks/${made.id}`)).body.network.project_id).toBe('p2');
});

it('goes as a whole, unless something is on it', async () => {
  const { id } = (await call('bob', 'GET', path('p2'))).body.auto_allocated_topology;
  const port = await make('bob', 'port', { network_id: id });
  expect(fault(await call('bob', 'DELETE', path('p2')))[1]).toBe('NetworkInUse');
  expect(await count('bob', 'routers')).toBe(1);
  await call('bob', 'DELETE', `/ports/${port.id}`);
  expect((await call('bob', 'DELETE', path('p2'))).status).toBe(204);
  expect([await count('bob', 'networks'), await count('bob', 'routers'), await count('bob', 'subnets')]).toEqual([
    0, 0, 0,
  ]);
  expect((await call('bob', 'DELETE', path('p2'))).status).toBe(204);
  // A network that its owner deletes takes the topology with it: the next is made anew.
  const again = (await call('bob', 'GET', path('p2'))).body.auto_allocated_topology.id;
  expect(again).not.toBe(id);
});
