/** The addresses of a router's transit network: a piece of the range set aside for transit, apart from all it routes. */
import { createHash } from 'node:crypto';
import { type Cidr, formatAddress, overlaps, parseCidr } from '../address-range.ts';

const PIECE_BITS = 24;
const IPV6_BITS = 64;

/**
 * Chooses the piece that the VLAN's number stands for, or the next that overlaps nothing.
 * @param range of the operator's, e.g. `100.64.0.0/10`
 * @param taken ranges that the router leads to
 * @returns undefined where every piece overlaps one of them
 */
export function choosePiece(range: string, vlan: number, taken: readonly string[]): string | undefined {
  const whole = parseCidr(range);
  if (whole === undefined) return undefined;
  const bits = Math.max(PIECE_BITS, whole.prefix);
  const size = 2n ** BigInt(32 - bits);
  const count = Number((whole.last - whole.first + 1n) / size);
  for (let tries = 0; tries < count; tries += 1) {
    const first = whole.first + BigInt((vlan + tries) % count) * size;
    const piece = `${formatAddress(first, 4)}/${bits}`;
    if (!overlapsAny(piece, taken)) return piece;
  }
  return undefined;
}

/** A unique local prefix of the router's own (RFC 4193). */
export function choosePiece6(routerId: string, vlan: number): string {
  const hash = createHash('sha256').update(routerId).digest('hex');
  const text = `fd${hash.slice(0, 2)}:${hash.slice(2, 6)}:${hash.slice(6, 10)}:${vlan.toString(16)}::/${IPV6_BITS}`;
  return parseCidr(text)?.text ?? text;
}

/** Whether a range overlaps one of the others. */
export function overlapsAny(range: string, others: readonly string[]): boolean {
  const own = parseCidr(range);
  return own !== undefined && others.some((other) => overlap(own, parseCidr(other)));
}

const overlap = (one: Cidr, other: Cidr | undefined): boolean => other !== undefined && overlaps(one, other);
