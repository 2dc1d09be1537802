/**
 * Host aggregates: rows, and what they mean for the children in them. An aggregate with an availability zone puts its
 * children into that zone and no other, until they leave it.
 */
import { randomUUID } from 'node:crypto';
import { type Generated, sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import { json, type Queryable, type Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';

export const ZONE_KEY = 'availability_zone';

export interface Aggregate {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly hosts: readonly string[];
  readonly created_at: string;
  readonly updated_at: string | null;
}

declare module '../../db/tables.ts' {
  interface Tables {
    aggregates: {
      id: Generated<number>;
      uuid: string;
      name: string;
      metadata: Record<string, string>;
      created_at: Generated<string>;
      updated_at: string | null;
    };
    aggregate_hosts: { aggregate_id: number; host: string; added_at: Generated<string> };
  }
}

const aggregateNotFound = (id: string | number): Fault => notFound(`Aggregate ${id} could not be found.`);
const nameExists = (name: string): Fault => conflict(`Aggregate ${name} already exists.`);
const HOSTS_CONTAIN = 'One or more hosts contain instances in this zone';

/** Refuses something about an aggregate, as the operation words it. */
type Refuse = (id: number, reason: string) => Fault;
const refuseAdd: Refuse = (id, reason) => conflict(`Cannot add host to aggregate ${id}. Reason: ${reason}.`);
const refuseUpdate: Refuse = (id, reason) => badRequest(`Cannot update aggregate ${id}. Reason: ${reason}.`);
const refuseMetadata: Refuse = (id, reason) =>
  badRequest(`Cannot update metadata of aggregate ${id}. Reason: ${reason}.`);

/** All aggregates, or one, by id. */
export async function readAggregates(query: Queryable, id?: number): Promise<Aggregate[]> {
  const which = id === undefined ? sql`` : sql`where a.id = ${id}`;
  const { rows } = await sql<Aggregate>`
    select a.id, a.uuid, a.name, a.metadata, a.created_at, a.updated_at,
           coalesce(array_agg(h.host order by h.added_at, h.host) filter (where h.host is not null), '{}') as hosts
    from aggregates a left join aggregate_hosts h on h.aggregate_id = a.id ${which}
    group by a.id order by a.id limit 1000`.execute(query);
  return rows;
}

/**
 * One aggregate.
 * @throws Fault 404
 */
export async function readAggregate(query: Queryable, id: number): Promise<Aggregate> {
  const [found] = await readAggregates(query, id);
  if (found === undefined) throw aggregateNotFound(id);
  return found;
}

/** Changes to aggregates and zones come one after the other: each looks at all of them. */
async function exclusive(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('aggregates'))`.execute(tx);
}

/**
 * Stores a new aggregate.
 * @throws Fault 409 where the name is taken
 */
export async function createAggregate(tx: Tx, name: string, zone: string | undefined): Promise<Aggregate> {
  await exclusive(tx);
  await requireFreeName(tx, name, undefined);
  const { id } = await tx
    .insertInto('aggregates')
    .values({ uuid: randomUUID(), name, metadata: json(zone === undefined ? {} : { [ZONE_KEY]: zone }) })
    .returning('id')
    .executeTakeFirstOrThrow();
  return readAggregate(tx, id);
}

async function requireFreeName(tx: Tx, name: string, own: number | undefined): Promise<void> {
  const taken = await tx.selectFrom('aggregates').select('id').where('name', '=', name).executeTakeFirst();
  if (taken !== undefined && taken.id !== own) throw nameExists(name);
}

/**
 * Gives an aggregate another name or zone.
 * @throws Fault 404, 409 for a taken name, 400 where the zone may not change
 */
export async function updateAggregate(
  tx: Tx,
  cascade: Cascade,
  id: number,
  change: { readonly name?: string; readonly availability_zone?: string | null },
): Promise<Aggregate> {
  await exclusive(tx);
  const aggregate = await readAggregate(tx, id);
  if (change.name !== undefined) await requireFreeName(tx, change.name, id);
  const metadata = { ...aggregate.metadata };
  if (change.availability_zone !== undefined) {
    metadata[ZONE_KEY] = await newZone(tx, aggregate, change.availability_zone, refuseUpdate);
  }
  return store(tx, cascade, { ...aggregate, name: change.name ?? aggregate.name, metadata });
}

/**
 * Sets metadata; a null takes its key away.
 * @throws Fault 404, 400 where the zone may not change
 */
export async function setAggregateMetadata(
  tx: Tx,
  cascade: Cascade,
  id: number,
  given: Readonly<Record<string, string | null>>,
): Promise<Aggregate> {
  await exclusive(tx);
  const aggregate = await readAggregate(tx, id);
  const metadata: Record<string, string> = { ...aggregate.metadata };
  for (const [key, value] of Object.entries(given)) {
    if (key === ZONE_KEY) metadata[key] = await newZone(tx, aggregate, value, refuseMetadata);
    else if (value === null) delete metadata[key];
    else metadata[key] = value;
  }
  return store(tx, cascade, { ...aggregate, metadata });
}

async function store(tx: Tx, cascade: Cascade, aggregate: Aggregate): Promise<Aggregate> {
  await tx
    .updateTable('aggregates')
    .set({ name: aggregate.name, metadata: json({ ...aggregate.metadata }), updated_at: sql`clock_timestamp()` })
    .where('id', '=', aggregate.id)
    .execute();
  for (const host of aggregate.hosts) await applyZones(tx, cascade, host);
  return readAggregate(tx, aggregate.id);
}

/** The zone that an aggregate may have from now on. */
async function newZone(tx: Tx, aggregate: Aggregate, zone: string | null, refuse: Refuse): Promise<string> {
  const { id, name, hosts } = aggregate;
  if (zone === null || zone === '') {
    throw refuse(id, `Aggregate ${name} does not support empty named availability zone`);
  }
  for (const host of hosts) await requireMovable(tx, id, host, zone, refuse);
  return zone;
}

/**
 * Takes an aggregate away.
 * @throws Fault 404, 400 while it has hosts
 */
export async function deleteAggregate(tx: Tx, id: number): Promise<void> {
  await exclusive(tx);
  const aggregate = await readAggregate(tx, id);
  if (aggregate.hosts.length > 0) {
    throw badRequest(`Cannot remove host from aggregate ${id}. Reason: Host aggregate is not empty.`);
  }
  await tx.deleteFrom('aggregates').where('id', '=', id).execute();
}

/**
 * Puts a child into an aggregate, and so into its zone.
 * @throws Fault 404 for an unknown aggregate or child, 409 where it is in already, is in another zone, or has servers
 */
export async function addHost(tx: Tx, cascade: Cascade, id: number, host: string): Promise<Aggregate> {
  await exclusive(tx);
  if (!(await cascade.children(tx)).some((child) => child.name === host)) {
    throw notFound(`Host '${host}' is not mapped to any cell`);
  }
  const aggregate = await readAggregate(tx, id);
  const zone = aggregate.metadata[ZONE_KEY];
  if (aggregate.hosts.includes(host)) throw conflict(`Aggregate ${id} already has host ${host}.`);
  if (zone !== undefined) await requireMovable(tx, id, host, zone, refuseAdd);
  await tx.insertInto('aggregate_hosts').values({ aggregate_id: id, host }).execute();
  await applyZones(tx, cascade, host);
  return touched(tx, id);
}

/**
 * Takes a child out of an aggregate, back to the zones it is configured with. Servers that asked for no zone go with it.
 * @throws Fault 404, 409 while it has servers that asked for the zone that it would leave
 */
export async function removeHost(tx: Tx, cascade: Cascade, id: number, host: string): Promise<Aggregate> {
  await exclusive(tx);
  const [aggregate] = await readAggregates(tx, id);
  const refusal = `Cannot remove host ${host} in aggregate ${id}`;
  if (aggregate?.hosts.includes(host) !== true) throw notFound(refusal);
  await tx.deleteFrom('aggregate_hosts').where('aggregate_id', '=', id).where('host', '=', host).execute();
  const stays = await zoneByAggregates(tx, host);
  const zones = stays === undefined ? Object.keys(await configuredZones(tx, host)) : [stays];
  if (await hasServersOutside(tx, host, zones, 'promised')) throw conflict(refusal);
  await takeAlong(tx, host, zones);
  await applyZones(tx, cascade, host);
  return touched(tx, id);
}

async function touched(tx: Tx, id: number): Promise<Aggregate> {
  await tx.updateTable('aggregates').set({ updated_at: sql`clock_timestamp()` }).where('id', '=', id).execute();
  return readAggregate(tx, id);
}

async function requireMovable(tx: Tx, id: number, host: string, zone: string, refuse: Refuse): Promise<void> {
  const others = (await readAggregates(tx)).filter((other) => other.id !== id && other.hosts.includes(host));
  const conflicting = others.flatMap(({ metadata }) => metadata[ZONE_KEY] ?? []).filter((other) => other !== zone);
  if (conflicting.length > 0) {
    const names = conflicting.map((name) => `'${name}'`).join(', ');
    throw refuse(id, `One or more hosts already in availability zone(s) [${names}]`);
  }
  if (await hasServersOutside(tx, host, [zone])) throw refuse(id, HOSTS_CONTAIN);
}

/** The servers of a child that are in none of these zones: any, or those that were promised theirs. */
async function hasServersOutside(
  tx: Tx,
  child: string,
  zones: readonly string[],
  which: 'any' | 'promised' = 'any',
): Promise<boolean> {
  const promised = which === 'any' ? sql`` : sql`and body->>'pinned_zone' is not null`;
  const { rows } = await sql`
    select 1 from servers where child = ${child} and deleted_at is null ${promised}
      and zone <> '' and not (zone = any(${[...zones]}::text[])) limit 1`.execute(tx);
  return rows.length > 0;
}

/** Servers that named no zone are in that of their host, wherever that comes to be. */
async function takeAlong(tx: Tx, child: string, zones: readonly string[]): Promise<void> {
  const [zone] = zones;
  if (zone === undefined) return;
  await sql`
    update servers set zone = ${zone}
    where child = ${child} and deleted_at is null and body->>'pinned_zone' is null
      and zone <> '' and not (zone = any(${[...zones]}::text[]))`.execute(tx);
}

async function zoneByAggregates(tx: Tx, host: string): Promise<string | undefined> {
  const aggregates = await readAggregates(tx);
  return aggregates.find(({ hosts, metadata }) => hosts.includes(host) && metadata[ZONE_KEY] !== undefined)?.metadata[
    ZONE_KEY
  ];
}

async function configuredZones(tx: Tx, child: string): Promise<Record<string, string>> {
  const row = await tx.selectFrom('children').select('zones').where('name', '=', child).executeTakeFirst();
  return row?.zones ?? {};
}

/** Puts a child where its aggregates say, or back where its configuration says. */
async function applyZones(tx: Tx, cascade: Cascade, host: string): Promise<void> {
  const zone = await zoneByAggregates(tx, host);
  if (zone === undefined) return cascade.setZones(tx, host, null);
  const own = (await configuredZones(tx, host))[zone] ?? '';
  return cascade.setZones(tx, host, { [zone]: own });
}
