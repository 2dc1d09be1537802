import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestParent, testParent } from '../../testing/parent.ts';

let test: TestParent;
let flavor: string;
let image: string;

const ask = (method: string, path: string, body?: unknown, who = 'alice', minor = 93) =>
  test.api.call(who, method, path, body, { 'openstack-api-version': `compute 2.${minor}, volume 3.70` });
const compute = (method: string, path: string, body?: unknown, who?: string, minor?: number) =>
  ask(method, `/compute/v2.1${path}`, body, who, minor);
const cinder = (method: string, path: string, body?: unknown, who?: string) =>
  ask(method, `/volume/v3${path}`, body, who);
const glance = async (id: string) => (await ask('GET', `/image/v2/images/${id}`)).body;

beforeAll(async () => {
  test = await testParent();
  const made = await compute('POST', '/flavors', { flavor: { name: 'small', ram: 512, vcpus: 1, disk: 1 } }, 'admin');
  flavor = made.body.flavor.id;
  const registered = { name: 'cirros', disk_format: 'raw', container_format: 'bare', hw_disk_bus: 'scsi' };
  image = (await ask('POST', '/image/v2/images', registered)).body.id;
  await test.api.call('alice', 'PUT', `/image/v2/images/${image}/file`, Buffer.from('an image'), {
    'content-type': 'application/octet-stream',
  });
});
afterAll(() => test.stop());

const reached = (id: string) =>
  test.eventually(async () => {
    const { server } = (await compute('GET', `/servers/${id}`)).body;
    return server.status !== 'BUILD' && server;
  });
const bootAnswer = (more: object, minor?: number) =>
  compute(
    'POST',
    '/servers',
    { server: { name: 'one', flavorRef: flavor, networks: 'none', ...more } },
    undefined,
    minor,
  );
async function boot(more: object) {
  const made = await bootAnswer(more);
  expect(made.status, made.text).toBe(202);
  return reached(made.body.server.id);
}
const rootOfImage = { source_type: 'image', destination_type: 'volume', volume_size: 2, boot_index: 0 };
const fromVolume = () =>
  boot({
    availability_zone: 'east',
    block_device_mapping_v2: [
      { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: -1 },
      { ...rootOfImage, uuid: image, delete_on_termination: true },
    ],
  });
const act = (id: string, body: object, who?: string, minor?: number) =>
  compute('POST', `/servers/${id}/action`, body, who, minor);
const words = (answer: { body: object }) => (Object.values(answer.body)[0] as { message: string }).message;

describe('an image of a server that boots from volumes', () => {
  it('has no data, names a snapshot of each volume, and boots in their child alone', async () => {
    const server = await fromVolume();
    expect(server.image).toBe('');
    const match = { method: 'POST', service: 'volume', path: /\/snapshots$/ } as const;
    const lost = test.sims.east?.faults.inject({ match, times: 2, drop: 'after' });
    const made = await act(server.id, { createImage: { name: 'kept', metadata: { mine: 'yes' } } });
    expect(made.status, made.text).toBe(202);
    const shown = await glance(made.body.image_id);
    expect(shown).toMatchObject({
      name: 'kept',
      status: 'active',
      size: 0,
      visibility: 'private',
      disk_format: 'qcow2',
      container_format: 'bare',
      checksum: 'd41d8cd98f00b204e9800998ecf8427e',
      min_disk: 1,
      mine: 'yes',
      bdm_v2: 'True',
      base_image_ref: '',
      hw_disk_bus: 'scsi',
      owner_user_name: expect.any(String),
    });
    expect(shown).not.toHaveProperty('instance_uuid');
    const devices = JSON.parse(shown.block_device_mapping) as Record<string, unknown>[];
    expect(devices).toMatchObject([
      {
        source_type: 'snapshot',
        destination_type: 'volume',
        boot_index: 0,
        volume_size: 2,
        delete_on_termination: true,
      },
      { source_type: 'snapshot', destination_type: 'volume', boot_index: null, volume_size: 1, volume_id: null },
    ]);
    const { snapshots } = (await cinder('GET', '/snapshots/detail')).body;
    const named = snapshots.filter(({ name }: { name: string }) => name === 'snapshot for kept');
    expect(named.map(({ id }: { id: string }) => id).sort()).toEqual(devices.map((one) => one.snapshot_id).sort());
    const history = (await compute('GET', `/servers/${server.id}/os-instance-actions`)).body.instanceActions;
    expect(history[0]).toMatchObject({ action: 'createImage', message: null });

    // At once, while the snapshots are only being made; and without a zone, where they are.
    const copy = await boot({ imageRef: made.body.image_id });
    expect(copy).toMatchObject({ status: 'ACTIVE', 'OS-EXT-AZ:availability_zone': 'east' });
    expect(copy.image.id).toBe(made.body.image_id);
    const attached = (await compute('GET', `/servers/${copy.id}/os-volume_attachments`)).body.volumeAttachments;
    expect(attached.map((one: object) => 'delete_on_termination' in one && one.delete_on_termination)).toEqual([
      true,
      false,
    ]);
    const copied = await cinder('GET', `/volumes/${attached[0].volumeId}`);
    expect(copied.body.volume).toMatchObject({ size: 2, snapshot_id: devices[0]?.snapshot_id });
    const there = [...(test.sims.east?.state.servers.values() ?? [])].find(({ tags }) =>
      tags.includes(`headwater:${copy.id}`),
    );
    expect([there?.imageId, there?.devices.length]).toEqual(['', 2]);
    const listed = await compute('GET', `/servers?image=${made.body.image_id}`);
    expect(listed.body.servers.map(({ id }: { id: string }) => id)).toEqual([copy.id]);

    // Both answers were lost, and neither snapshot was made twice.
    expect(lost?.hits()).toBe(2);
    for (const { snapshot_id } of devices) {
      const copies = [...(test.sims.east?.state.snapshots.values() ?? [])].filter(
        ({ metadata }) => metadata.headwater_id === snapshot_id,
      );
      expect(copies).toHaveLength(1);
    }

    const far = await bootAnswer({ imageRef: made.body.image_id, availability_zone: 'west' });
    expect([far.status, words(far)]).toEqual([400, expect.stringContaining('availability zone')]);
    await compute('DELETE', `/servers/${copy.id}`);
    await test.eventually(async () => (await compute('GET', `/servers/${copy.id}`)).status === 404);
    await test.eventually(async () => (await cinder('GET', `/volumes/${attached[0].volumeId}`)).status === 404);
    for (const { snapshot_id } of devices) {
      const settled = () => cinder('GET', `/snapshots/${String(snapshot_id)}`);
      await test.eventually(async () => (await settled()).body.snapshot.status === 'available');
      expect((await cinder('DELETE', `/snapshots/${String(snapshot_id)}`)).status).toBe(202);
      await test.eventually(async () => (await settled()).status === 404);
    }
    const late = await bootAnswer({ imageRef: made.body.image_id });
    expect([late.status, words(late)]).toEqual([400, expect.stringContaining('failed to get snapshot')]);
  }, 40_000);

  it('says where it is before 2.45, and is refused over the quota without a trace, and as a backup', async () => {
    const server = await fromVolume();
    const old = await act(server.id, { createImage: { name: 'old' } }, undefined, 44);
    expect([old.status, old.text]).toEqual([202, '']);
    expect(old.headers.location).toMatch(/\/image\/v2\/images\/[0-9a-f-]{36}$/);
    const metadata = Object.fromEntries(Array.from({ length: 129 }, (_, at) => [`k${at}`, 'v']));
    const many = await act(server.id, { createImage: { name: 'many', metadata } }, undefined, 38);
    expect([many.status, words(many)]).toEqual([403, 'Image metadata limit exceeded']);
    const { project_id } = test.tenants.alice;
    const used = (await cinder('GET', `/os-quota-sets/${project_id}?usage=true`, undefined, 'admin')).body.quota_set;
    const limit = used.snapshots.in_use + 1;
    await cinder('PUT', `/os-quota-sets/${project_id}`, { quota_set: { snapshots: limit } }, 'admin');
    const over = await act(server.id, { createImage: { name: 'over' } });
    expect([over.status, words(over)]).toEqual([403, 'Quota exceeded for resources: snapshots']);
    const after = (await cinder('GET', `/os-quota-sets/${project_id}?usage=true`, undefined, 'admin')).body.quota_set;
    expect(after.snapshots.in_use).toBe(used.snapshots.in_use);
    expect((await ask('GET', '/image/v2/images?name=over')).body.images).toEqual([]);
    await cinder('PUT', `/os-quota-sets/${project_id}`, { quota_set: { snapshots: 100 } }, 'admin');
    const backup = await act(server.id, { createBackup: { name: 'b', backup_type: 'daily', rotation: 1 } });
    expect([backup.status, words(backup)]).toEqual([400, 'Backup is not supported for volume-backed instances.']);
  }, 40_000);

  it('is shared with the project of the server where an administrator makes it', async () => {
    const server = await fromVolume();
    const made = await act(server.id, { createImage: { name: 'theirs' } }, 'admin');
    expect(made.status, made.text).toBe(202);
    const { image_id } = made.body;
    const shown = await ask('GET', `/image/v2/images/${image_id}`, undefined, 'admin');
    expect(shown.body.visibility).toBe('shared');
    const members = (await ask('GET', `/image/v2/images/${image_id}/members`, undefined, 'admin')).body.members;
    expect(members).toMatchObject([{ member_id: test.tenants.alice.project_id, status: 'pending' }]);
    expect((await glance(image_id)).id).toBe(image_id);
  }, 40_000);
});

describe('devices of a boot', () => {
  const refused = async (more: object) => {
    const answer = await bootAnswer(more);
    return [answer.status, words(answer)];
  };
  const sequence =
    'Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.';
  const blank = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: -1 };

  it('are refused in the words of Nova', async () => {
    const cases: readonly (readonly [object, string])[] = [
      [{ imageRef: image, block_device_mapping_v2: [blank] }, sequence],
      [{ block_device_mapping_v2: [{ ...rootOfImage, uuid: image, boot_index: 1 }] }, sequence],
      [{ block_device_mapping_v2: [{ ...rootOfImage }] }, 'Block Device Mapping is Invalid: Missing device UUID.'],
      [
        { imageRef: image, block_device_mapping_v2: [{ ...blank, uuid: image }] },
        'Block Device Mapping is Invalid: Invalid device UUID.',
      ],
      [
        {
          imageRef: image,
          block_device_mapping_v2: [
            { source_type: 'image', destination_type: 'local', uuid: image, boot_index: 0 },
            { source_type: 'blank', destination_type: 'local', guest_format: 'swap', volume_size: 1, boot_index: -1 },
          ],
        },
        'Swap drive requested is larger than instance type allows.',
      ],
    ];
    for (const [more, expected] of cases) expect(await refused(more)).toEqual([400, expected]);
  });

  it('may stand in an image as a tenant wrote them, which may be nonsense', async () => {
    for (const text of ['{', '{}', '[1]', '[{"source_type":"moon"}]', '[{"volume_size":"x"}]', '[{"uuid":{}}]']) {
      const named = {
        name: 'odd',
        disk_format: 'raw',
        container_format: 'bare',
        block_device_mapping: text,
        bdm_v2: '1',
      };
      const { id } = (await ask('POST', '/image/v2/images', named)).body;
      await test.api.call('alice', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('x'), {
        'content-type': 'application/octet-stream',
      });
      expect(await refused({ imageRef: id })).toEqual([
        400,
        "Block Device Mapping is Invalid: the image's block_device_mapping cannot be read.",
      ]);
    }
  });
});

describe('a rebuild of a server that boots from a volume', () => {
  it('takes the image of its volume, and another one since 2.93', async () => {
    const server = await fromVolume();
    const other = { name: 'other', disk_format: 'raw', container_format: 'bare' };
    const { id } = (await ask('POST', '/image/v2/images', other)).body;
    await test.api.call('alice', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('another'), {
      'content-type': 'application/octet-stream',
    });
    const refused = await act(server.id, { rebuild: { imageRef: id } }, undefined, 92);
    expect([refused.status, words(refused)]).toEqual([
      400,
      `Image ${id} is unacceptable: Unable to rebuild with a different image for a volume-backed server.`,
    ]);
    expect((await act(server.id, { rebuild: { imageRef: image } }, undefined, 92)).status).toBe(202);
  }, 20_000);
});
