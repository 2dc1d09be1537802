/** IP arithmetic for the simulated Neutron: addresses as integers, both families. */
import ipaddr from 'ipaddr.js';
import { SimFault } from './world.ts';

export interface Cidr {
  readonly first: bigint;
  readonly last: bigint;
  readonly version: 4 | 6;
}

const toNumber = (bytes: readonly number[]): bigint => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

/** The address as an integer, or undefined where the text is no address. */
export function ipNumber(text: string): bigint | undefined {
  return ipaddr.isValid(text) ? toNumber(ipaddr.parse(text).toByteArray()) : undefined;
}

/** The canonical text of an address. */
export function ipText(value: bigint, version: 4 | 6): string {
  const length = version === 4 ? 4 : 16;
  const bytes = Array.from({ length }, (_, index) => Number((value >> BigInt(8 * (length - 1 - index))) & 0xffn));
  return ipaddr.fromByteArray(bytes).toString();
}

/** Reads `10.0.0.0/24`; Neutron's 400 where it is none. */
export function readCidr(text: string): Cidr {
  try {
    const [address, prefix] = ipaddr.parseCIDR(text);
    const bytes = address.toByteArray();
    const version = bytes.length === 4 ? 4 : 6;
    const size = 1n << BigInt(bytes.length * 8 - prefix);
    const first = (toNumber(bytes) / size) * size;
    return { first, last: first + size - 1n, version };
  } catch {
    throw new SimFault(400, `Invalid input for cidr. Reason: '${text}' is not a valid IP subnet.`);
  }
}

export const overlaps = (left: Cidr, right: Cidr): boolean =>
  left.version === right.version && left.first <= right.last && right.first <= left.last;

export const contains = (cidr: Cidr, address: string): boolean => {
  const value = ipNumber(address);
  return (
    value !== undefined && address.includes(':') === (cidr.version === 6) && value >= cidr.first && value <= cidr.last
  );
};
