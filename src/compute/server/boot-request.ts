/** A create's body as Nova reads it: zone and host, networks, block devices, counts. Nothing here asks the database. */
import { badRequest, conflict } from '../../http/fault.ts';
import type { NetworkRequest } from '../../network/server-networks.ts';
import type { BootDevice } from './resource.ts';
import { isTrue } from './schema.ts';

/** `server` of a create, after its schema. */
export interface CreateBody {
  readonly name: string;
  readonly flavorRef: string | number;
  readonly imageRef?: string;
  readonly adminPass?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly networks?: 'none' | 'auto' | readonly NetworkBody[];
  readonly 'OS-DCF:diskConfig'?: string;
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly availability_zone?: string;
  readonly block_device_mapping?: readonly DeviceBody[];
  readonly block_device_mapping_v2?: readonly DeviceBody[];
  readonly config_drive?: boolean | string;
  readonly key_name?: string;
  readonly min_count?: number | string;
  readonly max_count?: number | string;
  readonly return_reservation_id?: boolean | string;
  readonly security_groups?: readonly { readonly name?: string }[];
  readonly user_data?: string;
  readonly personality?: readonly unknown[];
  readonly description?: string | null;
  readonly tags?: readonly string[];
  readonly trusted_image_certificates?: readonly string[] | null;
  readonly host?: string;
  readonly hypervisor_hostname?: string;
  readonly hostname?: string;
}

interface NetworkBody {
  readonly uuid?: string;
  readonly port?: string | null;
  readonly fixed_ip?: string;
  readonly tag?: string;
}

type DeviceBody = Readonly<Record<string, unknown>>;

/** The last part of what may be a URL. */
export const idFromReference = (reference: string | number): string => String(reference).split('/').at(-1) ?? '';

/** One request is one transaction, which must end within its time limit whatever the quota allows. */
const COUNT_MAX = 1000;

/** How many at least, and at most. @throws Fault 400 where they contradict each other */
export function counts(body: CreateBody): { minimum: number; maximum: number } {
  const minimum = Number(body.min_count ?? 1);
  const maximum = Number(body.max_count ?? minimum);
  if (minimum < 1 || maximum < 1) throw badRequest('min_count and max_count must be greater than 0');
  if (minimum > maximum) throw badRequest('min_count must be <= max_count');
  if (maximum > COUNT_MAX) throw badRequest(`At most ${COUNT_MAX} servers can be created at once.`);
  return { minimum, maximum };
}

/** `zone`, `zone:host`, `zone:host:node` or `zone::node`, the node being the same as the host here. */
export function parseZone(text: string | undefined): { zone: string | undefined; host: string | undefined } {
  if (text === undefined || text === '') return { zone: undefined, host: undefined };
  const parts = text.split(':');
  if (parts.length > 3) throw badRequest('Invalid input received: Unable to parse availability_zone');
  const host = parts[1] || parts[2];
  return { zone: parts[0] || undefined, host: host || undefined };
}

/** The networks asked for. @throws Fault 400 or 409 for entries that cannot be meant so */
export function networksOf(body: CreateBody, maximum: number): readonly NetworkRequest[] | 'auto' | 'none' | undefined {
  const { networks } = body;
  if (networks === undefined || typeof networks === 'string') return networks;
  // An empty list says no more than no list.
  if (networks.length === 0) return undefined;
  const seen = new Set<string>();
  return networks.map(({ uuid, port, fixed_ip, tag }) => {
    if (typeof port === 'string') {
      if (fixed_ip !== undefined) {
        throw badRequest(
          `Specified Fixed IP '${fixed_ip}' cannot be used with port '${port}': the two cannot be specified together.`,
        );
      }
      if (maximum > 1) {
        throw badRequest(
          'Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.',
        );
      }
      if (seen.has(port)) throw conflict(`Port ${port} is still in use.`);
      seen.add(port);
      return { port_id: port, tag };
    }
    if (uuid === undefined) throw badRequest("Bad network format: missing 'uuid'");
    if (!/^[0-9a-f-]{32,36}$/i.test(uuid)) {
      throw badRequest(`Bad networks format: network uuid is not in proper format (${uuid.slice(0, 64)})`);
    }
    if (fixed_ip !== undefined && maximum > 1) {
      throw badRequest('Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.');
    }
    return { network_id: uuid, fixed_ip, tag };
  });
}

const INVALID = 'Block Device Mapping is Invalid';
const invalid = (details: string) => badRequest(`${INVALID}: ${details}`);

/**
 * The block devices in one form; the image itself, where the server boots from it, is not among them.
 * @throws Fault 400 in Nova's words for those that do not go together
 */
export function devicesOf(body: CreateBody, maximum: number): BootDevice[] {
  const { block_device_mapping: legacy = [], block_device_mapping_v2: devices = [] } = body;
  if (legacy.length > 0 && devices.length > 0) {
    throw badRequest('Using different block_device_mapping syntaxes is not allowed in the same request.');
  }
  const hasImage = (body.imageRef ?? '') !== '';
  const all =
    legacy.length > 0
      ? legacy.map((device, at) => fromLegacy(device, at === 0 && !hasImage))
      : devices.map((device) => fromApi(device, hasImage));
  if (!hasImage && all.length === 0) throw badRequest('Missing imageRef attribute');
  const own = all.filter((device) => !(device.source_type === 'image' && device.destination_type === 'local'));
  const order = all.map(({ boot_index }) => boot_index ?? -1).filter((index) => index >= 0);
  if (hasImage && own.length === all.length) order.push(0);
  if (order.length === 0 || !order.sort((one, other) => one - other).every((index, at) => index === at)) {
    throw invalid('Boot sequence for the instance and image/block device mapping combination is not valid.');
  }
  if (maximum > 1 && own.some(({ source_type }) => source_type === 'volume')) {
    throw badRequest('Cannot attach one or more volumes to multiple instances');
  }
  return own;
}

/** The device that the server boots from, where that is no image. */
export const rootDevice = (devices: readonly BootDevice[]): BootDevice | undefined =>
  devices.find(({ boot_index }) => boot_index === 0);

const sizeOf = (value: unknown): number | null =>
  value === undefined || value === null || Number(value) === 0 ? null : Number(value);

function fromApi(device: DeviceBody, hasImage: boolean): BootDevice {
  const { uuid, source_type, destination_type, boot_index, volume_size, delete_on_termination, ...others } = device;
  const { volume_id, snapshot_id, image_id, no_device: _no, connection_info: _info, ...rest } = others;
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
  if (source === 'blank' && given !== null) throw invalid('Invalid device UUID.');
  if (source !== 'blank' && given === null) throw invalid('Missing device UUID.');
  const index = boot_index === undefined || boot_index === null ? -1 : Number(boot_index);
  const destination = (destination_type ?? (source === 'image' || source === 'blank' ? 'local' : 'volume')) as
    | 'local'
    | 'volume';
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
  const size = sizeOf(volume_size);
  if (destination === 'volume' && size === null && source === 'image') {
    throw badRequest("Images with destination_type 'volume' need to have a non-zero size specified");
  }
  if (destination === 'volume' && size === null && source === 'blank') {
    throw badRequest("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size");
  }
  return {
    source_type: source,
    destination_type: destination,
    uuid: given,
    boot_index: index,
    volume_size: size,
    delete_on_termination: isTrue(delete_on_termination),
    rest: Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)),
  };
}

function fromLegacy(device: DeviceBody, isRoot: boolean): BootDevice {
  const { volume_id, snapshot_id, volume_size, delete_on_termination, device_name } = device;
  if (volume_id === undefined && snapshot_id === undefined) throw invalid('Missing device UUID.');
  return {
    source_type: volume_id === undefined ? 'snapshot' : 'volume',
    destination_type: 'volume',
    uuid: (volume_id ?? snapshot_id) as string,
    boot_index: isRoot ? 0 : -1,
    volume_size: sizeOf(volume_size),
    delete_on_termination: isTrue(delete_on_termination),
    rest: device_name === undefined ? {} : { device_name },
  };
}
