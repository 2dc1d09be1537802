/** Which ports a trunk may have, and with which segments. */
import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import type { RequestContext } from '../../http/service.ts';
import { invalidInput, portNotFound } from '../network-fault.ts';
import { callersProject } from '../network-project.ts';
import { networkStore } from '../network-resource.ts';
import { type PortRow, portStore } from '../port-resource.ts';
import { portInUse } from '../router-fault.ts';
import { mtuTooLarge, parentInUse, usedByTrunk } from './trunk-fault.ts';
import type { SubPort } from './trunk-resource.ts';

const VLAN_MAX = 4094;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

type Given = Readonly<Record<string, unknown>>;

/**
 * The ids of the ports that were given, each once.
 * @throws Fault 400 for what is no list of ports
 */
export function portIdsOf(given: unknown): string[] {
  return formed(given).map(({ port_id }) => String(port_id));
}

function formed(given: unknown): Given[] {
  if (!Array.isArray(given)) throw invalidInput(`Invalid data format for subports: '${printed(given)}' is not a list.`);
  const seen = new Set<string>();
  for (const one of given) {
    if (one === null || typeof one !== 'object' || Array.isArray(one)) {
      throw invalidInput(`Invalid data format for subport: '${printed(one)}' is not a dict.`);
    }
    if (!('port_id' in one)) throw invalidInput('A valid port UUID must be specified.');
    const id = String(one.port_id).slice(0, 64);
    if (!UUID.test(id)) throw invalidInput(`Invalid UUID for subport: '${id}'.`);
    if (seen.has(id)) throw invalidInput(`Non unique UUID for subport: '${id}'.`);
    seen.add(id);
  }
  return given as Given[];
}

/**
 * The subports that were given, with their ports locked, so that no other trunk takes them meanwhile.
 * @throws Fault 400 for segments that are none, 404 for a port that the caller does not see, 409 for one in use
 */
export async function subPortsGiven(
  tx: Tx,
  context: RequestContext,
  parent: PortRow,
  given: unknown,
): Promise<{ readonly subPorts: readonly SubPort[]; readonly ports: readonly PortRow[] }> {
  const mtu_max = (await networkStore.find(tx, parent.network_id))?.mtu ?? 0;
  const subPorts: SubPort[] = [];
  const ports: PortRow[] = [];
  const segments = new Set<string>();
  for (const one of formed(given)) {
    const port_id = String(one.port_id);
    if (port_id === parent.id) throw parentInUse(port_id);
    const port = await lockedPort(tx, context, port_id);
    const network = await networkStore.find(tx, port.network_id);
    if (network !== undefined && network.mtu > mtu_max) throw mtuTooLarge(port_id, network.mtu, parent.id, mtu_max);
    const segment =
      one.segmentation_type === 'inherit'
        ? { segmentation_type: network?.provider_network_type, segmentation_id: network?.provider_segmentation_id }
        : one;
    const checked = segmentOf({ ...segment, port_id });
    const key = `${checked.segmentation_type} ${checked.segmentation_id}`;
    if (segments.has(key)) {
      throw invalidInput(`Segmentation ID '${checked.segmentation_id}' for '${port_id}' is not unique.`);
    }
    segments.add(key);
    await refuseTrunked(tx, port_id);
    if (port.device_id !== '') throw portInUse(port);
    subPorts.push(checked);
    ports.push(port);
  }
  return { subPorts, ports };
}

function segmentOf({ port_id, segmentation_type, segmentation_id }: Given): SubPort {
  if (segmentation_type == null || segmentation_type === '' || segmentation_id == null) {
    throw invalidInput(
      `Invalid subport details '{'port_id': '${String(port_id)}'}': missing segmentation information. Must specify both segmentation_id and segmentation_type.`,
    );
  }
  const text = String(segmentation_id).slice(0, 64);
  if (!/^-?\d{1,9}$/.test(text)) {
    throw invalidInput(`Invalid subport details: segmentation_id '${text}' is not an integer.`);
  }
  const type = String(segmentation_type).slice(0, 64);
  if (type !== 'vlan') throw invalidInput(`Unknown segmentation_type '${type}'.`);
  const id = Number(text);
  if (id < 1 || id > VLAN_MAX) throw invalidInput(`Segmentation ID '${id}' is not in range.`);
  return { port_id: String(port_id), segmentation_type: type, segmentation_id: id };
}

/**
 * The parent port of a new trunk, locked.
 * @throws Fault 404 for one that the caller does not see, 409 for one that a trunk has already
 */
export async function parentGiven(tx: Tx, context: RequestContext, portId: string): Promise<PortRow> {
  const port = await lockedPort(tx, context, portId);
  await refuseTrunked(tx, portId);
  return port;
}

async function lockedPort(tx: Tx, context: RequestContext, id: string): Promise<PortRow> {
  const mine = context.identity.isAdmin ? [] : [sql<boolean>`project_id = ${callersProject(context)}`];
  const port = await portStore.lock(tx, id, mine);
  if (port === undefined) throw portNotFound(id);
  return port;
}

async function refuseTrunked(tx: Tx, portId: string): Promise<void> {
  const sub = await sql`select 1 from trunk_subports where port_id = ${portId}`.execute(tx);
  if (sub.rows.length > 0) throw usedByTrunk(portId);
  const parent = await sql`select 1 from trunks where port_id = ${portId}`.execute(tx);
  if (parent.rows.length > 0) throw parentInUse(portId);
}

const printed = (value: unknown): string => (JSON.stringify(value) ?? 'None').slice(0, 128);
