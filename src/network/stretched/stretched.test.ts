import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import type { Tx } from '../../db/database.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { stretchedNetworkFeed } from './feed.ts';
import { named, occupy, stretchedTest, topology, typeOf, vacate, WAN } from './testing.ts';

const {
  call,
  make,
  db,
  cascade,
  sims,
  serverNetworks,
  east,
  west,
  context,
  eventually,
  create,
  replicas,
  stretched,
  boot,
  end,
  drop,
} = await stretchedTest();

describe('a stretched network', () => {
  it('is made in each child when the first port there binds, alike but for what is set aside', async () => {
    const { network, subnet } = await stretched('10.20.0.0/24');
    expect(await replicas(network.id)).toEqual([]);
    const resolved = await serverNetworks.resolve(db.query, context, [{ network_id: network.id }]);
    expect(resolved.children).toEqual(['east', 'west']);
    await expect(
      db.transaction((tx) =>
        serverNetworks.attach(tx, context, resolved, {
          server_id: randomUUID(),
          child: 'alone',
          zone: 'alone',
          security_groups: undefined,
        }),
      ),
    ).rejects.toMatchObject({ status: 400 });
    const one = await boot('east', [{ network_id: network.id }]);
    expect(await replicas(network.id)).toEqual(['east']);
    const other = await boot('west', [{ network_id: network.id }]);
    expect(await replicas(network.id)).toEqual(['east', 'west']);
    const copies = [east, west].map((sim) => named(sim.state.networks, network.id)[0] ?? {});
    const owners = await sql<{ child: string; child_id: string }>`select child, child_id from replicas
      where kind = 'project' and resource_id = 'p1' order by child`.execute(db.query);
    expect(copies).toMatchObject(
      ['physnet1', 'provider-a'].map((physical, at) => ({
        'provider:network_type': 'vlan',
        'provider:physical_network': physical,
        'provider:segmentation_id': network['provider:segmentation_id'],
        project_id: owners.rows[at]?.child_id,
        mtu: 1500,
      })),
    );
    const subnets = [east, west].map((sim) => named(sim.state.subnets, subnet.id)[0] ?? {});
    expect(subnets.map(({ cidr, gateway_ip }) => [cidr, gateway_ip])).toEqual([
      ['10.20.0.0/24', '10.20.0.1'],
      ['10.20.0.0/24', '10.20.0.1'],
    ]);
    const pools = subnets.flatMap(({ allocation_pools }) => allocation_pools as { start: string; end: string }[]);
    expect(new Set(pools.map(({ start }) => start)).size).toBe(4);
    expect(pools.every(({ start, end: last }) => start === last)).toBe(true);
    // Each child's own DHCP port is out of its own pools.
    const addresses = [east, west].flatMap((sim, at) =>
      [...sim.state.ports.values()]
        .filter(({ network_id }) => network_id === copies[at]?.id)
        .flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => ip_address)),
    );
    expect(addresses).toHaveLength(4);
    expect(new Set(addresses).size).toBe(4);
    expect(addresses).toContain(one.port.fixed_ips[0]?.ip_address);
    expect(addresses).toContain(other.port.fixed_ips[0]?.ip_address);
    await end(one.server_id);
    await end(other.server_id);
    await drop(network);
    for (const sim of [east, west]) expect(named(sim.state.networks, network.id)).toEqual([]);
  }, 60_000);

  it('has in each child the addresses that servers give themselves', async () => {
    const { network } = await stretched('10.21.0.0/24');
    const auto = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
    const values = { network_id: network.id, ip_version: 6, cidr: 'fd20::/64', ...auto };
    const subnet = await make('alice', 'subnet', values);
    const servers = [];
    for (const [child, sim] of [
      ['east', east],
      ['west', west],
    ] as const) {
      const server = await boot(child, [{ network_id: network.id }]);
      servers.push(server);
      expect(named(sim.state.subnets, subnet.id)[0]).toMatchObject({ ...auto, cidr: 'fd20::/64', enable_dhcp: true });
      expect(server.port.fixed_ips).toHaveLength(2);
    }
    for (const { server_id } of servers) await end(server_id);
    await drop(network);
  }, 60_000);

  it('keeps an address from another child until the first has let go of it', async () => {
    const { network } = await stretched('10.21.0.0/24');
    const { server_id, port } = await boot('east', [{ network_id: network.id }]);
    const address = port.fixed_ips[0]?.ip_address ?? '';
    await east.stop();
    await end(server_id);
    const wanted = { port: { network_id: network.id, fixed_ips: [{ ip_address: address }] } };
    const early = await call('alice', 'POST', '/ports', wanted);
    expect([early.status, typeOf(early)]).toEqual([409, 'IpAddressAlreadyAllocated']);
    await east.start();
    await eventually(async () => {
      const later = await call('alice', 'POST', '/ports', wanted);
      expect(later.status).toBe(201);
      await call('alice', 'DELETE', `/ports/${later.body.port.id}`);
    });
    await drop(network);
  }, 60_000);

  it('holds its VLAN until every child has let go of its copy', async () => {
    const { network } = await stretched('10.22.0.0/24', { 'provider:segmentation_id': 310 });
    const servers = [
      await boot('east', [{ network_id: network.id }]),
      await boot('west', [{ network_id: network.id }]),
    ];
    for (const { server_id } of servers) await end(server_id);
    await eventually(async () => expect(await replicas(servers[1]?.port.id ?? '')).toEqual([]));
    await west.stop();
    expect((await call('alice', 'DELETE', `/networks/${network.id}`)).status).toBe(204);
    await eventually(async () => expect(await replicas(network.id)).toEqual(['west']));
    const again = () => create({ ...WAN, 'provider:segmentation_id': 310 });
    expect(typeOf(await again())).toBe('VlanIdInUse');
    await west.start();
    await eventually(async () => expect(await replicas(network.id)).toEqual([]));
    const made = await again();
    expect(made.status).toBe(201);
    await drop(made.body.network);
  }, 60_000);

  it('takes another VLAN where a child uses the one that was chosen for something else', async () => {
    const { network } = await stretched('10.23.0.0/24');
    const first = network['provider:segmentation_id'];
    occupy(east, 'physnet1', first);
    const { server_id } = await boot('east', [{ network_id: network.id }]);
    const shown = (await call('admin', 'GET', `/networks/${network.id}`)).body.network;
    expect(shown['provider:segmentation_id']).not.toBe(first);
    expect(shown.status).toBe('ACTIVE');
    const other = await boot('west', [{ network_id: network.id }]);
    for (const sim of [east, west]) {
      expect(named(sim.state.networks, network.id)).toMatchObject([
        { 'provider:segmentation_id': shown['provider:segmentation_id'] },
      ]);
    }
    await end(server_id);
    await end(other.server_id);
    await drop(network);
    vacate(east, first);
  }, 60_000);

  it('says in words where a child uses a VLAN that was asked for, or that others have', async () => {
    const { network } = await stretched('10.24.0.0/24', { 'provider:segmentation_id': 320 });
    const { server_id } = await boot('east', [{ network_id: network.id }]);
    occupy(west, 'provider-a', 320);
    const resolved = await serverNetworks.resolve(db.query, context, [{ network_id: network.id }]);
    const refused = randomUUID();
    const to = { server_id: refused, child: 'west', zone: 'west', security_groups: undefined };
    await db.transaction((tx) => serverNetworks.attach(tx, context, resolved, to));
    await expect(serverNetworks.ensurePorts(cascade.context('west'), refused)).rejects.toMatchObject({
      transient: false,
      tenantMessage: `Network ${network.id} cannot be brought to this availability zone: its VLAN is in use there by another network.`,
    });
    cascade.poke();
    const status = async () => (await call('alice', 'GET', `/networks/${network.id}`)).body.network.status;
    await eventually(async () => expect(await status()).toBe('ERROR'));
    vacate(west, 320);
    await call('alice', 'PUT', `/networks/${network.id}`, { network: { name: 'again' } });
    await eventually(async () => expect(await status()).toBe('ACTIVE'));
    await end(refused);
    await end(server_id);
    await drop(network);
  }, 60_000);

  it('is found again after a crash between its making and the note of it', async () => {
    const { network } = await stretched('10.25.0.0/24');
    const { server_id } = await boot('east', [{ network_id: network.id }]);
    await sql`update replicas set child_id = null, revision = 0 where kind in ('network', 'subnet', 'port')
      and child = 'east'`.execute(db.query);
    const next = await boot('east', [{ network_id: network.id }]);
    expect(named(east.state.networks, network.id)).toHaveLength(1);
    await end(next.server_id);
    await end(server_id);
    await drop(network);
  }, 60_000);
});

describe('a router on a stretched network', () => {
  const copyOf = (sim: SimCloud, id: string) => named(sim.state.subnets, id)[0] ?? {};
  const interfacesIn = (sim: SimCloud, routerId: string) => {
    const [copy] = named(sim.state.routers, routerId);
    return [...sim.state.ports.values()]
      .filter(({ device_id, device_owner }) => device_id === copy?.id && device_owner === 'network:router_interface')
      .flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => ip_address));
  };
  const newRouter = async () => (await make('alice', 'router', { name: 'r' })) as { id: string };
  const change = (verb: 'add' | 'remove', id: string, body: object) =>
    call('alice', 'PUT', `/routers/${id}/${verb}_router_interface`, body);

  it('has an address of its own in each child, which is the gateway of the servers there', async () => {
    const { network, subnet } = await stretched('10.30.0.0/24');
    const one = await boot('east', [{ network_id: network.id }]);
    const router = await newRouter();
    expect((await change('add', router.id, { subnet_id: subnet.id })).status).toBe(200);
    await eventually(() => expect(interfacesIn(east, router.id)).toEqual(['10.30.0.1']));
    const other = await boot('west', [{ network_id: network.id }]);
    await eventually(() => expect(interfacesIn(west, router.id)).toHaveLength(1));
    const [address = ''] = interfacesIn(west, router.id);
    expect(address).not.toBe('10.30.0.1');
    expect(copyOf(east, subnet.id).gateway_ip).toBe('10.30.0.1');
    expect(copyOf(west, subnet.id).gateway_ip).toBe(address);
    expect((await call('alice', 'GET', `/subnets/${subnet.id}`)).body.subnet.gateway_ip).toBe('10.30.0.1');
    const asked = { port: { network_id: network.id, fixed_ips: [{ ip_address: address }] } };
    expect((await call('alice', 'POST', '/ports', asked)).status).toBe(409);
    expect((await change('remove', router.id, { subnet_id: subnet.id })).status).toBe(200);
    await eventually(() => {
      expect(interfacesIn(west, router.id)).toEqual([]);
      expect(copyOf(west, subnet.id).gateway_ip).toBe('10.30.0.1');
    });
    // Free again, as soon as both have let go.
    await eventually(async () => {
      const left = await sql`select port_id from ip_allocations where subnet_id = ${subnet.id}
        and (port_id like 'held:%' or port_id like 'router:%')`.execute(db.query);
      expect(left.rows).toEqual([]);
    });
    expect((await call('alice', 'DELETE', `/routers/${router.id}`)).status).toBe(204);
    await end(one.server_id);
    await end(other.server_id);
    await drop(network);
  }, 60_000);

  it('needs no transit where its copies have the very same networks', async () => {
    const { network, subnet } = await stretched('10.32.0.0/24', { 'provider:physical_network': 'lan' });
    const router = await newRouter();
    expect((await change('add', router.id, { subnet_id: subnet.id })).status).toBe(200);
    const one = await boot('east', [{ network_id: network.id }]);
    const other = await boot('alone', [{ network_id: network.id }]);
    await eventually(() => {
      for (const sim of [east, sims.alone as SimCloud]) expect(interfacesIn(sim, router.id)).toHaveLength(1);
    });
    // A network that only one of them has would need one, which nothing offers.
    const local = await make('alice', 'network', { name: 'local' });
    const { id } = await make('alice', 'subnet', { network_id: local.id, ip_version: 4, cidr: '10.33.0.0/24' });
    expect((await change('add', router.id, { subnet_id: id })).status).toBe(200);
    await expect(serverNetworks.resolve(db.query, context, [{ network_id: local.id }])).rejects.toMatchObject({
      status: 400,
    });
    for (const subnet_id of [id, subnet.id])
      expect((await change('remove', router.id, { subnet_id })).status).toBe(200);
    expect((await call('alice', 'DELETE', `/routers/${router.id}`)).status).toBe(204);
    for (const { server_id } of [one, other]) await end(server_id);
    await drop(network, local);
  }, 60_000);

  it('leaves the gateway alone where that is outside of the clouds, and has other addresses in each child', async () => {
    const { network, subnet } = await stretched('10.31.0.0/24');
    const servers = [
      await boot('west', [{ network_id: network.id }]),
      await boot('east', [{ network_id: network.id }]),
    ];
    const port = await make('alice', 'port', { network_id: network.id, fixed_ips: [{ ip_address: '10.31.0.77' }] });
    const router = await newRouter();
    expect((await change('add', router.id, { port_id: port.id })).status).toBe(200);
    await eventually(() => {
      for (const sim of [east, west]) expect(interfacesIn(sim, router.id)).toHaveLength(1);
    });
    const addresses = [east, west].flatMap((sim) => interfacesIn(sim, router.id));
    expect(new Set(addresses).size).toBe(2);
    expect(addresses).toContain('10.31.0.77');
    for (const sim of [east, west]) expect(copyOf(sim, subnet.id).gateway_ip).toBe('10.31.0.1');
    const macs = [east, west].map((sim) => (named(sim.state.ports, port.id)[0] ?? {}).mac_address);
    expect(new Set(macs).size).toBe(2);
    expect((await change('remove', router.id, { port_id: port.id })).status).toBe(200);
    await eventually(async () => {
      for (const sim of [east, west]) expect(interfacesIn(sim, router.id)).toEqual([]);
      expect(await replicas(port.id)).toEqual([]);
    });
    expect((await call('alice', 'DELETE', `/routers/${router.id}`)).status).toBe(204);
    for (const { server_id } of servers) await end(server_id);
    await drop(network);
  }, 60_000);
});

describe('ports and floating IPs on a stretched network', () => {
  it('are tried again where who had the address left just after the child refused it', async () => {
    const { network } = await stretched('10.35.0.0/24');
    const before = east.requests.count(/POST network \/ports/);
    const body = { NeutronError: { type: 'IpAddressAlreadyAllocated', message: 'taken', detail: '' } };
    const match = { method: 'POST', service: 'network' as const, path: /^\/ports$/ };
    east.faults.inject({ match, times: 1, respond: { status: 409, body } });
    const { server_id, port } = await boot('east', [{ network_id: network.id }]);
    expect(named(east.state.ports, port.id)).toHaveLength(1);
    expect(east.requests.count(/POST network \/ports/) - before).toBe(2);
    await end(server_id);
    await drop(network);
  }, 60_000);

  it('follow a server to another child, with all that they are', async () => {
    const { network } = await stretched('10.32.0.0/24');
    const port = await make('alice', 'port', { network_id: network.id });
    const first = await boot('west', [{ port_id: port.id }]);
    expect(named(west.state.ports, port.id)).toHaveLength(1);
    await end(first.server_id);
    const after = await serverNetworks.resolve(db.query, context, [{ port_id: port.id }]);
    expect(after.children).toEqual(['east', 'west']);
    const second = await boot('east', [{ port_id: port.id }]);
    const { mac_address, fixed_ips } = port as unknown as { mac_address: string; fixed_ips: { ip_address: string }[] };
    expect(named(east.state.ports, port.id)[0]).toMatchObject({
      mac_address,
      fixed_ips: fixed_ips.map(({ ip_address }) => ({ ip_address })),
    });
    await eventually(() => expect(named(west.state.ports, port.id)).toEqual([]));
    expect(await replicas(port.id)).toEqual(['east']);
    // And back, though the child that it leaves is away.
    await end(second.server_id);
    await east.stop();
    const third = await boot('west', [{ port_id: port.id }]);
    expect(named(west.state.ports, port.id)).toHaveLength(1);
    await east.start();
    await eventually(() => expect(named(east.state.ports, port.id)).toEqual([]));
    await end(third.server_id);
    await call('alice', 'DELETE', `/ports/${port.id}`);
    await drop(network);
  }, 60_000);

  it('keep a server where something else hangs on its port', async () => {
    const { network } = await stretched('10.34.0.0/24');
    const port = await make('alice', 'port', { network_id: network.id });
    const { server_id } = await boot('west', [{ port_id: port.id }]);
    await end(server_id);
    const trunk = await make('alice', 'trunk', { port_id: port.id });
    const wanted = [{ port_id: port.id }];
    const resolved = await serverNetworks.resolve(db.query, context, wanted);
    expect(resolved.children).toEqual(['west']);
    // As it goes where the trunk came after the look at the places.
    const attach = (tx: Tx) =>
      serverNetworks.attach(tx, context, resolved, {
        server_id: randomUUID(),
        child: 'east',
        zone: 'east',
        security_groups: undefined,
      });
    await expect(db.transaction(attach)).rejects.toMatchObject({ status: 400 });
    expect((await call('alice', 'DELETE', `/trunks/${trunk.id}`)).status).toBe(204);
    await call('alice', 'DELETE', `/ports/${port.id}`);
    await drop(network);
  }, 60_000);
});

describe('addresses that a child uses by itself', () => {
  it('are kept from others as long as the child shows them', async () => {
    const { network, subnet } = await stretched('10.33.0.0/24');
    const { server_id } = await boot('east', [{ network_id: network.id }]);
    const [copy, copied] = [named(east.state.networks, network.id)[0], named(east.state.subnets, subnet.id)[0]];
    const [any] = east.state.ports.values();
    const foreign = {
      ...any,
      id: 'foreign-port',
      name: 'foreign',
      network_id: String(copy?.id),
      fixed_ips: [{ subnet_id: String(copied?.id), ip_address: '10.33.0.99' }],
    };
    east.state.ports.set('foreign-port', foreign as never);
    const round = () => stretchedNetworkFeed({ cascade, topology }).round(cascade.context('east'), undefined);
    await round();
    const asked = { port: { network_id: network.id, fixed_ips: [{ ip_address: '10.33.0.99' }] } };
    expect((await call('alice', 'POST', '/ports', asked)).status).toBe(409);
    east.state.ports.delete('foreign-port');
    await round();
    const made = await call('alice', 'POST', '/ports', asked);
    expect(made.status).toBe(201);
    await call('alice', 'DELETE', `/ports/${made.body.port.id}`);
    await end(server_id);
    await drop(network);
  }, 60_000);
});
