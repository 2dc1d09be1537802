/** The parent is killed again and again in the midst of its work; afterwards it and the children agree on every object. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { addressesOf, servers, type Server } from './client/names.ts';
import { nothingLeft, ours } from './harness/child.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { endParent, parentServes, spawnParent } from './harness/parent.ts';
import { api, list, microversion } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';

const KILLS = 10;
const SERVERS = 40;
/** Of so many, one boots from a volume that goes with it. */
const VOLUME_EVERY = 8;
const PATIENCE = { timeout_ms: 240_000, every_ms: 500 };

let furniture: Furnished;
const random = (from_ms: number, to_ms: number): number => from_ms + Math.random() * (to_ms - from_ms);

beforeAll(async () => {
  furniture = await furnish();
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
  await nothingLeft();
});

/** As a patient client does it: after a lost answer it looks whether the server is there before it asks again. */
async function boot(at: number): Promise<string> {
  const name = `kill-${at}`;
  const zone = CHILDREN[at % CHILDREN.length]?.zone ?? '';
  const source =
    at % VOLUME_EVERY < CHILDREN.length
      ? {
          block_device_mapping_v2: [
            {
              uuid: furniture.image,
              source_type: 'image',
              destination_type: 'volume',
              volume_size: 1,
              boot_index: 0,
              delete_on_termination: true,
            },
          ],
        }
      : { imageRef: furniture.image };
  const networks = [{ uuid: furniture.networks[zone] }];
  const wanted = { name, flavorRef: furniture.flavor, availability_zone: zone, networks, ...source };
  return until(
    `${name} is accepted`,
    async () => {
      const [found] = await servers('tenant', { name: `^${name}$` });
      if (found !== undefined) return found.id;
      const { body } = await api('tenant').call<{ server: { id: string } }>({
        service: 'compute',
        method: 'POST',
        path: '/servers',
        body: { server: wanted },
        ...microversion('compute'),
      });
      return body.server.id;
    },
    PATIENCE,
  );
}

async function remove(id: string): Promise<void> {
  const call = { service: 'compute', method: 'DELETE', path: `/servers/${id}`, accept: [404] } as const;
  await until(`the deletion of ${id} is accepted`, async () => (await api('tenant').call(call)).status > 0, PATIENCE);
}

async function killAgainAndAgain(): Promise<void> {
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(random(200, 4_000));
    await endParent(stage, 'SIGKILL');
    spawnParent(stage);
    await parentServes(stage);
  }
}

interface Port {
  readonly id: string;
  readonly name: string;
  readonly mac_address: string;
  readonly device_owner: string;
  readonly fixed_ips: readonly { ip_address: string }[];
}

/** What of a port must be the same in parent and child. */
const portOf = (id: string, port: Port): string =>
  `${id} ${port.mac_address} ${port.fixed_ips.map((fixed) => fixed.ip_address).join()}`;

const ofServers = (port: Port): boolean => !port.device_owner.startsWith('network:');

/** Every port and volume of the parent is in its child once, and nothing else of ours is there. */
async function agreed(): Promise<void> {
  const ports = (await list<Port>(api('tenant'), 'network', '/ports', 'ports')).filter(ofServers);
  const volumes = await list<{ id: string }>(api('tenant'), 'volume', '/volumes', 'volumes');
  const left = await ours();
  const known = (kind: string) =>
    new Set(CHILDREN.flatMap(({ cloud }) => left[`${cloud} ${kind}`] ?? []).map((item) => item.id ?? ''));
  const inChildren = async <Item>(service: 'network' | 'volume', path: string, collection: string, query = {}) =>
    (await Promise.all(CHILDREN.map(({ cloud }) => list<Item>(api(cloud), service, path, collection, query)))).flat();
  const ourPorts = known('port');
  const childPorts = await inChildren<Port>('network', '/ports', 'ports');
  expect(
    childPorts
      .filter((port) => ofServers(port) && ourPorts.has(port.id))
      .map((port) => portOf(port.name, port))
      .sort(),
  ).toEqual(ports.map((port) => portOf(port.id, port)).sort());
  expect(ports).toHaveLength(SERVERS / 2);
  const ourVolumes = known('volume');
  const childVolumes = await inChildren<{ id: string; metadata: Record<string, string> }>(
    'volume',
    '/volumes/detail',
    'volumes',
    { all_tenants: '1' },
  );
  expect(
    childVolumes
      .filter((volume) => ourVolumes.has(volume.id))
      .map((volume) => volume.metadata.headwater_id)
      .sort(),
  ).toEqual(volumes.map((volume) => volume.id).sort());
  expect(volumes.length).toBeGreaterThan(0);
}

describe('a parent that is killed ten times while 40 servers are booted and half of them deleted', () => {
  const deleted = new Set<string>();
  const kept = new Map<string, string>();

  it('takes all of it', { timeout: 600_000 }, async () => {
    const killing = killAgainAndAgain();
    const work = Array.from({ length: SERVERS }, async (_, at) => {
      // Spread over the time of the killing, so that each kill finds boots at another stage.
      await sleep(at * 1_400 + random(0, 1_400));
      const id = await boot(at);
      // Of each zone, and of those with volumes, every other one.
      if (((at >> 1) + (at >> 3)) % 2 === 0) {
        kept.set(id, `kill-${at}`);
        return;
      }
      await sleep(random(0, 12_000));
      await remove(id);
      deleted.add(id);
    });
    await Promise.all([killing, ...work]);
    expect([kept.size, deleted.size]).toEqual([SERVERS / 2, SERVERS / 2]);
  });

  it('comes to rest with every kept server ACTIVE and no deleted one', { timeout: 300_000 }, async () => {
    await until(
      'all is quiet',
      async () => {
        const found = await servers('tenant');
        const restless = found.filter((server) => server.status !== 'ACTIVE' || !kept.has(server.id));
        const inChildren = (await Promise.all([servers('child1'), servers('child2')])).flat();
        const strays = inChildren.filter((one) => one.tags.every((tag) => !kept.has(tag.replace('headwater:', ''))));
        const others = new Set(Object.values(stage.before).flat());
        const ourStrays = strays.filter((one) => !others.has(`server ${one.id}`));
        if (restless.length + ourStrays.length === 0) return true;
        throw new Error(JSON.stringify({ restless: restless.map(brief), strays: ourStrays.map(brief) }, null, 1));
      },
      { timeout_ms: 240_000, every_ms: 2_000 },
    );
    const found = await servers('tenant');
    expect(Object.fromEntries(found.map((server) => [server.id, server.name]))).toEqual(Object.fromEntries(kept));
  });

  it('agrees with the children on every server', async () => {
    const parents = await servers('tenant');
    for (const { zone, cloud } of CHILDREN) {
      const here = parents.filter((server) => server['OS-EXT-AZ:availability_zone'] === zone);
      const copies = (await servers(cloud)).filter((copy) => copy.tags.some((tag) => tag.startsWith('headwater:')));
      const said = (server: Server, id: string) => [id, server.name, server.status, ...addressesOf(server)].join(' ');
      expect(copies.map((copy) => said(copy, copy.tags[0]?.replace('headwater:', '') ?? '')).sort()).toEqual(
        here.map((server) => said(server, server.id)).sort(),
      );
      expect(here.every((server) => addressesOf(server).length === 1)).toBe(true);
    }
  });

  it('agrees with the children on every port and volume', async () => {
    // The ports and volumes of deleted servers go a little after them.
    await vi.waitFor(agreed, { timeout: 180_000, interval: 2_000 });
  });

  it('counted its quotas right', async () => {
    const { projectId } = await api('tenant').account();
    const { body } = await api('admin').call<{ quota_set: Record<string, { in_use: number; reserved: number }> }>({
      service: 'compute',
      method: 'GET',
      path: `/os-quota-sets/${projectId}/detail`,
    });
    expect(body.quota_set.instances).toMatchObject({ in_use: kept.size, reserved: 0 });
    expect(body.quota_set.cores).toMatchObject({ in_use: kept.size, reserved: 0 });
  });
});

const brief = (server: Server): object => ({
  id: server.id,
  name: server.name,
  status: server.status,
  task: server['OS-EXT-STS:task_state'],
  tags: server.tags,
  fault: server.fault?.message,
});
