import { array, assert, integer, property, tuple } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Cidr, parseCidr } from '../address-range.ts';
import { firstFree, isWithin, meets, prefixesOf, setOf, without } from './prefix-set.ts';

const cidr = (text: string): Cidr => parseCidr(text) as Cidr;
const texts = (prefixes: readonly Cidr[]): string[] => prefixes.map(({ text }) => text);

/** Prefixes within 10.0.0.0/24, so that they often meet. */
const prefixes = array(
  tuple(integer({ min: 0, max: 255 }), integer({ min: 24, max: 32 })).map(([host, prefix]) =>
    cidr(`10.0.0.${host}/${prefix}`),
  ),
  { maxLength: 12 },
);
const members = (of: readonly Cidr[]): Set<bigint> =>
  new Set(
    of.flatMap(({ first, last }) => Array.from({ length: Number(last - first) + 1 }, (_, at) => first + BigInt(at))),
  );

describe('sets of prefixes', () => {
  it('are joined and cut to the fewest prefixes', () => {
    expect(texts(prefixesOf(setOf(['10.0.0.0/16', '10.1.0.0/16', '10.3.0.0/16'].map(cidr)), 4))).toEqual([
      '10.0.0.0/15',
      '10.3.0.0/16',
    ]);
    const left = without(setOf([cidr('fd00::/48')]), setOf([cidr('fd00::/64')]));
    expect(texts(prefixesOf(left, 6))[0]).toBe('fd00:0:0:1::/64');
    expect(prefixesOf(left, 6)).toHaveLength(16);
  });

  it('hold the same addresses as one by one', () => {
    assert(
      property(prefixes, prefixes, (one, other) => {
        const [held, taken] = [members(one), members(other)];
        const left = without(setOf(one), setOf(other));
        const expected = [...held].filter((address) => !taken.has(address));
        expect(members(prefixesOf(left, 4))).toEqual(new Set(expected));
        expect(meets(setOf(one), setOf(other))).toBe(expected.length < held.size);
        expect(isWithin(setOf(one), setOf(other))).toBe(expected.length === 0);
      }),
    );
  });

  it('give what is free, out of the smallest piece with room', () => {
    assert(
      property(prefixes, prefixes, integer({ min: 24, max: 32 }), (one, other, length) => {
        const left = without(setOf(one), setOf(other));
        const free = firstFree(left, length, 4);
        const pieces = prefixesOf(left, 4);
        if (free === undefined) expect(pieces.every(({ prefix }) => prefix > length)).toBe(true);
        else {
          expect(free.prefix).toBe(length);
          expect(isWithin(setOf([free]), left)).toBe(true);
        }
      }),
    );
  });
});
