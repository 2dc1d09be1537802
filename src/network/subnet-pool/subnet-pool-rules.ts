/** What makes a subnet pool's values valid, with Neutron's exceptions. Pure; no database. */
import { badRequest, type Fault, notFound } from '../../http/fault.ts';
import { type Cidr, type IpVersion, parseAddress, parseCidr } from '../address-range.ts';
import { invalidAttribute, invalidInput } from '../network-fault.ts';
import { prefixesOf, setOf } from './prefix-set.ts';

export const subnetPoolNotFound = (id: string): Fault =>
  notFound(`Subnet pool ${id} could not be found.`, 'SubnetPoolNotFound');

/** 400: the prefixes cannot be changed so. */
export const badPrefixes = (message: string): Fault =>
  badRequest(`Illegal update to prefixes: ${message}.`, 'IllegalSubnetPoolPrefixUpdate');

/** 400: the pool cannot be changed so. */
export const badPoolUpdate = (reason: string): Fault =>
  badRequest(`Illegal subnetpool update : ${reason}.`, 'IllegalSubnetPoolUpdate');

/**
 * A number that a client gave as one or as its digits.
 * @throws Fault 400 for what is none, or negative
 */
export function countOf(attribute: string, given: unknown): number {
  const text = String(given ?? 'None');
  if (!/^-?\d{1,9}$/.test(text)) throw invalidInput(`'${text.slice(0, 64)}' is not an integer.`);
  if (Number(text) < 0) throw invalidAttribute(attribute, `'${text}' should be non-negative.`);
  return Number(text);
}

/** @throws Fault 400 for no name */
export function nameOf(name: string): string {
  if (name.trim() === '') throw invalidAttribute('name', `'${name}' Blank strings are not permitted.`);
  return name;
}

/**
 * Prefixes as the fewest that say the same.
 * @throws Fault 400 for none, for what is no prefix, the same text twice, and both IP versions together
 */
export function checkPrefixes(given: readonly string[]): { readonly version: IpVersion; readonly prefixes: Cidr[] } {
  const twice = given.find((text, at) => given.indexOf(text) !== at);
  if (twice !== undefined) throw invalidAttribute('prefixes', `Duplicate items in the list: '${twice}'.`);
  const parsed = given.map(prefixOf);
  const [first] = parsed;
  if (first === undefined) throw badRequest('Empty subnet pool prefix list.', 'EmptySubnetPoolPrefixList');
  if (parsed.some(({ version }) => version !== first.version)) {
    throw badRequest('Cannot mix IPv4 and IPv6 prefixes in a subnet pool.', 'PrefixVersionMismatch');
  }
  return { version: first.version, prefixes: prefixesOf(setOf(parsed), first.version) };
}

function prefixOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return cidr;
  const address = parseAddress(text);
  if (address === undefined) throw invalidAttribute('prefixes', `'${text}' is not a valid IP subnet.`);
  const whole = `${text}/${address.version === 4 ? 32 : 128}`;
  throw invalidAttribute('prefixes', `'${text}' isn't a recognized IP subnet cidr, '${whole}' is recommended.`);
}

/** Lengths of the prefixes that a pool gives. */
export interface Bounds {
  readonly min_prefixlen: number;
  readonly max_prefixlen: number;
  readonly default_prefixlen: number;
}

/**
 * The bounds, with Neutron's defaults for what is not said.
 * @throws Fault 400 where they contradict each other or the IP version
 */
export function checkBounds(version: IpVersion, given: { readonly [K in keyof Bounds]?: unknown }): Bounds {
  const longest = version === 4 ? 32 : 128;
  const asked = (key: keyof Bounds, fallback: number): number =>
    given[key] === undefined ? fallback : countOf(key, given[key]);
  const min_prefixlen = asked('min_prefixlen', version === 4 ? 8 : 64);
  const max_prefixlen = asked('max_prefixlen', longest);
  const default_prefixlen = asked('default_prefixlen', min_prefixlen);
  const bounds = { min_prefixlen, max_prefixlen, default_prefixlen };
  const refuse = (name: keyof Bounds, other: string, length: number): Fault =>
    badRequest(`Illegal prefix bounds: ${name}=${bounds[name]}, ${other}=${length}.`, 'IllegalSubnetPoolPrefixBounds');
  // A whole IP version is no prefix that a subnet can have.
  if (min_prefixlen === 0) {
    throw badRequest(`Prefix '0' not supported in IPv${version} pool.`, 'UnsupportedMinSubnetPoolPrefix');
  }
  if (min_prefixlen > max_prefixlen) throw refuse('min_prefixlen', 'max_prefixlen', max_prefixlen);
  if (max_prefixlen > longest) throw refuse('max_prefixlen', 'ip_version_max', longest);
  if (default_prefixlen < min_prefixlen) throw refuse('default_prefixlen', 'min_prefixlen', min_prefixlen);
  if (default_prefixlen > max_prefixlen) throw refuse('default_prefixlen', 'max_prefixlen', max_prefixlen);
  return bounds;
}

/** Prefixes as a row keeps them, as a set. */
export const setOfTexts = (prefixes: readonly string[]) => setOf(prefixes.flatMap((text) => parseCidr(text) ?? []));
