/** For the tests of servers: a parent with networks and images of its own over two simulated clouds. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCascade, type RunningCascade } from '../../cascade/cascade.ts';
import { openDatabase } from '../../db/database.ts';
import { createImage } from '../../image/image.ts';
import { createNetwork } from '../../network/index.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../../network/topology.ts';
import { createCloudClient } from '../../openstack/client.ts';
import { createSimCloud, type SimCloud } from '../../sim/cloud.ts';
import { silent, type TestAnswer, type TestApi, testApi } from '../../testing/api.ts';
import { testDatabase } from '../../testing/database.ts';
import type { ServerVolumes } from '../../volume/server-volumes.ts';
import { volume as volumeConvention } from '../../http/conventions.ts';
import { notFound } from '../../http/fault.ts';
import { createCompute } from '../index.ts';

export interface ServerTest {
  readonly db: Awaited<ReturnType<typeof testDatabase>>;
  readonly cascade: RunningCascade;
  readonly east: SimCloud;
  readonly west: SimCloud;
  readonly flavor: string;
  readonly bigger: string;
  readonly image: string;
  readonly network: string;
  /** A call to compute, its path below `/compute/v2.1`. */
  call(who: string, method: string, path: string, body?: unknown, minor?: number): Promise<TestAnswer>;
  /** A call to any service. */
  ask(who: string, method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<TestAnswer>;
  /** Boots as alice in a zone, and gives the id. */
  boot(zone?: string, more?: object): Promise<string>;
  /** The server as alice sees it, or undefined where it is gone. */
  show(id: string): Promise<TestAnswer['body']>;
  /** Waits until the server shows this status. */
  reached(id: string, status: string): Promise<TestAnswer['body']>;
  /** The parent's process is gone from one moment to the next, and another one starts; what was under way goes unheard. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Volumes are another service's: servers here have none. */
const noVolumes: ServerVolumes = {
  resolve: async (_query, _context, id) => Promise.reject(notFound(`Volume ${id} could not be found.`)),
  resolveSnapshot: async (_query, _context, id) => Promise.reject(notFound(`Snapshot ${id} could not be found.`)),
  create: async () => Promise.reject(new Error('no volumes here')),
  attach: async () => Promise.reject(new Error('no volumes here')),
  detach: async () => undefined,
  unwind: async () => undefined,
  setDeleteOnTermination: async () => undefined,
  snapshot: async () => new Map(),
  attachmentsOf: async () => new Map(),
  childVolume: async () => undefined,
  leaving: async () => undefined,
  release: async () => undefined,
  onChange: () => undefined,
};

/** Waits until `look` gives something, at most `patience_ms`. */
export async function until<T>(look: () => Promise<T | undefined | false>, patience_ms = 12_000): Promise<T> {
  const end_ms = Date.now() + patience_ms;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end_ms) throw new Error('it did not come to be in time');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export interface ServerTestOptions {
  /** False: nothing is carried out in the children. */
  readonly proxies?: boolean;
  /** What joins east and west; nothing where it is not said. */
  readonly topology?: NetworkTopology;
  /** Rules in place of the defaults. */
  readonly policy?: Readonly<Record<string, string>>;
}

type TestDatabase = Awaited<ReturnType<typeof testDatabase>>;

interface Process {
  readonly cascade: RunningCascade;
  readonly api: TestApi;
  /** Loses its database at once, and with it its locks and all that it could still do there. */
  die(): Promise<void>;
}

/** A parent's process over these clouds, with a way to the database of its own. */
async function startProcess(
  { url }: TestDatabase,
  clouds: readonly SimCloud[],
  data_dir: string,
  { proxies = true, topology = NO_TOPOLOGY, policy }: ServerTestOptions,
): Promise<Process> {
  const db = await openDatabase({ url, max_connections: 5 });
  const cascade = await createCascade({
    db,
    log: silent,
    children: clouds.map((cloud) => ({
      config: { name: cloud.name, zones: { [cloud.name]: 'nova' }, tenancy: 'mirrored' as const },
      api: createCloudClient({
        name: cloud.name,
        entry: { name: cloud.name, auth_type: 'password', ...cloud.cloudsYamlEntry },
        backoff_ms: 5,
        breaker: { reset_ms: 50 },
      }),
    })),
  });
  const { service: network, serverNetworks } = createNetwork({ db, cascade, topology, log: silent });
  const images = createImage({
    db,
    cascade,
    data_dir,
    log: silent,
  });
  const { service } = createCompute({
    db,
    cascade,
    network: serverNetworks,
    volumes: noVolumes,
    images: images.serverImages,
    others: { network, image: images.service, volume: { convention: volumeConvention, operations: [] } },
    log: silent,
  });
  const api = testApi([service, network, images.service], undefined, policy);
  if (proxies) await cascade.start();
  return {
    cascade,
    api,
    async die() {
      await db.close();
      await Promise.allSettled([api.close(), cascade.stop()]);
    },
  };
}

export async function serverTest(options: ServerTestOptions = {}): Promise<ServerTest> {
  const db = await testDatabase();
  const [east, west] = await Promise.all([createSimCloud({ name: 'east' }), createSimCloud({ name: 'west' })]);
  const data_dir = join(tmpdir(), `headwater-servers-${randomUUID()}`);
  const start = () => startProcess(db, [east, west], data_dir, options);
  let process = await start();
  const dying: Promise<void>[] = [];
  await sql`update children set up = true, seen_at = clock_timestamp()`.execute(db.query);
  await sql`insert into identity_domains (id, name) values ('default', 'Default') on conflict do nothing`.execute(
    db.query,
  );
  await sql`insert into identity_projects (id, name, domain_id, parent_id)
    select id, id, 'default', 'default' from unnest(array['p0', 'p1', 'p2']) as id`.execute(db.query);

  const ask: ServerTest['ask'] = (...what) => process.api.call(...what);
  const made = async (answer: Promise<TestAnswer>): Promise<TestAnswer['body']> => {
    const { status, body, text } = await answer;
    if (status >= 300) throw new Error(`${status} ${text}`);
    return body;
  };
  const call: ServerTest['call'] = (who, method, path, body, minor = 93) =>
    ask(who, method, `/compute/v2.1${path}`, body, { 'openstack-api-version': `compute 2.${minor}` });
  const flavor = async (name: string, ram: number, vcpus: number): Promise<string> =>
    (await made(call('admin', 'POST', '/flavors', { flavor: { name, ram, vcpus, disk: 1 } }))).flavor.id;
  const small = await flavor('small', 512, 1);
  const bigger = await flavor('bigger', 1024, 2);
  const image = await made(
    ask('alice', 'POST', '/image/v2/images', { name: 'cirros', disk_format: 'raw', container_format: 'bare' }),
  );
  await made(
    ask('alice', 'PUT', `/image/v2/images/${image.id}/file`, Buffer.from('an image'), {
      'content-type': 'application/octet-stream',
    }),
  );
  const net = await made(ask('alice', 'POST', '/network/v2.0/networks', { network: { name: 'private' } }));
  const subnet = { network_id: net.network.id, ip_version: 4, cidr: '10.1.0.0/24' };
  await made(ask('alice', 'POST', '/network/v2.0/subnets', { subnet }));
  const second = await made(ask('alice', 'POST', '/network/v2.0/networks', { network: { name: 'second' } }));
  const secondSubnet = { network_id: second.network.id, ip_version: 4, cidr: '10.2.0.0/24' };
  await made(ask('alice', 'POST', '/network/v2.0/subnets', { subnet: secondSubnet }));

  const test: ServerTest = {
    db,
    get cascade() {
      return process.cascade;
    },
    east,
    west,
    flavor: small,
    bigger,
    image: image.id,
    network: net.network.id,
    call,
    ask,
    async boot(zone, more = {}) {
      const server = {
        name: 'one',
        flavorRef: small,
        imageRef: image.id,
        networks: 'none',
        ...(zone === undefined ? {} : { availability_zone: zone }),
        ...more,
      };
      return (await made(call('alice', 'POST', '/servers', { server }))).server.id;
    },
    async show(id) {
      const { status, body } = await call('alice', 'GET', `/servers/${id}`);
      return status === 404 ? undefined : body.server;
    },
    reached: (id, status) =>
      until(async () => {
        const server = await test.show(id);
        return server?.status === status && server['OS-EXT-STS:task_state'] === null && server;
      }),
    async kill() {
      dying.push(process.die());
      process = await start();
    },
    async close() {
      await process.api.close();
      await process.cascade.stop();
      await Promise.all([...dying, process.die()]);
      await east.close();
      await west.close();
    },
  };
  return test;
}
