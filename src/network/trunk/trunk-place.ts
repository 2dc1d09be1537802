/**
 * In which child a trunk is: that of its parent port. All its ports must be there, so that it is settled, and the ports
 * with it, when the first subport comes.
 */
import type { Queryable, Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import { refuseUnable } from '../able.ts';
import { abilityOf } from '../ability.ts';
import type { EdgeParts } from '../edge-core.ts';
import type { PortRow } from '../port-resource.ts';
import { placesOfPort } from '../stretched/place.ts';
import { elsewhere } from './trunk-fault.ts';

/**
 * Settles where a trunk is, and has its ports be there.
 * @param known the child that it is in already
 * @returns undefined while it has no subports and its parent may be in several
 * @throws Fault 409 where its ports cannot be in one child, or the child has no trunks, or not what a port asks for
 */
export async function settleTrunk(
  tx: Tx,
  parts: EdgeParts,
  parent: PortRow,
  subPorts: readonly PortRow[],
  known: string | null = null,
): Promise<string | undefined> {
  const places = known === null ? await placesOfPort(tx, parts.topology, parent) : [known];
  let common = places;
  for (const port of subPorts) {
    common = both(common, await placesOfPort(tx, parts.topology, port));
    // Nowhere in common is not the same as anywhere.
    if (common.length === 0 && (places.length > 0 || !(await isAnywhere(tx, parts, port)))) {
      throw elsewhere(port.id, parent.id);
    }
  }
  if (subPorts.length === 0 && common.length !== 1) return undefined;
  const among = common.length > 0 ? { among: common } : {};
  const child =
    common.length === 1 ? common[0] : (await parts.cascade.schedule(tx, { binary: 'nova-compute', ...among }))?.child;
  if (child === undefined) throw elsewhere(subPorts[0]?.id ?? '', parent.id);
  const refusal = (await abilityOf(tx, child)).refusal('trunks');
  if (refusal !== undefined) throw conflict(`${refusal.tenant}.`, 'TrunkNotSupported');
  for (const port of [parent, ...subPorts]) {
    await refuseUnable(tx, [child], port);
    if (!(await parts.bindNetwork(tx, port.network_id, child))) throw elsewhere(port.id, parent.id);
    await parts.cascade.wantReplica(tx, child, 'port', port.id);
  }
  return child;
}

const isAnywhere = async (query: Queryable, parts: EdgeParts, port: PortRow): Promise<boolean> =>
  (await placesOfPort(query, parts.topology, port)).length === 0;

/** Places that both may be in; an empty list stands for all. */
function both(one: readonly string[], other: readonly string[]): readonly string[] {
  if (one.length === 0) return other;
  if (other.length === 0) return one;
  return one.filter((child) => other.includes(child));
}
