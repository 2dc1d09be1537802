/**
 * glance-sync: the copy of an image in a child. It has the parent's id there, or, where the child has used that up (an id
 * is never given twice, even after its image was deleted), one derived from it; a tag says whose copy it is. Data goes
 * as a stream from the parent's store or from another child, and is held against the parent's hash when it has arrived.
 */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { ChildContext, Found, Replica, ReplicaKind } from '../cascade/contract.ts';
import { isCloudAdmin } from '../cascade/rights.ts';
import { CloudError, type CloudScope } from '../openstack/contract.ts';
import { openData } from './download.ts';
import { type ImageRow, images } from './resource.ts';
import { isForAll, scopeOf, scopeOfCopy } from './scope.ts';
import { IMAGE, type ImageCore } from './service.ts';

/** An image as a child shows it; custom properties stand beside these. */
export interface ChildImage {
  readonly id: string;
  readonly status: string;
  readonly name: string | null;
  readonly visibility: string;
  readonly size: number | null;
  readonly virtual_size: number | null;
  readonly checksum: string | null;
  readonly os_hash_algo?: string | null;
  readonly os_hash_value?: string | null;
  readonly min_disk: number;
  readonly min_ram: number;
  readonly disk_format: string | null;
  readonly container_format: string | null;
  readonly [property: string]: unknown;
}

/** What a copy's replica remembers. */
interface Detail {
  /** The parent project whose project in the child owns the copy; '' for the account's own. */
  readonly project: string;
  /** Names of the custom properties that were brought there. */
  readonly properties: readonly string[];
}

const ID_ATTEMPTS = 32;
const PATCH = 'application/openstack-images-v2.1-json-patch';
/** These name objects of the parent, which mean something else or nothing in a child. */
const KEPT_HERE = new Set(['block_device_mapping', 'bdm_v2', 'mappings']);
const IMAGE_REFERENCES = ['kernel_id', 'ramdisk_id'];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** By this tag a copy is found; unlike a property it is not handed down to snapshots of servers made from it. */
export const markOf = (id: string): string => `headwater:${id}`;

/** The id of the `attempt`th copy of an image in one child; the first is the image's own. */
export function copyId(id: string, attempt: number): string {
  if (attempt === 0) return id;
  const hex = createHash('sha256').update(`${id}/${attempt}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The replica kind `image`. */
export function imageKind(core: ImageCore): ReplicaKind<ImageRow> {
  return {
    kind: IMAGE,
    table: 'images',
    // Ids are derived, so that a second create meets the first.
    unique: true,
    load: (query, id) => images.find(query, id),
    needs: (row) => references(row).map(([, id]) => ({ kind: IMAGE, id })),
    async find(context, id, row) {
      const scope = row === undefined ? {} : await scopeOf(context, row.visibility, row.project_id);
      const there = (await show(context, scope, id)) ?? (await tagged(context, scope, id));
      if (there === undefined) return undefined;
      const whole = there.status === 'active' || there.status === 'deactivated';
      if (row === undefined || (whole && sameData(row, there))) {
        if (row !== undefined) await keepStore(context, id);
        return { child_id: there.id, detail: detailOf(row, []), current: false };
      }
      // An upload that was broken off may be repeated only while the child calls it queued.
      if (there.status !== 'queued') await destroy(context, scope, there.id);
      return undefined;
    },
    make: (context, row) => make(core, context, row),
    bring,
    async remove(context, replica) {
      await destroy(context, await scopeOfCopy(context, replica.detail), replica.child_id);
      await sql`update images set stores = array_remove(stores, ${context.child}) where id = ${replica.resource_id}`.execute(
        context.db.query,
      );
    },
    async failed(context, id) {
      await sql`update images set importing = array_remove(importing, ${context.child}),
          failed_import = array_append(array_remove(failed_import, ${context.child}), ${context.child})
        where id = ${id} and ${context.child} = any(importing)`.execute(context.db.query);
    },
  };
}

/** Makes it, or goes on with one that was begun; a second call finds the first's. */
async function make(core: ImageCore, context: ChildContext, row: ImageRow): Promise<Found> {
  if (row.status !== 'active' && row.status !== 'deactivated') {
    throw refused(`Image ${row.id} is not active.`);
  }
  const scope = await scopeOf(context, row.visibility, row.project_id);
  const properties = await propertiesFor(context, row);
  const child_id = await create(context, scope, row, properties);
  await fill(core, context, scope, row, child_id);
  await keepStore(context, row.id);
  const detail = detailOf(row, Object.keys(properties));
  return { child_id, detail, current: false };
}

async function create(
  context: ChildContext,
  scope: CloudScope,
  row: ImageRow,
  properties: Readonly<Record<string, string>>,
): Promise<string> {
  const body = {
    ...properties,
    name: row.name,
    visibility: visibilityFor(context, row),
    min_disk: row.min_disk,
    min_ram: row.min_ram,
    ...(row.disk_format === '' ? {} : { disk_format: row.disk_format }),
    ...(row.container_format === '' ? {} : { container_format: row.container_format }),
    tags: [markOf(row.id)],
  };
  for (let attempt = 0; attempt < ID_ATTEMPTS; attempt += 1) {
    const id = copyId(row.id, attempt);
    const answer = await context.api.call<ChildImage>({
      service: 'image',
      method: 'POST',
      path: '/images',
      body: { ...body, id },
      scope,
      accept: [409],
    });
    if (answer.status !== 409) return answer.body.id;
    const there = await show(context, scope, id);
    if (there?.status === 'queued') return id;
    if (there !== undefined && there.status === 'active' && sameData(row, there)) return id;
  }
  throw refused(`Image ${row.id} cannot be copied to the availability zone: all of its ids are used up there.`);
}

/** Brings the data, unless it is there, and looks whether what arrived is what was sent. */
async function fill(
  core: ImageCore,
  context: ChildContext,
  scope: CloudScope,
  row: ImageRow,
  child_id: string,
): Promise<void> {
  const before = await show(context, scope, child_id);
  if (before?.status !== 'active') {
    const data = await source(core, context, row);
    // Cut off unread it fails once more, when nobody asks any longer.
    data.on('error', () => undefined);
    try {
      await context.api.call({
        service: 'image',
        method: 'PUT',
        path: `/images/${child_id}/file`,
        stream: data,
        contentType: 'application/octet-stream',
        scope,
      });
    } finally {
      data.destroy();
    }
  }
  const after = await show(context, scope, child_id);
  if (after !== undefined && after.status === 'active' && sameData(row, after)) return;
  if (after !== undefined) await destroy(context, scope, child_id);
  throw refused(`The copy of image ${row.id} in the availability zone does not match its checksum; it was removed.`);
}

async function source(core: ImageCore, context: ChildContext, row: ImageRow) {
  const data = await openData(core, row, { without: context.child }).catch((error: unknown) => {
    throw new CloudError(`the data of image ${row.id} cannot be read now`, {
      failure: 'down',
      stage: 'not-tried',
      tenantMessage: `The data of image ${row.id} is held where it cannot be reached now.`,
      cause: error,
    });
  });
  if (data === undefined) throw refused(`Image ${row.id} has no data.`);
  return data;
}

/** Name, sizes, visibility, properties and members as the row has them. Twice: the second changes nothing. */
async function bring(
  context: ChildContext,
  row: ImageRow,
  replica: Replica,
): Promise<Readonly<Record<string, unknown>>> {
  const known = replica.detail as Partial<Detail>;
  const scope = await scopeOfCopy(context, replica.detail);
  const wanted = await propertiesFor(context, row);
  const { body: there } = await context.api.call<ChildImage>({
    service: 'image',
    method: 'GET',
    path: `/images/${replica.child_id}`,
    scope,
  });
  const target: Record<string, unknown> = {
    ...wanted,
    name: row.name,
    visibility: visibilityFor(context, row),
    min_disk: row.min_disk,
    min_ram: row.min_ram,
  };
  const changes = Object.entries(target)
    .filter(([name, value]) => there[name] !== value)
    .map(([name, value]) => ({ op: 'add', path: pointer(name), value }));
  const gone = (known.properties ?? []).filter((name) => !(name in target) && name in there);
  const patch = [...changes, ...gone.map((name) => ({ op: 'remove', path: pointer(name) }))];
  if (patch.length > 0) {
    await context.api.call({
      service: 'image',
      method: 'PATCH',
      path: `/images/${replica.child_id}`,
      body: patch,
      contentType: PATCH,
      scope,
    });
  }
  await bringMembers(context, scope, row, replica, known.project ?? '');
  return { project: known.project ?? '', properties: Object.keys(wanted) };
}

/**
 * Projects that may use a private copy. An account that is the child's admin sees every image there whichever project
 * it acts for; another needs its projects to be members.
 */
async function bringMembers(
  context: ChildContext,
  scope: CloudScope,
  row: ImageRow,
  replica: Replica,
  project: string,
): Promise<void> {
  if (context.tenancy === 'shared' || isForAll(row.visibility) || (await isCloudAdmin(context.api))) return;
  const accepted = await sql<{ member_id: string }>`
    select member_id from image_members where image_id = ${row.id} and status = 'accepted'`.execute(context.db.query);
  const owners = new Set(accepted.rows.map(({ member_id }) => member_id));
  owners.add(row.project_id);
  owners.delete(project);
  const path = `/images/${replica.child_id}/members`;
  for (const owner of owners) {
    const member = await context.scope(owner);
    if (member.projectId === undefined) continue;
    const { projectId } = member;
    const service = 'image' as const;
    await context.api.call({ service, method: 'POST', path, body: { member: projectId }, scope, accept: [409] });
    const body = { status: 'accepted' };
    await context.api.call({ service, method: 'PUT', path: `${path}/${projectId}`, body, scope: member });
  }
}

/** The parent's store list says where data is; said again at every look, since a crash may have come in between. */
async function keepStore({ db, child }: ChildContext, id: string): Promise<void> {
  await sql`update images set
      stores = case when ${child} = any(stores) then stores else array_append(stores, ${child}) end,
      importing = array_remove(importing, ${child}), failed_import = array_remove(failed_import, ${child})
    where id = ${id} and (not ${child} = any(stores) or ${child} = any(importing))`.execute(db.query);
}

/** One image of a child, or undefined. */
export async function show(context: ChildContext, scope: CloudScope, id: string): Promise<ChildImage | undefined> {
  const answer = await context.api.call<ChildImage>({
    service: 'image',
    method: 'GET',
    path: `/images/${id}`,
    scope,
    accept: [404],
  });
  return answer.status === 404 ? undefined : answer.body;
}

async function tagged(context: ChildContext, scope: CloudScope, id: string): Promise<ChildImage | undefined> {
  const { body } = await context.api.call<{ images: ChildImage[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { tag: markOf(id), visibility: 'all', limit: 100 },
    scope,
  });
  // Anybody in the child may tag an image so; only the ids that are given here make it a copy.
  const ids = new Set(Array.from({ length: ID_ATTEMPTS }, (_, attempt) => copyId(id, attempt)));
  const copies = body.images.filter((candidate) => ids.has(candidate.id));
  return copies.find((candidate) => candidate.status === 'active') ?? copies[0];
}

/** Deletes an image in a child; one that is gone is gone. */
async function destroy(context: ChildContext, scope: CloudScope, id: string): Promise<void> {
  await context.api.call({ service: 'image', method: 'DELETE', path: `/images/${id}`, scope, accept: [404] });
}

/** By the strongest hash that both know; children may be set to another than ours. */
function sameData(row: ImageRow, there: ChildImage): boolean {
  if (there.size !== null && there.size !== row.size) return false;
  if (row.os_hash_value !== null && there.os_hash_algo === row.os_hash_algo && there.os_hash_value != null) {
    return there.os_hash_value === row.os_hash_value;
  }
  return row.checksum === null || there.checksum == null || there.checksum === row.checksum;
}

/** In a project that all tenants share a copy is private to it: nobody else in the child needs to know of it. */
function visibilityFor({ tenancy }: ChildContext, row: ImageRow): string {
  if (tenancy === 'shared') return 'private';
  return isForAll(row.visibility) ? 'community' : 'shared';
}

const detailOf = (row: ImageRow | undefined, properties: readonly string[]): Readonly<Record<string, unknown>> => ({
  project: row === undefined || isForAll(row.visibility) ? '' : row.project_id,
  properties,
});

function references(row: ImageRow): (readonly [string, string])[] {
  return IMAGE_REFERENCES.map((name) => [name, row.extra[name] ?? ''] as const).filter(([, id]) => UUID.test(id));
}

/** The custom properties as the child is to have them: other images by their ids there. */
async function propertiesFor(context: ChildContext, row: ImageRow): Promise<Record<string, string>> {
  const properties = Object.fromEntries(Object.entries(row.extra).filter(([name]) => !KEPT_HERE.has(name)));
  for (const [name, id] of references(row)) properties[name] = (await context.childId(IMAGE, id)) ?? id;
  return properties;
}

const pointer = (name: string): string => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;

const refused = (tenantMessage: string): CloudError =>
  new CloudError(tenantMessage, { failure: 'refused', stage: 'not-tried', tenantMessage });
