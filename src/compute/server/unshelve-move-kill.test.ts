/**
 * The way of a server to another child, broken off at every step: the parent's process killed, an answer lost, either
 * child away. Whatever happened, in the end the server is in one child, whole, and nothing of it is anywhere else.
 */
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { FaultMatch } from '../../sim/http.ts';
import { until } from './testing.ts';
import { moveTest } from './unshelve-move.testing.ts';

const parent = await moveTest();
const { call, boot, reached, show, clouds, stretched, shelve, unshelve, settled, timePasses, usage } = parent;
const { serversOf, portsOf, shelvedIn, portIds, kill } = parent;
afterAll(() => parent.close());

let network: string;
beforeAll(async () => {
  network = await stretched('10.60.0.0/24');
});
afterEach(() => {
  for (const cloud of Object.values(clouds)) cloud.faults.clear();
});

type Cloud = keyof typeof clouds;

async function shelved(): Promise<string> {
  const id = await boot('east', { networks: [{ uuid: network }] });
  await reached(id, 'ACTIVE');
  await shelve(id);
  return id;
}

async function drop(id: string): Promise<void> {
  const ports = await portIds(id);
  expect([204, 404]).toContain((await call('alice', 'DELETE', `/servers/${id}`)).status);
  await gone(id, ports);
}

/** Waits until nothing of a server is anywhere. */
async function gone(id: string, ports: readonly string[]): Promise<void> {
  await until(async () => {
    const left = Object.values(clouds).map(
      (cloud) => serversOf(cloud, id).length + portsOf(cloud, ports).length + shelvedIn(cloud).length,
    );
    return left.every((count) => count === 0) && (await show(id)) === undefined;
  }, 40_000);
}

/** The calls that the way there is made of, in the child that they go to. */
const STEPS: readonly (readonly [string, Cloud, FaultMatch])[] = [
  ['the image is registered', 'west', { method: 'POST', service: 'image', path: /^\/images$/ }],
  ['its data is read', 'east', { method: 'GET', service: 'image', path: /\/file$/ }],
  ['its data is written', 'west', { method: 'PUT', service: 'image', path: /\/file$/ }],
  ['a port is made', 'west', { method: 'POST', service: 'network', path: /^\/ports$/ }],
  ['the server is made', 'west', { method: 'POST', service: 'compute', path: /^\/servers$/ }],
  ['the new server is read', 'west', { method: 'GET', service: 'compute', path: /^\/servers\/detail/ }],
  ['the old server is deleted', 'east', { method: 'DELETE', service: 'compute', path: /^\/servers\// }],
  ["the old server's port is deleted", 'east', { method: 'DELETE', service: 'network', path: /^\/ports\// }],
  ["the old server's image is deleted", 'east', { method: 'DELETE', service: 'image', path: /^\/images\// }],
];

describe.each(STEPS)('while %s', (_, where, match) => {
  test('the answer is lost, the parent is killed and the child goes away', { timeout: 90_000 }, async () => {
    const id = await shelved();
    const struck = clouds[where].faults.inject({ match, times: 1, drop: 'after' });
    expect((await unshelve(id, { availability_zone: 'west' })).status).toBe(202);
    await until(async () => struck.hits() > 0);
    await Promise.all([kill(), clouds[where].stop()]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await clouds[where].start();
    await timePasses();
    await until(async () => (await show(id))?.status === 'ACTIVE', 30_000);
    await settled(id, 'west');
    expect((await show(id))['OS-EXT-AZ:availability_zone']).toBe('west');
    await drop(id);
  });

  test('the server is deleted', { timeout: 90_000 }, async () => {
    const id = await shelved();
    const ports = await portIds(id);
    const struck = clouds[where].faults.inject({ match, times: 1, delay_ms: 100 });
    expect((await unshelve(id, { availability_zone: 'west' })).status).toBe(202);
    await until(async () => struck.hits() > 0);
    expect((await call('alice', 'DELETE', `/servers/${id}`)).status).toBe(204);
    await timePasses();
    await gone(id, ports);
    expect((await usage()).instances?.in_use).toBe(0);
  });
});

const step = fc.oneof(
  fc.record({ verb: fc.constant('kill' as const) }),
  fc.record({ verb: fc.constant('away' as const), cloud: fc.constantFrom<Cloud>('east', 'west') }),
  fc.record({ verb: fc.constant('lose' as const), cloud: fc.constantFrom<Cloud>('east', 'west') }),
  fc.record({ verb: fc.constant('again' as const) }),
  fc.record({ verb: fc.constant('wait' as const), ms: fc.nat(400) }),
);

test('at random, it ends in one child or the other', { timeout: 300_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
      const id = await shelved();
      const [before] = await portIds(id);
      const away = new Set<Cloud>();
      await unshelve(id, { availability_zone: 'west' });
      for (const action of steps) {
        if (action.verb === 'kill') await kill();
        if (action.verb === 'wait') await new Promise((resolve) => setTimeout(resolve, action.ms));
        if (action.verb === 'again') await unshelve(id, { availability_zone: 'west' });
        if (action.verb === 'lose') clouds[action.cloud].faults.inject({ match: {}, times: 1, drop: 'after' });
        if (action.verb !== 'away') continue;
        if (away.delete(action.cloud)) await clouds[action.cloud].start();
        else {
          away.add(action.cloud);
          await clouds[action.cloud].stop();
        }
      }
      for (const cloud of away) await clouds[cloud].start();
      for (const cloud of Object.values(clouds)) cloud.faults.clear();
      await timePasses();
      const after = await until(async () => {
        const shown = await show(id);
        return shown['OS-EXT-STS:task_state'] === null && shown;
      }, 40_000);
      expect(['ACTIVE', 'SHELVED_OFFLOADED']).toContain(after.status);
      await settled(id, after['OS-EXT-AZ:availability_zone']);
      expect(await portIds(id)).toEqual([before]);
      expect((await usage()).instances?.in_use).toBe(1);
      await drop(id);
    }),
    { numRuns: Number(process.env.WALK_RUNS ?? 3), endOnFailure: true },
  );
});
