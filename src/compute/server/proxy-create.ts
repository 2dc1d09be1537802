/**
 * Making a server in its child, at its boot or where it moves there (`move.ts`). The row remembers that a create was sent before it is sent; whoever finds that note
 * without the child's id looks for the mark, and makes another only when the first has had time to show.
 */
import { sql } from 'kysely';
import type { ChildContext, Progress } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import { Gone, SETTLE_MS } from '../../cascade/replicas.ts';
import type { Tx } from '../../db/database.ts';
import { CloudError } from '../../openstack/error.ts';
import { findByMark, markItem, markTag, minorAt, takesTags } from './child.ts';
import { age_ms, clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { isLeaving } from './leaving.ts';
import { turnBack } from './move.ts';
import { changeQuietly, failBoot, isComing, rememberChildRequest, wantsAttention } from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';
import { isRefusal, refusalWords } from './words.ts';

const LOOK_AGAIN_MS = 1000;
const VOLUME_POLL_MS = 400;
/** The child allows fifty tags, one of which is the mark. */
const TAGS_MAX = 49;
const CREATE_MINOR = 90;
/** The last microversion that takes files to inject. */
const PERSONALITY_MINOR = 56;

/** What the child has ready for the server, by its own ids. */
interface Ready {
  readonly flavor: string;
  readonly image: string | undefined;
  readonly key: string | undefined;
  readonly ports: readonly string[];
  readonly volumes: ReadonlyMap<string, string>;
}

/** Makes the server of a row that has none yet. Twice: the second finds what the first made. */
export async function makeThere(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
): Promise<Progress> {
  const { db, cascade } = dependencies;
  if (row.create_sent_at !== null) {
    const found = await findByMark(context, row);
    if (found !== undefined) return adopt(dependencies, context, row.id, found.id);
    if ((await age_ms(db.query, row.create_sent_at)) <= SETTLE_MS) return { again_ms: LOOK_AGAIN_MS };
  } else if (row.origin !== null && (await isLeaving(db.query, context.child, row.id))) {
    // It has the mark and the ports that the new one is to have.
    return { again_ms: LOOK_AGAIN_MS };
  }
  try {
    const ready = await prepare(dependencies, context, row);
    if (ready === undefined) return { again_ms: VOLUME_POLL_MS };
    const body = await bodyOf(context, row, ready);
    if (!(await noteSent(dependencies, context.child, row.id))) return { again_ms: 0 };
    const id = await post(dependencies, context, row, body);
    cascade.expect(context.child);
    return await adopt(dependencies, context, row.id, id);
  } catch (error) {
    const words = isRefusal(error) ? refusalWords(row, error) : goneWords(row, error);
    if (words === undefined) throw error;
    context.log.info({ server_id: row.id, err: error }, 'a server cannot be made');
    await db.transaction((tx) => giveUp(tx, dependencies, context.child, row.id, words));
    return { again_ms: 0 };
  }
}

async function giveUp(tx: Tx, dependencies: ServerDependencies, child: string, id: string, words: string) {
  const row = await serverStore.lock(tx, id);
  if (row === undefined || row.origin === null || row.task_state === 'deleting') {
    return failBoot(tx, dependencies, id, words);
  }
  // Whoever saw it fail in the child may have turned it back already. What was refused made nothing to look for.
  if (row.child !== child || row.child_id !== null) return;
  await turnBack(tx, dependencies, { ...row, create_sent_at: null }, words);
}

/** Something that the boot needs was deleted since it was asked for. */
function goneWords(row: ServerRow, error: unknown): string | undefined {
  if (!(error instanceof Gone)) return undefined;
  if (error.id === row.shelved_image) return `Unshelve attempted but the image ${error.id} cannot be found.`;
  return `Build of instance ${row.id} aborted: its ${error.kind.replaceAll('_', ' ')} was deleted meanwhile.`;
}

/** Brings what the server needs, side by side; undefined while a volume is still being made. */
async function prepare(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
): Promise<Ready | undefined> {
  const { network, volumes } = dependencies;
  const imageId = imageOf(row);
  if (row.origin !== null && !(await isWhole(dependencies, imageId))) return undefined;
  const devices = (row.boot?.block_devices ?? []).filter(({ destination_type }) => destination_type === 'volume');
  const [, flavor, image, key, ports, childVolumes] = await Promise.all([
    context.scope(row.project_id),
    context.ensure('flavor', row.flavor_id),
    imageId === '' ? undefined : context.ensure('image', imageId),
    row.key_id === null ? undefined : ensureKey(context, row, row.key_id),
    network.ensurePorts(context, row.id),
    Promise.all(
      devices.map(async ({ uuid }) => [uuid as string, await volumes.childVolume(context, uuid as string)] as const),
    ),
  ]);
  const found = childVolumes.flatMap(([id, childId]) => (childId === undefined ? [] : [[id, childId] as const]));
  if (found.length < devices.length) return undefined;
  return { flavor: flavor.child_id, image: image?.child_id, key: key?.child_id, ports, volumes: new Map(found) };
}

/** What the server is made from: a shelved one from the image that it waits in. */
const imageOf = (row: ServerRow): string => (row.origin === null ? row.image_id : (row.shelved_image ?? ''));

/** Whether the child that makes an image is done with it, as far as its feed has told; nor is there to wait for one that failed. */
async function isWhole({ db, images }: ServerDependencies, imageId: string): Promise<boolean> {
  const status = (await images.known(db.query, [imageId])).get(imageId)?.status;
  return status !== 'queued' && status !== 'saving';
}

/** A server that comes from elsewhere has its key on its disk: it needs no copy of one that was deleted since. */
async function ensureKey(context: ChildContext, { origin }: ServerRow, keyId: string) {
  try {
    return await context.ensure('keypair', keyId);
  } catch (error) {
    if (origin !== null && error instanceof Gone) return undefined;
    throw error;
  }
}

interface CreateBody {
  readonly minor: number;
  readonly server: Readonly<Record<string, unknown>>;
}

async function bodyOf(context: ChildContext, row: ServerRow, ready: Ready): Promise<CreateBody> {
  const { boot } = row;
  const personality = boot?.personality ?? [];
  const minor = await minorAt(context, personality.length > 0 ? PERSONALITY_MINOR : CREATE_MINOR);
  const zone = context.childZone(row.zone);
  const devices = (boot?.block_devices ?? []).map(({ uuid, rest, ...device }) => ({
    ...rest,
    source_type: device.source_type,
    destination_type: device.destination_type,
    boot_index: device.boot_index,
    // What becomes of a volume is the parent's to say, when the server is gone.
    delete_on_termination: device.destination_type === 'local',
    ...(device.volume_size === null || device.source_type === 'volume' ? {} : { volume_size: device.volume_size }),
    ...(uuid === null ? {} : { uuid: ready.volumes.get(uuid) ?? (uuid === row.image_id ? ready.image : uuid) }),
  }));
  const networks = ready.ports.length > 0 ? ready.ports.map((port) => ({ port })) : minor >= 37 ? 'none' : [];
  const tagged = takesTags(minor);
  return {
    minor,
    server: {
      name: row.name,
      flavorRef: ready.flavor,
      ...(ready.image === undefined ? {} : { imageRef: ready.image }),
      networks,
      metadata: tagged ? row.metadata : { ...row.metadata, ...markItem(row.id) },
      'OS-DCF:diskConfig': row.disk_config,
      ...(tagged ? { tags: [markTag(row.id), ...row.tags.slice(0, TAGS_MAX)] } : {}),
      ...(minor >= 19 ? { description: row.description } : {}),
      ...(minor >= 90 && /^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$/.test(row.hostname)
        ? { hostname: row.hostname }
        : {}),
      ...(minor >= 63 && row.trusted_image_certificates !== null
        ? { trusted_image_certificates: row.trusted_image_certificates }
        : {}),
      ...(zone === undefined ? {} : { availability_zone: zone }),
      ...(ready.key === undefined ? {} : { key_name: ready.key }),
      ...(row.user_data === null ? {} : { user_data: row.user_data }),
      ...(row.config_drive === 'True' ? { config_drive: true } : {}),
      ...(boot?.admin_pass == null ? {} : { adminPass: boot.admin_pass }),
      ...(personality.length > 0 ? { personality } : {}),
      ...(row.access_ip_v4 === '' ? {} : { accessIPv4: row.access_ip_v4 }),
      ...(row.access_ip_v6 === '' ? {} : { accessIPv6: row.access_ip_v6 }),
      ...(devices.length === 0 ? {} : { block_device_mapping_v2: devices }),
    },
  };
}

/** Notes, in a committed change, that a create is about to be sent; false where it is not wanted any more. */
async function noteSent({ db }: ServerDependencies, child: string, id: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    if (row === undefined || row.deleted_at !== null || row.child !== child) return false;
    if (row.task_state === 'deleting' || !isComing(row)) return false;
    await changeQuietly(tx, row, { create_sent_at: await clock(tx) });
    return true;
  });
}

async function post(
  { db }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  { minor, server }: CreateBody,
): Promise<string> {
  try {
    const answer = await context.api.call<{ server: { id: string } }>({
      service: 'compute',
      method: 'POST',
      path: '/servers',
      body: { server },
      microversion: `2.${minor}`,
      scope: await context.scope(row.project_id),
      ...(context.requestId === undefined ? {} : { requestId: context.requestId }),
    });
    const { rows } = await sql<{ id: number }>`select id from server_actions
      where server_id = ${row.id} and action = 'create' order by id limit 1`.execute(db.query);
    if (rows[0] !== undefined) await rememberChildRequest(db.query, rows[0].id, answer.headers);
    return answer.body.server.id;
  } catch (error) {
    const isStale = isRefusal(error) && (await context.recheck('flavor', row.flavor_id));
    // Nothing came to be where the call never left, or was clearly refused as too much: no need to wait and look.
    if (isStale || (error instanceof CloudError && !error.uncertain && error.transient)) {
      await db.transaction(async (tx) => {
        const current = await serverStore.lock(tx, row.id);
        if (current?.child === context.child && current.child_id === null)
          await changeQuietly(tx, current, { create_sent_at: null });
      });
    }
    if (isStale) throw new Later(0, 'the flavor that was matched in the child serves no more');
    throw error;
  }
}

/** The child has it: from here on its feed tells how it fares. */
async function adopt(
  { db }: ServerDependencies,
  context: ChildContext,
  id: string,
  childId: string,
): Promise<Progress> {
  return db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    if (row === undefined || row.deleted_at !== null || row.child !== context.child) return 'done';
    const after = await changeQuietly(tx, row, { child_id: row.child_id ?? childId, boot: null });
    return wantsAttention(after) ? { again_ms: 0 } : 'done';
  });
}
