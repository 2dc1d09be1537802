/** Simulated Cinder's volumes: their life, their quota, and what Nova does with them. */
import { mayUseImage } from './image.ts';
import { newHexId, newId, nowInSeconds_ms, type Row, rowOf, SimFault, textMap, textOf, type World } from './world.ts';

export interface VolumeAttachment {
  readonly attachment_id: string;
  readonly server_id: string;
  readonly device: string;
  readonly host: string;
  readonly attachedAt_ms: number;
}

export interface Volume {
  readonly id: string;
  projectId: string;
  userId: string;
  name: string | null;
  description: string | null;
  status: string;
  size: number;
  availability_zone: string;
  readonly createdAt_ms: number;
  updatedAt_ms: number | undefined;
  volume_type_id: string;
  snapshot_id: string | null;
  source_volid: string | null;
  metadata: Record<string, string>;
  imageMetadata: Row | undefined;
  bootable: boolean;
  multiattach: boolean;
  attachments: VolumeAttachment[];
}

export interface Snapshot {
  readonly id: string;
  projectId: string;
  userId: string;
  name: string | null;
  description: string | null;
  readonly volume_id: string;
  status: string;
  readonly size: number;
  metadata: Record<string, string>;
  readonly createdAt_ms: number;
  updatedAt_ms: number | undefined;
}

export const default_volume_quota: Readonly<Record<string, number>> = {
  volumes: 10,
  per_volume_gigabytes: -1,
  snapshots: 10,
  gigabytes: 1000,
  backups: 10,
  backup_gigabytes: 1000,
  groups: 10,
};

export const volumeMissing = (id: string): SimFault => new SimFault(404, `Volume ${id} could not be found.`);
export const snapshotMissing = (id: string): SimFault => new SimFault(404, `Snapshot ${id} could not be found.`);

/** A change that Cinder's `updated_at` shows. */
export function setVolumeStatus(volume: Volume, status: string): void {
  volume.status = status;
  volume.updatedAt_ms = nowInSeconds_ms();
}

/** Usage and limits of a project, by quota name. */
export function volumeUsage(
  world: World,
  projectId: string,
): { limit: Record<string, number>; used: Record<string, number> } {
  const volumes = [...world.state.volumes.values()].filter((one) => one.projectId === projectId);
  const snapshots = [...world.state.snapshots.values()].filter((one) => one.projectId === projectId);
  const gigabytes = [...volumes, ...snapshots].reduce((sum, one) => sum + one.size, 0);
  return {
    limit: { ...default_volume_quota, ...world.state.volumeQuotas.get(projectId) },
    used: { volumes: volumes.length, snapshots: snapshots.length, gigabytes },
  };
}

/** Cinder's 413 where the project would go past its quota. */
export function checkVolumeQuota(world: World, projectId: string, wanted: Record<string, number>): void {
  const { limit, used } = volumeUsage(world, projectId);
  for (const [name, amount] of Object.entries(wanted)) {
    const allowed = limit[name] ?? -1;
    const taken = used[name] ?? 0;
    if (allowed < 0 || taken + amount <= allowed) continue;
    if (name === 'gigabytes') {
      const message = `Requested volume or snapshot exceeds allowed gigabytes quota. Requested ${amount}G, quota is ${allowed}G and ${taken}G has been consumed.`;
      throw new SimFault(413, `VolumeSizeExceedsAvailableQuota: ${message}`);
    }
    const [kind, what] =
      name === 'volumes' ? ['VolumeLimitExceeded', 'volumes'] : ['SnapshotLimitExceeded', 'snapshots'];
    throw new SimFault(413, `${kind}: Maximum number of ${what} allowed (${allowed}) exceeded for quota '${name}'.`);
  }
}

function findType(world: World, asked: string): Row {
  const wanted = asked || '__DEFAULT__';
  const found = [...world.state.volumeTypes.values()].find((one) => one['id'] === wanted || one['name'] === wanted);
  if (found === undefined) throw new SimFault(404, `Volume type with name ${wanted} could not be found.`);
  return found;
}

/** Makes a volume from the body of a create; `creating` now, `available` after `volume_ms`. */
export function makeVolume(world: World, projectId: string, userId: string, isAdmin: boolean, given: Row): Volume {
  const snapshotId = textOf(given['snapshot_id']) || null;
  const sourceId = textOf(given['source_volid']) || null;
  const imageId = textOf(given['imageRef']) || textOf(given['image_id']) || null;
  const snapshot = snapshotId === null ? undefined : world.state.snapshots.get(snapshotId);
  const source = sourceId === null ? undefined : world.state.volumes.get(sourceId);
  const image = imageId === null ? undefined : world.state.images.get(imageId);
  if (snapshotId !== null && snapshot === undefined) throw snapshotMissing(snapshotId);
  if (sourceId !== null && source === undefined) throw volumeMissing(sourceId);
  if (imageId !== null && (image === undefined || !mayUseImage(image, projectId, isAdmin))) {
    throw new SimFault(400, 'Invalid image identifier or unable to access requested image.');
  }
  if (image !== undefined && image.fields['status'] !== 'active') {
    throw new SimFault(
      400,
      `Invalid image identifier or unable to access requested image. Image ${image.id} is not active.`,
    );
  }
  if (source !== undefined && !['available', 'in-use'].includes(source.status)) {
    throw new SimFault(400, `Invalid volume: Source volume ${source.id} must be available or in-use.`);
  }
  const size =
    given['size'] === undefined || given['size'] === null ? (snapshot ?? source)?.size : Number(given['size']);
  if (size === undefined || !Number.isInteger(size) || size <= 0) {
    throw new SimFault(400, `Invalid input for field/attribute size. Value: ${JSON.stringify(given['size'] ?? null)}.`);
  }
  const least = snapshot?.size ?? source?.size ?? Number(image?.fields['min_disk'] ?? 0);
  if (size < least) {
    throw new SimFault(
      400,
      `Invalid input received: Volume size '${size}'GB cannot be smaller than the source size ${least}GB.`,
    );
  }
  const type = findType(world, textOf(given['volume_type']));
  const zone = textOf(given['availability_zone']) || world.zones[0] || 'nova';
  if (!world.zones.includes(zone))
    throw new SimFault(400, `Invalid input received: Availability zone '${zone}' is invalid.`);
  checkVolumeQuota(world, projectId, { volumes: 1, gigabytes: size });
  const volume: Volume = {
    id: newId(),
    projectId,
    userId,
    name: (given['name'] as string | null | undefined) ?? null,
    description: (given['description'] as string | null | undefined) ?? null,
    status: 'creating',
    size,
    availability_zone: zone,
    createdAt_ms: nowInSeconds_ms(),
    updatedAt_ms: undefined,
    volume_type_id: textOf(type['id']),
    snapshot_id: snapshotId,
    source_volid: sourceId,
    metadata: textMap(given['metadata']),
    imageMetadata: undefined,
    bootable: false,
    multiattach: rowOf(type['extra_specs'])['multiattach'] === '<is> True',
    attachments: [],
  };
  world.state.volumes.set(volume.id, volume);
  world.later(world.timing.volume_ms, () => {
    if (volume.status !== 'creating') return;
    if (image !== undefined) {
      const { name, disk_format, container_format, min_disk, min_ram, size: bytes, checksum } = image.fields;
      volume.imageMetadata = {
        image_id: image.id,
        image_name: name ?? '',
        disk_format: disk_format ?? '',
        container_format: container_format ?? '',
        min_disk: String(min_disk),
        min_ram: String(min_ram),
        size: String(bytes),
        checksum: checksum ?? '',
      };
    }
    const parent = source ?? world.state.volumes.get(snapshot?.volume_id ?? '');
    // Cinder says so of what it copies; one that was called bootable while it was being made stays so.
    if (image !== undefined || parent?.bootable === true) volume.bootable = true;
    volume.imageMetadata ??= parent?.imageMetadata;
    setVolumeStatus(volume, 'available');
  });
  return volume;
}

/** Nova claims an available volume, so that nobody else takes it; its 400 where it can't be had. */
export function reserveVolume(volume: Volume): void {
  if (volume.attachments.length > 0 && !volume.multiattach) {
    const servers = volume.attachments.map((one) => one.server_id).join(', ');
    throw new SimFault(400, `Invalid volume: volume ${volume.id} is already attached to instances: ${servers}`);
  }
  if (volume.status !== 'available' && !(volume.multiattach && volume.status === 'in-use')) {
    const message = `Volume ${volume.id} status must be available or downloading to reserve, but the current status is ${volume.status}.`;
    throw new SimFault(400, `Invalid volume: Invalid volume: ${message} (HTTP 400) (Request-ID: req-${newId()})`);
  }
  setVolumeStatus(volume, 'reserved');
}

/** The volume is on the server now: `in-use`, with an attachment. */
export function attachVolume(volume: Volume, serverId: string, device: string, host: string): void {
  const attachment_id = newId();
  volume.attachments.push({ attachment_id, server_id: serverId, device, host, attachedAt_ms: nowInSeconds_ms() });
  setVolumeStatus(volume, 'in-use');
}

/** The server let the volume go: `available`, or still `in-use` where another holds it. */
export function detachVolume(volume: Volume, serverId: string): void {
  volume.attachments = volume.attachments.filter((one) => one.server_id !== serverId);
  setVolumeStatus(volume, volume.attachments.length > 0 ? 'in-use' : 'available');
}

/** Deletes a volume as Cinder does: `deleting` for a while, then gone. */
export function deleteVolume(world: World, volume: Volume): void {
  const hasSnapshots = [...world.state.snapshots.values()].some((one) => one.volume_id === volume.id);
  if (
    !/^(available|error|error_restoring|error_extending|error_managing)$/.test(volume.status) ||
    hasSnapshots ||
    volume.attachments.length > 0
  ) {
    const rest =
      'must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.';
    throw new SimFault(
      400,
      `Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and ${rest}`,
    );
  }
  setVolumeStatus(volume, 'deleting');
  world.later(world.timing.volume_ms, () => {
    world.state.volumes.delete(volume.id);
  });
}

/** The volume types that every cloud has. */
export function seedVolumeTypes(world: World): void {
  const id = newHexId();
  const row: Row = {
    id,
    name: '__DEFAULT__',
    is_public: true,
    description: 'Default Volume Type',
    extra_specs: {},
    qos_specs_id: null,
  };
  world.state.volumeTypes.set(id, row);
}
