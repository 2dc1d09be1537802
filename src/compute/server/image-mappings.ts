/**
 * What an image's property `mappings` says: by which names a server made of it has its disks, in the manner of EC2. As in
 * Nova it names the root and asks for ephemeral and swap disks, whose sizes are the flavor's.
 */
import { badRequest, type Fault } from '../../http/fault.ts';
import type { BootDevice, ServerFlavor } from './resource.ts';

interface Mapping {
  readonly virtual: string;
  readonly device: string;
  readonly guest_format?: string;
}

type Properties = Readonly<Record<string, string>>;

const LOCAL_DISK = /^(swap|ephemeral(\d|[1-9]\d+))$/;

/** The device that the image's mappings call the root; undefined where they call none. */
export function mappedRoot(properties: Properties): string | undefined {
  return mappingsOf(properties).findLast(({ virtual }) => virtual === 'root')?.device;
}

/**
 * The local disks that the image's mappings ask for, as far as the flavor has them.
 * @throws Fault 400 for a property that cannot be read: tenants may write into it what they like
 */
export function mappedDisks(
  properties: Properties,
  flavor: Pick<ServerFlavor, 'ephemeral' | 'swap'> | undefined,
): BootDevice[] {
  return mappingsOf(properties).flatMap(({ virtual, device, guest_format }) => {
    const isSwap = virtual === 'swap';
    const volume_size = (isSwap ? flavor?.swap : flavor?.ephemeral) ?? 0;
    if (!LOCAL_DISK.test(virtual) || volume_size === 0) return [];
    const format = isSwap ? 'swap' : guest_format;
    return [
      {
        source_type: 'blank',
        destination_type: 'local',
        uuid: null,
        boot_index: -1,
        volume_size,
        delete_on_termination: true,
        rest: {
          device_name: device.startsWith('/') ? device : `/dev/${device}`,
          device_type: 'disk',
          ...(format === undefined ? {} : { guest_format: format }),
        },
      },
    ];
  });
}

function mappingsOf({ mappings: text }: Properties): Mapping[] {
  if (text === undefined || text === '') return [];
  const broken = (): Fault => badRequest("Block Device Mapping is Invalid: the image's mappings cannot be read.");
  let listed: unknown;
  try {
    listed = JSON.parse(text);
  } catch {
    throw broken();
  }
  if (!Array.isArray(listed)) throw broken();
  return listed.map((one: unknown) => {
    const { virtual, device, guest_format } = (one ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof virtual !== 'string' || typeof device !== 'string') throw broken();
    return { virtual, device, ...(typeof guest_format === 'string' && guest_format !== '' ? { guest_format } : {}) };
  });
}
