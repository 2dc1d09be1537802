/** What an image says of the local disks of servers made of it, and what images of servers say of theirs. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestParent, testParent } from '../../testing/parent.ts';

let test: TestParent;
let plain: string;
const flavors: Record<'small' | 'roomy', string> = { small: '', roomy: '' };

const ask = (method: string, path: string, body?: unknown, who = 'alice') =>
  test.api.call(who, method, path, body, { 'openstack-api-version': 'compute 2.93, volume 3.70' });
const compute = (method: string, path: string, body?: unknown, who?: string) =>
  ask(method, `/compute/v2.1${path}`, body, who);
const words = (answer: { body: object }) => (Object.values(answer.body)[0] as { message: string }).message;

async function imageOf(properties: object): Promise<string> {
  const registered = { name: 'i', disk_format: 'raw', container_format: 'bare', ...properties };
  const { id } = (await ask('POST', '/image/v2/images', registered)).body;
  await test.api.call('alice', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('an image'), {
    'content-type': 'application/octet-stream',
  });
  return id;
}
const bootAnswer = (more: object) =>
  compute('POST', '/servers', { server: { name: 'one', networks: 'none', flavorRef: flavors.roomy, ...more } });
async function boot(more: object): Promise<string> {
  const made = await bootAnswer({ availability_zone: 'east', ...more });
  expect(made.status, made.text).toBe(202);
  const { id } = made.body.server;
  await test.eventually(async () => {
    const { server } = (await compute('GET', `/servers/${id}`)).body;
    if (server.status === 'ERROR') throw new Error(JSON.stringify(server.fault));
    return server.status === 'ACTIVE';
  });
  return id;
}
/** The local disks that the child was told of. */
const disksOf = (id: string) =>
  [...(test.sims.east?.state.servers.values() ?? [])]
    .find(({ tags }) => tags.includes(`headwater:${id}`))
    ?.devices.filter((one) => one.isLocal)
    .map(({ size, guest_format }) => [guest_format, size]);

beforeAll(async () => {
  test = await testParent();
  const size = { ram: 512, vcpus: 1, disk: 1 };
  for (const [name, more] of [
    ['small', {}],
    ['roomy', { 'OS-FLV-EXT-DATA:ephemeral': 2, swap: 512 }],
  ] as const) {
    flavors[name] = (await compute('POST', '/flavors', { flavor: { name, ...size, ...more } }, 'admin')).body.flavor.id;
  }
  plain = await imageOf({});
});
afterAll(() => test.stop());

const MAPPINGS = [
  { virtual: 'ami', device: 'sda1' },
  { virtual: 'root', device: '/dev/sda1' },
  { virtual: 'ephemeral0', device: 'sdb' },
  { virtual: 'swap', device: '/dev/sdc' },
  { virtual: 'floppy', device: 'fd0' },
];

describe('mappings of an image', () => {
  it('ask for local disks as far as the flavor has them, unless the request says otherwise', async () => {
    const imageRef = await imageOf({ mappings: JSON.stringify(MAPPINGS) });
    expect(disksOf(await boot({ imageRef }))).toEqual([
      [null, 2],
      ['swap', 512],
    ]);
    expect(disksOf(await boot({ imageRef, flavorRef: flavors.small }))).toEqual([]);
    const own = { source_type: 'blank', destination_type: 'local', boot_index: -1, volume_size: 1 };
    const root = { source_type: 'image', destination_type: 'local', uuid: imageRef, boot_index: 0 };
    const devices = [root, { ...own, device_name: '/dev/sdb', guest_format: 'ext4' }];
    expect(disksOf(await boot({ imageRef, block_device_mapping_v2: devices }))).toEqual([
      ['ext4', 1],
      ['swap', 512],
    ]);
    // Of the volume that such an image is made into as well.
    const volume = { source_type: 'image', destination_type: 'volume', volume_size: 2, boot_index: 0, uuid: imageRef };
    expect(disksOf(await boot({ block_device_mapping_v2: [volume] }))).toEqual([
      [null, 2],
      ['swap', 512],
    ]);
  }, 40_000);

  it('may ask for more than the flavor has, or be nonsense, and are refused', async () => {
    const two = JSON.stringify([...MAPPINGS, { virtual: 'ephemeral1', device: 'sdd' }]);
    const over = await bootAnswer({ imageRef: await imageOf({ mappings: two }) });
    expect([over.status, words(over)]).toEqual([400, expect.stringContaining('Ephemeral disks requested are larger')]);
    for (const mappings of ['{', '{}', '[1]', '[null]', '[{"virtual":"swap"}]', '[{"virtual":1,"device":"sda"}]']) {
      const answer = await bootAnswer({ imageRef: await imageOf({ mappings }) });
      expect([answer.status, words(answer)]).toEqual([
        400,
        "Block Device Mapping is Invalid: the image's mappings cannot be read.",
      ]);
    }
  }, 40_000);
});

describe('an image of a server that boots from a volume', () => {
  it('names its local disks too, and servers made of it have them', async () => {
    const root = { source_type: 'image', destination_type: 'volume', volume_size: 2, boot_index: 0, uuid: plain };
    const id = await boot({ block_device_mapping_v2: [root] });
    const made = await compute('POST', `/servers/${id}/action`, { createImage: { name: 'kept' } });
    expect(made.status, made.text).toBe(202);
    const { image_id } = made.body;
    const { block_device_mapping } = (await ask('GET', `/image/v2/images/${image_id}`)).body;
    const local = { source_type: 'blank', destination_type: 'local', boot_index: -1, delete_on_termination: true };
    const unnamed = { snapshot_id: null, volume_id: null, image_id: null, no_device: null };
    expect(JSON.parse(block_device_mapping)).toEqual([
      expect.objectContaining({ ...local, ...unnamed, device_type: 'disk', guest_format: null, volume_size: 2 }),
      expect.objectContaining({ ...local, ...unnamed, device_type: 'disk', guest_format: 'swap', volume_size: 512 }),
      expect.objectContaining({ source_type: 'snapshot', destination_type: 'volume', boot_index: 0, volume_size: 2 }),
    ]);
    const names = (JSON.parse(block_device_mapping) as { device_name: string }[]).map(({ device_name }) => device_name);
    expect(new Set(names).size).toBe(3);
    const copy = await boot({ imageRef: image_id });
    expect(disksOf(copy)).toEqual([
      [null, 2],
      ['swap', 512],
    ]);
    const small = await bootAnswer({ imageRef: image_id, flavorRef: flavors.small });
    expect([small.status, words(small)]).toEqual([400, expect.stringContaining('Ephemeral disks requested')]);
  }, 40_000);
});
