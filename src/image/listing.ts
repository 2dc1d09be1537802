/** The image list's query: Glance's filters with their operators, property filters, and sorting. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { image as convention } from '../http/conventions.ts';
import { badRequest } from '../http/fault.ts';
import type { Query, RequestContext } from '../http/service.ts';
import { type Listing, parseListing } from '../resource/listing.ts';
import { projectOf, visible } from './access.ts';
import { image, VISIBILITIES } from './resource.ts';

const PAGE_DEFAULT = 25;
const SORT_KEYS = ['name', 'status', 'container_format', 'disk_format', 'size', 'id', 'created_at', 'updated_at'];
const PAGING = new Set(['limit', 'marker', 'sort', 'sort_key', 'sort_dir', 'visibility', 'member_status', 'os_hidden']);
const COMPARISONS: Readonly<Record<string, string>> = { eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=' };
const OPERATORS = new Set([...Object.keys(COMPARISONS), 'in']);
const TEXTS = new Set(['name', 'id', 'status', 'container_format', 'disk_format']);
const PLAIN: Readonly<Record<string, string>> = {
  checksum: 'checksum',
  os_hash_value: 'os_hash_value',
  owner: 'project_id',
};
const NUMBERS = new Set(['size', 'min_disk', 'min_ram']);

/**
 * Reads the query of `GET /v2/images`.
 * @throws Fault 400 in Glance's words for a value, operator or sort key that it refuses
 */
export function imageListing(context: RequestContext, query: Query): Listing {
  checkSort(query);
  const conditions = [...reach(context, query), sql<SqlBool>`status <> 'killed'`];
  conditions.push(sql<SqlBool>`os_hidden = ${flag('os_hidden', last(query.os_hidden) ?? 'false')}`);
  for (const [name, given] of Object.entries(query)) {
    if (!PAGING.has(name)) conditions.push(condition(name, [given].flat()));
  }
  const listing = parseListing(image, convention, context, query, {
    conditions,
    visible: visible(context),
    ignore: Object.keys(query),
  });
  return query.limit === undefined ? { ...listing, limit: PAGE_DEFAULT } : listing;
}

const last = (given: string | readonly string[] | undefined): string | undefined => [given ?? []].flat().at(-1);

/** Which images the list reaches; community images of others only where they are asked for. */
function reach(context: RequestContext, query: Query): RawBuilder<SqlBool>[] {
  const asked = last(query.visibility);
  if (asked !== undefined && asked !== 'all' && !(VISIBILITIES as readonly string[]).includes(asked)) {
    throw badRequest(`Invalid visibility value: ${asked}`);
  }
  const member_status = last(query.member_status) ?? 'accepted';
  if (!['pending', 'accepted', 'rejected', 'all'].includes(member_status)) {
    throw badRequest(`Invalid status: ${member_status}`);
  }
  const project = projectOf(context);
  const conditions = asked === undefined || asked === 'all' ? [] : [sql<SqlBool>`visibility = ${asked}`];
  if (context.identity.isAdmin) {
    if (asked === undefined) conditions.push(sql<SqlBool>`(project_id = ${project} or visibility <> 'community')`);
    return conditions;
  }
  const status = member_status === 'all' ? sql`` : sql`and status = ${member_status}`;
  // An array and not a join: each of the alternatives is then answered by an index of its own.
  const shared = sql`(visibility = 'shared' and id = any(array(
    select image_id from image_members where member_id = ${project} ${status})))`;
  const others = asked === undefined ? sql`visibility = 'public'` : sql`visibility in ('public', 'community')`;
  conditions.push(sql<SqlBool>`(project_id = ${project} or ${others} or ${shared})`);
  return conditions;
}

function condition(name: string, values: readonly string[]): RawBuilder<SqlBool> {
  const value = values.at(-1) ?? '';
  if (name === 'tag') return sql<SqlBool>`tags @> ${values.map((tag) => tag.trim())}::text[]`;
  if (name === 'changes-since') throw badRequest('The "changes-since" filter is no longer available on v2.');
  if (name === 'protected') return sql<SqlBool>`protected = ${flag(name, value)}`;
  if (name === 'created_at' || name === 'updated_at') return moment(name, value);
  if (TEXTS.has(name)) return text(name, value);
  const plain = Object.hasOwn(PLAIN, name) ? PLAIN[name] : undefined;
  if (plain !== undefined) return sql<SqlBool>`${sql.ref(plain)} = ${value}`;
  const range = /^(size|min_disk|min_ram)_(min|max)$/.exec(name);
  if (range !== null) {
    if (!/^-?\d{1,18}$/.test(value)) throw badRequest('Unable to filter on a range with a non-numeric value.');
    const column = sql.ref(range[1] as string);
    return range[2] === 'min'
      ? sql<SqlBool>`(${column} >= 0 and ${column} >= ${value}::bigint)`
      : sql<SqlBool>`(${column} >= 0 and ${column} <= ${value}::bigint)`;
  }
  if (NUMBERS.has(name)) {
    return /^\d{1,18}$/.test(value) ? sql<SqlBool>`${sql.ref(name)} = ${value}::bigint` : sql<SqlBool>`false`;
  }
  return sql<SqlBool>`extra @> ${JSON.stringify({ [name]: value })}::jsonb`;
}

function split(expression: string): readonly [string, string] {
  const at = expression.indexOf(':');
  const operator = expression.slice(0, Math.max(at, 0));
  return OPERATORS.has(operator) ? [operator, expression.slice(at + 1)] : ['eq', expression];
}

function text(name: string, expression: string): RawBuilder<SqlBool> {
  const [operator, value] = split(expression);
  const column = sql.ref(name);
  if (operator === 'eq') return sql<SqlBool>`${column} = ${value}`;
  if (operator === 'in') return sql<SqlBool>`${column} = any(${quotedList(value)}::text[])`;
  throw badRequest(`Unable to filter by unknown operator '${operator}'.`);
}

/** `a,"b,c",d`: commas between, quotation marks around what has a comma itself. */
function quotedList(list: string): string[] {
  const items = [...list.matchAll(/"([^"]*)"(?:,|$)|([^",]+)(?:,|$)/g)];
  const read = items.reduce((sum, [all]) => sum + all.length, 0);
  if (read !== list.length) {
    throw badRequest('Invalid filter value: the value is not a list of comma separated, optionally quoted, texts.');
  }
  return items.map(([, quoted, plain]) => quoted ?? plain ?? '');
}

function moment(name: string, expression: string): RawBuilder<SqlBool> {
  const [operator, value] = split(expression);
  const comparison = COMPARISONS[operator];
  if (comparison === undefined) throw badRequest(`Unable to filter by unknown operator '${operator}'.`);
  const shape = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$/.exec(value);
  const parsed = new Date(shape === null || shape[4] !== undefined || shape[1] === undefined ? value : `${value}Z`);
  if (shape === null || Number.isNaN(parsed.getTime())) {
    throw badRequest(`Bad "${name}" query filter format. Use ISO 8601 DateTime notation.`);
  }
  // Clients are shown whole seconds, and compare with those.
  return sql<SqlBool>`date_trunc('second', ${sql.ref(name)}) ${sql.raw(comparison)} ${parsed.toISOString()}::timestamptz`;
}

function flag(name: string, value: string): boolean {
  const lower = value.toLowerCase();
  if (lower === 'true' || lower === 'false') return lower === 'true';
  throw badRequest(`Invalid value '${value}' for '${name}' filter. Valid values are 'true' or 'false'.`);
}

function checkSort(query: Query): void {
  const keys = [query.sort_key ?? []].flat();
  const directions = [query.sort_dir ?? []].flat();
  if (query.sort !== undefined) {
    if (keys.length + directions.length > 0) throw badRequest('Old and new sorting syntax cannot be combined');
    for (const part of [query.sort].flat().join(',').split(',')) {
      const [key = '', direction = ''] = part.split(':');
      keys.push(key);
      if (direction !== '') directions.push(direction);
    }
  } else if (directions.length > 1 && directions.length !== keys.length) {
    throw badRequest('Number of sort dirs does not match the number of sort keys');
  }
  for (const key of keys.map((one) => one.trim())) {
    if (!SORT_KEYS.includes(key)) {
      throw badRequest(`Invalid sort key: ${key}. It must be one of the following: ${SORT_KEYS.join(', ')}.`);
    }
  }
  for (const direction of directions.map((one) => one.trim())) {
    if (direction !== 'asc' && direction !== 'desc') throw badRequest(`Invalid sort direction: ${direction}`);
  }
}
