/**
 * Who has which address: rows of `ip_allocations`, whose primary key is what makes an address nobody's twice. An
 * address is taken with one insert that either succeeds or finds it taken; nothing is locked beforehand, so that many
 * creates on one subnet do not wait for each other.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict } from '../http/fault.ts';
import {
  autoAddress,
  type Cidr,
  formatAddress,
  normalAddress,
  parseAddress,
  parseCidr,
  usable,
} from './address-range.ts';
import { addressesExhausted, addressTaken, invalidAttribute, subnetNotFound } from './network-fault.ts';
import type { FixedIp } from './port-resource.ts';
import { isAutoAddress, type SubnetRow, subnetStore } from './subnet-resource.ts';

export interface FixedIpRequest {
  readonly subnet_id?: string;
  readonly ip_address?: string;
}

export interface AddressWish {
  readonly network_id: string;
  readonly port_id: string;
  readonly mac_address: string;
  /** Undefined: one address of each IP version that the network has. Empty: none. */
  readonly fixed_ips: readonly FixedIpRequest[] | undefined;
  readonly device_owner: string;
  /** What the port has already: its subnets of automatic addresses give it no second one. */
  readonly held?: readonly FixedIp[];
}

const RANDOM_TRIES = 3;
const CANDIDATES = 6;
const GAP_TRIES = 30;
const GAP_CANDIDATES = 16;

/**
 * The network's subnets, kept from being deleted until the transaction ends. Addresses are only ever taken from
 * subnets read with it.
 */
const lockSubnets = (tx: Tx, networkId: string): Promise<SubnetRow[]> =>
  subnetStore.keep(tx, [sql<SqlBool>`network_id = ${networkId}`]);

/**
 * Takes addresses for a port, as Neutron's policy chooses them.
 * @throws Fault 404 for an unknown subnet, 400 for an address that fits none, 409 for one that is taken and for
 *   subnets that have none left
 */
export async function allocateAddresses(tx: Tx, wish: AddressWish): Promise<FixedIp[]> {
  const subnets = await lockSubnets(tx, wish.network_id);
  return wish.fixed_ips === undefined
    ? allocateAny(tx, wish, subnets)
    : allocateAsked(tx, wish, wish.fixed_ips, subnets);
}

/** Gives a port's addresses back; with `except`, all but these. */
export async function releaseAddresses(tx: Tx, portIds: readonly string[]): Promise<void> {
  if (portIds.length === 0) return;
  await sql`delete from ip_allocations where port_id = any(${[...portIds]}::text[])`.execute(tx);
}

/** Gives single addresses of a port back. */
export async function releaseSome(tx: Tx, portId: string, fixedIps: readonly FixedIp[]): Promise<void> {
  for (const { subnet_id, ip_address } of fixedIps) {
    await sql`delete from ip_allocations
      where subnet_id = ${subnet_id} and ip_address = ${ip_address}::inet and port_id = ${portId}`.execute(tx);
  }
}

async function allocateAny(tx: Tx, wish: AddressWish, subnets: readonly SubnetRow[]): Promise<FixedIp[]> {
  const taken: FixedIp[] = [];
  const serving = subnets.filter(
    ({ service_types }) => service_types.length === 0 || service_types.includes(wish.device_owner),
  );
  for (const version of [4, 6]) {
    const plain = serving.filter((subnet) => subnet.ip_version === version && !isAutoAddress(subnet));
    if (plain.length > 0) taken.push(await takeFromFirst(tx, wish, plain));
  }
  return [...taken, ...(await takeAuto(tx, wish, serving))];
}

async function takeFromFirst(tx: Tx, wish: AddressWish, subnets: readonly SubnetRow[]): Promise<FixedIp> {
  for (const subnet of subnets) {
    const ip_address = await takeFree(tx, subnet, wish.port_id);
    if (ip_address !== undefined) return { subnet_id: subnet.id, ip_address };
  }
  throw addressesExhausted(wish.network_id);
}

/** Every subnet of automatic addresses gives the port the one that its MAC makes. */
async function takeAuto(tx: Tx, wish: AddressWish, subnets: readonly SubnetRow[]): Promise<FixedIp[]> {
  const taken: FixedIp[] = [];
  for (const subnet of subnets.filter(isAutoAddress)) {
    taken.push(await takeAutoAddress(tx, subnet, { id: wish.port_id, mac_address: wish.mac_address }));
  }
  return taken;
}

/** Takes the address of a subnet of automatic ones that a port's MAC makes. @throws Fault 409 where another has it */
export function takeAutoAddress(
  tx: Tx,
  subnet: SubnetRow,
  port: { readonly id: string; readonly mac_address: string },
): Promise<FixedIp> {
  return takeThis(tx, subnet, autoAddress(cidrOf(subnet), port.mac_address), port.id);
}

async function allocateAsked(
  tx: Tx,
  wish: AddressWish,
  asked: readonly FixedIpRequest[],
  subnets: readonly SubnetRow[],
): Promise<FixedIp[]> {
  const taken: FixedIp[] = [];
  const isRouter = wish.device_owner.startsWith('network:');
  const chosen = asked.map((request) => ({ request, subnet: subnetFor(request, subnets, wish) }));
  // Addresses named first: else a random choice for one entry could take what the next one names.
  for (const { request, subnet } of chosen.toSorted((one, other) => rank(one.request) - rank(other.request))) {
    if (request.ip_address !== undefined) {
      const address = normalAddress(request.ip_address) ?? request.ip_address;
      if (isAutoAddress(subnet) && !isRouter && address !== autoAddress(cidrOf(subnet), wish.mac_address)) {
        throw badRequest(
          `IPv6 address ${address} cannot be directly assigned to a port on subnet ${subnet.id} as the subnet is configured for automatic addresses`,
          'AllocationOnAutoAddressSubnet',
        );
      }
      taken.push(await takeThis(tx, subnet, address, wish.port_id));
    } else if (isAutoAddress(subnet) && !isRouter) {
      taken.push(await takeAutoAddress(tx, subnet, { id: wish.port_id, mac_address: wish.mac_address }));
    } else {
      taken.push(await takeFromFirst(tx, wish, [subnet]));
    }
  }
  if (taken.length === 0 || isRouter) return taken;
  const named = new Set([...taken, ...(wish.held ?? [])].map(({ subnet_id }) => subnet_id));
  return [
    ...taken,
    ...(await takeAuto(
      tx,
      wish,
      subnets.filter(({ id }) => !named.has(id)),
    )),
  ];
}

const rank = (request: FixedIpRequest): number => (request.ip_address === undefined ? 1 : 0);

function subnetFor(
  request: FixedIpRequest,
  subnets: readonly SubnetRow[],
  { network_id, device_owner }: AddressWish,
): SubnetRow {
  const isRouters = device_owner === '' || device_owner.startsWith('network:router');
  const address = request.ip_address === undefined ? undefined : parseAddress(request.ip_address);
  if (request.ip_address !== undefined && address === undefined) {
    throw invalidAttribute('fixed_ips', `'${request.ip_address}' is not a valid IP address.`);
  }
  if (request.subnet_id === undefined) {
    if (address === undefined) {
      throw badRequest('IP allocation requires subnet_id or ip_address.', 'InvalidInput');
    }
    const fitting = subnets.find((subnet) => holds(cidrOf(subnet), address, isRouters));
    if (fitting !== undefined) return fitting;
    throw badRequest(
      `IP address ${request.ip_address} is not a valid IP for any of the subnets on the specified network.`,
      'InvalidIpForNetwork',
    );
  }
  const subnet = subnets.find(({ id }) => id === request.subnet_id);
  if (subnet === undefined) throw subnetNotFound(request.subnet_id);
  if (address !== undefined && !holds(cidrOf(subnet), address, isRouters)) {
    throw badRequest(
      `IP address ${request.ip_address} is not a valid IP for the specified subnet.`,
      'InvalidIpForSubnet',
    );
  }
  if (subnet.network_id !== network_id) throw subnetNotFound(request.subnet_id);
  return subnet;
}

/** Routers may have the first address of an IPv6 subnet, too: it is their anycast address. */
function holds(cidr: Cidr, address: { readonly version: 4 | 6; readonly value: bigint }, isRouters: boolean): boolean {
  const { start, end } = usable(cidr);
  const first = cidr.version === 6 && isRouters ? cidr.first : start;
  return cidr.version === address.version && address.value >= first && address.value <= end;
}

async function takeThis(tx: Tx, subnet: SubnetRow, ip_address: string, portId: string): Promise<FixedIp> {
  if (!(await take(tx, subnet.id, [ip_address], portId))) throw addressTaken(ip_address, subnet.id);
  return { subnet_id: subnet.id, ip_address };
}

/**
 * Takes one of the candidates that is free, or gives undefined. Waits only for a transaction that took the same address
 * a moment ago.
 */
async function take(
  tx: Queryable,
  subnetId: string,
  candidates: readonly string[],
  portId: string,
): Promise<string | undefined> {
  const result = await sql<{ ip_address: string }>`
    insert into ip_allocations (subnet_id, ip_address, port_id)
    select ${subnetId}, c.ip, ${portId} from unnest(${[...candidates]}::inet[]) with ordinality as c(ip, place)
    where not exists (select 1 from ip_allocations a where a.subnet_id = ${subnetId} and a.ip_address = c.ip)
    order by c.place limit 1
    on conflict do nothing returning host(ip_address) as ip_address`.execute(tx);
  return result.rows[0]?.ip_address;
}

/** A free address out of the subnet's pools; undefined where they have none left. */
async function takeFree(tx: Tx, subnet: SubnetRow, portId: string): Promise<string | undefined> {
  const version = subnet.ip_version === 4 ? 4 : 6;
  const pools = poolsOf(subnet);
  const size = pools.reduce((sum, { start, end }) => sum + (end - start + 1n), 0n);
  if (size === 0n) return undefined;
  for (let attempt = 0; attempt < RANDOM_TRIES; attempt += 1) {
    const candidates = Array.from({ length: CANDIDATES }, () => formatAddress(at(pools, below(size)), version));
    const taken = await take(tx, subnet.id, candidates, portId);
    if (taken !== undefined) return taken;
  }
  for (let attempt = 0; attempt < GAP_TRIES; attempt += 1) {
    const free = await gaps(tx, subnet, false, GAP_CANDIDATES);
    if (free.length === 0) return undefined;
    const from = randomInt(free.length);
    const taken = await take(tx, subnet.id, [...free.slice(from), ...free.slice(0, from)], portId);
    if (taken !== undefined) return taken;
  }
  throw conflict(`Too many allocations at once on subnet ${subnet.id}; try again.`, 'IpAddressGenerationFailure');
}

/** The first free addresses of the pools from one end, by looking beside every address in use. */
async function gaps(query: Queryable, subnet: SubnetRow, fromEnd: boolean, limit: number): Promise<string[]> {
  const starts = subnet.allocation_pools.map(({ start }) => start);
  const ends = subnet.allocation_pools.map(({ end }) => end);
  const step = sql.raw(fromEnd ? '-1' : '+1');
  const edge = sql.raw(fromEnd ? 'stop' : 'start');
  const direction = sql.raw(fromEnd ? 'desc' : 'asc');
  const result = await sql<{ ip: string }>`
    with pools as (select * from unnest(${starts}::inet[], ${ends}::inet[]) as p(start, stop)),
    candidates as (
      select ${edge} as ip from pools
      union
      select a.ip_address ${step} from ip_allocations a
      where a.subnet_id = ${subnet.id}
        and a.ip_address not in ('0.0.0.0', '255.255.255.255', '::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')
    )
    select host(c.ip) as ip from candidates c join pools p on c.ip between p.start and p.stop
    where not exists (select 1 from ip_allocations a where a.subnet_id = ${subnet.id} and a.ip_address = c.ip)
    order by c.ip ${direction} limit ${limit}`.execute(query);
  return result.rows.map(({ ip }) => ip);
}

/**
 * Sets addresses aside for a child's own ports (DHCP, metadata), from the end of the pools. Twice: the same addresses.
 * @returns those set aside, ascending; fewer than asked for where the pools are full
 */
export async function reserveForChild(tx: Tx, subnet: SubnetRow, child: string, count: number): Promise<string[]> {
  const owner = `child:${child}`;
  const mine = async () =>
    (
      await sql<{ ip: string }>`select host(ip_address) as ip from ip_allocations
        where subnet_id = ${subnet.id} and port_id = ${owner} order by ip_address`.execute(tx)
    ).rows.map(({ ip }) => ip);
  // Two workers at one subnet: the second waits here, and then finds what the first set aside.
  await sql`select 1 from subnets where id = ${subnet.id} for no key update`.execute(tx);
  let reserved = await mine();
  for (let attempt = 0; reserved.length < count && attempt < GAP_TRIES; attempt += 1) {
    const free = await gaps(tx, subnet, true, 4);
    if (free.length === 0) break;
    await take(tx, subnet.id, free, owner);
    reserved = await mine();
  }
  return reserved;
}

/** Takes one free address from the end of the pools, where chance finds those of ports last; undefined: none is left. */
export async function takeFromEnd(tx: Tx, subnet: SubnetRow, owner: string): Promise<string | undefined> {
  for (let attempt = 0; attempt < GAP_TRIES; attempt += 1) {
    const free = await gaps(tx, subnet, true, 4);
    if (free.length === 0) return undefined;
    const taken = await take(tx, subnet.id, free, owner);
    if (taken !== undefined) return taken;
  }
  return undefined;
}

/** Gives back what was set aside for a child. */
export async function releaseFromChild(query: Queryable, subnetId: string, child: string): Promise<void> {
  await sql`delete from ip_allocations where subnet_id = ${subnetId} and port_id = ${`child:${child}`}`.execute(query);
}

const MAC_PREFIX = 'fa:16:3e';

/** A MAC by chance; whether it is free in its network shows when the port is stored. */
export function randomMac(): string {
  return [MAC_PREFIX, ...[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

function cidrOf(subnet: SubnetRow): Cidr {
  return parseCidr(subnet.cidr) as Cidr;
}

function poolsOf(subnet: SubnetRow) {
  return subnet.allocation_pools.map(({ start, end }) => ({
    start: parseAddress(start)?.value ?? 0n,
    end: parseAddress(end)?.value ?? -1n,
  }));
}

function at(pools: readonly { readonly start: bigint; readonly end: bigint }[], offset: bigint): bigint {
  let rest = offset;
  for (const { start, end } of pools) {
    const size = end - start + 1n;
    if (rest < size) return start + rest;
    rest -= size;
  }
  return pools[0]?.start ?? 0n;
}

/** A number below the bound, evenly enough: 64 random bits for at most 2^64 addresses. */
function below(bound: bigint): bigint {
  return BigInt(`0x${randomBytes(16).toString('hex')}`) % bound;
}
