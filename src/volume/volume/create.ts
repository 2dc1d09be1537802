/** Making a volume: what it is made from, how large, where, counted, stored, and put before the proxy. */
import { randomUUID } from 'node:crypto';
import type { Tx } from '../../db/database.ts';
import { badRequest, Fault } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerImage } from '../../image/server-images.ts';
import { invalidInput, invalidSnapshot, invalidVolume, snapshotMissing } from '../faults.ts';
import { visible } from '../hosted.ts';
import { checkSize, count } from '../quota.ts';
import { type Snapshot, snapshots } from '../snapshot/snapshot.ts';
import { DEFAULT_TYPE, isMultiattach, typeFor, type VolumeType, volumeTypes } from '../type/type.ts';
import { seenVolume, type Volume, type VolumeCore, volumes } from './volume.ts';

export interface NewVolume {
  /** GiB; a snapshot's or volume's own where it is not said. */
  readonly size: number | undefined;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly availability_zone: string | undefined;
  readonly volume_type: string | undefined;
  readonly image_id: string | undefined;
  readonly snapshot_id: string | undefined;
  readonly source_volid: string | undefined;
  /** Where a boot wants it; else a source or the scheduler decides. */
  readonly place?: { readonly child: string; readonly zone: string };
}

interface Sources {
  readonly image: ServerImage | undefined;
  readonly snapshot: Snapshot | undefined;
  readonly volume: Volume | undefined;
}

const GIB = 1024 ** 3;

/**
 * Makes a volume in the caller's transaction; the proxy makes it in its child afterwards (`cascade.poke`).
 * @throws Fault 400 or 404 in Cinder's words, 413 over the quota
 */
export async function createVolumeRow(
  core: VolumeCore,
  tx: Tx,
  context: RequestContext,
  wanted: NewVolume,
): Promise<Volume> {
  const projectId = context.identity.project?.id;
  if (projectId === undefined) throw badRequest('The token is not scoped to a project.');
  const sources = await findSources(core, tx, context, wanted);
  const size = sizeOf(wanted, sources);
  await checkSize(tx, projectId, size);
  const type = await typeOf(tx, context, wanted, sources);
  const { child, zone } = await place(core, tx, wanted, sources);
  const row = await volumes.insert(tx, {
    id: randomUUID(),
    project_id: projectId,
    user_id: context.identity.user.id,
    name: wanted.name ?? '',
    description: wanted.description,
    status: 'creating',
    size,
    counted_gb: size,
    availability_zone: zone,
    bootable: false,
    multiattach: isMultiattach(type),
    volume_type_id: type.id,
    volume_type: type.name,
    snapshot_id: wanted.snapshot_id ?? null,
    source_volid: wanted.source_volid ?? null,
    image_id: wanted.image_id ?? null,
    metadata: { ...wanted.metadata },
    child,
    child_id: null,
    task: 'create',
    brought: 0,
    create_sent_at: null,
    ...(wanted.place === undefined ? {} : { for_server: true }),
  } as Volume);
  await core.cascade.want(tx, child, 'volume', row.id, { requestId: context.requestId });
  await count(tx, projectId, type.name, { volumes: 1, gigabytes: size });
  return row;
}

async function findSources(core: VolumeCore, tx: Tx, context: RequestContext, wanted: NewVolume): Promise<Sources> {
  let snapshot: Snapshot | undefined;
  let volume: Volume | undefined;
  let image: ServerImage | undefined;
  if (wanted.snapshot_id !== undefined) {
    // Locked, as the others are read below: a source must not be on its way out when its copy is promised.
    snapshot = await snapshots.lock(tx, wanted.snapshot_id, visible(context));
    if (snapshot === undefined) throw snapshotMissing(wanted.snapshot_id);
    // A boot may name one that is only being made: its volume waits for it.
    const isAwaited = wanted.place !== undefined && snapshot.status === 'creating';
    if (snapshot.status !== 'available' && !isAwaited) {
      throw invalidSnapshot("Originating snapshot status must be one of 'available' values");
    }
  }
  if (wanted.source_volid !== undefined) {
    volume = await seenVolume(tx, context, wanted.source_volid);
    if (volume.status !== 'available' && volume.status !== 'in-use') {
      throw invalidVolume("Originating volume status must be one of 'available, in-use' values");
    }
  }
  if (wanted.image_id !== undefined) image = await imageOf(core, tx, context, wanted.image_id);
  return { snapshot, volume, image };
}

async function imageOf(core: VolumeCore, tx: Tx, context: RequestContext, id: string): Promise<ServerImage> {
  const image = await core.images.resolve(tx, context, id).catch((error: unknown) => {
    if (error instanceof Fault && error.status === 404) {
      throw badRequest('Invalid image identifier or unable to access requested image.');
    }
    throw error;
  });
  if (image.status !== 'active') throw invalidInput(`Image ${id} is not active.`);
  return image;
}

function sizeOf(wanted: NewVolume, { snapshot, volume, image }: Sources): number {
  const size = wanted.size ?? snapshot?.size ?? volume?.size;
  if (size === undefined) {
    throw badRequest(
      'The server could not comply with the request since it is either malformed or otherwise incorrect.',
    );
  }
  if (size > 2_147_483_647 || size < 1)
    throw invalidInput(`Volume size '${size}' must be an integer and greater than 0`);
  if (snapshot !== undefined && size < snapshot.size) {
    throw invalidInput(
      `Volume size '${size}'GB cannot be smaller than the snapshot size ${snapshot.size}GB. They must be >= original snapshot size.`,
    );
  }
  if (volume !== undefined && size < volume.size) {
    throw invalidInput(
      `Volume size '${size}'GB cannot be smaller than original volume size  ${volume.size}GB. They must be >= original volume size.`,
    );
  }
  if (image !== undefined) {
    const imageSize = Math.ceil(image.size / GIB);
    if (imageSize > size) {
      throw invalidInput(`Size of specified image ${imageSize}GB is larger than volume size ${size}GB.`);
    }
    if (image.min_disk > size) {
      throw invalidInput(`Volume size ${size}GB cannot be smaller than the image minDisk size ${image.min_disk}GB.`);
    }
  }
  return size;
}

async function typeOf(
  tx: Tx,
  context: RequestContext,
  wanted: NewVolume,
  { snapshot, volume }: Sources,
): Promise<VolumeType> {
  if (wanted.volume_type !== undefined) return typeFor(tx, context, wanted.volume_type);
  const inherited = snapshot?.volume_type_id ?? volume?.volume_type_id;
  const type = inherited === undefined ? undefined : await volumeTypes.find(tx, inherited);
  return type ?? typeFor(tx, context, DEFAULT_TYPE);
}

async function place(core: VolumeCore, tx: Tx, wanted: NewVolume, { snapshot, volume }: Sources) {
  const asked = wanted.place?.zone ?? wanted.availability_zone;
  const invalidZone = (): Fault => badRequest(`Availability zone '${asked ?? ''}' is invalid.`);
  const source = snapshot ?? volume;
  if (source !== undefined) {
    const served = (await core.cascade.zones(tx)).find(({ name }) => name === asked)?.children ?? [];
    if (asked !== undefined && asked !== source.availability_zone && served.length === 0) throw invalidZone();
    const contradicted =
      wanted.place === undefined
        ? asked !== undefined && asked !== source.availability_zone && !served.includes(source.child)
        : wanted.place.child !== source.child;
    if (contradicted) {
      const what = snapshot === undefined ? 'volume' : 'snapshot';
      throw invalidInput(
        `Availability zone '${asked ?? ''}' cannot be reached from the ${what}, which is in '${source.availability_zone}'.`,
      );
    }
    return { child: source.child, zone: asked ?? source.availability_zone };
  }
  if (wanted.place !== undefined) return wanted.place;
  const chosen = await core.cascade.schedule(tx, { zone: asked, binary: 'cinder-volume' });
  if (chosen !== undefined) return chosen;
  const known = asked === undefined || (await core.cascade.zones(tx)).some(({ name }) => name === asked);
  throw known ? badRequest('No valid backend was found. No weighed backends available.') : invalidZone();
}
