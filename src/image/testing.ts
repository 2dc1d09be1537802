/** What the tests of the image service share: a parent with two simulated children, and calls to it. */
import { sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import type { Db } from '../db/database.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { silent, type TestAnswer, testApi } from '../testing/api.ts';
import { createImage, type ImageService } from './image.ts';

export const OCTETS = { 'content-type': 'application/octet-stream' };
export const PATCH = { 'content-type': 'application/openstack-images-v2.1-json-patch' };

export interface ImageBench {
  readonly data_dir: string;
  readonly cascade: RunningCascade;
  readonly images: ImageService;
  /** A call as `who`, its path below `/image/v2`. */
  call(
    who: string,
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<TestAnswer>;
  /** Registers an image as alice and uploads `data`; gives its id. */
  uploaded(data: Buffer | string, more?: object, who?: string): Promise<string>;
  close(): Promise<void>;
}

/** A parent over the given clouds; all tenants share one project in each child, which needs no identity service. */
export async function createBench(
  db: Db,
  clouds: readonly SimCloud[] = [],
  options: { readonly size_max?: number } = {},
): Promise<ImageBench> {
  const data_dir = join(tmpdir(), `headwater-images-${randomUUID()}`);
  await sql`insert into identity_domains (id, name) values ('default', 'Default') on conflict do nothing`.execute(
    db.query,
  );
  await sql`insert into identity_projects (id, name, domain_id, parent_id)
    select p, p, 'default', 'default' from unnest(array['p0', 'p1', 'p2']) p on conflict do nothing`.execute(db.query);
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
  const images = createImage({ db, cascade, data_dir, log: silent, ...options });
  const api = testApi([images.service]);
  const bench: ImageBench = {
    data_dir,
    cascade,
    images,
    call: (who, method, path, body, headers) => api.call(who, method, `/image/v2${path}`, body, headers),
    async uploaded(data, more = {}, who = 'alice') {
      const made = await bench.call(who, 'POST', '/images', {
        name: 'cirros',
        disk_format: 'raw',
        container_format: 'bare',
        ...more,
      });
      if (made.status !== 201) throw new Error(made.text);
      const put = await bench.call(who, 'PUT', `/images/${made.body.id}/file`, Buffer.from(data), OCTETS);
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

export { createSimCloud };
