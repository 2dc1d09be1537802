/**
 * A router, network or port of the parent and its copies in the children, side by side: for operators, when traffic does
 * not flow. Reads the parent's database and asks the children; changes neither.
 */
import { sql, type SqlBool } from 'kysely';
import type { Queryable } from '../../db/database.ts';
import type { CloudApi } from '../../openstack/contract.ts';
import { networkStore } from '../network-resource.ts';
import { portStore } from '../port-resource.ts';
import { routers } from '../router-resource.ts';
import { subnetStore } from '../subnet-resource.ts';
import type { NetworkTopology } from '../topology.ts';
import { createAsker } from './ask.ts';
import type { Trace, TraceKind, TraceSection } from './contract.ts';
import {
  floatingIpSections,
  networkSection,
  portSection,
  remoteMemberSections,
  securityGroupSections,
  subnetSection,
} from './object.ts';
import { portsSection } from './ports.ts';
import { routerSection } from './router.ts';
import type { TraceParts } from './section.ts';

export interface TraceDependencies {
  readonly query: Queryable;
  /** By the child's name. */
  readonly apis: ReadonlyMap<string, CloudApi>;
  readonly topology: NetworkTopology;
  /** How long a child may take to let us in; absent: a few seconds. */
  readonly login_ms?: number;
}

/** @returns undefined where the parent has no such object */
export async function trace(
  { query, apis, topology, login_ms }: TraceDependencies,
  kind: TraceKind,
  id: string,
): Promise<Trace | undefined> {
  const asker = createAsker(apis, login_ms);
  const sections = await sectionsOf({ query, asker }, topology, kind, id);
  if (sections === undefined) return undefined;
  const names = new Set(sections.flatMap(({ rows }) => rows.flatMap((row) => Object.keys(row.children))));
  const cells = sections.flatMap(({ rows }) => rows.flatMap(({ children }) => Object.values(children)));
  return {
    kind,
    id,
    children: await asker.children([...names].sort()),
    sections,
    differences: cells.filter(({ differs }) => differs).length,
  };
}

function sectionsOf(parts: TraceParts, topology: NetworkTopology, kind: TraceKind, id: string) {
  switch (kind) {
    case 'router':
      return ofRouter(parts, topology, id);
    case 'network':
      return ofNetwork(parts, topology, id);
    case 'port':
      return ofPort(parts, topology, id);
  }
}

/** The router, its transit, and each network that it leads to with the subnets of its interfaces. */
async function ofRouter(parts: TraceParts, topology: NetworkTopology, id: string): Promise<TraceSection[] | undefined> {
  const row = await routers.find(parts.query, id);
  if (row === undefined) return undefined;
  const { section, reach, transit } = await routerSection(parts, row);
  const across = transit === undefined ? [] : await withSubnets(parts, topology, transit.network_id, reach.children);
  const networks = [...new Set(reach.subnets.map(({ subnet }) => subnet.network_id))];
  const near = await Promise.all(networks.map((network) => withSubnets(parts, topology, network)));
  return [section, ...across, ...near.flat()];
}

async function ofNetwork(
  parts: TraceParts,
  topology: NetworkTopology,
  id: string,
): Promise<TraceSection[] | undefined> {
  const sections = await withSubnets(parts, topology, id);
  if (sections.length === 0) return undefined;
  return [...sections, await portsSection(parts, id)];
}

/** The port with what its traffic passes: network, subnets, security groups, floating IPs. */
async function ofPort(parts: TraceParts, topology: NetworkTopology, id: string): Promise<TraceSection[] | undefined> {
  const row = await portStore.find(parts.query, id);
  if (row === undefined) return undefined;
  return [
    await portSection(parts, row),
    ...(await floatingIpSections(parts, id)),
    ...(await withSubnets(parts, topology, row.network_id)),
    ...(await securityGroupSections(parts, row.security_groups)),
    ...(await remoteMemberSections(parts, row.security_groups)),
  ];
}

/** A network and its subnets; nothing where there is no such network. */
async function withSubnets(
  parts: TraceParts,
  topology: NetworkTopology,
  networkId: string,
  expected: readonly string[] = [],
): Promise<TraceSection[]> {
  const row = await networkStore.find(parts.query, networkId);
  if (row === undefined) return [];
  const subnets = await subnetStore.select(parts.query, [sql<SqlBool>`network_id = ${networkId}`]);
  return Promise.all([
    networkSection(parts, topology, row, row.child === null ? expected : [row.child]),
    ...subnets.map((subnet) => subnetSection(parts, subnet)),
  ]);
}
