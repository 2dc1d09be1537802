/** Images that a child makes (of servers and volumes): registered here, then followed until the child has finished. */
import { createHash, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { applyEach } from '../cascade/apply-each.ts';
import type { ChildContext, Feed } from '../cascade/contract.ts';
import { json, type Queryable, type Tx } from '../db/database.ts';
import { Fault, notFound } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { QuotaExceeded } from '../resource/quota.ts';
import { findVisible, projectOf } from './access.ts';
import { type ChildImage, show } from './replica.ts';
import { type ImageRow, images, LOCAL_STORE } from './resource.ts';
import { scopeOfCopy } from './scope.ts';
import type { EmptyImageRequest, KeptImage, ServerImage, ServerImages } from './server-images.ts';
import { IMAGE, type ImageCore, QUOTA_COUNT } from './service.ts';

const BATCH = 16;
const IDLE_MS = 30_000;
const BUSY_MS = 1000;
const FOLLOWED_MAX = 500;

/** What compute and volume use of images. */
export function createServerImages(core: ImageCore): ServerImages {
  const drop = async (tx: Tx, id: string, projectId: string): Promise<void> => {
    await core.cascade.retire(tx, IMAGE, id);
    await images.remove(tx, id);
    await count(core, tx, projectId, -1);
  };
  const register = async (
    tx: Tx,
    context: RequestContext,
    wanted: EmptyImageRequest,
    data: Partial<ImageRow>,
  ): Promise<string> => {
    const project_id = projectOf(context);
    await count(core, tx, project_id, 1);
    const { id } = await images.insert(tx, {
      ...blank,
      id: randomUUID(),
      project_id,
      name: wanted.name,
      visibility: wanted.share_with === undefined ? 'private' : 'shared',
      min_disk: wanted.min_disk ?? 0,
      min_ram: wanted.min_ram ?? 0,
      extra: { ...wanted.properties },
      ...data,
    });
    if (wanted.share_with !== undefined) {
      await sql`insert into image_members (image_id, member_id) values (${id}, ${wanted.share_with})`.execute(tx);
    }
    return id;
  };
  return {
    async resolve(query, context, imageId) {
      const row = await findVisible(query, context, imageId, (id) => notFound(`Image ${id} could not be found.`));
      return serverImage(row);
    },
    async known(query, imageIds) {
      const rows = await images.findMany(query, imageIds);
      return new Map(rows.map((row) => [row.id, serverImage(row)]));
    },
    registerSnapshot: (tx, context, wanted) =>
      register(tx, context, wanted, {
        disk_format: wanted.disk_format ?? '',
        container_format: wanted.container_format ?? '',
        origin_child: wanted.child,
      }),
    registerEmpty: (tx, context, wanted) => register(tx, context, wanted, EMPTY),
    async adoptChildImage(tx, { image_id, child, child_id }) {
      const row = await images.lock(tx, image_id);
      // The copy was made from the row as it was registered, which is revision 1.
      const detail = { project: row?.project_id ?? '', properties: Object.keys(row?.extra ?? {}) };
      await sql`insert into replicas (kind, resource_id, child, child_id, revision, detail)
        values (${IMAGE}, ${image_id}, ${child}, ${child_id}, 1, ${json(detail)})
        on conflict (kind, resource_id, child) do update set child_id = excluded.child_id, detail = excluded.detail
          where replicas.child_id is null`.execute(tx);
      if (row === undefined) await core.cascade.retire(tx, IMAGE, image_id);
      else if (row.revision > 1) await core.cascade.revise(tx, IMAGE, image_id);
    },
    async abandonSnapshot(tx, imageId) {
      await sql`update images set status = 'killed', updated_at = clock_timestamp()
        where id = ${imageId} and status in ('queued', 'saving') and origin_child <> ''`.execute(tx);
    },
    async rotate(tx, { server_id, project_id, type, keep }) {
      const of = JSON.stringify({ instance_uuid: server_id, image_type: 'backup', backup_type: type });
      const { rows } = await sql<{ id: string }>`
        select id from images where project_id = ${project_id} and extra @> ${of}::jsonb and status <> 'killed'
          and not protected
        order by created_at desc, id desc offset ${keep} for update`.execute(tx);
      for (const { id } of rows) await drop(tx, id, project_id);
    },
    withdraw: (tx, imageId, child) => core.cascade.retire(tx, IMAGE, imageId, { child }),
    async remove(tx, imageId) {
      const row = await images.lock(tx, imageId);
      if (row !== undefined) await drop(tx, row.id, row.project_id);
    },
    async keep(tx, image_id, { child, child_id }) {
      // Without its replica nobody looks for it in the child any more.
      const { rows } = await sql<Pick<KeptImage, 'detail'>>`delete from replicas where kind = ${IMAGE}
        and resource_id = ${image_id} and child = ${child} and child_id = ${child_id} and not retiring
        returning detail`.execute(tx);
      return rows[0] === undefined ? undefined : { image_id, child, child_id, detail: rows[0].detail };
    },
    async release(tx, { image_id, child, child_id, detail }) {
      await sql`insert into replicas (kind, resource_id, child, child_id, retiring, detail)
        values (${IMAGE}, ${image_id}, ${child}, ${child_id}, true, ${json(detail)}) on conflict do nothing`.execute(
        tx,
      );
      await core.cascade.want(tx, child, IMAGE, image_id);
    },
  };
}

/** No data at all, in the formats that Nova says of it. */
const EMPTY = {
  status: 'active',
  size: 0,
  disk_format: 'qcow2',
  container_format: 'bare',
  checksum: createHash('md5').digest('hex'),
  os_hash_algo: 'sha512',
  os_hash_value: createHash('sha512').digest('hex'),
  stores: [LOCAL_STORE],
} satisfies Partial<ImageRow>;

/** Values of a new row that nobody gave. */
export const blank = {
  name: '',
  disk_format: '',
  container_format: '',
  visibility: 'shared',
  size: -1,
  virtual_size: null,
  status: 'queued',
  checksum: null,
  protected: false,
  min_ram: 0,
  min_disk: 0,
  os_hidden: false,
  os_hash_algo: null,
  os_hash_value: null,
  tags: [] as string[],
  stores: [] as string[],
  importing: [] as string[],
  failed_import: [] as string[],
  extra: {} as Record<string, string>,
  local_file: '',
  upload_claim: '',
  origin_child: '',
} as const satisfies Partial<ImageRow>;

/** Counts images of a project up or down. @throws Fault 413 over the quota */
export async function count(
  core: ImageCore,
  tx: Parameters<ImageCore['quotas']['reserve']>[0],
  project: string,
  change: number,
): Promise<void> {
  try {
    await core.quotas.reserve(tx, project, { [QUOTA_COUNT]: change });
  } catch (error) {
    const over = error instanceof QuotaExceeded ? error.over[0] : undefined;
    if (over === undefined) throw error;
    throw new Fault(
      413,
      `Project ${project} is over a limit for [Resource ${over.resource} is over limit of ${over.limit} due to current usage ${over.in_use} and delta ${over.requested}]`,
    );
  }
}

function serverImage(row: ImageRow): ServerImage {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    min_disk: row.min_disk,
    min_ram: row.min_ram,
    size: Math.max(row.size, 0),
    disk_format: row.disk_format === '' ? null : row.disk_format,
    container_format: row.container_format === '' ? null : row.container_format,
    properties: row.extra,
    children: row.stores.filter((store) => store !== LOCAL_STORE).toSorted(),
    local: row.stores.includes(LOCAL_STORE),
  };
}

interface Followed {
  readonly id: string;
  readonly child_id: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

const followed = (query: Queryable, child: string, limit: number) =>
  sql<Followed>`select i.id, r.child_id, r.detail from images i
    join replicas r on r.kind = ${IMAGE} and r.resource_id = i.id and r.child = i.origin_child
    where i.origin_child = ${child} and i.status in ('queued', 'saving') and r.child_id is not null and not r.retiring
    order by i.created_at limit ${limit}`
    .execute(query)
    .then(({ rows }) => rows);

/** Follows the images that a child is making; it needs no cursor, since the rows say which those are. */
export function imagesFeed(): Feed {
  return {
    name: 'images',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    busy: async (query, child) => (await followed(query, child, 1)).length > 0,
    async round(context) {
      const all = await followed(context.db.query, context.child, FOLLOWED_MAX);
      for (let at = 0; at < all.length; at += BATCH) {
        const batch = all.slice(at, at + BATCH);
        await Promise.all(
          batch.map((one) =>
            applyEach(
              [one],
              context.log,
              ({ id }) => id,
              (image) => follow(context, image),
            ),
          ),
        );
      }
      return undefined;
    },
  };
}

async function follow(context: ChildContext, { id, child_id, detail }: Followed): Promise<void> {
  const there = await show(context, await scopeOfCopy(context, detail), child_id);
  const patch = there === undefined ? ({ status: 'killed' } as const) : shownBy(there, context.child);
  await context.db.transaction(async (tx) => {
    const row = await images.lock(tx, id);
    if (row === undefined || (row.status !== 'queued' && row.status !== 'saving')) return;
    if (patch.status === row.status) return;
    await images.update(tx, id, patch, { revise: false });
  });
}

/** Name and properties are the parent's own; formats, sizes and hashes are the child's finding. */
function shownBy(there: ChildImage, child: string): Partial<ImageRow> {
  const status = there.status === 'deactivated' ? 'active' : there.status;
  if (status !== 'active') {
    const known = status === 'saving' || status === 'queued';
    return { status: known ? status : status === 'killed' || status === 'deleted' ? 'killed' : 'saving' };
  }
  return {
    status,
    size: there.size ?? 0,
    virtual_size: there.virtual_size ?? null,
    checksum: there.checksum ?? null,
    os_hash_algo: there.os_hash_algo ?? null,
    os_hash_value: there.os_hash_value ?? null,
    disk_format: there.disk_format ?? '',
    container_format: there.container_format ?? '',
    min_disk: there.min_disk,
    min_ram: there.min_ram,
    stores: [child],
  };
}
