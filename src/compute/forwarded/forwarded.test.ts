/** What Nova hands on: a client of the old operations meets the very objects of the other services. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { objectsOf } from '../../testing/objects.ts';
import { testParent } from '../../testing/parent.ts';
import type { TestAnswer } from '../../testing/api.ts';

const parent = await testParent();
const objects = objectsOf(parent);
afterAll(() => parent.stop());

/** A call to compute at an old microversion. */
const old = (who: string, method: string, path: string, body?: unknown, minor = 1): Promise<TestAnswer> =>
  parent.api.call(who, method, `/compute/v2.1${path}`, body, { 'openstack-api-version': `compute 2.${minor}` });
const alice = (method: string, path: string, body?: unknown): Promise<TestAnswer> => old('alice', method, path, body);

describe('images', () => {
  let id = '';
  beforeAll(async () => {
    id = await objects.id('image_id');
  });

  test('are listed, shown and filtered as Nova shows them, and end with 2.35', async () => {
    const { body } = await alice('GET', `/images/${id}`);
    expect(body.image).toMatchObject({
      id,
      status: 'ACTIVE',
      progress: 100,
      minRam: 0,
      minDisk: 0,
      metadata: { sample: 'sample' },
      'OS-EXT-IMG-SIZE:size': 6,
    });
    expect(body.image.links.map(({ rel }: { rel: string }) => rel)).toEqual(['self', 'bookmark', 'alternate']);
    const ids = async (query: string) =>
      (await alice('GET', `/images/detail?${query}`)).body.images.map((one: { id: string }) => one.id);
    expect(await ids('status=ACTIVE')).toContain(id);
    expect(await ids(`name=${body.image.name}`)).toEqual([id]);
    expect(await ids('property-sample=sample&limit=1')).toEqual([id]);
    expect(await ids('status=SAVING')).toEqual([]);
    expect(await ids('server=http://parent/servers/none')).toEqual([]);
    expect((await alice('GET', '/images?limit=x')).status).toBe(400);
    const page = (await alice('GET', '/images?limit=1')).body;
    expect(page.images_links[0].href).toBe(`http://parent.test/compute/v2.1/images?limit=1&marker=${id}`);
    expect((await old('alice', 'GET', `/images/${id}`, undefined, 36)).status).toBe(404);
    expect((await old('bob', 'GET', `/images/${id}`)).body.itemNotFound.message).toBe('Image not found.');
  });

  test('have metadata that is their properties', async () => {
    const path = `/images/${id}/metadata`;
    expect((await alice('POST', path, { metadata: { 'os/x': 'one' } })).status).toBe(400);
    expect((await alice('POST', path, { metadata: { more: 'one' } })).body.metadata).toEqual({
      sample: 'sample',
      more: 'one',
    });
    expect((await alice('PUT', `${path}/more`, { meta: { other: 'two' } })).body.badRequest.message).toBe(
      'Request body and URI mismatch',
    );
    expect((await alice('PUT', `${path}/more`, { meta: { more: 'two' } })).body).toEqual({ meta: { more: 'two' } });
    expect((await alice('GET', `${path}/more`)).body).toEqual({ meta: { more: 'two' } });
    expect((await alice('DELETE', `${path}/more`)).status).toBe(204);
    expect((await alice('DELETE', `${path}/more`)).body.itemNotFound.message).toBe('Invalid metadata key');
    expect((await alice('PUT', path, { metadata: { sample: 'sample' } })).body).toEqual({
      metadata: { sample: 'sample' },
    });
    expect((await old('alice', 'GET', path, undefined, 38)).status).toBe(200);
    expect((await old('alice', 'GET', path, undefined, 39)).status).toBe(404);
    expect((await old('bob', 'PUT', path, { metadata: {} })).status).toBe(404);
  });

  test('are deleted, unless they are protected', async () => {
    const image = { name: 'kept', disk_format: 'raw', container_format: 'bare', protected: true };
    const made = (await parent.api.call('alice', 'POST', '/image/v2/images', image)).body;
    expect((await alice('DELETE', `/images/${made.id}`)).body.forbidden.message).toBe(
      'You are not allowed to delete the image.',
    );
    expect((await alice('DELETE', '/images/no-such-image')).status).toBe(404);
  });
});

describe('security groups', () => {
  test('and their rules are made, compared and deleted in words of Nova', async () => {
    const security_group = { name: 'web', description: 'of the web' };
    const group = (await alice('POST', '/os-security-groups', { security_group })).body.security_group;
    expect(group).toMatchObject({ ...security_group, tenant_id: parent.tenants.alice.project_id, rules: [] });
    const rule = (more: object) =>
      alice('POST', '/os-security-group-rules', {
        security_group_rule: { parent_group_id: group.id, ip_protocol: 'tcp', from_port: 80, to_port: 81, ...more },
      });
    const made = await rule({ cidr: '10.0.0.0/8' });
    expect(made.body.security_group_rule).toEqual({
      id: made.body.security_group_rule?.id,
      parent_group_id: group.id,
      ip_protocol: 'tcp',
      from_port: 80,
      to_port: 81,
      group: {},
      ip_range: { cidr: '10.0.0.0/8' },
    });
    expect((await rule({ cidr: '10.0.0.0/8' })).body.badRequest.message).toBe(
      `This rule already exists in group ${group.id}`,
    );
    const refused = async (more: object) => (await rule(more)).body.badRequest?.message;
    expect(await refused({ ip_protocol: 'carrier-pigeon' })).toBe('Invalid IP protocol carrier-pigeon');
    expect(await refused({ from_port: 90 })).toBe(
      'Invalid port range 90:81. Former value cannot be greater than the later',
    );
    expect(await refused({ from_port: 'x' })).toBe('Invalid input received: To and From ports must be integers');
    expect(await refused({ cidr: '10.0.0.0' })).toBe('10.0.0.0 is not a valid IP network.');
    expect(await refused({ cidr: '10.0.0.0/0' })).toBe('Bad prefix for network in cidr 10.0.0.0/0');
    expect(await refused({ ip_protocol: null })).toBe('Not enough parameters to build a valid rule.');
    expect(await refused({ parent_group_id: 'web' })).toBe('Security group id should be uuid');
    const mutual = await rule({ group_id: group.id, from_port: undefined, to_port: undefined });
    expect(mutual.body.security_group_rule).toMatchObject({
      from_port: 1,
      to_port: 65_535,
      group: { name: 'web', tenant_id: parent.tenants.alice.project_id },
      ip_range: {},
    });
    const icmp = await rule({ ip_protocol: 'icmp', from_port: -1, to_port: -1 });
    expect(icmp.body.security_group_rule).toMatchObject({
      from_port: -1,
      to_port: -1,
      ip_range: { cidr: '0.0.0.0/0' },
    });
    const shown = (await alice('GET', `/os-security-groups/${group.id}`)).body.security_group;
    expect(shown.rules).toHaveLength(3);
    const names = (await alice('GET', '/os-security-groups')).body.security_groups.map(
      (one: { name: string }) => one.name,
    );
    expect(names).toEqual(expect.arrayContaining(['default', 'web']));
    expect((await old('bob', 'GET', `/os-security-groups/${group.id}`)).status).toBe(404);
    const ofRule = `/os-security-group-rules/${made.body.security_group_rule.id}`;
    expect((await old('bob', 'DELETE', ofRule)).status).toBe(404);
    expect((await alice('DELETE', ofRule)).status).toBe(202);
    const changed = { security_group: { name: 'web2', description: '' } };
    expect((await alice('PUT', `/os-security-groups/${group.id}`, changed)).body.security_group.name).toBe('web2');
    expect((await alice('PUT', `/os-security-groups/${group.id}`, { security_group: { name: 3 } })).status).toBe(400);
    expect((await alice('POST', '/os-security-groups', {})).body.badRequest.message).toBe(
      "The request body can't be empty",
    );
    expect((await alice('DELETE', `/os-security-groups/${group.id}`)).status).toBe(202);
    expect((await alice('DELETE', `/os-security-groups/${group.id}`)).status).toBe(404);
  });
});

describe('volumes and snapshots', () => {
  test('are made, listed, shown and deleted', async () => {
    const volume = { size: 1, display_name: 'data', display_description: 'of data', metadata: { a: 'b' } };
    const made = await alice('POST', '/os-volumes', { volume });
    expect(made.status).toBe(200);
    const { id } = made.body.volume;
    expect(made.body.volume).toMatchObject({
      displayName: 'data',
      displayDescription: 'of data',
      size: 1,
      metadata: { a: 'b' },
      attachments: [{}],
      snapshotId: null,
    });
    await parent.eventually(async () => (await alice('GET', `/os-volumes/${id}`)).body.volume.status === 'available');
    expect((await alice('GET', '/os-volumes/detail?limit=1')).body.volumes).toHaveLength(1);
    expect((await alice('GET', '/os-volumes?offset=50')).body.volumes).toEqual([]);
    expect((await alice('GET', '/os-volumes?limit=-1')).status).toBe(400);
    expect((await alice('POST', '/os-volumes', { volume: { size: 0 } })).status).toBe(400);
    expect((await old('bob', 'GET', `/os-volumes/${id}`)).status).toBe(404);
    const snapshot = { volume_id: id, display_name: 'then', force: 'false' };
    const taken = (await alice('POST', '/os-snapshots', { snapshot })).body.snapshot;
    expect(taken).toMatchObject({ volumeId: id, displayName: 'then', size: 1 });
    await parent.eventually(
      async () => (await alice('GET', `/os-snapshots/${taken.id}`)).body.snapshot.status === 'available',
    );
    expect((await old('alice', 'GET', '/os-snapshots', undefined, 36)).status).toBe(404);
    expect((await alice('DELETE', `/os-snapshots/${taken.id}`)).status).toBe(202);
    await parent.eventually(async () => (await alice('GET', `/os-snapshots/${taken.id}`)).status === 404);
    expect((await alice('DELETE', `/os-volumes/${id}`)).status).toBe(202);
  });
});

describe('networks and floating IPs', () => {
  test('networks show their label and nothing else', async () => {
    const id = await objects.id('network_id');
    const { network } = (await alice('GET', `/os-networks/${id}`)).body;
    expect(Object.entries(network).filter(([, value]) => value !== null)).toHaveLength(2);
    expect((await old('admin', 'GET', `/os-networks/${id}`)).body.network).toHaveProperty('dhcp_server', null);
    expect((await alice('GET', `/os-tenant-networks/${id}`)).body.network).toEqual({
      id,
      cidr: 'None',
      label: network.label,
    });
    const listed = (await alice('GET', '/os-networks')).body.networks.map((one: { id: string }) => one.id);
    expect(listed).toContain(id);
    expect((await old('bob', 'GET', `/os-tenant-networks/${id}`)).body.itemNotFound.message).toBe('Network not found');
    expect((await alice('POST', '/os-networks', { network: {} })).status).toBe(410);
    expect((await old('', 'GET', '/os-cells')).status).toBe(401);
    expect((await old('alice', 'GET', '/os-cells', undefined, 96)).status).toBe(410);
  });

  test('a floating IP is taken from a pool, tied to a server, untied and given back', async () => {
    const server = await objects.id('server_id');
    // A router to the outside, without which no floating IP can be tied.
    await objects.id('floatingip_id');
    const pools = (await alice('GET', '/os-floating-ip-pools')).body.floating_ip_pools;
    const east = await objects.ask('mine', 'GET', '/network/v2.0/networks?router:external=true');
    const pool = east.find((one: { availability_zones: string[] }) => one.availability_zones.includes('east'));
    expect(pools).toContainEqual({ name: pool.name });
    expect((await alice('POST', '/os-floating-ips', { pool: 'no-such-pool' })).body.itemNotFound.message).toBe(
      'Floating IP pool not found.',
    );
    const made = (await alice('POST', '/os-floating-ips', { pool: pool.id })).body.floating_ip;
    expect(made).toMatchObject({ pool: pool.name, fixed_ip: null, instance_id: null });
    const action = (body: object, minor = 1) => old('alice', 'POST', `/servers/${server}/action`, body, minor);
    const unbound = { removeFloatingIp: { address: made.ip } };
    expect((await action(unbound)).status).toBe(409);
    expect((await action({ addFloatingIp: { address: made.ip } }, 44)).status).toBe(400);
    const wrong = { addFloatingIp: { address: made.ip, fixed_address: '203.0.113.9' } };
    expect((await action(wrong)).body.badRequest.message).toBe('Specified fixed address not assigned to instance');
    expect((await action({ addFloatingIp: { address: '203.0.113.9' } })).status).toBe(404);
    // The server's only address may have another one: that is untied first.
    const own = (await alice('GET', '/os-floating-ips')).body.floating_ips;
    for (const one of own) {
      if (one.instance_id === server) await action({ removeFloatingIp: { address: one.ip } });
    }
    expect((await action({ addFloatingIp: { address: made.ip } })).status).toBe(202);
    const shown = (await alice('GET', `/os-floating-ips/${made.id}`)).body.floating_ip;
    expect(shown).toMatchObject({ instance_id: server, ip: made.ip });
    expect(shown.fixed_ip).toMatch(/^10\.45\.1\./);
    expect((await action(unbound)).status).toBe(202);
    expect((await old('bob', 'DELETE', `/os-floating-ips/${made.id}`)).status).toBe(404);
    expect((await alice('DELETE', `/os-floating-ips/${made.id}`)).status).toBe(202);
    expect((await alice('GET', `/os-floating-ips/${made.id}`)).body.itemNotFound.message).toBe(
      `Floating IP not found for ID ${made.id}`,
    );
  });

  test('a server gets one more address in a network, and loses it', async () => {
    const server = await objects.id('server_id');
    const network = await objects.id('network_id');
    const action = (body: object) => alice('POST', `/servers/${server}/action`, body);
    const addresses = async (): Promise<string[]> =>
      (await alice('GET', `/servers/${server}/os-interface`)).body.interfaceAttachments.flatMap(
        (one: { fixed_ips: { ip_address: string }[] }) => one.fixed_ips.map(({ ip_address }) => ip_address),
      );
    const before = await addresses();
    expect((await action({ addFixedIp: { networkId: network } })).status).toBe(202);
    const added = (await addresses()).find((one) => !before.includes(one));
    expect(added).toMatch(/^10\.45\.1\./);
    expect((await action({ removeFixedIp: { address: added } })).status).toBe(202);
    expect(await addresses()).toEqual(before);
    expect((await action({ removeFixedIp: { address: added } })).body.badRequest.message).toBe(
      `Instance ${server} does not have fixed IP '${added}'.`,
    );
    expect((await action({ addFixedIp: { networkId: 'none' } })).status).toBe(404);
  });
});
