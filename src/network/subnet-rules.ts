/** What makes a subnet's values valid, with Neutron's exceptions. Pure; no database. */
import { badRequest, conflict, type Fault } from '../http/fault.ts';
import {
  type Cidr,
  defaultPools,
  formatAddress,
  normalAddress,
  overlaps,
  parseAddress,
  parseCidr,
  type Range,
  usable,
} from './address-range.ts';
import { invalidAttribute, invalidInput } from './network-fault.ts';
import type { AllocationPool } from './subnet-resource.ts';

export interface HostRoute {
  readonly destination: string;
  readonly nexthop: string;
}

/** @throws Fault 400 where the text is no CIDR or of the other IP version */
export function checkCidr(text: string, ipVersion: number): Cidr {
  const cidr = parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`);
  if (cidr === undefined) throw invalidInput(`${text} is not in a CIDR format.`);
  if (cidr.version !== ipVersion) {
    throw invalidInput(`cidr '${text}' does not match the ip_version '${ipVersion}'.`);
  }
  if (cidr.prefix === 0) throw invalidInput('0 is not allowed as CIDR prefix length.');
  return cidr;
}

/** DHCP needs room for more than one address. */
export function checkDhcp(cidr: Cidr, enableDhcp: boolean): void {
  const bits = cidr.version === 4 ? 32 : 128;
  if (enableDhcp && cidr.prefix >= bits - 1) {
    throw invalidInput('Subnet has a prefix length that is incompatible with DHCP service enabled.');
  }
  const isMulticast = cidr.version === 4 ? cidr.first >> 28n === 14n : cidr.first >> 120n === 255n;
  const isLoopback = cidr.version === 4 ? cidr.first >> 24n === 127n : cidr.first === 1n;
  if (enableDhcp && isMulticast) throw invalidInput('Multicast IP subnet is not supported if enable_dhcp is True.');
  if (enableDhcp && isLoopback) throw invalidInput('Loopback IP subnet is not supported if enable_dhcp is True.');
}

export interface Ipv6Modes {
  readonly ipv6_ra_mode: string | null;
  readonly ipv6_address_mode: string | null;
}

/** @throws Fault 400 for modes of an IPv4 subnet, modes that differ, and addresses by EUI-64 outside of a /64 */
export function checkIpv6Modes(cidr: Cidr, modes: Ipv6Modes, enableDhcp: boolean): void {
  const { ipv6_ra_mode: ra, ipv6_address_mode: address } = modes;
  if (cidr.version === 4) {
    for (const [name, value] of Object.entries({ ipv6_ra_mode: ra, ipv6_address_mode: address })) {
      if (value !== null) throw invalidInput(`${name} is not valid when ip_version is 4.`);
    }
    return;
  }
  if (!enableDhcp && (ra !== null || address !== null)) {
    throw invalidInput('ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.');
  }
  if (ra !== null && address !== null && ra !== address) {
    throw invalidInput(
      `ipv6_ra_mode set to '${ra}' with ipv6_address_mode set to '${address}' is not valid. If both attributes are set, they must be the same value.`,
    );
  }
  if ([ra, address].some((mode) => mode === 'slaac' || mode === 'dhcpv6-stateless') && cidr.prefix !== 64) {
    throw invalidInput(
      `Invalid CIDR ${cidr.text} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64.`,
    );
  }
}

/**
 * The gateway: null for none. Where nothing is said, the first address; of IPv6 that is the anycast address of routers.
 * @throws Fault 400 where it is no address of this IP version, or the network's own or broadcast address
 */
export function checkGateway(cidr: Cidr, given: string | null | undefined): string | null {
  if (given === null) return null;
  if (given === undefined) {
    return formatAddress(cidr.version === 6 || cidr.prefix >= 31 ? cidr.first : cidr.first + 1n, cidr.version);
  }
  const gateway = parseAddress(given);
  if (gateway === undefined) throw invalidAttribute('gateway_ip', `'${given}' is not a valid IP address.`);
  if (gateway.version !== cidr.version) {
    throw invalidInput(`gateway_ip '${given}' does not match the ip_version '${cidr.version}'.`);
  }
  const { start, end } = usable(cidr);
  const inside = gateway.value >= cidr.first && gateway.value <= cidr.last;
  if (inside && (gateway.value < start || gateway.value > end) && cidr.version === 4) {
    throw invalidInput('Gateway is not valid on subnet.');
  }
  return formatAddress(gateway.value, gateway.version);
}

/**
 * The pools, in their usual form and order; all but the gateway where none are given.
 * @throws Fault 400 for a pool that is none or leaves the subnet, 409 for pools that overlap or hold the gateway
 */
export function checkPools(
  cidr: Cidr,
  given: readonly AllocationPool[] | undefined,
  gateway: string | null,
): AllocationPool[] {
  const gatewayValue = gateway === null ? undefined : parseAddress(gateway)?.value;
  if (given === undefined) return defaultPools(cidr, gatewayValue).map((range) => poolOf(range, cidr));
  const ranges = given.map((pool) => rangeOf(pool, cidr)).sort((one, other) => (one.start < other.start ? -1 : 1));
  ranges.forEach((range, at) => {
    const before = ranges[at - 1];
    if (before !== undefined && before.end >= range.start) {
      throw conflict(
        `Found overlapping allocation pools: ${textOf(before, cidr)} ${textOf(range, cidr)} for subnet ${cidr.text}.`,
        'OverlappingAllocationPools',
      );
    }
  });
  const pools = ranges.map((range) => poolOf(range, cidr));
  checkGatewayOutside(pools, gateway);
  return pools;
}

/** @throws Fault 409 where the gateway is an address that ports could get */
export function checkGatewayOutside(pools: readonly AllocationPool[], gateway: string | null): void {
  const value = gateway === null ? undefined : parseAddress(gateway)?.value;
  if (value === undefined) return;
  for (const { start, end } of pools) {
    if ((parseAddress(start)?.value ?? 0n) <= value && value <= (parseAddress(end)?.value ?? -1n)) {
      throw conflict(
        `Gateway ip ${gateway} conflicts with allocation pool ${start}-${end}.`,
        'GatewayConflictWithAllocationPools',
      );
    }
  }
}

const NAMESERVERS_MAX = 5;
const ROUTES_MAX = 20;

/** Prefixes of the owners of ports, which the types of services that a subnet is for are. */
const OWNERS = ['network:', 'neutron:', 'compute:', 'baremetal:', 'container:'];

/** @throws Fault 400 for what is no owner of ports */
export function checkServiceTypes(given: readonly string[]): string[] {
  const odd = given.find((type) => !OWNERS.some((owner) => type.startsWith(owner)));
  if (odd === undefined) return [...given];
  throw badRequest(
    `Subnet service type ${odd} does not correspond to a valid device owner.`,
    'InvalidSubnetServiceType',
  );
}

const tooMany = (type: string, what: string, limit: number): Fault =>
  badRequest(`Unable to complete operation for new subnet. The number of ${what} exceeds the limit ${limit}.`, type);

/** @throws Fault 400 for a name server that is no address, is of the other IP version, or is named twice */
export function checkNameservers(given: readonly string[], ipVersion: number): string[] {
  if (given.length > NAMESERVERS_MAX) throw tooMany('DNSNameServersExhausted', 'DNS nameservers', NAMESERVERS_MAX);
  const seen = new Set<string>();
  return given.map((text) => {
    const address = normalAddress(text);
    if (address === undefined) {
      throw invalidAttribute(
        'dns_nameservers',
        `'${text}' is not a valid nameserver. '${text}' is not a valid IP address.`,
      );
    }
    if ((address.includes(':') ? 6 : 4) !== ipVersion) {
      throw invalidInput(`dns_nameserver '${text}' does not match the ip_version '${ipVersion}'.`);
    }
    if (seen.has(address)) throw invalidAttribute('dns_nameservers', `Duplicate nameserver '${text}'.`);
    seen.add(address);
    return address;
  });
}

/** @throws Fault 400 for a destination or next hop that is none, or of the other IP version, or twice the same route */
export function checkRoutes(given: readonly HostRoute[], ipVersion: number): HostRoute[] {
  if (given.length > ROUTES_MAX) throw tooMany('HostRoutesExhausted', 'host routes', ROUTES_MAX);
  const seen = new Set<string>();
  return given.map((route) => {
    const destination = parseCidr(route.destination);
    const nexthop = parseAddress(route.nexthop);
    if (destination === undefined) {
      throw invalidAttribute('host_routes', `'${route.destination}' is not a valid IP subnet.`);
    }
    if (nexthop === undefined) {
      throw invalidAttribute('host_routes', `'${route.nexthop}' is not a valid IP address.`);
    }
    for (const [name, part] of [
      ['nexthop', nexthop],
      ['destination', destination],
    ] as const) {
      if (part.version === ipVersion) continue;
      throw invalidInput(`${name} '${route[name]}' does not match the ip_version '${ipVersion}'.`);
    }
    const text = formatAddress(nexthop.value, nexthop.version);
    const key = `${destination.text} ${text}`;
    if (seen.has(key)) throw invalidAttribute('host_routes', `Duplicate hostroute '${key}'.`);
    seen.add(key);
    return { destination: destination.text, nexthop: text };
  });
}

/** @throws Fault 400 where a subnet of the same network overlaps */
export function checkOverlap(cidr: Cidr, networkId: string, others: readonly { readonly cidr: string }[]): void {
  for (const other of others) {
    const range = parseCidr(other.cidr);
    if (range !== undefined && overlaps(cidr, range)) {
      throw invalidInput(
        `Requested subnet with cidr: ${cidr.text} for network: ${networkId} overlaps with another subnet.`,
      );
    }
  }
}

function rangeOf(pool: AllocationPool, cidr: Cidr): Range {
  const start = parseAddress(pool.start);
  const end = parseAddress(pool.end);
  if (
    start === undefined ||
    end === undefined ||
    start.version !== end.version ||
    start.version !== cidr.version ||
    end.value < start.value
  ) {
    throw badRequest(
      `The allocation pool {'start': '${pool.start}', 'end': '${pool.end}'} is not valid.`,
      'InvalidAllocationPool',
    );
  }
  const within = usable(cidr);
  if (start.value < within.start || end.value > within.end) {
    throw badRequest(
      `The allocation pool ${pool.start}-${pool.end} spans beyond the subnet cidr ${cidr.text}.`,
      'OutOfBoundsAllocationPool',
    );
  }
  return { start: start.value, end: end.value };
}

const poolOf = ({ start, end }: Range, { version }: Cidr): AllocationPool => ({
  start: formatAddress(start, version),
  end: formatAddress(end, version),
});

const textOf = (range: Range, cidr: Cidr): string => {
  const { start, end } = poolOf(range, cidr);
  return `${start}-${end}`;
};
