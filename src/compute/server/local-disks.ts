/** The ephemeral and swap disks of a server: those that were asked for, and for what was not those of its flavor. */
import type { BootDevice, ServerRow } from './resource.ts';

const BLANK = {
  source_type: 'blank',
  destination_type: 'local',
  uuid: null,
  boot_index: -1,
  delete_on_termination: true,
} as const;

/**
 * A server's local disks as Nova keeps them. The names of those that nobody named are given as Nova's compute service
 * gives them: the first that are free, ephemeral disks first.
 * @param taken names of the devices of its volumes
 */
export function localDisks(
  { disks, flavor_copy, root_device_name }: Pick<ServerRow, 'disks' | 'flavor_copy' | 'root_device_name'>,
  taken: readonly string[],
): BootDevice[] {
  const asked = disks.filter(({ source_type }) => source_type === 'blank');
  const swaps = asked.filter(({ rest }) => rest.guest_format === 'swap');
  const ephemerals = asked.filter((disk) => !swaps.includes(disk));
  const { ephemeral, swap } = flavor_copy;
  if (ephemerals.length === 0 && ephemeral > 0) ephemerals.push({ ...BLANK, volume_size: ephemeral, rest: {} });
  if (swaps.length === 0 && swap > 0) swaps.push({ ...BLANK, volume_size: swap, rest: { guest_format: 'swap' } });
  const all = [
    ...ephemerals.map((disk) => ({ ...disk, volume_size: disk.volume_size ?? ephemeral })),
    ...swaps.map((disk) => ({ ...disk, volume_size: disk.volume_size ?? swap })),
  ];
  const root = root_device_name ?? '/dev/vda';
  const prefix = /^(\/dev\/x?[a-z]?d)[a-z]/.exec(root)?.[1] ?? '/dev/vd';
  const named = all.flatMap(({ rest }) => (typeof rest.device_name === 'string' ? [rest.device_name] : []));
  const used = new Set([root, ...taken, ...named]);
  return all.map((disk) => {
    if (typeof disk.rest.device_name === 'string') return { ...disk, rest: { device_type: 'disk', ...disk.rest } };
    const device_name = [...'abcdefghijklmnopqrstuvwxyz']
      .map((letter) => prefix + letter)
      .find((one) => !used.has(one));
    if (device_name === undefined) return disk;
    used.add(device_name);
    return { ...disk, rest: { device_type: 'disk', ...disk.rest, device_name } };
  });
}
