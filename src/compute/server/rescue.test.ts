/** Rescuing servers, also such as boot from a volume, and booting from a volume with nothing on it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestParent, testParent } from '../../testing/parent.ts';

let test: TestParent;
let flavor: string;
let plain: string;
let stable: string;

const ask = (method: string, path: string, body?: unknown, minor = 93) =>
  test.api.call('alice', method, path, body, { 'openstack-api-version': `compute 2.${minor}, volume 3.70` });
const compute = (method: string, path: string, body?: unknown, minor?: number) =>
  ask(method, `/compute/v2.1${path}`, body, minor);
const words = (answer: { body: object }) => (Object.values(answer.body)[0] as { message: string }).message;
const act = (id: string, body: object, minor?: number) => compute('POST', `/servers/${id}/action`, body, minor);

async function imageOf(properties: object): Promise<string> {
  const registered = { name: 'i', disk_format: 'raw', container_format: 'bare', ...properties };
  const { id } = (await ask('POST', '/image/v2/images', registered)).body;
  await test.api.call('alice', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('an image'), {
    'content-type': 'application/octet-stream',
  });
  return id;
}
const reached = (id: string, status: string) =>
  test.eventually(async () => {
    const { server } = (await compute('GET', `/servers/${id}`)).body;
    if (server.status === 'ERROR' && status !== 'ERROR') throw new Error(JSON.stringify(server.fault));
    return server.status === status && server['OS-EXT-STS:task_state'] === null;
  });
async function boot(more: object): Promise<string> {
  const server = { name: 'one', networks: 'none', flavorRef: flavor, availability_zone: 'east', ...more };
  const made = await compute('POST', '/servers', { server });
  expect(made.status, made.text).toBe(202);
  await reached(made.body.server.id, 'ACTIVE');
  return made.body.server.id;
}
const ofBlank = () =>
  boot({
    block_device_mapping_v2: [
      {
        source_type: 'blank',
        destination_type: 'volume',
        volume_size: 1,
        boot_index: '0',
        delete_on_termination: true,
      },
    ],
  });

beforeAll(async () => {
  test = await testParent();
  const wanted = { flavor: { name: 'small', ram: 512, vcpus: 1, disk: 1 } };
  const made = await test.api.call('admin', 'POST', '/compute/v2.1/flavors', wanted);
  flavor = made.body.flavor.id;
  plain = await imageOf({});
  stable = await imageOf({ hw_rescue_device: 'disk', hw_rescue_bus: 'virtio' });
});
afterAll(() => test.stop());

describe('a server that boots from a volume', () => {
  it('may be made of a blank one', async () => {
    const id = await ofBlank();
    const { volumeAttachments } = (await compute('GET', `/servers/${id}/os-volume_attachments`)).body;
    await test.eventually(async () => {
      const { volume } = (await ask('GET', `/volume/v3/volumes/${volumeAttachments[0].volumeId}`)).body;
      return volume.size === 1 && volume.status === 'in-use';
    });
    // As it is also where the answers about its making and its being bootable are lost.
    for (const path of [/\/volumes$/, /\/volumes\/[^/]+\/action$/]) {
      test.sims.east?.faults.inject({ match: { method: 'POST', service: 'volume', path }, times: 1, drop: 'after' });
    }
    await ofBlank();
    test.sims.east?.faults.clear();
  }, 40_000);

  it('fails with the reason where its child calls a blank volume bootable for nobody', async () => {
    test.sims.east?.faults.inject({
      match: { method: 'POST', service: 'volume', path: /\/volumes\/[^/]+\/action$/ },
      respond: { status: 403, body: { forbidden: { code: 403, message: 'Not here.' } } },
    });
    const blank = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: 0 };
    const server = { name: 'one', networks: 'none', flavorRef: flavor, availability_zone: 'east' };
    const made = await compute('POST', '/servers', { server: { ...server, block_device_mapping_v2: [blank] } });
    await reached(made.body.server.id, 'ERROR');
    const { fault } = (await compute('GET', `/servers/${made.body.server.id}`)).body.server;
    expect(fault.message).toContain('is not bootable');
    test.sims.east?.faults.clear();
  }, 40_000);

  it('is rescued since 2.87, by an image that says as what', async () => {
    const id = await ofBlank();
    const refused = [400, `Instance ${id} cannot be rescued: Cannot rescue a volume-backed instance`];
    for (const [image, minor] of [
      [stable, 86],
      [plain, 87],
      [undefined, 93],
      [await imageOf({ hw_rescue_bus: 'virtio' }), 93],
    ] as const) {
      const answer = await act(id, { rescue: image === undefined ? null : { rescue_image_ref: image } }, minor);
      expect([answer.status, words(answer)]).toEqual(refused);
    }
    expect((await act(id, { rescue: { rescue_image_ref: stable } }, 87)).status).toBe(200);
    await reached(id, 'RESCUE');
    expect((await act(id, { unrescue: null })).status).toBe(202);
    await reached(id, 'ACTIVE');
  }, 40_000);

  it('goes on as it was where its host cannot do it, and the record says so', async () => {
    const id = await ofBlank();
    const message = 'Host unable to rescue a volume-backed instance';
    test.sims.east?.faults.inject({
      match: { method: 'POST', service: 'compute', path: /\/servers\/[^/]+\/action$/ },
      respond: { status: 400, body: { badRequest: { code: 400, message } } },
    });
    expect((await act(id, { rescue: { rescue_image_ref: stable } })).status).toBe(200);
    await reached(id, 'ACTIVE');
    const [last] = (await compute('GET', `/servers/${id}/os-instance-actions`)).body.instanceActions;
    expect(last).toMatchObject({ action: 'rescue', message: 'Error' });
    test.sims.east?.faults.clear();
  }, 40_000);
});

it('one that boots from an image is rescued by any image but one of volumes, in a state for it', async () => {
  const id = await boot({ imageRef: plain });
  const ofVolumes = await imageOf({ block_device_mapping: '[]', bdm_v2: 'True' });
  for (const image of [ofVolumes, '00000000-0000-0000-0000-000000000000']) {
    const answer = await act(id, { rescue: { rescue_image_ref: image } });
    expect([answer.status, words(answer)]).toEqual([400, `Requested rescue image '${image}' is not supported`]);
  }
  expect((await act(id, { rescue: { rescue_image_ref: stable } }, 1)).status).toBe(200);
  await reached(id, 'RESCUE');
  // Its state counts before the image does.
  const again = await act(id, { rescue: { rescue_image_ref: ofVolumes } });
  expect([again.status, words(again)]).toEqual([409, `Cannot 'rescue' instance ${id} while it is in vm_state rescued`]);
  expect((await act(id, { unrescue: null })).status).toBe(202);
  await reached(id, 'ACTIVE');
}, 40_000);
