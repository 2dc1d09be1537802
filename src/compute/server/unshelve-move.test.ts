/** A shelved server is unshelved in another child: all that is its own goes along, and nothing stays behind. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until } from './testing.ts';
import { moveTest } from './unshelve-move.testing.ts';

const parent = await moveTest();
const { call, ask, boot, reached, show, east, west, stretched, shelve, unshelve, settled } = parent;
const { serversOf, portsOf, shelvedIn, portIds, actionsOf, usage } = parent;
afterAll(() => parent.close());

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ a@b';
const WEST = { availability_zone: 'west' };
let network: string;

beforeAll(async () => {
  network = await stretched('10.50.0.0/24');
  const keypair = { name: 'mine', public_key: KEY };
  expect((await call('alice', 'POST', '/os-keypairs', { keypair })).status).toBeLessThan(300);
});
afterEach(() => {
  for (const cloud of [east, west]) cloud.faults.clear();
});

const onWire = (more: object = {}) => boot('east', { networks: [{ uuid: network }], ...more });
const drop = async (id: string): Promise<void> => {
  await call('alice', 'DELETE', `/servers/${id}`);
  await until(async () => (await show(id)) === undefined);
};

describe('into the zone of another child', () => {
  test('it comes up as it was, and is gone from where it was', async () => {
    await ask('alice', 'POST', '/network/v2.0/security-groups', { security_group: { name: 'web' } });
    const id = await onWire({
      key_name: 'mine',
      user_data: Buffer.from('#!/bin/sh').toString('base64'),
      config_drive: true,
      metadata: { content: 'this' },
      tags: ['blue'],
      description: 'the one',
      security_groups: [{ name: 'web' }],
    });
    await reached(id, 'ACTIVE');
    const before = await shelve(id);
    const counted = await usage();
    const [left] = serversOf(east, id);
    const ports = await portIds(id);
    Object.assign(west.timing, { boot_ms: 4000 });
    expect((await unshelve(id, WEST, 'alice', 77)).status).toBe(202);
    expect(await show(id)).toMatchObject({
      status: 'SHELVED_OFFLOADED',
      'OS-EXT-STS:task_state': 'unshelving',
      'OS-EXT-AZ:availability_zone': 'west',
    });
    const data = await until(async () => [...west.state.images.values()].find((one) => one.data !== undefined)?.data);
    expect(String(data)).toBe(`shelved ${left?.id}\n`);
    await until(async () => (await show(id))['OS-EXT-STS:task_state'] === 'spawning');
    expect((await show(id)).status).toBe('SHELVED_OFFLOADED');
    Object.assign(west.timing, { boot_ms: 20 });
    const after = await reached(id, 'ACTIVE');
    for (const key of ['id', 'name', 'addresses', 'metadata', 'tags', 'description', 'image', 'created', 'key_name']) {
      expect(after[key], key).toEqual(before[key]);
    }
    expect(after).toMatchObject({ 'OS-EXT-AZ:availability_zone': 'west', config_drive: 'True' });
    expect(after.security_groups).toEqual([{ name: 'web' }]);
    expect(after.hostId).not.toBe(before.hostId);
    await settled(id, 'west');
    const [there] = serversOf(west, id);
    expect(there).toMatchObject({ metadata: { content: 'this' }, description: 'the one', isConfigDrive: true });
    expect(there?.tags).toContain('blue');
    expect(there?.userData).toBe(Buffer.from('#!/bin/sh').toString('base64'));
    expect(there?.keyName).not.toBeNull();
    const [address] = Object.values(
      after.addresses as Record<string, { addr: string; [mac: string]: string }[]>,
    ).flat();
    expect(portsOf(west, ports)[0]).toMatchObject({
      mac_address: address?.['OS-EXT-IPS-MAC:mac_addr'],
      fixed_ips: [{ ip_address: address?.addr }],
      device_id: there?.id,
    });
    await until(async () => shelvedIn(east).length === 0);
    expect((await ask('alice', 'GET', '/image/v2/images?name=one-shelved')).body.images).toEqual([]);
    expect((await actionsOf(id))[0]).toMatchObject({ action: 'unshelve', message: null });
    const { request_id } = (await actionsOf(id))[0] as { request_id: string };
    const action = (await call('alice', 'GET', `/servers/${id}/os-instance-actions/${request_id}`)).body.instanceAction;
    expect(action.events[0]).toMatchObject({ event: 'compute_unshelve_instance', result: 'Success' });
    expect(await usage()).toEqual({ ...counted });
    expect((await ask('admin', 'GET', `/network/v2.0/ports/${ports[0]}`)).body.port).toMatchObject({
      device_owner: 'compute:west',
      'binding:host_id': 'west',
    });
    // And back again, by an administrator who names the host.
    await shelve(id);
    expect((await unshelve(id, { host: 'east' }, 'admin')).body.conflictingRequest.message).toBe(
      'Host "east" is not in the availability zone "west".',
    );
    expect((await unshelve(id, { host: 'east', availability_zone: null }, 'admin')).status).toBe(202);
    await reached(id, 'ACTIVE');
    await settled(id, 'east');
    expect(await call('admin', 'GET', `/servers/${id}`, undefined, 96)).toMatchObject({
      body: { server: { 'OS-EXT-SRV-ATTR:host': 'east', pinned_availability_zone: null } },
    });
    await drop(id);
  });

  test('without its key where that was deleted, with the disks that it was booted with', async () => {
    const roomy = { name: 'roomy', ram: 512, vcpus: 1, disk: 1, 'OS-FLV-EXT-DATA:ephemeral': 2, swap: 1024 };
    const flavorRef = (await call('admin', 'POST', '/flavors', { flavor: roomy })).body.flavor.id;
    const disks = [
      { source_type: 'image', destination_type: 'local', uuid: parent.image, boot_index: 0 },
      { source_type: 'blank', destination_type: 'local', volume_size: 1, boot_index: -1, guest_format: 'swap' },
    ];
    const id = await boot('east', { flavorRef, key_name: 'mine', block_device_mapping_v2: disks });
    await reached(id, 'ACTIVE');
    const devices = serversOf(east, id)[0]?.devices.map(({ source_type, size }) => ({ source_type, size }));
    expect(devices).not.toEqual([]);
    await shelve(id);
    await call('alice', 'DELETE', '/os-keypairs/mine');
    expect((await unshelve(id, WEST)).status).toBe(202);
    await reached(id, 'ACTIVE');
    await settled(id, 'west');
    expect(serversOf(west, id)[0]?.keyName).toBeNull();
    expect(serversOf(west, id)[0]?.devices).toMatchObject(devices ?? []);
    await drop(id);
  });
});

describe('it is refused', () => {
  test('before anything is done, with the reason', async () => {
    const local = await boot('east', { networks: [{ uuid: parent.network }] });
    const wired = await onWire();
    const said = async (id: string, body: object | null, who = 'alice') => {
      const { status, body: answer } = await unshelve(id, body, who);
      return [status, answer.conflictingRequest?.message ?? answer.badRequest?.message];
    };
    await Promise.all([reached(local, 'ACTIVE'), reached(wired, 'ACTIVE')]);
    expect((await unshelve(local, WEST)).body.conflictingRequest.message).toBe(
      `Cannot 'unshelve' instance ${local} while it is in vm_state active`,
    );
    await Promise.all([shelve(local), shelve(wired)]);
    expect(await said(local, WEST)).toEqual([
      409,
      `Instance ${local} cannot be unshelved in the availability zone west: network ${parent.network} is in the availability zone that the server is in, and nowhere else.`,
    ]);
    const [port] = await portIds(wired);
    const trunk = await ask('alice', 'POST', '/network/v2.0/trunks', { trunk: { port_id: port } });
    expect(trunk.status, trunk.text).toBe(201);
    expect((await said(wired, WEST))[1]).toContain(`port ${port} has a trunk, which belongs to`);
    await ask('alice', 'DELETE', `/network/v2.0/trunks/${trunk.body.trunk.id}`);
    expect(await said(wired, { availability_zone: 'nowhere' })).toEqual([
      400,
      'The requested availability zone is not available',
    ]);
    expect(await said(wired, { host: 'nowhere' }, 'admin')).toEqual([400, 'Compute host nowhere could not be found.']);
    expect((await unshelve(wired, { host: 'west' })).status).toBe(403);
    expect(serversOf(west, wired)).toEqual([]);
    for (const id of [local, wired]) {
      expect(await show(id)).toMatchObject({
        status: 'SHELVED_OFFLOADED',
        'OS-EXT-STS:task_state': null,
        'OS-EXT-AZ:availability_zone': 'east',
      });
    }
    expect((await unshelve(local, null)).status).toBe(202);
    await reached(local, 'ACTIVE');
    await drop(local);
    await drop(wired);
  });

  test('a second time while it is under way', async () => {
    const id = await onWire();
    await reached(id, 'ACTIVE');
    await shelve(id);
    const both = await Promise.all([unshelve(id, WEST), unshelve(id, { availability_zone: 'east' })]);
    expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
    await reached(id, 'ACTIVE');
    const { 'OS-EXT-AZ:availability_zone': zone } = await show(id);
    await settled(id, zone);
    await drop(id);
  });
});

describe('where it cannot come up there', () => {
  test.each([
    ['the child refuses it', { status: 403, body: { forbidden: { code: 403, message: 'Not here.' } } }],
    ['the child refuses its image', { status: 413, body: { message: 'Too much.' } }],
  ])('%s: it is shelved as before', async (what, respond) => {
    const id = await onWire();
    await reached(id, 'ACTIVE');
    await shelve(id);
    const [left] = serversOf(east, id);
    const match = what.includes('image')
      ? ({ method: 'POST', service: 'image', path: /^\/images$/ } as const)
      : ({ method: 'POST', service: 'compute', path: /^\/servers$/ } as const);
    west.faults.inject({ match, respond });
    expect((await unshelve(id, WEST)).status).toBe(202);
    await until(async () => (await actionsOf(id))[0]?.message === 'Error');
    await expectShelved(id, left?.id);
    west.faults.clear();
    await unshelve(id, WEST);
    await reached(id, 'ACTIVE');
    await settled(id, 'west');
    await drop(id);
  });

  test('the new server fails, or is deleted there: the old one goes on', async () => {
    const id = await onWire();
    await reached(id, 'ACTIVE');
    await shelve(id);
    const [left] = serversOf(east, id);
    for (const spoil of [
      (child: string) => west.setServerStatus(child, 'ERROR', { code: 500, message: `No room for ${child}.` }),
      (child: string) => west.deleteServer(child),
    ]) {
      Object.assign(west.timing, { boot_ms: 60_000 });
      await unshelve(id, WEST);
      const there = await until(async () => serversOf(west, id)[0]);
      await call('alice', 'PUT', `/servers/${id}`, { server: { name: 'meanwhile' } });
      spoil(there.id);
      await until(async () => (await show(id))['OS-EXT-STS:task_state'] === null);
      await expectShelved(id, left?.id);
      Object.assign(west.timing, { boot_ms: 20 });
      const [action] = await actionsOf(id);
      const detail = await call('admin', 'GET', `/servers/${id}/os-instance-actions/${action?.request_id}`);
      expect(detail.body.instanceAction.events[0].details).not.toContain(there.id);
    }
    await until(async () => serversOf(east, id)[0]?.name === 'meanwhile');
    await unshelve(id, null);
    await reached(id, 'ACTIVE');
    await drop(id);
    expect(serversOf(east, id)).toEqual([]);
  });

  test('its policy of servers apart leaves no place: the record says so', async () => {
    const server_group = { name: 'apart', policies: ['anti-affinity'] };
    const { id: group } = (await call('alice', 'POST', '/os-server-groups', { server_group }, 14)).body.server_group;
    const hinted = async (zone: string): Promise<string> => {
      const server = { name: 'one', flavorRef: parent.flavor, imageRef: parent.image, networks: 'none' };
      const wanted = { server: { ...server, availability_zone: zone }, 'os:scheduler_hints': { group } };
      return (await call('alice', 'POST', '/servers', wanted)).body.server.id;
    };
    const [id, other] = [await hinted('east'), await hinted('west')];
    await Promise.all([reached(id, 'ACTIVE'), reached(other, 'ACTIVE')]);
    await shelve(id);
    expect((await unshelve(id, WEST)).status).toBe(202);
    expect((await actionsOf(id))[0]).toMatchObject({ action: 'unshelve', message: 'Error' });
    expect(await show(id)).toMatchObject({ status: 'SHELVED_OFFLOADED', 'OS-EXT-STS:task_state': null });
    await drop(other);
    expect((await unshelve(id, WEST)).status).toBe(202);
    await reached(id, 'ACTIVE');
    await drop(id);
  });

  async function expectShelved(id: string, child: string | undefined): Promise<void> {
    expect(await show(id)).toMatchObject({
      status: 'SHELVED_OFFLOADED',
      'OS-EXT-STS:task_state': null,
      'OS-EXT-AZ:availability_zone': 'east',
    });
    await settled(id, 'east');
    expect(serversOf(east, id)[0]?.id).toBe(child);
    expect(shelvedIn(east)).toHaveLength(1);
    await until(async () => shelvedIn(west).length === 0);
  }
});
