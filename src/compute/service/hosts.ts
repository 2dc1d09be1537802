/** The children as the hosts that Nova's admin lists show: one nova-compute each, and the parent's own services. */
import { createHash } from 'node:crypto';
import type { Capacity, Cascade } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';

export const COMPUTE_BINARY = 'nova-compute';
/** The host of the parent's own services, and Nova's name of the zone they are in. */
const PARENT_HOST = 'headwater';
export const INTERNAL_ZONE = 'internal';
const PARENT_BINARIES = ['nova-scheduler', 'nova-conductor'];

export interface Host {
  readonly binary: string;
  readonly host: string;
  /** All zones that it serves; the lists that have room for one show the first. */
  readonly zones: readonly string[];
  readonly enabled: boolean;
  readonly disabled_reason: string | null;
  readonly forced_down: boolean;
  readonly up: boolean;
  /** When it was last heard of, as Nova writes it in these lists. */
  readonly updated_at: string | null;
  readonly capacity: Capacity | undefined;
}

/** A moment of the database as Nova's admin lists write it: microseconds, no zone. */
export function micros(iso: string): string {
  const [seconds = '', fraction = ''] = iso.replace(/(Z|[+-]\d\d(:?\d\d)?)$/, '').split('.');
  return `${seconds.replace(' ', 'T')}.${fraction.slice(0, 6).padEnd(6, '0')}`;
}

/** One host for each child, by name. */
export async function childHosts(cascade: Cascade, query: Queryable): Promise<Host[]> {
  const [children, proxies] = await Promise.all([cascade.children(query), cascade.proxies(query, COMPUTE_BINARY)]);
  const byChild = new Map(proxies.map((proxy) => [proxy.child, proxy]));
  return children.map((child) => {
    const proxy = byChild.get(child.name);
    const forced_down = proxy?.forced_down ?? false;
    const heard = child.seen_at ?? proxy?.updated_at ?? null;
    return {
      binary: COMPUTE_BINARY,
      host: child.name,
      zones: Object.keys(child.zones).sort(),
      enabled: proxy?.enabled ?? true,
      disabled_reason: proxy?.disabled_reason ?? null,
      forced_down,
      up: child.up && !forced_down,
      updated_at: heard === null ? null : micros(heard),
      capacity: child.capacity,
    };
  });
}

/** The parent's scheduler and conductor: who asks is answered by them, so they are up. */
export function parentHosts(): Host[] {
  return PARENT_BINARIES.map((binary) => ({
    binary,
    host: PARENT_HOST,
    zones: [INTERNAL_ZONE],
    enabled: true,
    disabled_reason: null,
    forced_down: false,
    up: true,
    updated_at: micros(new Date().toISOString()),
    capacity: undefined,
  }));
}

/** Ids that stay the same without being stored: a UUID, and the number that Nova showed before microversion 2.53. */
export function stableIds(kind: 'service' | 'hypervisor' | 'flavor', name: string): { uuid: string; number: number } {
  const bytes = createHash('sha256').update(`headwater ${kind} ${name}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  const uuid = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  return { uuid, number: (bytes.readUInt32BE(0) >>> 1) + 1 };
}

/** Since when ids are UUIDs. */
export const UUIDS_SINCE = 53;

/** The id of a service at a microversion. */
export function serviceId({ binary, host }: Pick<Host, 'binary' | 'host'>, version: number): string | number {
  const ids = stableIds('service', `${binary} ${host}`);
  return version >= UUIDS_SINCE ? ids.uuid : ids.number;
}

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
export const isUuid = (text: string): boolean => UUID.test(text);
