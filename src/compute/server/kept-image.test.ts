/** A server that moved to another child was made there of the image that it waited in: what becomes of that copy. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SimCloud } from '../../sim/cloud.ts';
import { until } from './testing.ts';
import { moveTest } from './unshelve-move.testing.ts';

const parent = await moveTest();
const { call, ask, boot, reached, show, east, west, clouds, stretched, act, shelve, unshelve, settled, kill } = parent;
const { serversOf, shelvedIn } = parent;
afterAll(() => parent.close());

let network: string;
beforeAll(async () => {
  network = await stretched('10.70.0.0/24');
});

type Cloud = keyof typeof clouds;
const shelvedInBoth = (): readonly number[] => [shelvedIn(east).length, shelvedIn(west).length];
const settledAt = (counts: readonly number[]) =>
  until(async () => JSON.stringify(shelvedInBoth()) === JSON.stringify(counts));

async function move(id: string, to: Cloud): Promise<void> {
  await shelve(id);
  expect((await unshelve(id, { availability_zone: to })).status).toBe(202);
  await reached(id, 'ACTIVE');
  await settled(id, to);
}

async function moved(): Promise<string> {
  const id = await boot('east', { networks: [{ uuid: network }] });
  await reached(id, 'ACTIVE');
  await move(id, 'west');
  return id;
}

async function drop(id: string): Promise<void> {
  await call('alice', 'DELETE', `/servers/${id}`);
  await until(async () => (await show(id)) === undefined);
  await settledAt([0, 0]);
}

/** Has the host of a server fail, and the server evacuated from it. */
async function evacuate(cloud: SimCloud, id: string): Promise<void> {
  const host = serversOf(cloud, id)[0]?.host as string;
  cloud.state.computeServices.set(host, { forced_down: true });
  expect((await act('admin', id, { evacuate: {} })).status).toBe(200);
  await until(async () => {
    const [last] = (await call('admin', 'GET', `/servers/${id}/os-instance-actions`)).body.instanceActions;
    return last.action === 'evacuate' && (await show(id))['OS-EXT-STS:task_state'] === null;
  });
  cloud.state.computeServices.delete(host);
}

test('it stays, and is what an evacuation makes the server of; no tenant sees it', async () => {
  const id = await moved();
  await settledAt([0, 1]);
  expect((await ask('alice', 'GET', '/image/v2/images?name=one-shelved')).body.images).toEqual([]);
  await kill();
  await evacuate(west, id);
  expect(await show(id)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-AZ:availability_zone': 'west' });
  expect(shelvedInBoth()).toEqual([0, 1]);
  // Without it the child has nothing to make the server of.
  for (const [key, { fields }] of west.state.images) {
    if (String(fields['name']).endsWith('-shelved')) west.state.images.delete(key);
  }
  await evacuate(west, id);
  expect(await show(id)).toMatchObject({ status: 'ERROR' });
  await drop(id);
});

test('it goes along with nothing: shelved and unshelved there it stays, elsewhere another takes its place', async () => {
  const id = await moved();
  await shelve(id);
  await settledAt([0, 2]);
  expect((await unshelve(id, null)).status).toBe(202);
  await reached(id, 'ACTIVE');
  await settledAt([0, 1]);
  await move(id, 'east');
  await settledAt([1, 0]);
  await evacuate(east, id);
  expect((await show(id)).status).toBe('ACTIVE');
  await drop(id);
});

test('it goes when the server is rebuilt, since it is made of another image then', async () => {
  const id = await moved();
  await settledAt([0, 1]);
  expect((await act('alice', id, { rebuild: { imageRef: parent.image } })).status).toBe(202);
  await reached(id, 'ACTIVE');
  await settledAt([0, 0]);
  await evacuate(west, id);
  expect((await show(id)).status).toBe('ACTIVE');
  await drop(id);
});

test('it goes with the server, also where that is deleted on its way on, or its child is away', async () => {
  const onItsWay = await moved();
  await shelve(onItsWay);
  Object.assign(east.timing, { boot_ms: 60_000 });
  expect((await unshelve(onItsWay, { availability_zone: 'east' })).status).toBe(202);
  await until(async () => serversOf(east, onItsWay).length === 1);
  await drop(onItsWay);
  Object.assign(east.timing, { boot_ms: 20 });
  const id = await moved();
  await settledAt([0, 1]);
  await west.stop();
  await call('alice', 'DELETE', `/servers/${id}`);
  await kill();
  await west.start();
  await until(async () => (await show(id)) === undefined);
  await settledAt([0, 0]);
});
