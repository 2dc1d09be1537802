import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InjectedFault } from '../../sim/http.ts';
import { type TestParent, testParent } from '../../testing/parent.ts';

let test: TestParent;
let flavor: string;
let image: string;

const version = { 'openstack-api-version': 'compute 2.93, volume 3.70' };
const ask = (method: string, path: string, body?: unknown, who = 'alice') =>
  test.api.call(who, method, path, body, version);
const compute = (method: string, path: string, body?: unknown, who?: string) =>
  ask(method, `/compute/v2.1${path}`, body, who);
const cinder = (method: string, path: string, body?: unknown, who?: string) =>
  ask(method, `/volume/v3${path}`, body, who);

beforeAll(async () => {
  test = await testParent();
  const made = await compute('POST', '/flavors', { flavor: { name: 'small', ram: 512, vcpus: 1, disk: 1 } }, 'admin');
  flavor = made.body.flavor.id;
  const registered = { name: 'cirros', disk_format: 'raw', container_format: 'bare' };
  image = (await ask('POST', '/image/v2/images', registered)).body.id;
  await test.api.call('alice', 'PUT', `/image/v2/images/${image}/file`, Buffer.from('an image'), {
    'content-type': 'application/octet-stream',
  });
});
afterAll(() => test.stop());

const east = () => test.sims.east as NonNullable<TestParent['sims'][string]>;
const childVolumes = (id: string) =>
  [...east().state.volumes.values()].filter(({ metadata }) => metadata.headwater_id === id);
const childServers = (id: string) =>
  [...east().state.servers.values()].filter(({ tags, isDeleted }) => !isDeleted && tags.includes(`headwater:${id}`));

async function volume(more: object = {}): Promise<string> {
  const made = await cinder('POST', '/volumes', { volume: { size: 1, availability_zone: 'east', ...more } });
  expect(made.status, made.text).toBe(202);
  const { id } = made.body.volume;
  await volumeIs(id, 'available');
  return id;
}

const volumeIs = (id: string, status: string) =>
  test
    .eventually(async () => {
      const shown = await cinder('GET', `/volumes/${id}`);
      return (shown.status === 404 ? 'gone' : shown.body.volume.status) === status && (shown.body?.volume ?? true);
    })
    .catch(async () => expect((await cinder('GET', `/volumes/${id}`)).text).toBe(status));

async function snapshot(volumeId: string, more: object = {}): Promise<string> {
  const made = await cinder('POST', '/snapshots', { snapshot: { volume_id: volumeId, ...more } });
  expect(made.status, made.text).toBe(202);
  const { id } = made.body.snapshot;
  await test.eventually(async () => (await cinder('GET', `/snapshots/${id}`)).body.snapshot.status === 'available');
  return id;
}

const bootAnswer = (more: object) =>
  compute('POST', '/servers', {
    server: { name: 'one', flavorRef: flavor, networks: 'none', availability_zone: 'east', ...more },
  });

async function boot(more: object = { imageRef: image }): Promise<string> {
  const made = await bootAnswer(more);
  expect(made.status, made.text).toBe(202);
  const { id } = made.body.server;
  const end = await test.eventually(async () => {
    const { server } = (await compute('GET', `/servers/${id}`)).body;
    return server.status !== 'BUILD' && server;
  });
  expect(end.fault).toBeUndefined();
  return id;
}

const attachmentsOf = async (serverId: string): Promise<Record<string, unknown>[]> =>
  (await compute('GET', `/servers/${serverId}/os-volume_attachments`)).body.volumeAttachments;

async function gone(serverId: string): Promise<void> {
  expect((await compute('DELETE', `/servers/${serverId}`)).status).toBe(204);
  await test.eventually(async () => (await compute('GET', `/servers/${serverId}`)).status === 404);
  expect(childServers(serverId)).toEqual([]);
}

async function attach(serverId: string, volumeId: string, more: object = {}) {
  return compute('POST', `/servers/${serverId}/os-volume_attachments`, {
    volumeAttachment: { volumeId, ...more },
  });
}

describe('a boot with volumes', () => {
  it('boots from a volume that is there, which outlives the server', async () => {
    const root = await volume({ imageRef: image, name: 'root' });
    const mapping = { boot_index: 0, uuid: root, source_type: 'volume', destination_type: 'volume' };
    const id = await boot({ block_device_mapping_v2: [mapping] });
    const shown = (await compute('GET', `/servers/${id}`)).body.server;
    expect([shown.image, shown['os-extended-volumes:volumes_attached']]).toEqual([
      '',
      [{ id: root, delete_on_termination: false }],
    ]);
    const inUse = await volumeIs(root, 'in-use');
    expect(inUse.attachments).toMatchObject([{ server_id: id, volume_id: root, device: expect.any(String) }]);
    expect((await compute('DELETE', `/servers/${id}/os-volume_attachments/${root}`)).status).toBe(400);
    const refused = await cinder('DELETE', `/volumes/${root}`);
    expect([refused.status, refused.body.badRequest.message]).toEqual([
      400,
      expect.stringMatching(/^Invalid volume: Volume status must be available or error .* attached/),
    ]);
    await gone(id);
    await volumeIs(root, 'available');
    expect((await cinder('DELETE', `/volumes/${root}`)).status).toBe(202);
    await volumeIs(root, 'gone');
    expect(childVolumes(root)).toEqual([]);
  });

  it('goes where the volume is, where no zone is asked for', async () => {
    const root = await volume({ imageRef: image, availability_zone: 'west' });
    const mapping = { boot_index: 0, uuid: root, source_type: 'volume', destination_type: 'volume' };
    const id = await boot({
      availability_zone: undefined,
      block_device_mapping_v2: [{ ...mapping, delete_on_termination: true }],
    });
    const shown = (await compute('GET', `/servers/${id}`)).body.server;
    expect([shown.status, shown['OS-EXT-AZ:availability_zone']]).toEqual(['ACTIVE', 'west']);
    await gone(id);
    await volumeIs(root, 'gone');
  });

  it('makes volumes of an image, a snapshot and nothing, and takes away those that it is told to', async () => {
    const source = await volume({ size: 2 });
    const taken = await snapshot(source);
    const given = await volume();
    const from = (source_type: string, more: object) => ({ source_type, destination_type: 'volume', ...more });
    const id = await boot({
      block_device_mapping_v2: [
        from('image', { uuid: image, boot_index: 0, volume_size: 3, delete_on_termination: true }),
        from('snapshot', { uuid: taken, boot_index: -1, delete_on_termination: true }),
        from('blank', { volume_size: 1, boot_index: -1 }),
        from('volume', { uuid: given, boot_index: -1, delete_on_termination: false }),
      ],
    });
    const attached = await attachmentsOf(id);
    const [root, copy, blank, last] = attached.map(({ volumeId }) => String(volumeId)) as [
      string,
      string,
      string,
      string,
    ];
    expect(last).toBe(given);
    expect(new Set(attached.map(({ device }) => device)).size).toBe(4);
    const sizes = [];
    for (const one of [root, copy, blank, given]) {
      const { size, bootable } = await volumeIs(one, 'in-use');
      sizes.push([size, bootable]);
      expect(childVolumes(one)).toHaveLength(1);
    }
    expect(sizes).toEqual([
      [3, 'true'],
      [2, 'false'],
      [1, 'false'],
      [1, 'false'],
    ]);
    const limits = async () => (await cinder('GET', '/limits')).body.limits.absolute.totalVolumesUsed;
    const before = await limits();
    await gone(id);
    await volumeIs(root, 'gone');
    await volumeIs(copy, 'gone');
    await volumeIs(blank, 'available');
    await volumeIs(given, 'available');
    expect(await limits()).toBe(before - 2);
    expect([childVolumes(root), childVolumes(copy)]).toEqual([[], []]);
  });

  it('refuses what Nova refuses, and leaves nothing', async () => {
    const west = await volume({ availability_zone: 'west', imageRef: image });
    const device = (uuid: string, more: object = {}) => ({
      block_device_mapping_v2: [{ uuid, source_type: 'volume', destination_type: 'volume', boot_index: 0, ...more }],
    });
    const say = async (more: object) => {
      const { status, body } = await bootAnswer(more);
      return [status, (Object.values(body)[0] as { message: string }).message];
    };
    expect(await say(device(west))).toEqual([
      400,
      'The availability zone between the server and its attached volumes do not match: Server and volumes are not in the same availability zone.',
    ]);
    const blank = await volume();
    expect(await say(device(blank))).toEqual([400, `Block Device ${blank} is not bootable.`]);
    const none = '5a7bd3b5-0b7e-4e6d-9d3b-1a2b3c4d5e6f';
    expect(await say(device(none))).toEqual([400, `Block Device Mapping is Invalid: failed to get volume ${none}.`]);
    const server = await boot();
    expect((await attach(server, blank)).status).toBe(200);
    await volumeIs(blank, 'in-use');
    const [second] = device(blank, { boot_index: -1 }).block_device_mapping_v2;
    const first = { uuid: image, source_type: 'image', destination_type: 'local', boot_index: 0 };
    const [status, words] = await say({ block_device_mapping_v2: [first, second], imageRef: image });
    expect([status, words]).toEqual([400, expect.stringContaining('but the current status is in-use.')]);
    await gone(server);

    const used = (await cinder('GET', '/limits')).body.limits.absolute.totalVolumesUsed;
    const { project_id } = test.tenants.alice;
    await cinder('PUT', `/os-quota-sets/${project_id}`, { quota_set: { volumes: used + 1 } }, 'admin');
    const two = [0, -1].map((boot_index) => ({
      uuid: image,
      source_type: 'image',
      destination_type: 'volume',
      volume_size: 1,
      boot_index,
    }));
    expect(await say({ block_device_mapping_v2: two })).toEqual([
      403,
      `VolumeLimitExceeded: Maximum number of volumes allowed (${used + 1}) exceeded for quota 'volumes'.`,
    ]);
    await cinder('PUT', `/os-quota-sets/${project_id}`, { quota_set: { volumes: 100 } }, 'admin');
    expect((await cinder('GET', '/limits')).body.limits.absolute.totalVolumesUsed).toBe(used);
    const { instances } = (await compute('GET', `/os-quota-sets/${project_id}/detail`, undefined, 'admin')).body
      .quota_set;
    expect(instances.in_use).toBe((await compute('GET', '/servers')).body.servers.length);
  });
});

describe('volumes of a server', () => {
  it('are attached and detached, each at its own pace', async () => {
    const id = await boot();
    const data = await volume();
    const made = await attach(id, data, { delete_on_termination: true, tag: 'data' });
    expect(made.body.volumeAttachment).toMatchObject({
      volumeId: data,
      serverId: id,
      tag: 'data',
      delete_on_termination: true,
    });
    const twice = await attach(id, data);
    expect(twice.status).toBe(400);
    await volumeIs(data, 'in-use');
    const other = await boot();
    const elsewhere = await attach(other, data);
    expect([elsewhere.status, elsewhere.body.badRequest.message]).toEqual([
      400,
      expect.stringMatching(
        /Volume .* status must be available or downloading to reserve, but the current status is in-use/,
      ),
    ]);
    const west = await volume({ availability_zone: 'west' });
    const far = await attach(id, west);
    expect([far.status, far.body.badRequest.message]).toEqual([
      400,
      `Invalid volume: Instance ${id} and volume ${west} are not in the same availability_zone. Instance is in east. Volume is in west`,
    ]);
    await volumeIs(west, 'available');

    // From 3.66 on an attached volume needs no force.
    const refused = await test.api.call('alice', 'POST', '/volume/v3/snapshots', { snapshot: { volume_id: data } });
    expect([refused.status, refused.body.badRequest.message]).toEqual([
      400,
      expect.stringContaining('Invalid volume:'),
    ]);
    const kept = await snapshot(data, { force: true });
    expect((await cinder('DELETE', `/snapshots/${kept}`)).status).toBe(202);
    await test.eventually(async () => (await cinder('GET', `/snapshots/${kept}`)).status === 404);

    expect((await compute('DELETE', `/servers/${id}/os-volume_attachments/${data}`)).status).toBe(202);
    await volumeIs(data, 'available');
    await test.eventually(async () => (await attachmentsOf(id)).length === 0);
    expect((await compute('DELETE', `/servers/${id}/os-volume_attachments/${data}`)).status).toBe(404);

    // Attached again, it goes with its server, as was said.
    expect((await attach(other, data, { delete_on_termination: true })).status).toBe(200);
    await volumeIs(data, 'in-use');
    await gone(other);
    await volumeIs(data, 'gone');
    expect(childVolumes(data)).toEqual([]);
    await gone(id);
  });

  it('are swapped by an administrator for others that are as large, and for none otherwise', async () => {
    const server = await boot();
    const [one, two, small] = [await volume({ size: 2 }), await volume({ size: 2 }), await volume()];
    const path = `/servers/${server}/os-volume_attachments`;
    await compute('POST', path, { volumeAttachment: { volumeId: one, delete_on_termination: true } });
    await volumeIs(one, 'in-use');
    const swap = (from: string, to: string, who = 'admin') =>
      compute('PUT', `${path}/${from}`, { volumeAttachment: { volumeId: to } }, who);
    expect((await swap(one, two, 'alice')).status).toBe(403);
    expect((await swap(one, small)).body.badRequest.message).toBe(
      'Invalid volume: New volume must be the same size or larger.',
    );
    expect((await swap(one, image)).status).toBe(400);
    expect((await swap(two, one)).status).toBe(404);
    const old = { 'openstack-api-version': 'compute 2.84' };
    const [at, body] = [`/compute/v2.1${path}`, { volumeAttachment: { volumeId: two } }];
    expect((await test.api.call('admin', 'PUT', `${at}/${image}`, body, old)).status).toBe(404);
    expect((await test.api.call('alice', 'PUT', `${at}/${one}`, body, old)).status).toBe(403);
    expect((await test.api.call('admin', 'PUT', `${at}/${one}`, body, old)).status).toBe(202);
    await volumeIs(one, 'available');
    await volumeIs(two, 'in-use');
    expect(await attachmentsOf(server)).toMatchObject([{ volumeId: two, delete_on_termination: true }]);
    const { server: shown } = (await compute('GET', `/servers/${server}`)).body;
    expect(shown['os-extended-volumes:volumes_attached']).toEqual([{ id: two, delete_on_termination: true }]);
    const match = { method: 'PUT', service: 'compute', path: /os-volume_attachments/ } as const;
    const refusal = { status: 400, body: { badRequest: { code: 400, message: 'no' } } };
    const refused = east().faults.inject({ match, times: 1, respond: refusal });
    expect((await swap(two, one)).status).toBe(202);
    await test.eventually(async () => refused.hits() === 1);
    await volumeIs(one, 'available');
    await volumeIs(two, 'in-use');
    expect(await attachmentsOf(server)).toMatchObject([{ volumeId: two }]);
    const lost = east().faults.inject({ match, times: 1, drop: 'after' });
    expect((await swap(two, one)).status).toBe(202);
    await volumeIs(two, 'available');
    await volumeIs(one, 'in-use');
    expect(lost.hits()).toBe(1);
    expect(await attachmentsOf(server)).toMatchObject([{ volumeId: one }]);
    await gone(server);
  }, 40_000);

  it('are free again where the child refuses to attach', async () => {
    const id = await boot();
    const data = await volume();
    east().faults.inject({
      match: { method: 'POST', service: 'compute', path: /os-volume_attachments$/ },
      times: 1,
      respond: { status: 403, body: { forbidden: { code: 403, message: 'no' } } },
    });
    expect((await attach(id, data)).status).toBe(200);
    await volumeIs(data, 'available');
    expect(await attachmentsOf(id)).toEqual([]);
    await gone(id);
  });
});

describe('a crash leaves no double', () => {
  const drop = (match: InjectedFault['match']) => east().faults.inject({ match, times: 1, drop: 'after' });

  it('in a boot from a new volume', async () => {
    const cut = [
      drop({ method: 'POST', service: 'volume', path: /\/volumes$/ }),
      drop({ method: 'POST', service: 'compute', path: /^\/servers$/ }),
    ];
    const root = { uuid: image, source_type: 'image', destination_type: 'volume', volume_size: 1, boot_index: 0 };
    const id = await boot({ block_device_mapping_v2: [{ ...root, delete_on_termination: true }] });
    expect(cut.map(({ hits }) => hits())).toEqual([1, 1]);
    const [{ volumeId } = { volumeId: '' }] = await attachmentsOf(id);
    expect(childVolumes(String(volumeId))).toHaveLength(1);
    expect(childServers(id)).toHaveLength(1);
    await volumeIs(String(volumeId), 'in-use');
    cut.push(
      drop({ method: 'DELETE', service: 'compute', path: /^\/servers\// }),
      drop({ method: 'DELETE', service: 'volume', path: /\/volumes\// }),
    );
    await gone(id);
    await volumeIs(String(volumeId), 'gone');
    expect(cut.map(({ hits }) => hits())).toEqual([1, 1, 1, 1]);
    expect(childVolumes(String(volumeId))).toEqual([]);
  }, 40_000);

  it('in an attach and a detach', async () => {
    const id = await boot();
    const data = await volume();
    const path = /os-volume_attachments/;
    const cut = [drop({ method: 'POST', service: 'compute', path })];
    expect((await attach(id, data)).status).toBe(200);
    await volumeIs(data, 'in-use');
    expect(await attachmentsOf(id)).toHaveLength(1);
    cut.push(drop({ method: 'DELETE', service: 'compute', path }));
    expect((await compute('DELETE', `/servers/${id}/os-volume_attachments/${data}`)).status).toBe(202);
    await volumeIs(data, 'available');
    expect(cut.map(({ hits }) => hits())).toEqual([1, 1]);
    const [server] = childServers(id);
    expect(server?.devices).toEqual([]);
    expect((await attach(id, data)).status).toBe(200);
    await volumeIs(data, 'in-use');
    const taken = drop({ method: 'POST', service: 'volume', path: /\/snapshots$/ });
    const kept = await snapshot(data);
    expect(taken.hits()).toBe(1);
    expect([...east().state.snapshots.values()].filter(({ metadata }) => metadata.headwater_id === kept)).toHaveLength(
      1,
    );
    await gone(id);
    await volumeIs(data, 'available');
  }, 40_000);
});

it('volumes keep a shelved server in their cloud', async () => {
  const data = await volume();
  const id = await boot();
  expect((await attach(id, data)).status).toBe(200);
  await volumeIs(data, 'in-use');
  const act = (body: object) => compute('POST', `/servers/${id}/action`, body);
  expect((await act({ shelve: null })).status).toBe(202);
  await test.eventually(
    async () => (await compute('GET', `/servers/${id}`)).body.server.status === 'SHELVED_OFFLOADED',
  );
  const refused = await act({ unshelve: { availability_zone: 'west' } });
  expect([refused.status, refused.body.conflictingRequest.message]).toEqual([
    409,
    `The availability zone between the server and its attached volumes do not match: The specified availability zone does not match the volume ${data} attached to the server. Specified availability zone is west. Volume is in east..`,
  ]);
  await gone(id);
  await volumeIs(data, 'available');
});
