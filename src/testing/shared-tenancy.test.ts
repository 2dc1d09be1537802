/**
 * A child in which all tenants are in the one project of an account that is no administrator there: what two tenants
 * do with the same names and ranges stays apart, and what the account may not do is refused with the reason.
 */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { entryOf } from '../sim/account.ts';
import { login } from '../sim/testing.ts';
import type { TestAnswer } from './api.ts';
import { testParent } from './parent.ts';

const parent = await testParent({ shared: ['east'], begin: false });
const { call } = parent.api;
const east = parent.sims.east as NonNullable<typeof parent.sims.east>;
const TENANTS = ['alice', 'bob'] as const;
const COMPUTE = '/compute/v2.1';
const NETWORK = '/network/v2.0';

afterAll(() => parent.stop());

async function ask(who: string, method: string, path: string, body?: unknown): Promise<TestAnswer['body']> {
  const answer = await call(who, method, path, body);
  expect(answer.status, `${method} ${path} as ${who}: ${answer.text}`).toBeLessThan(300);
  return answer.body;
}

/** What one tenant has, by the path under which it is shown. */
type Holdings = Readonly<Record<'network' | 'subnet' | 'router' | 'group' | 'image' | 'server' | 'port', string>>;
const held = new Map<string, Holdings>();
let flavor = '';
let external = '';

const project = () => {
  const found = [...east.state.projects.values()].find(({ name }) => name === 'everybody');
  return found?.id ?? '';
};

beforeAll(async () => {
  const operator = await login(east);
  for (const [name, ram] of [
    ['m1.other', 1024],
    ['m1.theirs', 512],
  ] as const) {
    await operator.ask('compute', 'POST', '/flavors', { flavor: { name, ram, vcpus: 1, disk: 1 } });
  }
  // Neutron shows the subnets of an external network to nobody but administrators, unless it is shared as well.
  for (const row of east.state.networks.values()) if (row['router:external'] === true) row.shared = true;
  await parent.cascade.start();
  await parent.eventually(async () => {
    const known = await sql`select 1 from child_abilities where child = 'east'`.execute(parent.db.query);
    return known.rows.length > 0;
  });
  external = await parent.eventually(async () => {
    const { networks } = await ask('alice', 'GET', `${NETWORK}/networks?router:external=true`);
    const subnets = await ask('admin', 'GET', `${NETWORK}/subnets?network_id=${networks[0]?.id}`);
    return subnets.subnets.length === 2 ? networks[0].id : undefined;
  });
  flavor = (await ask('admin', 'POST', `${COMPUTE}/flavors`, { flavor: { name: 'one', ram: 512, vcpus: 1, disk: 1 } }))
    .flavor.id;
});

async function furnish(who: string): Promise<Holdings> {
  const network = (await ask(who, 'POST', `${NETWORK}/networks`, { network: { name: 'net' } })).network.id;
  const subnet = (
    await ask(who, 'POST', `${NETWORK}/subnets`, {
      subnet: { name: 'sub', network_id: network, ip_version: 4, cidr: '10.1.0.0/24' },
    })
  ).subnet.id;
  const gateway = { external_gateway_info: { network_id: external } };
  const router = (await ask(who, 'POST', `${NETWORK}/routers`, { router: { name: 'r', ...gateway } })).router.id;
  await ask(who, 'PUT', `${NETWORK}/routers/${router}/add_router_interface`, { subnet_id: subnet });
  const group = (await ask(who, 'POST', `${NETWORK}/security-groups`, { security_group: { name: 'sg' } }))
    .security_group.id;
  await ask(who, 'POST', `${COMPUTE}/os-keypairs`, { keypair: { name: 'key' } });
  const image = (
    await ask(who, 'POST', '/image/v2/images', { name: 'img', disk_format: 'raw', container_format: 'bare' })
  ).id;
  const data = await parent.server.inject({
    method: 'PUT',
    url: `/image/v2/images/${image}/file`,
    headers: { 'x-auth-token': parent.tokens[who] ?? '', 'content-type': 'application/octet-stream' },
    payload: Buffer.from(`data of ${who}`),
  });
  expect(data.statusCode).toBe(204);
  const body = {
    server: {
      name: 'vm',
      imageRef: image,
      flavorRef: flavor,
      key_name: 'key',
      availability_zone: 'east',
      networks: [{ uuid: network }],
      security_groups: [{ name: 'sg' }],
    },
  };
  const server = (await ask(who, 'POST', `${COMPUTE}/servers`, body)).server.id;
  await parent.eventually(async () => {
    const { status, fault } = (await ask(who, 'GET', `${COMPUTE}/servers/${server}`)).server;
    if (status === 'ERROR') throw new Error(JSON.stringify(fault));
    return status === 'ACTIVE';
  }, 30_000);
  const { ports } = await ask(who, 'GET', `${NETWORK}/ports?device_id=${server}`);
  return { network, subnet, router, group, image, server, port: ports[0].id };
}

it('boots servers of two tenants with the same names, ranges and keys', async () => {
  for (const who of TENANTS) held.set(who, await furnish(who));
  const { servers, networks, images, keypairs, routers } = east.state;
  const ours = project();
  expect([...servers.values()].map(({ projectId }) => projectId)).toEqual([ours, ours]);
  const made = [...networks.values()].filter((row) => row['router:external'] !== true);
  expect(made.map((row) => row.name).sort()).toEqual([...held.values()].map(({ network }) => network).sort());
  expect(made.every((row) => row.project_id === ours)).toBe(true);
  expect([...images.values()].map(({ fields }) => [fields.owner, fields.visibility])).toEqual([
    [ours, 'private'],
    [ours, 'private'],
  ]);
  expect(new Set([...keypairs.values()].map(({ name }) => name)).size).toBe(2);
  expect([...keypairs.values()].map(({ name }) => name)).not.toContain('key');
  // None is made for a tenant, and no flavor either: one of the same sizes served.
  expect([...east.state.projects.values()].map(({ name }) => name)).not.toContain(parent.tenants.alice.project_id);
  expect([...east.state.flavors.values()].map(({ name }) => name).sort()).toEqual(['m1.other', 'm1.theirs']);
  await parent.eventually(async () => routers.size === 2);
});

it('shows the address that the child chose for a gateway', async () => {
  for (const who of TENANTS) {
    await parent.eventually(async () => {
      const id = held.get(who)?.router ?? '';
      const copy = [...east.state.routers.values()].find((row) => row.name === id);
      const there = copy?.external_gateway_info as { external_fixed_ips: { ip_address: string }[] } | null | undefined;
      const { router } = await ask(who, 'GET', `${NETWORK}/routers/${id}`);
      const here = router.external_gateway_info.external_fixed_ips.map((one: { ip_address: string }) => one.ip_address);
      return there != null && here.includes(there.external_fixed_ips[0]?.ip_address);
    });
  }
});

it('shows no tenant anything of the other', async () => {
  const paths = (of: Holdings) => [
    `${NETWORK}/networks/${of.network}`,
    `${NETWORK}/subnets/${of.subnet}`,
    `${NETWORK}/routers/${of.router}`,
    `${NETWORK}/ports/${of.port}`,
    `${NETWORK}/security-groups/${of.group}`,
    `/image/v2/images/${of.image}`,
    `${COMPUTE}/servers/${of.server}`,
  ];
  for (const [who, other] of [TENANTS, TENANTS.toReversed()] as const) {
    for (const path of paths(held.get(other as string) as Holdings)) {
      expect((await call(who as string, 'GET', path)).status, `${path} as ${who}`).toBe(404);
    }
    const lists = [
      ['servers', `${COMPUTE}/servers`, held.get(who as string)?.server],
      ['networks', `${NETWORK}/networks?router:external=false`, held.get(who as string)?.network],
      ['routers', `${NETWORK}/routers`, held.get(who as string)?.router],
      ['images', '/image/v2/images', held.get(who as string)?.image],
    ] as const;
    for (const [key, path, own] of lists) {
      expect((await ask(who as string, 'GET', path))[key].map(({ id }: { id: string }) => id)).toEqual([own]);
    }
    const { keypairs } = await ask(who as string, 'GET', `${COMPUTE}/os-keypairs`);
    expect(keypairs.map(({ keypair }: { keypair: { name: string } }) => keypair.name)).toEqual(['key']);
  }
});

it('shows nothing of what else is in the project in the child', async () => {
  const before = (await ask('admin', 'GET', `${COMPUTE}/servers?all_tenants=1`)).servers.length;
  const own = await login(east, undefined, entryOf(east, 'everybody').auth);
  const network = [...east.state.networks.values()].find((row) => row['router:external'] !== true);
  const [someFlavor] = [...east.state.flavors.keys()];
  const [image] = [...east.state.images.keys()];
  const made = await own.ask('compute', 'POST', '/servers', {
    server: {
      name: 'of the project itself',
      flavorRef: someFlavor ?? '',
      imageRef: image ?? '',
      networks: [{ uuid: String(network?.id) }],
    },
  });
  expect(made.status, made.text).toBe(202);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect((await ask('admin', 'GET', `${COMPUTE}/servers?all_tenants=1`)).servers).toHaveLength(before);
  const id = String((made.body.server as { id?: unknown }).id);
  expect((await own.ask('compute', 'DELETE', `/servers/${id}`)).status).toBe(204);
});

it('says which sizes the child has no flavor of', async () => {
  const odd = { name: 'odd', ram: 777, vcpus: 3, disk: 2 };
  const { id } = (await ask('admin', 'POST', `${COMPUTE}/flavors`, { flavor: odd })).flavor;
  const { image, network } = held.get('alice') as Holdings;
  const body = {
    server: { name: 'odd', imageRef: image, flavorRef: id, availability_zone: 'east', networks: [{ uuid: network }] },
  };
  const server = (await ask('alice', 'POST', `${COMPUTE}/servers`, body)).server.id;
  const fault = await parent.eventually(
    async () => (await ask('alice', 'GET', `${COMPUTE}/servers/${server}`)).server.fault,
  );
  expect(fault.message).toContain('no flavor of the sizes of flavor odd (3 vCPUs, 777 MB of memory, 2 GB of disk)');
  await ask('alice', 'DELETE', `${COMPUTE}/servers/${server}`);
  await parent.eventually(async () => (await call('alice', 'GET', `${COMPUTE}/servers/${server}`)).status === 404);
});

describe('a flavor of the child that serves', () => {
  const theirs = (name: string) => [...east.state.flavors.values()].find((one) => one.name === name);
  const change = async (work: (operator: Awaited<ReturnType<typeof login>>) => Promise<unknown>) =>
    work(await login(east));
  const make = (name: string, ram: number, id?: string) =>
    change(async (operator) => {
      const flavor = { name, ram, vcpus: 1, disk: 1, ...(id === undefined ? {} : { id }) };
      expect((await operator.ask('compute', 'POST', '/flavors', { flavor })).status).toBe(200);
    });
  const remove = (name: string) =>
    change((operator) => operator.ask('compute', 'DELETE', `/flavors/${theirs(name)?.id}`));
  const boot = async (): Promise<string> => {
    const { image, network } = held.get('alice') as Holdings;
    const zone = { availability_zone: 'east', networks: [{ uuid: network }] };
    const body = { server: { name: 'again', imageRef: image, flavorRef: flavor, ...zone } };
    return (await ask('alice', 'POST', `${COMPUTE}/servers`, body)).server.id;
  };
  const isActive = (id: string) =>
    parent.eventually(async () => {
      const { status, fault } = (await ask('alice', 'GET', `${COMPUTE}/servers/${id}`)).server;
      if (status === 'ERROR') throw new Error(JSON.stringify(fault));
      return status === 'ACTIVE';
    });
  /** The name of the child's flavor that the server has, which is then deleted. */
  const servedBy = async (id: string): Promise<string | undefined> => {
    await isActive(id);
    const copy = [...east.state.servers.values()].find(({ tags }) => tags.includes(`headwater:${id}`));
    await ask('alice', 'DELETE', `${COMPUTE}/servers/${id}`);
    await parent.eventually(async () => (await call('alice', 'GET', `${COMPUTE}/servers/${id}`)).status === 404);
    return copy?.flavor.name;
  };

  it('is another one when that was taken away', async () => {
    expect(await servedBy(await boot())).toBe('m1.theirs');
    await make('m1.second', 512);
    await remove('m1.theirs');
    expect(await servedBy(await boot())).toBe('m1.second');
  });

  it('is another one when that has other sizes by now', async () => {
    const id = theirs('m1.second')?.id;
    await remove('m1.second');
    await make('m1.second', 2048, id);
    await make('m1.third', 512);
    expect(await servedBy(await boot())).toBe('m1.third');
  });

  it('is another one when that was taken away at the very moment of the boot', async () => {
    const isSent = { method: 'POST', service: 'compute', path: /^\/servers$/ } as const;
    const late = east.faults.inject({ match: isSent, times: 1, delay_ms: 500 });
    const id = await boot();
    await parent.eventually(async () => late.hits() === 1);
    await make('m1.theirs', 512);
    await remove('m1.third');
    expect(await servedBy(id)).toBe('m1.theirs');
    expect(late.hits()).toBe(1);
  });

  it('is another one when a server is resized to it', async () => {
    const size = { name: 'two', ram: 1024, vcpus: 1, disk: 1 };
    const bigger = (await ask('admin', 'POST', `${COMPUTE}/flavors`, { flavor: size })).flavor.id;
    const id = await boot();
    await isActive(id);
    const isSent = { method: 'POST', service: 'compute', path: /\/action$/ } as const;
    const late = east.faults.inject({ match: isSent, times: 1, delay_ms: 500 });
    await ask('alice', 'POST', `${COMPUTE}/servers/${id}/action`, { resize: { flavorRef: bigger } });
    await parent.eventually(async () => late.hits() === 1);
    await make('m1.larger', 1024);
    await remove('m1.other');
    await parent.eventually(async () => {
      const { status } = (await ask('alice', 'GET', `${COMPUTE}/servers/${id}`)).server;
      return status === 'VERIFY_RESIZE';
    });
    await ask('alice', 'POST', `${COMPUTE}/servers/${id}/action`, { confirmResize: null });
    expect(await servedBy(id)).toBe('m1.larger');
    await remove('m1.larger');
    await make('m1.other', 1024);
    await ask('admin', 'DELETE', `${COMPUTE}/flavors/${bigger}`);
  });

  it('has what extra specs the flavor of the parent has by now', async () => {
    await change(async (operator) => {
      await make('m1.special', 512);
      const path = `/flavors/${theirs('m1.special')?.id}/os-extra_specs`;
      await operator.ask('compute', 'POST', path, { extra_specs: { 'hw:cpu_policy': 'dedicated' } });
    });
    const specs = `${COMPUTE}/flavors/${flavor}/os-extra_specs`;
    await ask('admin', 'POST', specs, { extra_specs: { 'hw:cpu_policy': 'dedicated' } });
    expect(await servedBy(await boot())).toBe('m1.special');
    await ask('admin', 'DELETE', `${specs}/hw:cpu_policy`);
    await remove('m1.special');
    expect(await servedBy(await boot())).toBe('m1.theirs');
    await remove('m1.second');
  });
});

it('refuses a floating IP with the reason, before anything is made', async () => {
  const { port } = held.get('alice') as Holdings;
  const floatingip = { floating_network_id: external, port_id: port };
  const answer = await call('alice', 'POST', `${NETWORK}/floatingips`, { floatingip });
  expect(answer.status, answer.text).toBe(409);
  expect(answer.body.NeutronError.message).toBe(
    'the availability zone east cannot take part in floating IPs: the cloud below does not let addresses be chosen.',
  );
  expect((await ask('alice', 'GET', `${NETWORK}/floatingips`)).floatingips).toEqual([]);
});

it('refuses to span a router over it and another child', async () => {
  const network = (
    await ask('alice', 'POST', `${NETWORK}/networks`, { network: { name: 'far', availability_zone_hints: ['west'] } })
  ).network.id;
  const subnet = (
    await ask('alice', 'POST', `${NETWORK}/subnets`, {
      subnet: { network_id: network, ip_version: 4, cidr: '10.2.0.0/24' },
    })
  ).subnet.id;
  const path = `${NETWORK}/routers/${held.get('alice')?.router}/add_router_interface`;
  expect((await call('alice', 'PUT', path, { subnet_id: subnet })).status).toBe(409);
  await ask('alice', 'DELETE', `${NETWORK}/networks/${network}`);
});

it('asks the child for nothing that only its administrators may see or do', () => {
  const denied = /os-hypervisors|os-services|\/agents|os-quota-sets|\/quotas|identity.*\/(projects|users|roles)/;
  const asked = east.requests.list.filter(({ template }) => denied.test(template)).map(({ template }) => template);
  // The operator of the simulated cloud made the account itself.
  expect(asked.filter((template) => !/^(POST|PUT) .*(projects|users)/.test(template))).toEqual([]);
});

it('leaves nothing behind, and the flavors of the child alone', async () => {
  for (const who of TENANTS) {
    const { network, subnet, router, group, image, server } = held.get(who) as Holdings;
    await ask(who, 'DELETE', `${COMPUTE}/servers/${server}`);
    await parent.eventually(async () => (await call(who, 'GET', `${COMPUTE}/servers/${server}`)).status === 404);
    await ask(who, 'PUT', `${NETWORK}/routers/${router}/remove_router_interface`, { subnet_id: subnet });
    await ask(who, 'DELETE', `${NETWORK}/routers/${router}`);
    await ask(who, 'DELETE', `${NETWORK}/networks/${network}`);
    await ask(who, 'DELETE', `${NETWORK}/security-groups/${group}`);
    await ask(who, 'DELETE', `/image/v2/images/${image}`);
    await ask(who, 'DELETE', `${COMPUTE}/os-keypairs/key`);
  }
  await ask('admin', 'DELETE', `${COMPUTE}/flavors/${flavor}`);
  const { servers, networks, images, keypairs, routers, ports, flavors } = east.state;
  await parent.eventually(async () => {
    const left = [...networks.values()].filter((row) => row['router:external'] !== true).length;
    const alive = [...servers.values()].filter((one) => !one.isDeleted).length;
    return alive + left + images.size + keypairs.size + routers.size + ports.size === 0;
  }, 20_000);
  expect([...flavors.values()].map(({ name }) => name).sort()).toEqual(['m1.other', 'm1.theirs']);
});
