/** The children as rows: their zones, health, size and proxies; and the choice of one for a new object. */
import { sql } from 'kysely';
import { type Db, json, type Queryable, type Tx } from '../db/database.ts';
import type { Capacity, ChildConfig, ChildState, Placement, ProxyService, ScheduleRequest } from './contract.ts';
import './tables.ts';

export interface Children {
  /** Writes the configured children; those no longer configured stay as rows (their objects do) but get no work. */
  configure(): Promise<void>;
  list(query: Queryable): Promise<ChildState[]>;
  zones(query: Queryable): Promise<{ name: string; children: string[]; available: boolean }[]>;
  setZones(tx: Tx, child: string, zones: Readonly<Record<string, string>> | null): Promise<void>;
  childZone(child: string, zone: string): string | undefined;
  proxies(query: Queryable, binary: string): Promise<ProxyService[]>;
  setProxy(
    tx: Tx,
    child: string,
    binary: string,
    change: Partial<Pick<ProxyService, 'enabled' | 'disabled_reason' | 'forced_down'>>,
  ): Promise<void>;
  setCapacity(query: Queryable, child: string, capacity: Capacity): Promise<void>;
  /** The child answered, or it did not; and whether the account is an administrator there, where that was seen. */
  seen(child: string, up: boolean, isAdmin?: boolean): Promise<void>;
  schedule(query: Queryable, want: ScheduleRequest): Promise<Placement | undefined>;
}

interface Candidate {
  readonly name: string;
  readonly zones: Record<string, string>;
  readonly up: boolean;
  readonly capacity: Capacity | null;
}

/**
 * @param options.random a number in [0, 1), for the choice among children (injected in tests)
 * @param options.default_zone the zone of what names none and is bound to no child by what it needs
 */
export function createChildren(
  db: Db,
  configs: readonly ChildConfig[],
  options: { readonly random?: (() => number) | undefined; readonly default_zone?: string | undefined } = {},
): Children {
  const { random = Math.random, default_zone } = options;
  const configured = new Map(configs.map((config) => [config.name, config]));
  // The last known overrides, for `childZone`, which is asked in the middle of work and must not wait for a query.
  const overrides = new Map<string, Record<string, string>>();

  const list = async (query: Queryable): Promise<ChildState[]> => {
    const rows = await query.selectFrom('children').selectAll().orderBy('name').execute();
    return rows.flatMap((row) => {
      const config = configured.get(row.name);
      if (config === undefined) return [];
      if (row.zones_override === null) overrides.delete(row.name);
      else overrides.set(row.name, row.zones_override);
      return {
        ...config,
        zones: row.zones_override ?? row.zones,
        up: row.up,
        seen_at: row.seen_at,
        created_at: row.created_at,
        capacity: row.capacity ?? undefined,
      };
    });
  };

  /**
   * Those of the default zone, where any is: also those that are down, and those that an aggregate has in another zone
   * now; what is made a moment sooner or later must not part company.
   */
  const preferred = (candidates: readonly Candidate[]): readonly Candidate[] => {
    if (default_zone === undefined) return candidates;
    const serving = candidates.filter(({ zones }) => default_zone in zones);
    if (serving.length > 0) return serving;
    const moved = candidates.filter(({ name }) => default_zone in (configured.get(name)?.zones ?? {}));
    return moved.length > 0 ? moved : candidates;
  };

  return {
    list,
    async configure() {
      for (const config of configs) {
        await sql`insert into children (name, zones, tenancy) values (${config.name}, ${json(config.zones)}, ${config.tenancy})
          on conflict (name) do update set zones = excluded.zones, tenancy = excluded.tenancy`.execute(db.query);
      }
      await list(db.query);
    },
    async zones(query) {
      const zones = new Map<string, { name: string; children: string[]; available: boolean }>();
      for (const child of await list(query)) {
        for (const name of Object.keys(child.zones)) {
          const zone = zones.get(name) ?? { name, children: [], available: false };
          zone.children.push(child.name);
          zone.available ||= child.up;
          zones.set(name, zone);
        }
      }
      return [...zones.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    },
    async setZones(tx, child, zones) {
      await tx
        .updateTable('children')
        .set({ zones_override: zones === null ? null : json(zones) })
        .where('name', '=', child)
        .execute();
      if (zones === null) overrides.delete(child);
      else overrides.set(child, { ...zones });
    },
    childZone(child, zone) {
      const own = configured.get(child)?.zones ?? {};
      const only = Object.values(own).length === 1 ? Object.values(own)[0] : undefined;
      return overrides.get(child)?.[zone] || own[zone] || only;
    },
    async proxies(query, binary) {
      const result = await sql<ProxyService>`
        select c.name as child, ${binary} as binary, coalesce(p.enabled, true) as enabled, p.disabled_reason,
               coalesce(p.forced_down, false) as forced_down, coalesce(p.updated_at, c.created_at) as updated_at
        from children c left join proxies p on p.child = c.name and p.binary_name = ${binary}
        order by c.name`.execute(query);
      return result.rows.filter((row) => configured.has(row.child));
    },
    async setProxy(tx, child, binary, change) {
      const values = { ...change, updated_at: sql<string>`clock_timestamp()` };
      await tx
        .insertInto('proxies')
        .values({ child, binary_name: binary, ...values })
        .onConflict((conflict) => conflict.columns(['child', 'binary_name']).doUpdateSet(values))
        .execute();
    },
    async setCapacity(query, child, capacity) {
      await query
        .updateTable('children')
        .set({ capacity: json(capacity) })
        .where('name', '=', child)
        .execute();
    },
    async seen(child, up, isAdmin) {
      const seen_at = up ? sql`clock_timestamp()` : sql`seen_at`;
      await sql`update children set up = ${up}, seen_at = ${seen_at}, is_admin = coalesce(${isAdmin ?? null}, is_admin)
        where name = ${child}`.execute(db.query);
    },
    async schedule(query, want) {
      const result = await sql<Candidate>`
        select c.name, coalesce(c.zones_override, c.zones) as zones, c.up, c.capacity
        from children c left join proxies p on p.child = c.name and p.binary_name = ${want.binary}
        where coalesce(p.enabled, true) and not coalesce(p.forced_down, false)`.execute(query);
      const candidates = result.rows
        .filter((row) => configured.has(row.name) && want.exclude?.includes(row.name) !== true)
        .filter((row) => want.among === undefined || want.among.includes(row.name))
        .filter((row) => want.zone === undefined || want.zone in row.zones);
      const able = want.zone === undefined ? preferred(candidates) : candidates;
      const up = able.filter((candidate) => candidate.up);
      const chosen = weighted(up.length > 0 ? up : able, want, random);
      if (chosen === undefined) return undefined;
      const byDefault = default_zone !== undefined && default_zone in chosen.zones ? default_zone : undefined;
      return { child: chosen.name, zone: want.zone ?? byDefault ?? Object.keys(chosen.zones)[0] ?? chosen.name };
    },
  };
}

/**
 * One of the candidates, the roomier the likelier. Chance and not order: the sizes are seconds old, and a burst of
 * boots must not all go where there was most room before it.
 */
function weighted(
  candidates: readonly Candidate[],
  want: ScheduleRequest,
  random: () => number,
): Candidate | undefined {
  const roomy = candidates.map((candidate) => ({ candidate, weight: room(candidate, want) }));
  const total = roomy.reduce((sum, { weight }) => sum + weight, 0);
  let point = random() * total;
  for (const { candidate, weight } of roomy) {
    point -= weight;
    if (point < 0) return candidate;
  }
  return candidates.at(-1);
}

function room({ capacity }: Candidate, want: ScheduleRequest): number {
  if (capacity === null) return 1;
  // Children overcommit as they like; what looks full here is only unlikely, and the child has the last word.
  const memory_mb = Math.max(capacity.memory_mb - capacity.memory_mb_used - (want.memory_mb ?? 0), 1);
  return memory_mb;
}
