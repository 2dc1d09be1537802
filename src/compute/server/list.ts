/** Lists of servers: each is one query. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest, forbidden } from '../../http/fault.ts';
import { compute } from '../../http/conventions.ts';
import type { Call, Query, RequestContext } from '../../http/service.ts';
import { isotime } from '../../http/validation.ts';
import { listBody, listBytes, parseListing, unknownMarker } from '../../resource/listing.ts';
import type { ServerDependencies } from './dependencies.ts';
import { shownHostStatuses } from './host-status.ts';
import { ADMIN_SORT_KEYS, FILTERS, isPassedOver, REFUSED, SORT_KEYS, truth } from './list-filters.ts';
import { server, serverRenderings } from './resource.ts';
import { inner } from './rules.ts';
import { statesOf } from './state.ts';

type Condition = RawBuilder<SqlBool>;

/** The last of a parameter's values, which is the one that Nova takes. */
const last = (value: Query[string] | undefined): string | undefined => [value ?? []].flat().at(-1);

const END = Buffer.from('}');

/** Answers `GET /servers` and `/servers/detail`. */
export async function listServers(
  dependencies: ServerDependencies,
  call: Call,
  view: 'summary' | 'detail',
): Promise<unknown> {
  const { context, query } = call;
  const path = view === 'summary' ? '/servers' : '/servers/detail';
  const conditions = conditionsOf(context, query);
  const paging = pagingOf(context, query);
  const reach = reachOf(context, query, view);
  const listing = parseListing(server, compute, context, paging, {
    conditions: [...(conditions ?? []), ...reach],
    visible: reach,
  });
  const found =
    conditions === undefined
      ? { shown: [], ids: [] }
      : await serverRenderings.page(dependencies.db.query, listing, context, view, { child: sql.ref('child') });
  if (found === undefined) throw unknownMarker(compute, listing.marker ?? '');
  const statusOf = view === 'detail' ? await shownHostStatuses(dependencies, context) : undefined;
  const items = found.shown.map(({ open, live }) => {
    const status = statusOf?.(live.child as string | null);
    return status === undefined ? [open, END] : [open, `,"host_status":"${status}"}`];
  });
  return listBytes(server, listBody(server, compute, context, listing, query, path, items, found.ids), items);
}

/** The servers that the list may speak of at all: the project's, unless all are asked for. */
function reachOf(context: RequestContext, query: Query, view: string): Condition[] {
  if (isAllTenants(query, context, view)) return [];
  const { project, user } = context.identity;
  return [project === undefined ? sql<SqlBool>`user_id = ${user.id}` : sql<SqlBool>`project_id = ${project.id}`];
}

/** What else narrows the list; undefined where nothing can fit. */
function conditionsOf(context: RequestContext, query: Query): Condition[] | undefined {
  const conditions: Condition[] = [];
  const mayAll = context.allowed(inner.allFilters.name);
  for (const [name, given] of Object.entries(query)) {
    if (REFUSED.has(name) || name.startsWith('_')) {
      if (mayAll) throw badRequest(`Invalid filter field: ${name.slice(0, 64)}.`);
      continue;
    }
    const filter = Object.hasOwn(FILTERS, name) ? FILTERS[name] : undefined;
    if (filter === undefined || context.version < (filter.since ?? 0)) continue;
    if (!mayAll && context.version < (filter.open ?? Number.MAX_SAFE_INTEGER)) continue;
    conditions.push(filter.make(last(given) ?? ''));
  }
  const states = query.status === undefined ? undefined : statesOf([query.status].flat());
  if (query.status !== undefined && states === undefined) {
    if (context.version >= 38) throw badRequest('Invalid status value');
    return undefined;
  }
  requireOrder(context, query);
  const onlyDeleted = states?.vm_states.length === 1 && states.vm_states[0] === 'deleted';
  if (onlyDeleted && !context.identity.isAdmin) throw forbidden('Only administrators may list deleted instances');
  if (states !== undefined) {
    conditions.push(sql<SqlBool>`vm_state = any(${states.vm_states})`);
    if (states.task_states !== undefined) conditions.push(sql<SqlBool>`task_state = any(${states.task_states})`);
  }
  const deleted = deletedCondition(context, query, mayAll, onlyDeleted);
  if (deleted !== undefined) conditions.push(deleted);
  const wanted = last(query.project_id ?? query.tenant_id);
  if (wanted !== undefined && mayAll && asksForAll(query)) conditions.push(sql<SqlBool>`project_id = ${wanted}`);
  return conditions;
}

/** @throws Fault 400 for an end before the beginning */
function requireOrder({ version }: RequestContext, query: Query): void {
  const since = isotime(last(query['changes-since']) ?? '');
  const before = version >= 66 ? isotime(last(query['changes-before']) ?? '') : undefined;
  if (since === undefined || before === undefined || Date.parse(since) <= Date.parse(before)) return;
  throw badRequest('The value of changes-since must be less than or equal to changes-before.');
}

function asksForAll(query: Query): boolean {
  const text = last(query.all_tenants);
  return text !== undefined && (text === '' || truth(text));
}

/** @throws Fault 403 where all are asked for that the caller may not have */
function isAllTenants(query: Query, context: RequestContext, view: string): boolean {
  if (!asksForAll(query)) return false;
  context.enforce((view === 'summary' ? inner.allTenantsIndex : inner.allTenantsDetail).name);
  return true;
}

function deletedCondition(
  { version }: RequestContext,
  query: Query,
  mayAll: boolean,
  onlyDeleted: boolean,
): Condition | undefined {
  if (onlyDeleted) return sql<SqlBool>`deleted_at is not null`;
  if (mayAll && query.deleted !== undefined) {
    return /^(true|1|yes|on|t|y)$/i.test(last(query.deleted) ?? '')
      ? sql<SqlBool>`deleted_at is not null`
      : sql<SqlBool>`deleted_at is null`;
  }
  // Who asks for changes wants to hear of deletions too.
  if (query['changes-since'] !== undefined) return undefined;
  if (query['changes-before'] !== undefined && version >= 66) return undefined;
  return sql<SqlBool>`deleted_at is null`;
}

/** Paging and sorting, in the names that the kernel knows. @throws Fault 400 or 403 for what cannot be sorted by */
function pagingOf({ version, identity }: RequestContext, query: Query): Query {
  const { limit, marker } = query;
  const given = [query.sort_key ?? []].flat().map((key) => key.trim());
  const refused = given.find((key) => ADMIN_SORT_KEYS.has(key) && !identity.isAdmin);
  if (refused !== undefined) throw forbidden(`Only administrators can sort servers by ${refused}`);
  const isKept = (_: string, at: number): boolean => !isPassedOver(given[at] ?? '', version);
  const keys = given.length === 0 ? ['created_at'] : given.filter(isKept);
  const directions = [query.sort_dir ?? []]
    .flat()
    .map((direction) => direction.trim())
    .filter(isKept);
  const invalid = (why: string) => badRequest(`Invalid input received: ${why}`);
  if (directions.some((direction) => direction !== 'asc' && direction !== 'desc')) {
    throw invalid("Unknown sort direction, must be 'desc' or 'asc'");
  }
  if (directions.length > keys.length) throw invalid('Sort direction size exceeds sort key size');
  // A direction that is missing is that of the first one.
  const sorted = keys.flatMap((key, at) => {
    const known = SORT_KEYS[key];
    return known === undefined ? [] : [{ key: known, direction: directions[at] ?? directions[0] ?? 'desc' }];
  });
  const isAsked = query.sort_key !== undefined || query.sort_dir !== undefined;
  return {
    ...(limit === undefined ? {} : { limit }),
    ...(marker === undefined ? {} : { marker }),
    ...(isAsked && sorted.length > 0
      ? { sort_key: sorted.map(({ key }) => key), sort_dir: sorted.map(({ direction }) => direction) }
      : {}),
  };
}
