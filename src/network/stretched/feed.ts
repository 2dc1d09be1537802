/**
 * Reads out of a child which addresses it uses on stretched subnets: those of ports that the parent does not know are
 * kept from everybody, and those that were held for it are free again when it shows them no more.
 */
import { sql } from 'kysely';
import { applyEach } from '../../cascade/apply-each.ts';
import type { ChildContext, Feed } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';
import { joinedBy, type StretchedParts, zonesOfChildren } from './place.ts';

interface ChildPort {
  readonly id: string;
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
}

interface Copy {
  readonly network_id: string;
  readonly child_id: string;
}

const IDLE_MS = 120_000;
const BUSY_MS = 2000;
/** Networks in one query, so that the URL stays below what servers take. */
const NETWORKS_MAX = 40;

/** The feed `stretched-networks`. */
export function stretchedNetworkFeed(parts: StretchedParts): Feed {
  return {
    name: 'stretched-networks',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    busy: isAwaited,
    async round(context, cursor) {
      await refreshZones(parts, context);
      const copies = await copiesIn(context);
      const groups = Array.from({ length: Math.ceil(copies.length / NETWORKS_MAX) }, (_, at) =>
        copies.slice(at * NETWORKS_MAX, (at + 1) * NETWORKS_MAX),
      );
      await applyEach(
        groups,
        context.log,
        (group) => group.map(({ network_id }) => network_id).join(),
        (group) => readAddresses(context, group),
      );
      return cursor;
    },
  };
}

/** Whether addresses wait for the child to let go of them. */
async function isAwaited(query: Queryable, child: string): Promise<boolean> {
  const found = await sql`select 1 from ip_allocations where starts_with(port_id, ${`held:${child}:`}) limit 1`.execute(
    query,
  );
  return found.rows.length > 0;
}

async function copiesIn({ db, child }: ChildContext): Promise<Copy[]> {
  const found = await sql<Copy>`select n.id as network_id, r.child_id from networks n
    join replicas r on r.kind = 'network' and r.resource_id = n.id and r.child = ${child} and r.child_id is not null
    where n.provider_physical_network is not null order by n.id`.execute(db.query);
  return found.rows;
}

/** The zones of each stretched network, as the operator's configuration and the aggregates have them now. */
async function refreshZones({ cascade, topology }: StretchedParts, { db, child }: ChildContext): Promise<void> {
  for (const physical of topology.physical_networks) {
    const { name } = physical;
    if (!(child in physical.children)) continue;
    const zones = await zonesOfChildren(db.query, cascade, (await joinedBy(db.query, physical)).able);
    await sql`update networks set availability_zones = ${zones}::text[]
      where provider_physical_network = ${name} and availability_zones <> ${zones}::text[]`.execute(db.query);
  }
}

async function readAddresses(context: ChildContext, copies: readonly Copy[]): Promise<void> {
  const { child, db } = context;
  const networks = copies.map(({ network_id }) => network_id);
  // What was held, or seen, before the child was asked: later ones it may not show yet.
  const before = await sql<{ subnet_id: string; ip: string; port_id: string }>`
    select a.subnet_id, host(a.ip_address) as ip, a.port_id from ip_allocations a join subnets s on s.id = a.subnet_id
    where s.network_id = any(${networks}::text[])
      and (a.port_id = ${`seen:${child}`} or starts_with(a.port_id, ${`held:${child}:`}))`.execute(db.query);
  const used: { subnet_id: string; ip: string }[] = [];
  const strange: { subnet_id: string; ip: string }[] = [];
  const query = { network_id: copies.map(({ child_id }) => child_id), fields: ['id', 'fixed_ips'] };
  const pages = context.api.pages<ChildPort>({ service: 'network', method: 'GET', path: '/ports', query }, 'ports');
  for await (const page of pages) {
    const fixedIps = page.flatMap(({ fixed_ips }) => fixed_ips ?? []);
    const [ports, subnets] = await Promise.all([
      context.parentIds(
        'port',
        page.map(({ id }) => id),
      ),
      context.parentIds('subnet', [...new Set(fixedIps.map(({ subnet_id }) => subnet_id))]),
    ]);
    for (const { id, fixed_ips } of page) {
      for (const { subnet_id, ip_address } of fixed_ips ?? []) {
        const subnet = subnets.get(subnet_id);
        if (subnet === undefined) continue;
        used.push({ subnet_id: subnet, ip: ip_address });
        if (!ports.has(id)) strange.push({ subnet_id: subnet, ip: ip_address });
      }
    }
  }
  const isUsed = new Set(used.map(({ subnet_id, ip }) => `${subnet_id} ${ip}`));
  const gone = before.rows.filter(({ subnet_id, ip }) => !isUsed.has(`${subnet_id} ${ip}`));
  await sql`delete from ip_allocations a
    using unnest(${gone.map(({ subnet_id }) => subnet_id)}::text[], ${gone.map(({ ip }) => ip)}::inet[],
      ${gone.map(({ port_id }) => port_id)}::text[]) as g(subnet_id, ip, port_id)
    where a.subnet_id = g.subnet_id and a.ip_address = g.ip and a.port_id = g.port_id`.execute(db.query);
  await sql`insert into ip_allocations (subnet_id, ip_address, port_id)
    select s.subnet_id, s.ip, ${`seen:${child}`}
    from unnest(${strange.map(({ subnet_id }) => subnet_id)}::text[], ${strange.map(({ ip }) => ip)}::inet[])
      as s(subnet_id, ip) join subnets on subnets.id = s.subnet_id
    on conflict do nothing`.execute(db.query);
}
