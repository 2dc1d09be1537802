/** A child whose APIs are down costs the others nothing, and what changes in a child of itself is seen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { behind, servers, settles } from './client/names.ts';
import { nothingLeft } from './harness/child.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { api, microversion } from './harness/rest.ts';
import { testbed } from './harness/testbed.ts';
import { until } from './harness/until.ts';

let furniture: Furnished;

beforeAll(async () => {
  furniture = await furnish();
});

afterAll(async () => {
  await testbed('api-up', 'child2');
  await clear();
  await nothingLeft();
});

async function boot(name: string, zone: string): Promise<string> {
  const networks = [{ uuid: furniture.networks[zone] }];
  const wanted = { name, imageRef: furniture.image, flavorRef: furniture.flavor, availability_zone: zone, networks };
  const { body } = await api('tenant').call<{ server: { id: string } }>({
    service: 'compute',
    method: 'POST',
    path: '/servers',
    body: { server: wanted },
    ...microversion('compute'),
  });
  return body.server.id;
}

async function remove(id: string): Promise<void> {
  await api('tenant').call({ service: 'compute', method: 'DELETE', path: `/servers/${id}`, accept: [404] });
}

async function timed(what: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await what();
  return performance.now() - begun;
}

/** How long the usual things take, each at its median, in ms. */
async function pace(prefix: string): Promise<Record<'list' | 'show' | 'accepted' | 'active', number>> {
  const lists: number[] = [];
  const shows: number[] = [];
  const accepted: number[] = [];
  const active: number[] = [];
  for (const at of [1, 2, 3]) {
    const begun = performance.now();
    let id = '';
    accepted.push(await timed(async () => (id = await boot(`${prefix}-${at}`, 'east'))));
    await settles(`${prefix}-${at}`, 'ACTIVE');
    active.push(performance.now() - begun);
    for (let round = 0; round < 7; round++) {
      lists.push(await timed(() => servers('tenant')));
      const show = { service: 'compute', method: 'GET', path: `/servers/${id}` } as const;
      shows.push(await timed(() => api('tenant').call(show)));
    }
    await remove(id);
  }
  return { list: median(lists), show: median(shows), accepted: median(accepted), active: median(active) };
}

const median = (values: number[]): number => values.sort((one, other) => one - other)[values.length >> 1] ?? Number.NaN;

describe('a child whose APIs are down', () => {
  let healthy: Awaited<ReturnType<typeof pace>>;
  let doomed = '';

  it('is well at first', async () => {
    doomed = await boot('sick-doomed', 'west');
    await settles('sick-doomed', 'ACTIVE');
    // Once beforehand, so that neither measurement has the copying of image and network in it.
    const id = await boot('sick-first', 'east');
    await settles('sick-first', 'ACTIVE');
    await remove(id);
    healthy = await pace('sick-healthy');
  });

  it('slows down neither lists nor shows nor boots in the other zone', async () => {
    await testbed('api-down', 'child2');
    const sick = await pace('sick-other');
    for (const what of ['list', 'show', 'accepted', 'active'] as const) {
      expect(sick[what], `${what}: ${JSON.stringify({ healthy, sick })}`).toBeLessThan(5 * healthy[what] + 1_000);
    }
    const shown = await servers('tenant', { name: '^sick-doomed$' });
    expect(shown.map((server) => server.status)).toEqual(['ACTIVE']);
  });

  it('has its boots and deletes wait, and does them when it is back', async () => {
    const id = await boot('sick-waiting', 'west');
    await remove(doomed);
    await sleep(8_000);
    const [waiting] = await servers('tenant', { name: '^sick-waiting$' });
    expect(waiting?.status).toBe('BUILD');
    await testbed('api-up', 'child2');
    await settles('sick-waiting', 'ACTIVE', 100_000);
    expect(await servers('child2', { tags: `headwater:${id}` })).toHaveLength(1);
    await until('the deleted server is gone in parent and child', async () => {
      const left = await servers('tenant', { name: '^sick-doomed$' });
      return left.length === 0 && (await behind('child2', doomed)) === undefined;
    });
    await remove(id);
  });
});

describe('what happens in a child behind the back of the parent', () => {
  it('shows within ten seconds', async () => {
    const kinds = ['stopped', 'failed', 'deleted'] as const;
    const ids = await Promise.all(kinds.map((kind) => boot(`behind-${kind}`, 'east')));
    const copies = await Promise.all(
      kinds.map(async (kind, at) => {
        await settles(`behind-${kind}`, 'ACTIVE');
        return (await behind('child1', ids[at] ?? ''))?.id ?? '';
      }),
    );
    const act = (id: string | undefined, body: object) =>
      api('child1').call({ service: 'compute', method: 'POST', path: `/servers/${id}/action`, body });
    await act(copies[0], { 'os-stop': null });
    await act(copies[1], { 'os-resetState': { state: 'error' } });
    await api('child1').call({ service: 'compute', method: 'DELETE', path: `/servers/${copies[2]}` });
    const shown = async (kind: string) => (await servers('tenant', { name: `^behind-${kind}$` }))[0]?.status;
    const within = { timeout_ms: 10_000 };
    await Promise.all([
      until('the stopped one is SHUTOFF', async () => (await shown('stopped')) === 'SHUTOFF', within),
      until('the failed one is in ERROR', async () => (await shown('failed')) === 'ERROR', within),
      until('the deleted one is gone', async () => [undefined, 'DELETED'].includes(await shown('deleted')), within),
    ]);
    for (const id of ids) await remove(id);
  });
});
