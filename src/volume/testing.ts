/** What the tests of the volume service share: a parent with simulated children, and calls to it. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import type { Db } from '../db/database.ts';
import { createImage, type ImageService } from '../image/image.ts';
import { createCloudClient } from '../openstack/client.ts';
import type { SimCloud } from '../sim/cloud.ts';
import { silent, type TestAnswer, testApi } from '../testing/api.ts';
import type { ServerVolumes } from './server-volumes.ts';
import { createVolume } from './service.ts';

export interface VolumeBench {
  readonly cascade: RunningCascade;
  readonly images: ImageService;
  readonly serverVolumes: ServerVolumes;
  /** A call as `who`, its path below `/volume/v3`. */
  call(who: string, method: string, path: string, body?: unknown, version?: string): Promise<TestAnswer>;
  /** Creates a volume as alice and gives its id. */
  created(volume: object, who?: string): Promise<string>;
  /** Waits until the volume (or snapshot) shows the status; `gone` for a 404. */
  becomes(path: string, status: string, who?: string): Promise<TestAnswer>;
  /** Uploads an image as alice; gives its id. */
  uploaded(more?: object): Promise<string>;
  close(): Promise<void>;
}

const PATIENCE_MS = 15_000;

/** A parent over the clouds: zones `<name>-1`, projects of its own in each. */
export async function createBench(db: Db, clouds: readonly SimCloud[]): Promise<VolumeBench> {
  await sql`insert into identity_domains (id, name) values ('default', 'Default') on conflict do nothing`.execute(
    db.query,
  );
  for (const project of ['p0', 'p1', 'p2']) {
    await sql`insert into identity_projects (id, name, domain_id, parent_id)
      values (${project}, ${project}, 'default', 'default') on conflict do nothing`.execute(db.query);
  }
  const data_dir = join(tmpdir(), `headwater-volumes-${randomUUID()}`);
  const cascade = await createCascade({
    db,
    log: silent,
    children: clouds.map((cloud) => ({
      config: { name: cloud.name, zones: { [`${cloud.name}-1`]: 'nova' }, tenancy: 'mirrored' as const },
      api: createCloudClient({
        name: cloud.name,
        entry: { name: cloud.name, auth_type: 'password', ...cloud.cloudsYamlEntry },
        backoff_ms: 5,
        breaker: { reset_ms: 50 },
      }),
    })),
  });
  const images = createImage({ db, cascade, data_dir, log: silent });
  const { service, serverVolumes } = createVolume({ db, cascade, images: images.serverImages, log: silent });
  const api = testApi([service, images.service]);
  const bench: VolumeBench = {
    cascade,
    images,
    serverVolumes,
    call: (who, method, path, body, version) =>
      api.call(
        who,
        method,
        `/volume/v3${path}`,
        body,
        version === undefined ? {} : { 'openstack-api-version': `volume ${version}` },
      ),
    async created(volume, who = 'alice') {
      const made = await bench.call(who, 'POST', '/volumes', { volume });
      if (made.status !== 202) throw new Error(made.text);
      return made.body.volume.id as string;
    },
    async becomes(path, status, who = 'alice') {
      const until_ms = Date.now() + PATIENCE_MS;
      for (;;) {
        const shown = await bench.call(who, 'GET', path);
        const now = shown.status === 404 ? 'gone' : (shown.body?.volume ?? shown.body?.snapshot)?.status;
        if (now === status) return shown;
        if (Date.now() > until_ms) throw new Error(`${path} is ${String(now)} and not ${status}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async uploaded(more = {}) {
      const registered = { name: 'cirros', disk_format: 'raw', container_format: 'bare', ...more };
      const made = await api.call('alice', 'POST', '/image/v2/images', registered);
      if (made.status !== 201) throw new Error(made.text);
      const put = await api.call('alice', 'PUT', `/image/v2/images/${made.body.id}/file`, Buffer.from('small'), {
        'content-type': 'application/octet-stream',
      });
      if (put.status !== 204) throw new Error(put.text);
      return made.body.id as string;
    },
    async close() {
      await api.close();
      await cascade.stop();
      await rm(data_dir, { recursive: true, force: true });
    },
  };
  return bench;
}
