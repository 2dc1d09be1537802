/**
 * Segments of physical networks: which VLAN is whose. One insert takes a VLAN or finds it taken; nothing is locked
 * beforehand. A VLAN is free again when its network is gone and no child has a copy of it any more.
 */
import { sql } from 'kysely';
import type { Db, Queryable, Tx } from '../../db/database.ts';
import { conflict, Fault } from '../../http/fault.ts';
import { networkStore } from '../network-resource.ts';
import type { PhysicalNetwork, VlanRange } from '../topology.ts';
import { OVERLAY, type Segment } from './provider.ts';

/** What a network's row says of its segment. */
export interface ProviderColumns {
  readonly provider_network_type: string;
  readonly provider_physical_network: string | null;
  readonly provider_segmentation_id: number | null;
}

/** The untagged segment in `network_segments`. */
const UNTAGGED = 0;
const TRIES = 20;

/**
 * Takes the segment asked for, for a network that is being made in this transaction.
 * @returns the segment, and the physical network that it lies on; undefined for an overlay
 * @throws Fault 409 `VlanIdInUse` or `FlatNetworkInUse`, 503 `NoNetworkAvailable` where no VLAN is left
 */
export async function takeSegment(
  tx: Tx,
  networkId: string,
  segment: Segment,
): Promise<{ readonly columns: ProviderColumns; readonly physical: PhysicalNetwork | undefined }> {
  if (segment.type === OVERLAY) return { columns: OVERLAY_COLUMNS, physical: undefined };
  if (segment.type === 'flat') {
    const { physical } = segment;
    if (!(await takeThis(tx, physical.name, UNTAGGED, networkId))) {
      throw conflict(
        `Unable to create the flat network. Physical network ${physical.name} is in use.`,
        'FlatNetworkInUse',
      );
    }
    return { columns: columnsOf('flat', physical, null), physical };
  }
  const [named] = segment.physical;
  const { segmentation_id } = segment;
  if (named !== undefined && segmentation_id !== undefined) {
    if (await takeThis(tx, named.name, segmentation_id, networkId)) {
      return { columns: columnsOf('vlan', named, segmentation_id), physical: named };
    }
    throw conflict(
      `Unable to create the network. The VLAN ${segmentation_id} on physical network ${named.name} is in use.`,
      'VlanIdInUse',
    );
  }
  for (const physical of segment.physical) {
    const chosen = await takeAny(tx, physical.name, physical.vlans, networkId);
    if (chosen !== undefined) return { columns: columnsOf('vlan', physical, chosen), physical };
  }
  throw new Fault(503, 'Unable to create the network. No tenant network is available for allocation.', {
    type: 'NoNetworkAvailable',
  });
}

/**
 * Takes a VLAN set aside for routed traffic.
 * @throws Fault 503 `NoNetworkAvailable` where none is left
 */
export async function takeTransit(tx: Tx, networkId: string, physical: PhysicalNetwork): Promise<ProviderColumns> {
  const chosen = await takeAny(tx, physical.name, physical.transit_vlans, networkId);
  if (chosen !== undefined) return columnsOf('vlan', physical, chosen);
  throw new Fault(503, 'No network is left that could carry routed traffic between availability zones.', {
    type: 'NoNetworkAvailable',
  });
}

/** Notes that a child uses a VLAN for something else, so that it is tried last from now on. */
export async function noteRefused(tx: Tx, physical: string, id: number): Promise<void> {
  await sql`update network_segments set refused_at = clock_timestamp()
    where physical_network = ${physical} and segmentation_id = ${id}`.execute(tx);
}

const OVERLAY_COLUMNS: ProviderColumns = {
  provider_network_type: OVERLAY,
  provider_physical_network: null,
  provider_segmentation_id: null,
};

const columnsOf = (type: 'vlan' | 'flat', physical: PhysicalNetwork, id: number | null): ProviderColumns => ({
  provider_network_type: type,
  provider_physical_network: physical.name,
  provider_segmentation_id: id,
});

/**
 * The VLAN of a network that is about to be made in a child, where a create was noted before (`sent_at`): whoever
 * chooses another VLAN meanwhile is either waited for or sees the note.
 */
export async function segmentNow(db: Db, networkId: string): Promise<number | null | undefined> {
  return db.transaction(async (tx) => {
    const found = await sql<{ id: number | null }>`
      select provider_segmentation_id as id from networks where id = ${networkId} for share`.execute(tx);
    return found.rows[0]?.id;
  });
}

/**
 * Another VLAN for a network whose VLAN a child uses for something else: where the parent chose it, and no other child
 * has the network or is being asked to make it.
 * @returns false where it must stay with the one it has
 */
export async function chooseAnother(
  db: Db,
  networkId: string,
  child: string,
  refused: number,
  physical: PhysicalNetwork,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const row = await networkStore.lock(tx, networkId);
    if (row === undefined) return false;
    // Somebody has chosen another one already.
    if (row.provider_segmentation_id !== refused) return true;
    const held = await sql<{ chosen: boolean; elsewhere: boolean }>`
      select s.chosen, exists (select 1 from replicas r where r.kind = 'network' and r.resource_id = ${networkId}
        and r.child <> ${child} and (r.child_id is not null or r.sent_at is not null)) as elsewhere
      from network_segments s where s.network_id = ${networkId}`.execute(tx);
    const [segment] = held.rows;
    if (segment === undefined || !segment.chosen || segment.elsewhere) return false;
    const other = await takeAny(tx, physical.name, physical.vlans, networkId);
    if (other === undefined) return false;
    await sql`update network_segments set network_id = null, chosen = false, refused_at = clock_timestamp()
      where physical_network = ${physical.name} and segmentation_id = ${refused}`.execute(tx);
    await networkStore.update(tx, networkId, { provider_segmentation_id: other });
    return true;
  });
}

async function takeThis(tx: Tx, physical: string, id: number, networkId: string): Promise<boolean> {
  await dropFree(tx, physical, id);
  const taken = await sql`insert into network_segments (physical_network, segmentation_id, network_id)
    values (${physical}, ${id}, ${networkId})
    on conflict (physical_network, segmentation_id) do update
      set network_id = excluded.network_id, chosen = false, refused_at = null
      where network_segments.network_id is null returning 1`.execute(tx);
  return taken.rows.length > 0;
}

/** One out of the pool: those that no child ever refused before those that one did, longest ago first. */
async function takeAny(
  tx: Tx,
  name: string,
  vlans: VlanRange | undefined,
  networkId: string,
): Promise<number | undefined> {
  if (vlans === undefined) return undefined;
  await dropFree(tx, name, undefined);
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const free = await sql<{ id: number }>`
      select v.id from generate_series(${vlans.first}::int, ${vlans.last}::int) as v(id)
      left join network_segments s on s.physical_network = ${name} and s.segmentation_id = v.id
      where s.physical_network is null or s.network_id is null
      order by s.refused_at nulls first, random() limit 1`.execute(tx);
    const candidate = free.rows[0]?.id;
    if (candidate === undefined) return undefined;
    const taken = await sql`insert into network_segments (physical_network, segmentation_id, network_id, chosen)
      values (${name}, ${candidate}, ${networkId}, true)
      on conflict (physical_network, segmentation_id) do update set network_id = excluded.network_id, chosen = true
        where network_segments.network_id is null returning 1`.execute(tx);
    if (taken.rows.length > 0) return candidate;
  }
  return undefined;
}

/** Forgets whose the VLANs were that nobody holds any more: no network, and no copy of it in any child. */
async function dropFree(query: Queryable, physical: string, id: number | undefined): Promise<void> {
  const free = sql`physical_network = ${physical} and network_id is not null
    and (${id ?? null}::int is null or segmentation_id = ${id ?? null}::int)
    and not exists (select 1 from networks n where n.id = network_id)
    and not exists (select 1 from replicas r where r.kind = 'network' and r.resource_id = network_id)`;
  // That a child refused it is remembered.
  await sql`update network_segments set network_id = null, chosen = false where refused_at is not null and ${free}`.execute(
    query,
  );
  await sql`delete from network_segments where refused_at is null and ${free}`.execute(query);
}
