/** What projects used over a time: flavors' sizes by hours, deleted servers too. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';
import { badRequest } from '../../http/fault.ts';
import { type Call, type Operation, operation, type Query } from '../../http/service.ts';
import { all } from '../../resource/store.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, PAGING_PARAMETERS, queryParameters } from '../links.ts';
import { ADMIN, computeRule, READER } from '../rules.ts';

const PAGES_SINCE = 40;
const SERVERS_MAX = 1000;
const HOUR_MS = 3_600_000;

const rules = {
  list: computeRule('os-simple-tenant-usage:list', ADMIN),
  show: computeRule('os-simple-tenant-usage:show', READER),
};

const LIST_QUERY = queryParameters({ start: ANY_TEXT, end: ANY_TEXT, detailed: ANY_TEXT, ...PAGING_PARAMETERS });
const SHOW_QUERY = queryParameters({ start: ANY_TEXT, end: ANY_TEXT, ...PAGING_PARAMETERS });

interface Period {
  readonly start_ms: number;
  readonly stop_ms: number;
}

interface Used {
  readonly id: string;
  readonly project_id: string;
  readonly name: string;
  readonly vm_state: string;
  readonly launched_at: string;
  readonly ended_at: string | null;
  readonly flavor: { name: string; vcpus: number; ram: number; disk: number; ephemeral: number } | null;
}

/** `/os-simple-tenant-usage` for all projects and for one. */
export function tenantUsageOperations({ db }: ComputeDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/os-simple-tenant-usage',
      policy: rules.list,
      query: LIST_QUERY,
      status: 200,
      summary: 'List what projects used',
      handle: async (call) => {
        const detailed = firstOf(call.query.detailed) === '1';
        const { usages, links } = await usageOver(db.query, call, undefined, detailed);
        return { tenant_usages: usages, ...(links === undefined ? {} : { tenant_usages_links: links }) };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-simple-tenant-usage/:project_id',
      policy: rules.show,
      target: async (call) => ({ project_id: call.params.project_id as string }),
      query: SHOW_QUERY,
      status: 200,
      summary: 'Show what a project used',
      handle: async (call) => {
        const { usages, links } = await usageOver(db.query, call, call.params.project_id as string, true);
        return { tenant_usage: usages[0] ?? {}, ...(links === undefined ? {} : { tenant_usage_links: links }) };
      },
    }),
  ];
}

async function usageOver(query: Queryable, call: Call, projectId: string | undefined, detailed: boolean) {
  const { context } = call;
  const period = periodOf(call.query);
  const pages = context.version >= PAGES_SINCE;
  const limit = pages ? Math.min(Number(firstOf(call.query.limit) ?? SERVERS_MAX), SERVERS_MAX) : SERVERS_MAX;
  const marker = pages ? firstOf(call.query.marker) || undefined : undefined;
  const servers = await serversOver(query, period, projectId, limit, marker);
  const usages = summaries(servers, period, detailed);
  const last = servers.at(-1);
  if (!pages || last === undefined || servers.length < limit) return { usages, links: undefined };
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query)) if (name !== 'marker') next.set(name, firstOf(value) ?? '');
  next.set('marker', last.id);
  const path = projectId === undefined ? '' : `/${encodeURIComponent(projectId)}`;
  const href = `${context.baseUrl}/os-simple-tenant-usage${path}?${next.toString()}`;
  return { usages, links: [{ rel: 'next', href }] };
}

async function serversOver(
  query: Queryable,
  { start_ms, stop_ms }: Period,
  projectId: string | undefined,
  limit: number,
  marker: string | undefined,
): Promise<readonly Used[]> {
  const conditions: RawBuilder<SqlBool>[] = [
    sql<SqlBool>`launched_at < ${new Date(stop_ms).toISOString()}`,
    sql<SqlBool>`coalesce(terminated_at, deleted_at, 'infinity') > ${new Date(start_ms).toISOString()}`,
  ];
  const reach = projectId === undefined ? [] : [sql<SqlBool>`project_id = ${projectId}`];
  conditions.push(...reach);
  if (marker !== undefined) {
    const known = await sql`select 1 from servers where ${all([sql<SqlBool>`id = ${marker}`, ...reach])}`.execute(
      query,
    );
    if (known.rows.length === 0) throw badRequest(`Marker ${marker} could not be found.`);
    conditions.push(sql<SqlBool>`(project_id, id) > (select project_id, id from servers where id = ${marker})`);
  }
  const { rows } = await sql<Used>`
    select id, project_id, name, vm_state, launched_at, coalesce(terminated_at, deleted_at) as ended_at,
           body -> 'flavor_copy' as flavor
    from servers where launched_at is not null and ${all(conditions)}
    order by project_id, id limit ${limit}`.execute(query);
  return rows;
}

function summaries(servers: readonly Used[], period: Period, detailed: boolean) {
  const found = new Map<string, ReturnType<typeof emptySummary>>();
  for (const server of servers) {
    const summary = found.get(server.project_id) ?? emptySummary(server.project_id, period, detailed);
    found.set(server.project_id, summary);
    const one = usageOfServer(server, period);
    summary.total_hours += one.hours;
    summary.total_vcpus_usage += one.vcpus * one.hours;
    summary.total_memory_mb_usage += one.memory_mb * one.hours;
    summary.total_local_gb_usage += one.local_gb * one.hours;
    summary.server_usages?.push(one);
  }
  return [...found.values()];
}

const emptySummary = (tenant_id: string, { start_ms, stop_ms }: Period, detailed: boolean) => ({
  tenant_id,
  ...(detailed ? { server_usages: [] as ReturnType<typeof usageOfServer>[] } : {}),
  total_hours: 0,
  total_vcpus_usage: 0,
  total_memory_mb_usage: 0,
  total_local_gb_usage: 0,
  start: micros(new Date(start_ms).toISOString()),
  stop: micros(new Date(stop_ms).toISOString()),
});

function usageOfServer(server: Used, period: Period) {
  const began_ms = Date.parse(server.launched_at);
  const ended_ms = server.ended_at === null ? undefined : Date.parse(server.ended_at);
  const counted_ms = Math.min(ended_ms ?? period.stop_ms, period.stop_ms) - Math.max(began_ms, period.start_ms);
  const { flavor } = server;
  return {
    instance_id: server.id,
    name: server.name,
    tenant_id: server.project_id,
    hours: Math.max(counted_ms, 0) / HOUR_MS,
    flavor: flavor?.name ?? '',
    memory_mb: flavor?.ram ?? 0,
    local_gb: (flavor?.disk ?? 0) + (flavor?.ephemeral ?? 0),
    vcpus: flavor?.vcpus ?? 0,
    started_at: micros(server.launched_at),
    ended_at: server.ended_at === null ? null : micros(server.ended_at),
    state: server.ended_at === null ? server.vm_state : 'terminated',
    uptime: Math.floor(((ended_ms ?? Date.now()) - began_ms) / 1000),
  };
}

/** A moment as Nova writes it here: microseconds, no zone. */
function micros(iso: string): string {
  const [seconds = '', fraction = ''] = iso.replace(/(Z|[+-]\d\d:?\d\d)$/, '').split('.');
  return `${seconds.replace(' ', 'T')}.${fraction.slice(0, 6).padEnd(6, '0')}`;
}

function periodOf(query: Query): Period {
  const now_ms = Date.now();
  const start_ms = momentOf(firstOf(query.start)) ?? now_ms - 1;
  const stop_ms = momentOf(firstOf(query.end)) ?? now_ms;
  if (start_ms >= stop_ms) {
    throw badRequest('Invalid start time. The start time cannot occur after the end time.');
  }
  return { start_ms, stop_ms: Math.min(stop_ms, now_ms) };
}

function momentOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const form = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?| \d\d:\d\d:\d\d\.\d{1,6})$/;
  const moment_ms = form.test(text) ? Date.parse(`${text.replace(' ', 'T')}Z`) : Number.NaN;
  if (Number.isNaN(moment_ms)) throw badRequest('Invalid datetime string: Datetime is in invalid format');
  return moment_ms;
}
