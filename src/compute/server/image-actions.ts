/**
 * Images of servers. One that boots from an image has its disk copied by its child; of one that boots from volumes there
 * is nothing to copy: snapshots are made of its volumes, and an image without data says that they are what to boot from.
 */
import type { Tx } from '../../db/database.ts';
import { badRequest, Fault, forbidden } from '../../http/fault.ts';
import { type Call, type Operation, Reply } from '../../http/service.ts';
import { act } from './act.ts';
import { requireMetadataQuota } from './boot-quota.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, findServer, lockServer, withServer } from './lookup.ts';
import { localDisks } from './local-disks.ts';
import { closeAction, enqueue, recordAction } from './records.ts';
import { inheritedProperties, rootVolumeOf, type ServerRow } from './resource.ts';
import { inner, rules } from './rules.ts';
import { createBackupSchema, createImageSchema } from './schema.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

interface ImageBody {
  readonly name: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

interface BackupBody extends ImageBody {
  readonly backup_type: string;
  readonly rotation: number | string;
}

/** Since when an image's metadata are not counted, and since when the answer says which image it is. */
const UNCOUNTED_METADATA = 39;
const ANSWERS_IMAGE = 45;
const IMAGE_STATES = ['active', 'stopped', 'paused', 'suspended'];
/** What an image says of each device beside what is known of it. */
const UNKNOWN_OF_DEVICE = Object.fromEntries(
  `guest_format device_type disk_bus volume_id image_id no_device tag volume_type encrypted encryption_secret_uuid
   encryption_format encryption_options`
    .split(/\s+/)
    .map((name) => [name, null]),
);

/** `createImage` and `createBackup`. */
export function imageActions(dependencies: ServerDependencies): Operation[] {
  return [
    act<ImageBody>({
      action: 'createImage',
      policy: rules.createImage,
      body: createImageSchema,
      summary: 'Make an image of a server',
      handle: async (call) => {
        await requireCounted(dependencies, call);
        const id = await withServer(dependencies, call, async (tx, row) => {
          if (row.image_id !== '') return imageOfDisk(dependencies, tx, row, call, SNAPSHOT);
          call.context.enforce(inner.imageOfVolumes.name, { project_id: row.project_id });
          return imageOfVolumes(dependencies, tx, row, call);
        });
        return answer(call, id);
      },
    }),
    act<BackupBody>({
      action: 'createBackup',
      policy: rules.createBackup,
      body: createBackupSchema,
      summary: 'Make a backup of a server, and delete the oldest of its kind',
      handle: (call) => backup(dependencies, call),
    }),
  ];
}

/** Until Nova left images to Glance it counted what they are told, too. */
async function requireCounted(dependencies: ServerDependencies, call: Call<ImageBody>): Promise<void> {
  await findServer(dependencies, call);
  if (call.context.version >= UNCOUNTED_METADATA) return;
  await requireMetadataQuota(dependencies, call.context, call.body.metadata ?? {}).catch((error: unknown) => {
    throw error instanceof Fault && error.status === 403 ? forbidden('Image metadata limit exceeded') : error;
  });
}

function answer({ context }: Call, id: string): unknown {
  if (context.version >= ANSWERS_IMAGE) return { image_id: id };
  return new Reply(202, undefined, { location: `${context.publicUrl}/image/v2/images/${id}` });
}

async function backup(dependencies: ServerDependencies, call: Call<BackupBody>): Promise<unknown> {
  const { backup_type } = call.body;
  const keep = Number(call.body.rotation);
  await requireCounted(dependencies, call);
  const id = await withServer(dependencies, call, async (tx, before) => {
    requireState(before, call.context, { method: 'createBackup', vm: IMAGE_STATES });
    if (before.image_id === '') throw badRequest('Backup is not supported for volume-backed instances.');
    const image = await imageOfDisk(dependencies, tx, before, call, {
      type: 'backup',
      record: 'createBackup',
      task: 'image_backup',
      properties: { backup_type },
    });
    const row = await lockServer(tx, call);
    await enqueue(tx, dependencies, row, askerOf(call.context), {
      action: 'rotate_backups',
      record: null,
      body: { image_id: image, backup_type, keep },
      stateful: false,
    });
    return image;
  });
  return call.context.version >= ANSWERS_IMAGE || keep > 0 ? answer(call, id) : undefined;
}

interface ImageKind {
  readonly type: 'snapshot' | 'backup';
  readonly record: string;
  readonly task: string;
  readonly properties: Readonly<Record<string, string>>;
}

const SNAPSHOT: ImageKind = { type: 'snapshot', record: 'createImage', task: 'image_snapshot', properties: {} };

/** Whoever makes an image of another project's server shares it with that project. */
export const shareWith = ({ context }: Call, row: ServerRow): string | undefined =>
  context.identity.project?.id === row.project_id ? undefined : row.project_id;

/** Asks the child for an image of the server's disk. */
async function imageOfDisk(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call<ImageBody>,
  kind: ImageKind,
): Promise<string> {
  const { name, metadata = {} } = call.body;
  requireState(row, call.context, { method: kind.record, vm: IMAGE_STATES, lock: false });
  const id = await dependencies.images.registerSnapshot(tx, call.context, {
    name: name.trim(),
    properties: {
      ...inheritedProperties(row),
      image_type: kind.type,
      instance_uuid: row.id,
      user_id: row.user_id,
      // As in Nova, what the tenant says of it goes before.
      ...metadata,
      ...kind.properties,
    },
    child: row.child as string,
    server_id: row.id,
    share_with: shareWith(call, row),
    min_disk: row.flavor_copy.disk,
  });
  const body = { name: name.trim(), metadata, image_id: id };
  await send(dependencies, tx, row, call, 'createImage', kind.record, body, kind.task);
  return id;
}

/**
 * Snapshots of all the server's volumes, and an image that names them; all of it is in the one transaction, and the
 * snapshots' own work brings them to the child.
 * @throws Fault 409 for the server's state, 400 for a volume's, 403 over a quota
 */
async function imageOfVolumes(
  { volumes, images }: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call<ImageBody>,
): Promise<string> {
  const { context, body } = call;
  const { metadata = {} } = body;
  const name = body.name.trim();
  requireState(row, context, { method: 'createImage', vm: IMAGE_STATES, lock: false });
  try {
    const attached = (await volumes.attachmentsOf(tx, [row.id])).get(row.id) ?? [];
    const ids = attached.map(({ volume_id }) => volume_id);
    const made = await volumes.snapshot(tx, context, ids, `snapshot for ${name}`);
    const root = rootVolumeOf(row);
    const snapshots = attached.map(({ volume_id, device, delete_on_termination }) => ({
      ...UNKNOWN_OF_DEVICE,
      source_type: 'snapshot',
      destination_type: 'volume',
      snapshot_id: made.get(volume_id)?.id,
      volume_size: made.get(volume_id)?.size,
      boot_index: volume_id === root ? 0 : null,
      device_name: device === '' ? null : device,
      delete_on_termination,
    }));
    const disks = localDisks(
      row,
      attached.map(({ device }) => device),
    ).map(({ uuid: _uuid, rest, ...disk }) => ({ ...UNKNOWN_OF_DEVICE, snapshot_id: null, ...rest, ...disk }));
    const devices = [...disks, ...snapshots];
    const id = await images.registerEmpty(tx, context, {
      name,
      properties: {
        ...inheritedProperties(row),
        ...metadata,
        ...(row.root_device_name === null ? {} : { root_device_name: row.root_device_name }),
        ...(devices.length === 0 ? {} : { block_device_mapping: JSON.stringify(devices), bdm_v2: 'True' }),
      },
      share_with: shareWith(call, row),
      min_disk: row.flavor_copy.disk,
    });
    await closeAction(tx, await recordAction(tx, row.id, 'createImage', askerOf(context)));
    return id;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.status === 413) throw forbidden('Quota exceeded for resources: snapshots');
    // A volume that is being made or deleted: its own service's words, under Nova's status for what cannot be used.
    throw error.status === 404 ? badRequest(error.message) : error;
  }
}
