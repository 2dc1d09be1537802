/**
 * The block devices of a boot, as the request and its image name them, in one form; follows nova.block_device and
 * `_check_and_transform_bdm` of nova.compute.api. Nothing here asks the database.
 */
import { badRequest, type Fault } from '../../http/fault.ts';
import type { CreateBody, DeviceBody } from './boot-request.ts';
import { mappedDisks, mappedRoot } from './image-mappings.ts';
import type { BootDevice, ServerFlavor } from './resource.ts';
import { isTrue } from './schema.ts';

/** A device as it was asked for: one that only says which device of the image is not wanted is among them. */
interface Wanted extends BootDevice {
  readonly isNone: boolean;
}

/** What the request itself says of devices. */
export interface WantedDevices {
  readonly hasImage: boolean;
  /** In the form from before source and destination, in which the device's name says what is the root. */
  readonly isLegacy: boolean;
  readonly devices: readonly Wanted[];
}

type Properties = Readonly<Record<string, string>>;

const DEFAULT_ROOT = 'vda';
const invalid = (details: string): Fault => badRequest(`Block Device Mapping is Invalid: ${details}`);
const plainName = (name: unknown): string => (typeof name === 'string' ? name.replace(/^\/dev\//, '') : '');
const nameOf = (device: BootDevice): string => plainName(device.rest.device_name);
const isImageItself = ({ source_type, destination_type }: BootDevice): boolean =>
  source_type === 'image' && destination_type === 'local';

/** @throws Fault 400 in Nova's words for devices that are none */
export function wantedDevices(body: CreateBody): WantedDevices {
  const { block_device_mapping: legacy = [], block_device_mapping_v2: devices = [] } = body;
  if (legacy.length > 0 && devices.length > 0) {
    throw badRequest('Using different block_device_mapping syntaxes is not allowed in the same request.');
  }
  const hasImage = (body.imageRef ?? '') !== '';
  const isLegacy = devices.length === 0;
  const all = isLegacy ? legacy.map(fromLegacy) : devices.map((device) => fromApi(device, body.imageRef !== undefined));
  if (!hasImage && all.length === 0) throw badRequest('Missing imageRef attribute');
  return { hasImage, isLegacy, devices: all };
}

/**
 * The devices of a boot with those that its image brings, local disks as far as the flavor has them; the image itself, where the server boots from it, is not among
 * them.
 * @throws Fault 400 in Nova's words for those that do not go together
 */
export function mergedDevices(
  wanted: WantedDevices,
  properties: Properties,
  maximum: number,
  flavor: ServerFlavor | undefined,
): BootDevice[] {
  const listed = devicesOfImage(properties);
  const taken = new Set(listed.map(nameOf));
  const mapped = mappedDisks(properties, flavor).filter((disk) => !taken.has(nameOf(disk)));
  const ofImage = [...listed, ...mapped.map((disk) => ({ ...disk, isNone: false }))];
  const hasRoot = ofImage.some(({ boot_index }) => boot_index === 0);
  const own = wanted.isLegacy
    ? legacyRoot(wanted, rootName(properties), hasRoot)
    : wanted.devices.filter((device) => !(hasRoot && device.boot_index === 0 && device.source_type === 'image'));
  const names = new Set(own.map(nameOf).filter((name) => name !== ''));
  const all = [...own, ...ofImage.filter((device) => !names.has(nameOf(device)))].filter(({ isNone }) => !isNone);
  if (maximum > 1 && all.some(({ source_type }) => source_type === 'volume')) {
    throw badRequest('Cannot attach one or more volumes to multiple instances');
  }
  const order = all.map(({ boot_index }) => boot_index ?? -1).filter((index) => index >= 0);
  if (order.length === 0 || !order.sort((one, other) => one - other).every((index, at) => index === at)) {
    throw invalid('Boot sequence for the instance and image/block device mapping combination is not valid.');
  }
  return all.flatMap(({ isNone: _isNone, ...device }) => (isImageItself(device) ? [] : [device]));
}

/** The device that the server boots from, where that is no image. */
export const rootDevice = (devices: readonly BootDevice[]): BootDevice | undefined =>
  devices.find(({ boot_index }) => boot_index === 0);

/** @throws Fault 400 for local disks that the flavor does not have */
export function requireLocalDisks(devices: readonly BootDevice[], flavor: ServerFlavor): void {
  const local = devices.filter((one) => one.source_type === 'blank' && one.destination_type === 'local');
  const swaps = local.filter(({ rest }) => rest.guest_format === 'swap');
  const ephemeral_gb = local
    .filter(({ rest }) => rest.guest_format !== 'swap')
    .reduce((sum, { volume_size }) => sum + (volume_size ?? flavor.ephemeral), 0);
  if (ephemeral_gb > flavor.ephemeral) {
    throw badRequest(
      'Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor ephemeral size will be used.',
    );
  }
  if (swaps.length > 1) throw invalid('More than one swap drive requested.');
  if ((swaps[0]?.volume_size ?? 0) > flavor.swap) {
    throw badRequest('Swap drive requested is larger than instance type allows.');
  }
}

/** Legacy devices say by their names which is the root; without one it is the image. */
function legacyRoot({ devices, hasImage }: WantedDevices, root: string, imageHasRoot: boolean): Wanted[] {
  if (imageHasRoot) return devices.map((device) => ({ ...device, boot_index: -1 }));
  const placed = rooted(devices, root);
  if (!hasImage || placed.some(({ boot_index }) => boot_index === 0)) return placed;
  const image = { source_type: 'image', destination_type: 'local', uuid: null, volume_size: null } as const;
  return [{ ...image, boot_index: 0, delete_on_termination: true, rest: {}, isNone: false }, ...placed];
}

const rooted = (devices: readonly Wanted[], root: string): Wanted[] =>
  devices.map((device) => ({
    ...device,
    boot_index: !device.isNone && device.source_type !== 'blank' && nameOf(device) === root ? 0 : -1,
  }));

const rootName = (properties: Properties): string =>
  plainName(properties.root_device_name) || plainName(mappedRoot(properties)) || DEFAULT_ROOT;

/** What an image's property `block_device_mapping` says; tenants may write into it what they like. */
function devicesOfImage(properties: Properties): Wanted[] {
  const { block_device_mapping: text, bdm_v2 } = properties;
  if (text === undefined || text === '') return [];
  const broken = (): Fault => invalid("the image's block_device_mapping cannot be read.");
  let listed: unknown;
  try {
    listed = JSON.parse(text);
  } catch {
    throw broken();
  }
  if (!Array.isArray(listed) || listed.some((one) => typeof one !== 'object' || one === null)) throw broken();
  const devices = (listed as DeviceBody[]).map((one) => textsOf(one, broken));
  if (bdm_v2 === undefined || bdm_v2 === '') return rooted(devices.map(fromLegacy), rootName(properties));
  return devices.map((device) => {
    const { volume_id: _volume, snapshot_id: _snapshot, image_id: _image, ...rest } = device;
    return fromApi({ ...rest, uuid: device[`${String(device.source_type)}_id`] }, true);
  });
}

const SOURCES = new Set(['volume', 'image', 'snapshot', 'blank']);
const DESTINATIONS = new Set(['local', 'volume']);

/** The members of a device of an image that mean something, where each is what it should be. */
function textsOf(device: DeviceBody, broken: () => Fault): DeviceBody {
  const { source_type, destination_type } = device;
  const kept = Object.entries(device).filter(([, value]) => value !== null && value !== undefined);
  const isPlain = kept.every(([, value]) => ['string', 'number', 'boolean'].includes(typeof value));
  const isKnown =
    (source_type == null || SOURCES.has(String(source_type))) &&
    (destination_type == null || DESTINATIONS.has(String(destination_type))) &&
    [device.volume_size ?? 0, device.boot_index ?? 0].every((value) => Number.isInteger(Number(value)));
  if (!isPlain || !isKnown) throw broken();
  return Object.fromEntries(kept.filter(([name]) => !name.startsWith('encrypt')));
}

const sizeOf = (value: unknown): number | null =>
  value === undefined || value === null || Number(value) === 0 ? null : Number(value);

function fromApi(device: DeviceBody, hasImage: boolean): Wanted {
  const { uuid, source_type, destination_type, boot_index, volume_size, delete_on_termination, ...others } = device;
  const { volume_id, snapshot_id, image_id, no_device, connection_info: _info, virtual_name: _name, ...rest } = others;
  const isNone = no_device !== undefined && no_device !== null && no_device !== '' && no_device !== false;
  const named = (volume_id ?? snapshot_id ?? image_id) as string | undefined;
  const source = (source_type ??
    (volume_id !== undefined
      ? 'volume'
      : snapshot_id !== undefined
        ? 'snapshot'
        : image_id !== undefined
          ? 'image'
          : 'blank')) as BootDevice['source_type'];
  const given = (uuid ?? named ?? null) as string | null;
  const index = boot_index === undefined || boot_index === null ? -1 : Number(boot_index);
  const destination = (destination_type ?? (source === 'image' || source === 'blank' ? 'local' : 'volume')) as
    | 'local'
    | 'volume';
  const size = sizeOf(volume_size);
  if (!isNone) {
    if (source === 'blank' && given !== null) throw invalid('Invalid device UUID.');
    if (source !== 'blank' && given === null) throw invalid('Missing device UUID.');
    if (source === 'image' && destination === 'local' && !(hasImage && index === 0)) {
      throw invalid('Mapping image to local is not supported.');
    }
    if (source !== 'blank' && source !== 'image' && destination === 'local') {
      throw invalid(`Mapping ${source} to local is not supported.`);
    }
    if (destination === 'local' && typeof rest.volume_type === 'string') {
      throw invalid('Specifying a volume_type with destination_type=local is not supported.');
    }
    if (source === 'volume' && typeof rest.volume_type === 'string') {
      throw invalid('Specifying volume type to existing volume is not supported.');
    }
    if (destination === 'volume' && size === null && source === 'image') {
      throw invalid("Images with destination_type 'volume' need to have a non-zero size specified");
    }
    if (destination === 'volume' && size === null && source === 'blank') {
      throw invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size");
    }
  }
  return {
    source_type: source,
    destination_type: destination,
    uuid: given,
    boot_index: index,
    volume_size: size,
    delete_on_termination: isTrue(delete_on_termination),
    rest: Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)),
    isNone,
  };
}

function fromLegacy(device: DeviceBody): Wanted {
  const { volume_id, snapshot_id, volume_size, delete_on_termination, device_name, no_device, virtual_name } = device;
  const common = {
    boot_index: -1,
    volume_size: sizeOf(volume_size),
    delete_on_termination: isTrue(delete_on_termination),
    rest: device_name === undefined ? {} : { device_name },
    isNone: false,
  };
  const local = { ...common, source_type: 'blank', destination_type: 'local', uuid: null } as const;
  if (typeof virtual_name === 'string' && /^(swap|ephemeral(\d|[1-9]\d+))$/.test(virtual_name)) {
    const format = virtual_name === 'swap' ? { guest_format: 'swap' } : {};
    return { ...local, delete_on_termination: true, rest: { ...common.rest, ...format } };
  }
  const source = snapshot_id === undefined ? 'volume' : 'snapshot';
  const uuid = (snapshot_id ?? volume_id) as string | undefined;
  if (uuid !== undefined) return { ...common, source_type: source, destination_type: 'volume', uuid };
  if (no_device === undefined || no_device === null || no_device === false || no_device === '') {
    throw invalid('Unrecognized legacy format.');
  }
  return { ...local, isNone: true };
}
