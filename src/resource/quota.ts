/**
 * Quotas as counter rows: reserving is one statement in the transaction that makes the object, so that usage is never
 * counted, never overshot, and gone again when the transaction is.
 */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';

declare module '../db/tables.ts' {
  interface Tables {
    quotas: {
      project_id: string;
      service: string;
      resource: string;
      hard_limit: number | null;
      in_use: number;
    };
  }
}

/** The row that holds the defaults an operator set for everybody (Nova's quota class `default`). */
const DEFAULTS_ROW = '';

export interface QuotaUsage {
  /** -1 for no limit. */
  readonly limit: number;
  readonly in_use: number;
}

/** Thrown by `reserve`: nothing was counted. A service turns it into its own fault (403 in Nova, 413 in Cinder, 409 in Neutron). */
export class QuotaExceeded extends Error {
  constructor(
    /** Each resource that would go past its limit. */
    readonly over: readonly {
      readonly resource: string;
      readonly requested: number;
      readonly limit: number;
      readonly in_use: number;
    }[],
  ) {
    super(`Quota exceeded for ${over.map(({ resource }) => resource).join(', ')}`);
    this.name = 'QuotaExceeded';
  }
}

export interface QuotaBook {
  readonly defaults: Readonly<Record<string, number>>;
  /** Adds to the counters, all or none. Negative numbers give back, and are never refused. @throws QuotaExceeded */
  reserve(tx: Tx, projectId: string, changes: Readonly<Record<string, number>>): Promise<void>;
  /** Limits and usage of one project, for every resource of the service. */
  usage(query: Queryable, projectId: string): Promise<Record<string, QuotaUsage>>;
  /** The limits that hold for who has none of their own. */
  defaultLimits(query: Queryable): Promise<Record<string, number>>;
  setDefaults(tx: Tx, limits: Readonly<Record<string, number>>): Promise<void>;
  /** Sets limits of one project; null goes back to the default. */
  set(tx: Tx, projectId: string, limits: Readonly<Record<string, number | null>>): Promise<void>;
  /** Back to the defaults for all resources. */
  reset(tx: Tx, projectId: string): Promise<void>;
  /** Projects with limits of their own. */
  projects(query: Queryable): Promise<string[]>;
}

/**
 * The quotas of one service.
 * @param defaults every resource it counts, with the limit that OpenStack ships
 */
export function createQuotas(service: string, defaults: Readonly<Record<string, number>>): QuotaBook {
  const book: QuotaBook = {
    defaults,
    async reserve(tx, projectId, changes) {
      // Sorted, so that two transactions lock the counters in the same order.
      const entries = Object.entries(changes)
        .filter(([, change]) => change !== 0)
        .sort(([one], [other]) => (one < other ? -1 : 1));
      if (entries.length === 0) return;
      const resources = entries.map(([resource]) => resource);
      const amounts = entries.map(([, change]) => change);
      const fallback = resources.map((resource) => defaults[resource] ?? -1);
      const result = await sql<{ resource: string; requested: number; limit: number; in_use: number; over: boolean }>`
        with wanted as (
          select * from unnest(${resources}::text[], ${amounts}::bigint[], ${fallback}::bigint[]) as w(resource, amount, fallback)
        ), changed as (
          insert into quotas as q (project_id, service, resource, in_use)
          select ${projectId}, ${service}, resource, greatest(amount, 0) from wanted order by resource
          on conflict (project_id, service, resource) do update
            set in_use = greatest(q.in_use + (select amount from wanted w where w.resource = q.resource), 0)
          returning q.resource, q.hard_limit, q.in_use
        )
        select c.resource, w.amount as requested, c.in_use,
               coalesce(c.hard_limit, d.hard_limit, w.fallback) as limit,
               w.amount > 0 and coalesce(c.hard_limit, d.hard_limit, w.fallback) >= 0
                 and c.in_use > coalesce(c.hard_limit, d.hard_limit, w.fallback) as over
        from changed c join wanted w using (resource)
        left join quotas d on d.project_id = ${DEFAULTS_ROW} and d.service = ${service} and d.resource = c.resource`.execute(
        tx,
      );
      const over = result.rows.filter((row) => row.over);
      if (over.length > 0) {
        // The caller's transaction is thrown away with this; the counters go back with it.
        throw new QuotaExceeded(
          over.map(({ resource, requested, limit, in_use }) => ({
            resource,
            requested,
            limit,
            in_use: in_use - requested,
          })),
        );
      }
    },
    async usage(query, projectId) {
      const limits = await book.defaultLimits(query);
      const usage: Record<string, QuotaUsage> = {};
      for (const [resource, limit] of Object.entries(limits)) usage[resource] = { limit, in_use: 0 };
      const rows = await query
        .selectFrom('quotas')
        .select(['resource', 'hard_limit', 'in_use'])
        .where('project_id', '=', projectId)
        .where('service', '=', service)
        .execute();
      for (const row of rows) {
        if (!(row.resource in defaults)) continue;
        usage[row.resource] = { limit: row.hard_limit ?? limits[row.resource] ?? -1, in_use: row.in_use };
      }
      return usage;
    },
    async defaultLimits(query) {
      const rows = await query
        .selectFrom('quotas')
        .select(['resource', 'hard_limit'])
        .where('project_id', '=', DEFAULTS_ROW)
        .where('service', '=', service)
        .execute();
      const limits = { ...defaults };
      for (const row of rows)
        if (row.hard_limit !== null && row.resource in defaults) limits[row.resource] = row.hard_limit;
      return limits;
    },
    setDefaults: (tx, limits) => book.set(tx, DEFAULTS_ROW, limits),
    async set(tx, projectId, limits) {
      const values = Object.entries(limits).map(([resource, hard_limit]) => ({
        project_id: projectId,
        service,
        resource,
        hard_limit,
        in_use: 0,
      }));
      if (values.length === 0) return;
      await tx
        .insertInto('quotas')
        .values(values)
        .onConflict((conflict) =>
          conflict
            .columns(['project_id', 'service', 'resource'])
            .doUpdateSet((eb) => ({ hard_limit: eb.ref('excluded.hard_limit') })),
        )
        .execute();
    },
    async reset(tx, projectId) {
      await tx
        .updateTable('quotas')
        .set({ hard_limit: null })
        .where('project_id', '=', projectId)
        .where('service', '=', service)
        .execute();
    },
    async projects(query) {
      const rows = await query
        .selectFrom('quotas')
        .select('project_id')
        .distinct()
        .where('service', '=', service)
        .where('hard_limit', 'is not', null)
        .where('project_id', '!=', DEFAULTS_ROW)
        .execute();
      return rows.map((row) => row.project_id);
    },
  };
  return book;
}
