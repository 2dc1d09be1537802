/** Addresses and ranges as numbers: parsing, pools, and the address that a MAC gives itself. Pure; no database. */
import ipaddr from 'ipaddr.js';

export type IpVersion = 4 | 6;

export interface Cidr {
  readonly version: IpVersion;
  readonly prefix: number;
  /** First and last address of the range. */
  readonly first: bigint;
  readonly last: bigint;
  /** In its usual form, with the host bits cleared: `10.0.0.0/24`. */
  readonly text: string;
}

export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** An address as a number with its version; undefined where the text is none. Strict: no `10.1`, no octal. */
export function parseAddress(text: string): { readonly version: IpVersion; readonly value: bigint } | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return { version: 4, value: valueOf(ipaddr.IPv4.parse(text)) };
  if (text.includes(':') && !text.includes('%') && ipaddr.IPv6.isValid(text)) {
    return { version: 6, value: valueOf(ipaddr.IPv6.parse(text)) };
  }
  return undefined;
}

/** A number as an address in its usual form (RFC 5952). */
export function formatAddress(value: bigint, version: IpVersion): string {
  const bytes = Array.from({ length: version === 4 ? 4 : 16 }, () => 0);
  let rest = value;
  for (let at = bytes.length - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 255n);
    rest >>= 8n;
  }
  return version === 4 ? new ipaddr.IPv4(bytes).toString() : new ipaddr.IPv6(bytes).toRFC5952String();
}

/** The address in its usual form, or undefined where the text is none. */
export function normalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address.value, address.version);
}

/** A CIDR, with host bits cleared; undefined where the text is none. A prefix must be given. */
export function parseCidr(text: string): Cidr | undefined {
  const [, base = '', digits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const address = parseAddress(base);
  const prefix = Number(digits);
  if (address === undefined || digits === '') return undefined;
  const bits = address.version === 4 ? 32 : 128;
  if (prefix > bits) return undefined;
  const size = 1n << BigInt(bits - prefix);
  const first = address.value - (address.value % size);
  return {
    version: address.version,
    prefix,
    first,
    last: first + size - 1n,
    text: `${formatAddress(first, address.version)}/${prefix}`,
  };
}

/** A prefix as security group rules compare it: host bits cleared. Text that is none stays as it is. */
export const normalizedCidr = (text: string): string => parseCidr(text)?.text ?? text;

export const overlaps = (one: Cidr, other: Cidr): boolean =>
  one.version === other.version && one.first <= other.last && other.first <= one.last;

/** The addresses that ports may have: without IPv4's network and broadcast address, and IPv6's anycast address. */
export function usable(cidr: Cidr): Range {
  const bits = cidr.version === 4 ? 32 : 128;
  if (cidr.prefix >= bits - 1) return { start: cidr.first, end: cidr.last };
  return { start: cidr.first + 1n, end: cidr.version === 4 ? cidr.last - 1n : cidr.last };
}

/** All usable addresses but the gateway, as ranges. */
export function defaultPools(cidr: Cidr, gateway: bigint | undefined): Range[] {
  const { start, end } = usable(cidr);
  if (gateway === undefined || gateway < start || gateway > end) return [{ start, end }];
  const parts = [
    { start, end: gateway - 1n },
    { start: gateway + 1n, end },
  ];
  return parts.filter((part) => part.start <= part.end);
}

/** A MAC in its usual form, or undefined where the text is none. */
export function normalMac(text: string): string | undefined {
  const mac = text.toLowerCase().replaceAll('-', ':');
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac) ? mac : undefined;
}

/** The address that a MAC gives itself within a /64 (modified EUI-64). */
export function autoAddress(cidr: Cidr, mac: string): string {
  const bytes = mac.split(':').map((part) => Number.parseInt(part, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const identifier = [a ^ 2, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return formatAddress(cidr.first + identifier, 6);
}

function valueOf(address: ipaddr.IPv4 | ipaddr.IPv6): bigint {
  return address.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}
