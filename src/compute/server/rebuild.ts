/** Rebuilding a server: its disk is made anew of an image, which may be another one. */
import { badRequest, Fault } from '../../http/fault.ts';
import { type Call, type Operation, Reply } from '../../http/service.ts';
import type { ServerImage } from '../../image/server-images.ts';
import { act } from './act.ts';
import { randomPassword } from './boot.ts';
import { diskConfigOf, requireFitting } from './boot-lookup.ts';
import { requireFileQuota, requireMetadataQuota } from './boot-quota.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, withServer } from './lookup.ts';
import { narrowed, view } from './operations.ts';
import { canonicalIp, type InjectedFile, keptProperties, rootVolumeOf, type ServerRow } from './resource.ts';
import { inner, rules } from './rules.ts';
import { rebuildSchema } from './schema.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

interface RebuildBody {
  readonly imageRef: string;
  readonly adminPass?: string;
  readonly name?: string;
  readonly description?: string | null;
  readonly hostname?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly key_name?: string | null;
  readonly user_data?: string | null;
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly trusted_image_certificates?: readonly string[] | null;
  readonly 'OS-DCF:diskConfig'?: string;
  readonly personality?: readonly InjectedFile[];
}

const SHOWS_KEY = 54;
const SHOWS_USER_DATA = 57;
/** Since when the volume that a server boots from can be made anew of another image. */
const REIMAGES_SINCE = 93;
const WANTED_STATE = { method: 'rebuild', vm: ['active', 'stopped', 'error'] } as const;

/** The action `rebuild`. */
export const rebuildAction = (dependencies: ServerDependencies): Operation =>
  act<RebuildBody>({
    action: 'rebuild',
    policy: rules.rebuild,
    body: rebuildSchema,
    summary: 'Rebuild a server',
    handle: (call) => rebuild(dependencies, call),
  });

/** An image that a server may be made of anew. @throws Fault 400 in these words where there is none */
export async function usableImage(
  { images, db }: ServerDependencies,
  call: Call,
  id: string,
  words: string,
): Promise<ServerImage> {
  const image = await images.resolve(db.query, call.context, id).catch((error: unknown) => {
    throw error instanceof Fault && error.status === 404 ? badRequest(words) : error;
  });
  if (image.status !== 'active') throw badRequest(`Image ${id} is not active.`);
  return image;
}

async function rebuild(dependencies: ServerDependencies, call: Call<RebuildBody>): Promise<unknown> {
  const { context, body } = call;
  const { key_name, trusted_image_certificates: trusted } = body;
  const server = await findServer(dependencies, call);
  if (trusted !== undefined) context.enforce(inner.rebuildTrusted.name, { project_id: server.project_id });
  requireState(server, context, WANTED_STATE);
  // Keys are users': whoever rebuilds a server gives it one of their own.
  const key =
    typeof key_name === 'string'
      ? await dependencies.keypairs.find(dependencies.db.query, context.identity.user.id, key_name)
      : undefined;
  if (typeof key_name === 'string' && key === undefined) throw badRequest('Invalid key_name provided.');
  const image = await usableImage(dependencies, call, body.imageRef, 'Cannot find image for rebuild');
  await requireMetadataQuota(dependencies, context, body.metadata ?? {});
  await requireFileQuota(dependencies, context, body.personality ?? []);
  const adminPass = body.adminPass ?? randomPassword();
  const row = await withServer(dependencies, call, async (tx, before) => {
    requireState(before, context, WANTED_STATE);
    const isOfVolume = before.image_id === '';
    if (isOfVolume) await requireSameImage(dependencies, call, before, image);
    requireFitting(context, image, before.flavor_copy, isOfVolume ? { volume_size: null } : undefined);
    const { 'OS-DCF:diskConfig': asked, imageRef: _, ...rest } = body;
    const disk_config = diskConfigOf(asked, image);
    const patch: Partial<ServerRow> = {
      ...(isOfVolume ? {} : { image_id: image.id }),
      ...(body.name === undefined ? {} : { name: body.name.trim() }),
      ...(body.description === undefined ? {} : { description: body.description }),
      ...(body.hostname === undefined ? {} : { hostname: body.hostname }),
      ...(body.metadata === undefined ? {} : { metadata: { ...body.metadata } }),
      ...(body.user_data === undefined ? {} : { user_data: body.user_data }),
      ...(key_name === undefined ? {} : { key_name: key?.name ?? '', key_id: key?.id ?? null }),
      ...(body.accessIPv4 === undefined ? {} : { access_ip_v4: body.accessIPv4 }),
      ...(body.accessIPv6 === undefined ? {} : { access_ip_v6: canonicalIp(body.accessIPv6) }),
      ...(trusted === undefined ? {} : { trusted_image_certificates: trusted === null ? null : [...trusted] }),
      ...(disk_config === undefined ? {} : { disk_config }),
      inherited: { ...makersOf(before), ...keptProperties(image.properties), base_image_ref: image.id },
      fault_record: null,
    };
    const wanted = { ...rest, imageRef: image.id, adminPass };
    return send(dependencies, tx, before, call, 'rebuild', 'rebuild', wanted, 'rebuilding', patch);
  });
  return answer(dependencies, call, row, adminPass);
}

/** Who made the server stays, whatever it is made of. */
const makersOf = ({ inherited }: ServerRow): Record<string, string> =>
  Object.fromEntries(
    Object.entries(inherited).filter(([name]) => /^(owner_user_name|owner_project_name|boot_roles)$/.test(name)),
  );

/** @throws Fault 400 for certificates, which volumes know nothing of, and, before 2.93, for any but the volume's own image */
async function requireSameImage(
  { volumes, db }: ServerDependencies,
  { context, body }: Call<RebuildBody>,
  row: ServerRow,
  image: ServerImage,
): Promise<void> {
  if ((body.trusted_image_certificates ?? []).length > 0) {
    throw badRequest('Image certificate validation is not supported for volume-backed servers.');
  }
  if (context.version >= REIMAGES_SINCE) return;
  const root = rootVolumeOf(row);
  const made = root === undefined ? undefined : await volumes.resolve(db.query, context, root);
  if (made?.image_metadata.image_id === image.id) return;
  throw badRequest(
    `Image ${image.id} is unacceptable: Unable to rebuild with a different image for a volume-backed server.`,
  );
}

async function answer(
  dependencies: ServerDependencies,
  { context }: Call,
  row: ServerRow,
  adminPass: string,
): Promise<Reply> {
  const shown = await view(dependencies, context, row);
  const keep = context.version >= SHOWS_KEY ? ['key_name'] : [];
  // A rebuild says what user data it has under the name by which they are given.
  const { 'OS-EXT-SRV-ATTR:user_data': _data, ...all } = shown;
  const server = narrowed({ ...all, adminPass }, context.version, keep) as Record<string, unknown>;
  if (context.version >= SHOWS_USER_DATA) server.user_data = row.user_data;
  return new Reply(202, { server }, { location: `${context.baseUrl}/servers/${row.id}` });
}
