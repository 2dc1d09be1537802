/** Sets of addresses as prefixes: what a subnet pool has, has given away, and has left. Pure; no database. */
import { type Cidr, type IpVersion, formatAddress, parseCidr, type Range } from '../address-range.ts';

/** A set of addresses of one IP version: ranges in order, none touching the next. */
export type PrefixSet = readonly Range[];

/** The addresses of all these prefixes. */
export function setOf(prefixes: readonly Pick<Cidr, 'first' | 'last'>[]): PrefixSet {
  const ranges = prefixes.map(({ first, last }) => ({ start: first, end: last }));
  const joined: { start: bigint; end: bigint }[] = [];
  for (const range of ranges.sort((one, other) => (one.start < other.start ? -1 : 1))) {
    const before = joined.at(-1);
    if (before !== undefined && range.start <= before.end + 1n) {
      if (range.end > before.end) before.end = range.end;
    } else joined.push({ ...range });
  }
  return joined;
}

/** What is in the one and not in the other. */
export function without(one: PrefixSet, other: PrefixSet): PrefixSet {
  const left: Range[] = [];
  let at = 0;
  for (const range of one) {
    let { start } = range;
    while (at > 0 && (other[at - 1]?.end ?? -1n) >= start) at -= 1;
    for (; at < other.length && (other[at] as Range).start <= range.end; at += 1) {
      const taken = other[at] as Range;
      if (taken.end < start) continue;
      if (taken.start > start) left.push({ start, end: taken.start - 1n });
      start = taken.end + 1n;
    }
    if (start <= range.end) left.push({ start, end: range.end });
  }
  return left;
}

/** Whether any address is in both. */
export const meets = (one: PrefixSet, other: PrefixSet): boolean => size(without(one, other)) < size(one);

/** Whether all of the one is in the other. */
export const isWithin = (one: PrefixSet, other: PrefixSet): boolean => without(one, other).length === 0;

const size = (set: PrefixSet): bigint => set.reduce((sum, { start, end }) => sum + (end - start + 1n), 0n);

/** The fewest prefixes that make up the set, in order. */
export function prefixesOf(set: PrefixSet, version: IpVersion): Cidr[] {
  const bits = version === 4 ? 32 : 128;
  const prefixes: Cidr[] = [];
  for (const { start, end } of set) {
    let from = start;
    while (from <= end) {
      let host = 0;
      while (host < bits && from % (1n << BigInt(host + 1)) === 0n && from + (1n << BigInt(host + 1)) - 1n <= end) {
        host += 1;
      }
      prefixes.push(parseCidr(`${formatAddress(from, version)}/${bits - host}`) as Cidr);
      from += 1n << BigInt(host);
    }
  }
  return prefixes;
}

/** The first prefix of a length, out of the smallest piece that has room for it, as Neutron chooses; undefined: no room. */
export function firstFree(left: PrefixSet, prefixlen: number, version: IpVersion): Cidr | undefined {
  const fitting = prefixesOf(left, version).filter(({ prefix }) => prefix <= prefixlen);
  const [smallest] = fitting.toSorted((one, other) => other.prefix - one.prefix);
  if (smallest === undefined) return undefined;
  return parseCidr(`${formatAddress(smallest.first, version)}/${prefixlen}`);
}
