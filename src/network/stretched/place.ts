/** Where networks that stretch over several children may be, and where they are. */
import { sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import { abilitiesOf, type Refusal } from '../ability.ts';
import { type NetworkRow, networkStore } from '../network-resource.ts';
import type { PortRow } from '../port-resource.ts';
import type { NetworkTopology, PhysicalNetwork } from '../topology.ts';

export interface StretchedParts {
  readonly cascade: Cascade;
  readonly topology: NetworkTopology;
}

/** Whether a network lies on a physical network that several children may share, and not in one child alone. */
export const isStretched = (row: Pick<NetworkRow, 'provider_physical_network'>): boolean =>
  row.provider_physical_network !== null;

/** The physical network below a network; undefined for one of a single child, and where the operator took it away. */
export function physicalOf(
  topology: NetworkTopology,
  row: Pick<NetworkRow, 'provider_physical_network'>,
): PhysicalNetwork | undefined {
  return topology.physical_networks.find(({ name }) => name === row.provider_physical_network);
}

/** The children that a physical network joins, as far as they are able to take part. */
export interface Joined {
  readonly able: readonly string[];
  /** Why the others are not, by child. */
  readonly refusals: ReadonlyMap<string, Refusal>;
}

/** Which of the children of a physical network can have stretched networks, as they were last asked. One query. */
export async function joinedBy(query: Queryable, physical: PhysicalNetwork | undefined): Promise<Joined> {
  const entries = Object.entries(physical?.children ?? {});
  const abilities = await abilitiesOf(
    query,
    entries.map(([child]) => child),
  );
  const refusals = new Map(
    entries.flatMap(([child, name]) => {
      const refusal = abilities.get(child)?.refusal('stretched', name);
      return refusal === undefined ? [] : [[child, refusal] as const];
    }),
  );
  return { able: entries.flatMap(([child]) => (refusals.has(child) ? [] : [child])), refusals };
}

/** Children that a network may have ports in: undefined where it is nowhere yet and may be anywhere. */
async function possibleChildren(
  query: Queryable,
  topology: NetworkTopology,
  row: Pick<NetworkRow, 'provider_physical_network' | 'child'>,
): Promise<readonly string[] | undefined> {
  if (isStretched(row)) return (await joinedBy(query, physicalOf(topology, row))).able;
  return row.child === null ? undefined : [row.child];
}

/**
 * The same for a server that is to be on it.
 * @throws Fault 409 with the reason where no child is able to have it any more
 */
export async function childrenForServer(
  query: Queryable,
  topology: NetworkTopology,
  row: NetworkRow,
): Promise<readonly string[] | undefined> {
  if (!isStretched(row)) return possibleChildren(query, topology, row);
  const { able, refusals } = await joinedBy(query, physicalOf(topology, row));
  const [refusal] = refusals.values();
  if (able.length === 0 && refusal !== undefined) throw cannotBeUsed(row.id, refusal);
  return able;
}

const cannotBeUsed = (networkId: string, { tenant }: Refusal) =>
  conflict(`Network ${networkId} cannot be used here: ${tenant}.`, 'NetworkAvailabilityZoneNotJoined');

/** The zones of these children, in the order of all zones. */
export async function zonesOfChildren(
  query: Queryable,
  cascade: Cascade,
  children: readonly string[],
): Promise<string[]> {
  const zones = await cascade.zones(query);
  return zones.filter((zone) => zone.children.some((child) => children.includes(child))).map(({ name }) => name);
}

/**
 * Says that a stretched network is to be in a child, too. Twice: it is wanted there already, which costs one read.
 * @returns whether it was not there before; undefined where the child has no part in its physical network
 * @throws Fault 409 where the child has a part in it, but cannot take part in such networks
 */
export async function wantThere(
  tx: Tx,
  { cascade, topology }: StretchedParts,
  row: Pick<NetworkRow, 'id' | 'provider_physical_network' | 'child'>,
  child: string,
): Promise<boolean | undefined> {
  const physical = physicalOf(topology, row);
  if (physical === undefined || !Object.hasOwn(physical.children, child)) return undefined;
  const there = () =>
    sql`select 1 from replicas
    where kind = 'network' and resource_id = ${row.id} and child = ${child} and not retiring`.execute(tx);
  if ((await there()).rows.length > 0) return false;
  const refusal = (await joinedBy(tx, physical)).refusals.get(child);
  if (refusal !== undefined) throw cannotBeUsed(row.id, refusal);
  // Whoever adds a router's interface right now either sees the copy or is waited for here.
  await sql`select 1 from networks where id = ${row.id} for no key update`.execute(tx);
  if ((await there()).rows.length > 0) return false;
  await cascade.wantReplica(tx, child, 'network', row.id);
  return true;
}

/** Children that a port is in, or may come to be in; empty where it may be in any. */
export async function placesOfPort(
  query: Queryable,
  topology: NetworkTopology,
  port: Pick<PortRow, 'id' | 'network_id' | 'child'>,
): Promise<readonly string[]> {
  if (port.child !== null) return [port.child];
  const found = await sql<{ child: string; kind: string }>`select child, kind from replicas
    where not retiring and (kind = 'port' and resource_id = ${port.id}
      or kind = 'network' and resource_id = ${port.network_id}) order by child`.execute(query);
  const ofKind = (kind: string) => found.rows.filter((row) => row.kind === kind).map(({ child }) => child);
  const [bound] = ofKind('port');
  if (bound !== undefined) return [bound];
  const network = await networkStore.find(query, port.network_id);
  return (network === undefined ? undefined : await possibleChildren(query, topology, network)) ?? ofKind('network');
}
