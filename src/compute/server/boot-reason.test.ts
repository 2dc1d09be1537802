import { afterAll, expect, it } from 'vitest';
import { serverTest } from './testing.ts';

const test = await serverTest({ proxies: false });
afterAll(() => test.close());

it('says why a server has no place', async () => {
  // The network comes to live where its first server is.
  await test.boot('west', { networks: [{ uuid: test.network }] });
  const lost = await test.boot('east', { networks: [{ uuid: test.network }], description: 'x' });
  const server = await test.show(lost);
  const why = `No valid host was found. Network ${test.network} does not reach availability zone east.`;
  expect([server.status, server.fault.message]).toEqual(['ERROR', why]);
  const path = `/servers/${lost}/os-instance-actions`;
  const [action] = (await test.call('alice', 'GET', path)).body.instanceActions;
  expect([action.action, action.message]).toEqual(['create', 'Error']);
  const events = async (who: string) =>
    (await test.call(who, 'GET', `${path}/${action.request_id}`)).body.instanceAction.events;
  expect(await events('admin')).toMatchObject([{ result: 'Error', details: why }]);
  // What an event ended with is for administrators, as in Nova.
  expect((await events('alice'))[0]).not.toHaveProperty('details');
  const boot = async (more: object) => {
    const server_ = { name: 'one', flavorRef: test.flavor, imageRef: test.image, networks: [{ uuid: test.network }] };
    const made = await test.call('admin', 'POST', '/servers', { server: { ...server_, ...more } });
    return made.body.server.id as string;
  };
  const fault = async (id: string) => (await test.call('admin', 'GET', `/servers/${id}`)).body.server.fault.message;
  expect(await fault(await boot({ host: 'east' }))).toBe(
    `No valid host was found. Network ${test.network} does not reach compute host east.`,
  );
  // A host that is forced goes before a zone that it is not in, and before one that there is not.
  for (const availability_zone of ['east:west', 'nowhere:west']) {
    const id = await boot({ availability_zone });
    const { server: made } = (await test.call('admin', 'GET', `/servers/${id}`)).body;
    expect([made.status, made['OS-EXT-AZ:availability_zone'], made['OS-EXT-SRV-ATTR:host']]).toEqual([
      'BUILD',
      'west',
      'west',
    ]);
  }
  expect(await fault(await boot({ availability_zone: 'east', host: 'west' }))).toBe(
    'No valid host was found. Compute host west is not in availability zone east.',
  );
});

it('takes from the image whether the disk is made as large as the flavor says', async () => {
  const imageWith = async (auto_disk_config: string) => {
    const { id } = (
      await test.ask('alice', 'POST', '/image/v2/images', {
        name: 'i',
        disk_format: 'raw',
        container_format: 'bare',
        auto_disk_config,
      })
    ).body;
    const data = { 'content-type': 'application/octet-stream' };
    await test.ask('alice', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('x'), data);
    return id as string;
  };
  const [auto, disabled] = [await imageWith('true'), await imageWith(' Disabled')];
  const diskOf = async (more: object) => (await test.show(await test.boot('east', more)))['OS-DCF:diskConfig'];
  expect(await diskOf({ imageRef: auto })).toBe('AUTO');
  expect(await diskOf({ imageRef: auto, 'OS-DCF:diskConfig': 'MANUAL' })).toBe('MANUAL');
  expect(await diskOf({ imageRef: disabled })).toBe('MANUAL');
  const server = {
    name: 'n',
    flavorRef: test.flavor,
    imageRef: disabled,
    networks: 'none',
    'OS-DCF:diskConfig': 'AUTO',
  };
  const { status, body } = await test.call('alice', 'POST', '/servers', { server });
  expect([status, body.badRequest?.message]).toEqual([
    400,
    `Requested image ${disabled} has automatic disk resize disabled.`,
  ]);
});
