import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createSimCloud, type SimCloud } from './cloud.ts';
import { eventually, login, type SimClient } from './testing.ts';
import { listOf, type Row, rowOf, textOf } from './world.ts';

let cloud: SimCloud;
let client: SimClient;
let imageId: string;

const idOf = (body: Row, key: string): string => textOf(rowOf(body[key])['id']);
const newServer = (extra: Row = {}): Row => ({
  server: { name: 's', flavorRef: '1', imageRef: imageId, networks: 'none', ...extra },
});

async function showServer(id: string): Promise<Row> {
  return rowOf((await client.ask('compute', 'GET', `/servers/${id}`)).body['server']);
}

async function untilStatus(id: string, status: string): Promise<Row> {
  return eventually(async () => {
    const server = await showServer(id);
    return server['status'] === status && server['OS-EXT-STS:task_state'] === null && server;
  });
}

async function boot(extra: Row = {}): Promise<string> {
  const made = await client.ask('compute', 'POST', '/servers', newServer(extra));
  expect(made.status, made.text).toBe(202);
  const id = idOf(made.body, 'server');
  await untilStatus(id, 'ACTIVE');
  return id;
}

async function makeNetwork(cidr: string, extra: Row = {}): Promise<{ network: string; subnet: string }> {
  const network = idOf((await client.ask('network', 'POST', '/networks', { network: { name: cidr } })).body, 'network');
  const subnet = await client.ask('network', 'POST', '/subnets', {
    subnet: { network_id: network, cidr, ip_version: 4, ...extra },
  });
  expect(subnet.status, subnet.text).toBe(201);
  return { network, subnet: idOf(subnet.body, 'subnet') };
}

beforeAll(async () => {
  cloud = await createSimCloud({ name: 'east', isFurnished: true });
  client = await login(cloud);
  imageId = [...cloud.state.images.keys()][0] ?? '';
  await client.ask('compute', 'PUT', `/os-quota-sets/${client.projectId}`, {
    quota_set: { instances: -1, cores: -1, ram: -1 },
  });
});
afterAll(() => cloud.close());
beforeEach(() => cloud.faults.clear());

test('discovery and refusals speak each service in its own way', async () => {
  const root = cloud.authUrl.replace('/identity/v3', '');
  expect((await fetch(`${root}/identity/`)).status).toBe(300);
  const compute = (await (await fetch(`${root}/compute/v2.1`)).json()) as Row;
  expect(rowOf(compute['version'])).toMatchObject({ version: '2.93', min_version: '2.1' });
  expect((await fetch(`${root}/compute/v2.1/servers`)).status).toBe(401);
  expect((await fetch(`${root}/volume/v3`)).status).toBe(401);
  const tooNew = await client.ask('compute', 'GET', '/servers', undefined, { 'openstack-api-version': 'compute 2.99' });
  expect(tooNew.status).toBe(406);
  expect(rowOf(tooNew.body['computeFault'])['message']).toBe(
    'Version 2.99 is not supported by the API. Minimum is 2.1 and maximum is 2.93.',
  );
  const network = await client.ask('network', 'GET', '/networks/xx');
  expect(network.body).toEqual({
    NeutronError: { type: 'NetworkNotFound', message: 'Network xx could not be found.', detail: '' },
  });
  expect((await client.ask('image', 'GET', '/images/xx')).text).toContain('No image found with ID xx');
  const filter = await client.ask('network', 'GET', '/networks?changed_since=2026-01-01T00:00:00Z');
  expect(filter.status).toBe(400);
});

test('a server on a port of the caller lives, shows its changes, and leaves the port behind', async () => {
  const { network } = await makeNetwork('10.1.0.0/24', { allocation_pools: [{ start: '10.1.0.2', end: '10.1.0.4' }] });
  const port = { network_id: network, fixed_ips: [{ ip_address: '10.1.0.50' }], mac_address: 'fa:16:3e:00:00:01' };
  const bulk = await client.ask('network', 'POST', '/ports', { ports: [port] });
  expect(bulk.status, bulk.text).toBe(201);
  const portId = textOf(rowOf(listOf(bulk.body['ports'])[0])['id']);
  const again = await client.ask('network', 'POST', '/ports', { port });
  expect([again.status, rowOf(again.body['NeutronError'])['type']]).toEqual([409, 'IpAddressAlreadyAllocated']);

  const made = await client.ask(
    'compute',
    'POST',
    '/servers',
    newServer({ networks: [{ port: portId }, { uuid: network }], tags: ['mark'] }),
  );
  const id = idOf(made.body, 'server');
  expect((await showServer(id))['status']).toBe('BUILD');
  const active = await untilStatus(id, 'ACTIVE');
  expect(active['tags']).toEqual(['mark']);
  expect(JSON.stringify(active['addresses'])).toContain('10.1.0.50');
  expect(cloud.state.ports.get(portId)).toMatchObject({
    status: 'ACTIVE',
    device_id: id,
    device_owner: 'compute:nova',
  });
  const busy = await client.ask('compute', 'POST', '/servers', newServer({ networks: [{ port: portId }] }));
  expect(busy.status).toBe(409);
  expect((await client.ask('network', 'DELETE', `/networks/${network}`)).status).toBe(409);

  const since = textOf(active['created']);
  expect((await client.ask('compute', 'DELETE', `/servers/${id}`)).status).toBe(204);
  await eventually(async () => (await client.ask('compute', 'GET', `/servers/${id}`)).status === 404);
  const changes = await client.ask('compute', 'GET', `/servers/detail?all_tenants=1&changes-since=${since}`);
  const gone = listOf(changes.body['servers'])
    .map(rowOf)
    .find((one) => one['id'] === id);
  expect(gone?.['status']).toBe('DELETED');
  expect(cloud.state.ports.get(portId)).toMatchObject({ status: 'DOWN', device_id: '', device_owner: '' });
  const left = [...cloud.state.ports.values()].filter(
    (one) => one.network_id === network && one.device_owner !== 'network:distributed',
  );
  expect(left.map((one) => one.id)).toEqual([portId]);
});

test('actions go through their states and are refused in between', async () => {
  const small = { id: '2', name: 'm1.small', ram: 1024, vcpus: 1, disk: 2 };
  expect((await client.ask('compute', 'POST', '/flavors', { flavor: small })).status).toBe(200);
  const id = await boot();
  const act = (body: Row) => client.ask('compute', 'POST', `/servers/${id}/action`, body);
  expect((await act({ 'os-start': null })).text).toContain(
    `Cannot 'start' instance ${id} while it is in vm_state active`,
  );
  expect((await act({ 'os-stop': null })).status).toBe(202);
  expect((await act({ 'os-stop': null })).text).toContain('while it is in task_state powering-off');
  await untilStatus(id, 'SHUTOFF');
  await act({ 'os-start': null });
  await untilStatus(id, 'ACTIVE');
  expect((await act({ resize: { flavorRef: '2' } })).status).toBe(202);
  expect(rowOf((await untilStatus(id, 'VERIFY_RESIZE'))['flavor'])['original_name']).toBe('m1.small');
  expect((await act({ revertResize: null })).status).toBe(202);
  expect(rowOf((await untilStatus(id, 'ACTIVE'))['flavor'])['original_name']).toBe('m1.tiny');
  const snapshot = await act({ createImage: { name: 'snap' } });
  const image = textOf(snapshot.body['image_id']);
  await eventually(async () => (await client.ask('image', 'GET', `/images/${image}`)).body['status'] === 'active');
  expect((await act({ nope: null })).status).toBe(400);
});

test('volumes are made, attached, detached, and boot servers', async () => {
  const made = await client.ask('volume', 'POST', '/volumes', {
    volume: { size: 1, name: 'v', metadata: { mark: 'x' } },
  });
  expect(made.status).toBe(202);
  const volumeId = idOf(made.body, 'volume');
  const statusOf = async (id: string) =>
    rowOf((await client.ask('volume', 'GET', `/volumes/${id}`)).body['volume'])['status'];
  await eventually(async () => (await statusOf(volumeId)) === 'available');
  const serverId = await boot({
    imageRef: '',
    block_device_mapping_v2: [
      {
        boot_index: 0,
        source_type: 'image',
        destination_type: 'volume',
        uuid: imageId,
        volume_size: 1,
        delete_on_termination: true,
      },
    ],
  });
  const path = `/servers/${serverId}/os-volume_attachments`;
  expect((await client.ask('compute', 'POST', path, { volumeAttachment: { volumeId } })).status).toBe(200);
  await eventually(async () => (await statusOf(volumeId)) === 'in-use');
  expect((await client.ask('volume', 'DELETE', `/volumes/${volumeId}`)).status).toBe(400);
  expect(listOf((await showServer(serverId))['os-extended-volumes:volumes_attached'])).toHaveLength(2);
  expect((await client.ask('compute', 'DELETE', `${path}/${volumeId}`)).status).toBe(202);
  await eventually(async () => (await statusOf(volumeId)) === 'available');
  await client.ask('compute', 'DELETE', `/servers/${serverId}`);
  await eventually(async () => cloud.state.volumes.size === 1);
  expect((await client.ask('volume', 'DELETE', `/volumes/${volumeId}`)).status).toBe(202);
  expect(await statusOf(volumeId)).toBe('deleting');
  await eventually(async () => (await client.ask('volume', 'GET', `/volumes/${volumeId}`)).status === 404);
});

test('routers, floating IPs and groups hold what they use', async () => {
  const { network, subnet } = await makeNetwork('10.2.0.0/24');
  const external = [...cloud.state.networks.values()].find((one) => one['router:external'] === true);
  const externalId = textOf(external?.['id']);
  const router = { name: 'r', external_gateway_info: { network_id: externalId } };
  const routerId = idOf((await client.ask('network', 'POST', '/routers', { router })).body, 'router');
  const put = (action: string, body: Row) => client.ask('network', 'PUT', `/routers/${routerId}/${action}`, body);
  expect((await put('add_router_interface', { subnet_id: subnet })).status).toBe(200);
  const port_id = idOf((await client.ask('network', 'POST', '/ports', { port: { network_id: network } })).body, 'port');
  const wanted = { floatingip: { floating_network_id: externalId, port_id, floating_ip_address: '172.24.4.77' } };
  const floating = await client.ask('network', 'POST', '/floatingips', wanted);
  expect(floating.status, floating.text).toBe(201);
  expect(rowOf(floating.body['floatingip'])).toMatchObject({ router_id: routerId, floating_ip_address: '172.24.4.77' });
  expect((await client.ask('network', 'POST', '/floatingips', wanted)).status).toBe(409);
  const held = await put('remove_router_interface', { subnet_id: subnet });
  expect(rowOf(held.body['NeutronError'])['type']).toBe('RouterInterfaceInUseByFloatingIP');
  expect((await client.ask('network', 'DELETE', `/floatingips/${idOf(floating.body, 'floatingip')}`)).status).toBe(204);
  const routes = { router: { routes: [{ destination: '10.9.0.0/24', nexthop: '10.2.0.9' }] } };
  expect((await put('add_extraroutes', routes)).status).toBe(200);
  expect((await put('remove_router_interface', { subnet_id: subnet })).status).toBe(409);
  expect((await put('remove_extraroutes', routes)).status).toBe(200);
  expect((await put('remove_router_interface', { subnet_id: subnet })).status).toBe(200);
  expect((await client.ask('network', 'DELETE', `/routers/${routerId}`)).status).toBe(204);
  const groups = listOf(
    (await client.ask('network', 'GET', `/security-groups?project_id=${client.projectId}&fields=name`)).body[
      'security_groups'
    ],
  );
  expect(groups).toEqual([{ name: 'default' }]);
  const ports = await client.ask('network', 'GET', `/ports?network_id=${network}&limit=1`);
  expect([listOf(ports.body['ports']).length, listOf(ports.body['ports_links']).length]).toEqual([1, 2]);
});

test('images keep the id given, their bytes and hashes', async () => {
  const id = '8d5b0f0e-aaaa-4222-8333-444455556666';
  const made = await client.ask('image', 'POST', '/images', {
    id,
    name: 'i',
    disk_format: 'raw',
    container_format: 'bare',
  });
  expect([made.status, made.body['status']]).toEqual([201, 'queued']);
  expect((await client.ask('compute', 'POST', '/servers', newServer({ imageRef: id }))).text).toContain(
    `Image ${id} is not active.`,
  );
  const bytes = { 'content-type': 'application/octet-stream' };
  expect((await client.ask('image', 'PUT', `/images/${id}/file`, 'hello', bytes)).status).toBe(204);
  expect((await client.ask('image', 'PUT', `/images/${id}/file`, 'hello', bytes)).status).toBe(409);
  expect((await client.ask('image', 'GET', `/images/${id}/file`)).text).toBe('hello');
  const shown = (await client.ask('image', 'GET', `/images/${id}`)).body;
  expect(shown).toMatchObject({ status: 'active', size: 5, checksum: '5d41402abc4b2a76b9719d911017c592' });
});

test('projects keep apart, and a token needs a role on the project', async () => {
  const projectId = idOf(
    (await client.ask('identity', 'POST', '/projects', { project: { name: 'p' } })).body,
    'project',
  );
  expect((await login(cloud, projectId)).token).toBe('');
  const [roleId] = [...cloud.state.roles].find(([, name]) => name === 'admin') ?? [''];
  const userId = [...cloud.state.users.keys()][0];
  expect((await client.ask('identity', 'PUT', `/projects/${projectId}/users/${userId}/roles/${roleId}`)).status).toBe(
    204,
  );
  const tenant = await login(cloud, projectId);
  await boot();
  expect(listOf((await tenant.ask('compute', 'GET', '/servers/detail')).body['servers'])).toEqual([]);
  const all = listOf((await tenant.ask('compute', 'GET', '/servers/detail?all_tenants=1&limit=1')).body['servers']);
  expect(all).toHaveLength(1);
  expect((await tenant.ask('identity', 'POST', '/projects', { project: { name: 'p' } })).status).toBe(409);
});

test('faults, dropped answers and counts', async () => {
  cloud.requests.reset();
  const busy = cloud.faults.inject({
    match: { service: 'compute', method: 'GET' },
    times: 1,
    respond: { status: 503, body: {} },
  });
  expect((await client.ask('compute', 'GET', '/servers')).status).toBe(503);
  expect((await client.ask('compute', 'GET', '/servers')).status).toBe(200);
  expect(busy.hits()).toBe(1);
  const before = cloud.state.networks.size;
  const create = () => client.ask('network', 'POST', '/networks', { network: { name: 'lost' } });
  cloud.faults.inject({ match: { path: /^\/networks$/ }, times: 1, drop: 'before' });
  await expect(create()).rejects.toThrow();
  expect(cloud.state.networks.size).toBe(before);
  cloud.faults.inject({ match: { path: /^\/networks$/ }, times: 1, drop: 'after' });
  await expect(create()).rejects.toThrow();
  expect(cloud.state.networks.size).toBe(before + 1);
  cloud.faults.inject({ match: { service: 'image' }, times: 1, delay_ms: 60 });
  const start_ms = Date.now();
  await client.ask('image', 'GET', `/images/${imageId}`);
  expect(Date.now() - start_ms).toBeGreaterThanOrEqual(55);
  expect(cloud.requests.count('POST network /networks')).toBe(2);
  expect(cloud.requests.count('GET image /images/*')).toBe(1);
});

test('a stopped cloud refuses, goes on inside, and is back on its port', async () => {
  const made = await client.ask('compute', 'POST', '/servers', newServer());
  const id = idOf(made.body, 'server');
  await cloud.stop();
  await expect(client.ask('compute', 'GET', `/servers/${id}`)).rejects.toThrow();
  await eventually(async () => cloud.state.servers.get(id)?.vmState === 'active');
  await cloud.start();
  expect((await showServer(id))['status']).toBe('ACTIVE');
  cloud.setServerStatus(id, 'ERROR', { code: 500, message: 'disk is gone' });
  expect(await showServer(id)).toMatchObject({ status: 'ERROR', fault: { code: 500, message: 'disk is gone' } });
  cloud.state.servers.delete(id);
  expect((await client.ask('compute', 'GET', `/servers/${id}`)).status).toBe(404);
});

test('a cloud kept in a file is the same after a restart, with what was under way finished', async () => {
  const stateFile = join(mkdtempSync(join(tmpdir(), 'headwater-sim-')), 'east.json');
  const first = await createSimCloud({ name: 'kept', stateFile, isFurnished: true, timing: { boot_ms: 60_000 } });
  const before = await login(first);
  const image = [...first.state.images.keys()][0] ?? '';
  const boot = { server: { name: 'one', flavorRef: '1', imageRef: image, networks: 'none' } };
  const booted = await before.ask('compute', 'POST', '/servers', boot, { 'OpenStack-API-Version': 'compute 2.90' });
  expect(booted.status).toBe(202);
  await first.close();
  const second = await createSimCloud({ name: 'kept', stateFile });
  const after = await login(second);
  const listed = await after.ask('compute', 'GET', '/servers/detail');
  expect(listed.body).toMatchObject({ servers: [{ name: 'one', status: 'ACTIVE' }] });
  expect(second.state.images.get(image)?.data?.length).toBeGreaterThan(0);
  await second.close();
});
