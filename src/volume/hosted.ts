/** What volumes and snapshots have in common: a row that lives in one child, and what lists of them take. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { badRequest } from '../http/fault.ts';
import type { Query, RequestContext } from '../http/service.ts';
import { type BaseRow, computed, field, type FilterCondition, nullable, Timestamp } from '../resource/resource.ts';

/** Columns by which the proxy and the feed know what to do; see the migration for each. */
export interface HostedRow extends BaseRow {
  status: string;
  size: number;
  metadata: Record<string, string>;
  child: string;
  child_id: string | null;
  child_status: string;
  task: string;
  brought: number;
  create_sent_at: string | null;
  acted_at: string;
  /** What the child said when it refused; for operators. */
  fault: string | null;
  name: string;
  description: string | null;
}

/** Fields that no answer shows. */
export const hiddenFields = {
  project_id: field(Type.String(), { show: 'never' }),
  child: field(Type.String(), { column: true, show: 'never' }),
  child_id: field(nullable(Type.String()), { column: true, show: 'never' }),
  child_status: field(Type.String(), { column: true, show: 'never', default: '' }),
  task: field(Type.String(), { column: true, show: 'never', default: '' }),
  brought: field(Type.Integer(), { column: true, show: 'never' }),
  create_sent_at: field(nullable(Timestamp), { column: true, show: 'never' }),
  acted_at: field(Timestamp, { column: true, show: 'never' }),
  /** What the child said when it refused; for operators. */
  fault: field(nullable(Type.String()), { show: 'never' }),
  /** Whether the child was asked to delete it. */
  delete_sent: field(Type.Boolean(), { show: 'never' }),
} as const;

/** Null until it changed for the first time, as Cinder has it. */
export const updatedAt = computed<HostedRow>(
  (row) =>
    row.revision === 1 && row.child_status === '' && row.task === 'create' ? null : row.updated_at.slice(0, 26),
  { name: 'updated_at', show: 'detail' },
);

/** `metadata={'key': 'value'}`, in Python's or JSON's quotes. */
export const metadataFilter: FilterCondition = (values) => {
  const pairs = [...(values[0] ?? '').matchAll(/u?(['"])((?:(?!\1).)*)\1\s*:\s*u?(['"])((?:(?!\3).)*)\3/g)];
  const wanted = Object.fromEntries(pairs.map(([, , key, , value]) => [key, value]));
  if (pairs.length === 0) return sql<SqlBool>`false`;
  return sql<SqlBool>`metadata @> ${JSON.stringify(wanted)}::jsonb`;
};

/** `name~=part` (3.34). */
export const nameLike: FilterCondition = (values) => sql<SqlBool>`position(${values[0] ?? ''} in name) > 0`;

const COMPARISONS: Readonly<Record<string, string>> = { gt: '>', gte: '>=', lt: '<', lte: '<=', eq: '=', neq: '<>' };

/** `created_at=gt:2026-01-01T00:00:00,lt:...` (3.60). */
export const timeFilter =
  (column: string): FilterCondition =>
  (values) => {
    const conditions = values
      .flatMap((value) => value.split(','))
      .map((part) => {
        const [, operator = 'eq', moment = ''] = /^(?:(gte?|lte?|n?eq):)?(.*)$/.exec(part.trim()) ?? [];
        if (Number.isNaN(Date.parse(moment))) {
          throw badRequest(`Invalid input received: Value "${moment.slice(0, 64)}" is not a valid time.`);
        }
        const at = /(Z|[+-]\d\d:?\d\d)$/.test(moment) ? moment : `${moment}Z`;
        return sql<SqlBool>`${sql.ref(column)} ${sql.raw(COMPARISONS[operator] ?? '=')} ${at}::timestamptz`;
      });
    return sql<SqlBool>`(${sql.join(conditions, sql` and `)})`;
  };

/** Rows that a caller may see one by one: the project's, or any for an admin. */
export function visible(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  return context.identity.isAdmin ? [] : [ofProject(context)];
}

export const ofProject = (context: RequestContext): RawBuilder<SqlBool> =>
  sql<SqlBool>`project_id = ${context.identity.project?.id ?? '-'}`;

/** Rows that a caller's list has: the project's, unless an admin asks for `all_tenants` (and then maybe for one). */
export function listed(context: RequestContext, query: Query): readonly RawBuilder<SqlBool>[] {
  const asked = [query.all_tenants ?? ''].flat()[0] ?? '';
  if (!context.identity.isAdmin || !/^(1|true|yes|on|t|y)$/i.test(asked)) return [ofProject(context)];
  const project = [query.project_id ?? query['tenant_id'] ?? ''].flat()[0];
  return project === undefined || project === '' ? [] : [sql<SqlBool>`project_id = ${project}`];
}

/** The parent acted on the row: what a child showed before now is stale. */
export async function markActed(query: Queryable, table: string, id: string): Promise<void> {
  await sql`update ${sql.table(table)} set acted_at = clock_timestamp() where id = ${id}`.execute(query);
}

/** The project in Cinder's links. */
export const projectIn = (context: RequestContext): string => context.identity.project?.id ?? '';
