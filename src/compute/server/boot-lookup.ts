/** What a boot names, looked up and held against each other; nothing here changes anything. */
import type { Placement } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';
import { badRequest, Fault, forbidden } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerImage } from '../../image/server-images.ts';
import type { ResolvedNetworks } from '../../network/server-networks.ts';
import { mergedDevices, requireLocalDisks, rootDevice, wantedDevices } from './boot-devices.ts';
import { type CreateBody, idFromReference, networksOf, parseZone } from './boot-request.ts';
import { projectOf, requireFileQuota, requireMetadataQuota } from './boot-quota.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { BootDevice, ServerFlavor } from './resource.ts';

export const FORCED_HOST_RULE = {
  name: 'os_compute_api:servers:create:forced_host',
  check: 'rule:admin',
  description: 'Boot on a named host',
};
export const DESTINATION_RULE = {
  name: 'compute:servers:create:requested_destination',
  check: 'rule:admin',
  description: 'Boot on a requested host or hypervisor',
};
export const ZERO_DISK_RULE = {
  name: 'os_compute_api:servers:create:zero_disk_flavor',
  check: 'rule:admin',
  description: 'Boot from an image with a flavor without disk',
};

export const ATTACH_VOLUME_RULE = {
  name: 'os_compute_api:servers:create:attach_volume',
  check: 'rule:project_member_or_admin',
  description: 'Boot with volumes',
};
export const ATTACH_NETWORK_RULE = {
  name: 'os_compute_api:servers:create:attach_network',
  check: 'rule:project_member_or_admin',
  description: 'Boot with chosen networks',
};
export const TRUSTED_CERTIFICATES_RULE = {
  name: 'os_compute_api:servers:create:trusted_certs',
  check: 'rule:project_member_or_admin',
  description: 'Boot from images that certificates must vouch for',
};

/** All that a boot names, found. */
export interface Resolved {
  readonly flavor: ServerFlavor;
  /** The image that the request names; the server may boot from a volume all the same. */
  readonly image: ServerImage | undefined;
  /** Properties of the image that the server, or the volume that it boots from, is made of. */
  readonly boot_properties: Readonly<Record<string, string>>;
  readonly disk_config: string;
  readonly key: { readonly id: string; readonly name: string } | undefined;
  readonly networks: ResolvedNetworks;
  readonly devices: readonly BootDevice[];
  /** Children that hold the volumes and snapshots named. */
  readonly children: readonly string[] | undefined;
}

const GIB = 1024 ** 3;
const MULTIATTACH_SINCE = 60;

/** The zone and host asked for, as far as the caller may ask. */
export function placeOf(
  context: RequestContext,
  body: CreateBody,
): { zone: string | undefined; host: string | undefined; isForced: boolean } {
  const { zone, host: forced } = parseZone(body.availability_zone);
  const requested = body.host ?? body.hypervisor_hostname;
  if (forced !== undefined) context.enforce(FORCED_HOST_RULE.name);
  if (requested === undefined) return { zone, host: forced, isForced: forced !== undefined };
  context.enforce(DESTINATION_RULE.name);
  if (forced !== undefined) {
    throw badRequest(
      'One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive.',
    );
  }
  return { zone, host: requested, isForced: false };
}

/** @throws Fault what speaks against the boot, in Nova's order and words */
export async function resolve(
  dependencies: ServerDependencies,
  context: RequestContext,
  body: CreateBody,
  maximum: number,
): Promise<Resolved> {
  const { query } = dependencies.db;
  const trusted = (body.trusted_image_certificates ?? []).length > 0;
  if (trusted) context.enforce(TRUSTED_CERTIFICATES_RULE.name);
  const asked = wantedDevices(body);
  if (asked.devices.length > 0) context.enforce(ATTACH_VOLUME_RULE.name);
  const wanted = networksOf(body, maximum);
  if (wanted !== undefined && wanted !== 'none') context.enforce(ATTACH_NETWORK_RULE.name);
  const flavorId = idFromReference(body.flavorRef);
  if (trusted && !asked.hasImage) {
    throw badRequest('Image certificate validation is not supported when booting from volume');
  }
  // The image may bring devices of its own, so that nothing is known of them before it is found.
  const named = namedImage(dependencies, context, body.imageRef);
  const finding = dependencies.flavors.find(query, context, flavorId);
  const rooted = rootImage(dependencies, context, body.imageRef, asked.devices);
  const merging = Promise.all([named, rooted, finding]).then(([image, ofRoot, flavor]) =>
    mergedDevices(asked, (image ?? ofRoot)?.properties ?? {}, maximum, flavor),
  );
  // Looked up side by side, but refused in Nova's order: whichever comes first in it is what the client reads.
  const [flavor, ownImage, merged, ofDevice, key, sources, networks, metadata, files] = await Promise.allSettled([
    finding,
    named,
    merging,
    rooted,
    body.key_name === undefined
      ? undefined
      : dependencies.keypairs.find(query, context.identity.user.id, body.key_name),
    merging.then((devices) => sourcesOf(dependencies, context, devices)),
    dependencies.network.resolve(query, context, wanted),
    requireMetadataQuota(dependencies, context, body.metadata ?? {}),
    requireFileQuota(dependencies, context, body.personality ?? []),
  ]);
  const found = value(flavor);
  if (found === undefined) throw badRequest(`Flavor ${flavorId.slice(0, 255)} could not be found.`);
  const image = value(ownImage);
  const devices = value(merged);
  const root = rootDevice(devices);
  const bootImage = image ?? value(ofDevice);
  if (bootImage !== undefined) requireFitting(context, bootImage, found, root);
  requireLocalDisks(devices, found);
  const foundKey = value(key);
  if (body.key_name !== undefined && foundKey === undefined) throw badRequest('Invalid key_name provided.');
  value(metadata);
  value(files);
  const { children, root_properties } = value(sources);
  return {
    flavor: found,
    image,
    boot_properties: bootImage === undefined ? root_properties : bootImage.properties,
    disk_config: diskConfigOf(body['OS-DCF:diskConfig'], bootImage) ?? 'MANUAL',
    key: foundKey,
    networks: value(networks),
    devices,
    children,
  };
}

function value<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

/** The image that the request names. */
async function namedImage(
  { images, db }: ServerDependencies,
  context: RequestContext,
  id: string | undefined,
): Promise<ServerImage | undefined> {
  if (id === undefined || id === '') return undefined;
  const image = await images.resolve(db.query, context, id).catch((error: unknown) => {
    if (!(error instanceof Fault) || error.status !== 404) throw error;
    throw badRequest('Can not find requested image');
  });
  if (image.status !== 'active') throw badRequest(`Image ${id} is not active.`);
  return image;
}

/** The image that the volume is made of which the server boots from, where the request names no image itself. */
async function rootImage(
  { images, db }: ServerDependencies,
  context: RequestContext,
  named: string | undefined,
  devices: readonly BootDevice[],
): Promise<ServerImage | undefined> {
  const id = devices.find(({ boot_index }) => boot_index === 0)?.uuid;
  const isImage = devices.some(({ source_type, boot_index }) => source_type === 'image' && boot_index === 0);
  if (!isImage || id === undefined || id === null || (named ?? '') !== '') return undefined;
  const image = await images.resolve(db.query, context, id).catch((error: unknown) => {
    if (!(error instanceof Fault) || error.status !== 404) throw error;
    throw badRequest(`Block Device Mapping is Invalid: failed to get image ${id}.`);
  });
  if (image.status !== 'active') throw badRequest(`Image ${id} is not active.`);
  return image;
}

const IS_AUTO = /^(1|t|true|on|y|yes)$/i;

/**
 * Whether a server's disk is made as large as its flavor says, by the request or else by its image.
 * @throws Fault 400 where it is asked for and the image refuses it
 */
export function diskConfigOf(
  asked: string | undefined,
  image: Pick<ServerImage, 'id' | 'properties'> | undefined,
): string | undefined {
  const ofImage = image?.properties.auto_disk_config?.trim();
  if (asked === 'AUTO' && ofImage?.toLowerCase() === 'disabled') {
    throw badRequest(`Requested image ${image?.id} has automatic disk resize disabled.`);
  }
  return asked ?? (ofImage !== undefined && IS_AUTO.test(ofImage) ? 'AUTO' : undefined);
}

/**
 * @param root the volume that the server boots from; undefined where that is the flavor's disk
 * @throws Fault where the image does not fit into the flavor, or the volume
 */
export function requireFitting(
  context: RequestContext,
  image: ServerImage,
  flavor: ServerFlavor,
  root: Pick<BootDevice, 'volume_size'> | undefined,
): void {
  const drive = image.properties.img_config_drive ?? 'optional';
  if (drive !== 'optional' && drive !== 'mandatory') {
    throw badRequest(`Image's config drive option '${drive}' is invalid`);
  }
  if (image.min_ram > flavor.ram) throw badRequest("Flavor's memory is too small for requested image.");
  if (root !== undefined) {
    if (root.volume_size !== null && image.min_disk > root.volume_size) {
      throw badRequest(
        `Volume is smaller than the minimum size specified in image metadata. Volume size is ${root.volume_size * GIB} bytes, minimum size is ${image.min_disk * GIB} bytes.`,
      );
    }
    return;
  }
  const disk_bytes = flavor.disk * GIB;
  if (flavor.disk === 0) {
    if (!context.allowed(ZERO_DISK_RULE.name)) {
      throw forbidden('Only volume-backed servers are allowed for flavors with zero disk.');
    }
    return;
  }
  if (image.size > disk_bytes) {
    throw badRequest(
      `Flavor's disk is too small for requested image. Flavor disk is ${disk_bytes} bytes, image is ${image.size} bytes.`,
    );
  }
  if (image.min_disk > flavor.disk) {
    throw badRequest(
      `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${disk_bytes} bytes, minimum size is ${image.min_disk * GIB} bytes.`,
    );
  }
}

/** @throws Fault 400 before clients knew that a volume may be attached to several servers */
export function requireMultiattach({ version }: RequestContext): void {
  if (version >= MULTIATTACH_SINCE) return;
  throw badRequest(`Multiattach volumes are only supported starting with compute API version 2.${MULTIATTACH_SINCE}.`);
}

/** Where the volumes and snapshots named live: the server can only go where all of them are. */
async function sourcesOf(
  { volumes, db }: ServerDependencies,
  context: RequestContext,
  devices: readonly BootDevice[],
): Promise<{ children: readonly string[] | undefined; root_properties: Readonly<Record<string, string>> }> {
  let children: readonly string[] | undefined;
  let root_properties: Readonly<Record<string, string>> = {};
  for (const { source_type, uuid, boot_index } of devices) {
    if (uuid === null || (source_type !== 'volume' && source_type !== 'snapshot')) continue;
    const lookup =
      source_type === 'volume'
        ? volumes.resolve(db.query, context, uuid)
        : volumes.resolveSnapshot(db.query, context, uuid);
    const source = await lookup.catch((error: unknown) => {
      if (!(error instanceof Fault) || error.status !== 404) throw error;
      throw badRequest(`Block Device Mapping is Invalid: failed to get ${source_type} ${uuid}.`);
    });
    if ('multiattach' in source && source.multiattach) requireMultiattach(context);
    if ('bootable' in source && boot_index === 0 && !source.bootable) {
      throw badRequest(`Block Device ${uuid} is not bootable.`);
    }
    if (boot_index === 0) root_properties = source.image_metadata;
    const { child } = source;
    if (child === null) throw badRequest(`Block Device Mapping is Invalid: failed to get ${source_type} ${uuid}.`);
    children = children === undefined ? [child] : children.filter((one) => one === child);
  }
  return { children, root_properties };
}

/** The zone of a boot: where a host is forced that is not in it, the zone does not count, as in Nova. */
export function zoneOf(
  zones: readonly { readonly name: string; readonly children: readonly string[] }[],
  { zone, host, isForced }: ReturnType<typeof placeOf>,
): string | undefined {
  const isIn = zones.some(({ name, children }) => name === zone && children.includes(host ?? ''));
  return isForced && !isIn ? undefined : zone;
}

/** @throws Fault 400 for a zone that does not exist, or that the volumes are not in */
export function requireZone(
  zones: readonly { readonly name: string; readonly children: readonly string[] }[],
  zone: string | undefined,
  children: readonly string[] | undefined,
): void {
  if (zone === undefined) return;
  const known = zones.find(({ name }) => name === zone);
  if (known === undefined) throw badRequest('The requested availability zone is not available');
  if (children !== undefined && !known.children.some((child) => children.includes(child))) {
    throw badRequest(
      'The availability zone between the server and its attached volumes do not match: Server and volumes are not in the same availability zone.',
    );
  }
}

/** What a boot's place is chosen by, beside what it names. */
export interface PlaceRequest {
  readonly zone: string | undefined;
  readonly host: string | undefined;
  /** What a server group's policy leaves. */
  readonly among?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/**
 * Chooses the child; undefined where none is left, which Nova answers with a server in ERROR.
 * @throws Fault 400 for an unknown host, 409 where all that is left cannot have what the networks and ports ask for
 */
export async function place(
  query: Queryable,
  { cascade }: Pick<ServerDependencies, 'cascade'>,
  resolved: Resolved,
  { zone, host, among: together, exclude }: PlaceRequest,
): Promise<Placement | undefined> {
  const forced = host === undefined ? undefined : [host];
  const restrictions = [resolved.networks.children, resolved.children, forced, together];
  let among: readonly string[] | undefined;
  for (const children of restrictions) {
    if (children === undefined) continue;
    among = among === undefined ? children : among.filter((child) => children.includes(child));
  }
  if (host !== undefined && !(await cascade.children(query)).some(({ name }) => name === host)) {
    throw badRequest(`Compute host ${host} could not be found.`);
  }
  const { vcpus, ram, disk } = resolved.flavor;
  const size = { vcpus, memory_mb: ram, local_gb: disk };
  const choose = (children: readonly string[] | undefined): Promise<Placement | undefined> =>
    cascade.schedule(query, { zone, binary: 'nova-compute', among: children, exclude, ...size });
  const chosen = among?.length === 0 ? undefined : await choose(among);
  const { refusals } = resolved.networks;
  // What a group leaves is not all that there is.
  if (chosen !== undefined || refusals.size === 0 || together !== undefined || exclude !== undefined) return chosen;
  // A child that would do but for what it cannot have tells why.
  const unable = await choose([...refusals.keys()].filter((child) => forced?.includes(child) !== false));
  const refusal = refusals.get(unable?.child ?? '');
  if (refusal !== undefined) throw refusal;
  return undefined;
}

/** How many of a range the quota allows: as many as there is room for, and at least the minimum, which may then fail. */
export async function affordable(
  { quotas, db }: ServerDependencies,
  context: RequestContext,
  flavor: ServerFlavor,
  minimum: number,
  maximum: number,
): Promise<number> {
  if (minimum === maximum) return maximum;
  const usage = await quotas.usage(db.query, projectOf(context));
  let allowed = maximum;
  for (const [resource, each] of [
    ['instances', 1],
    ['cores', flavor.vcpus],
    ['ram', flavor.ram],
  ] as const) {
    const of = usage[resource];
    if (of === undefined || of.limit < 0 || each === 0) continue;
    allowed = Math.min(allowed, Math.floor((of.limit - of.in_use) / each));
  }
  return Math.max(allowed, minimum);
}
