/** A list request: filters, sorting and paging out of the query, by the resource's description and the service's convention. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { TSchema } from 'typebox';
import { badRequest, type Fault } from '../http/fault.ts';
import { type Convention, JsonBytes, type Query, type RequestContext } from '../http/service.ts';
import { apiName, type Field, isStored, type Resource } from './resource.ts';
import type { Page } from './store.ts';

export interface Listing extends Page {
  /** Neutron's `fields=`; empty for all. */
  readonly fields: readonly string[];
  /** Whether the client asked for a page: links to the next are given only then (Neutron). */
  readonly paged: boolean;
}

const PAGING = new Set(['limit', 'marker', 'sort_key', 'sort_dir', 'sort', 'fields', 'page_reverse']);

/**
 * Reads a list's query.
 * @param options.ignore names that the service's handler reads itself (`all_tenants`)
 * @param options.conditions what narrows the list whatever the client says: the project
 * @param options.visible those of the conditions that say what the caller may see at all
 * @throws Fault 400 for a bad limit, sort key, filter value or, where the service says so, an unknown filter
 */
export function parseListing(
  resource: Resource,
  convention: Convention,
  context: RequestContext,
  query: Query,
  options: {
    readonly ignore?: readonly string[];
    readonly conditions?: readonly RawBuilder<SqlBool>[];
    readonly visible?: readonly RawBuilder<SqlBool>[];
  } = {},
): Listing {
  const conditions = [...(options.conditions ?? [])];
  const unknown: string[] = [];
  for (const [name, given] of Object.entries(query)) {
    if (PAGING.has(name) || options.ignore?.includes(name) === true) continue;
    const values = [given].flat().filter((value) => value !== '' || !isNeutron(convention));
    // Neutron looks at no empty value, but at the name all the same.
    if (values.length === 0 && knowsFilter(resource, convention, name)) continue;
    const condition = filter(resource, convention, context, name, values);
    if (condition === undefined) unknown.push(name);
    else conditions.push(condition);
  }
  if (unknown.length > 0 && convention.paging.unknownFilter === 'reject') {
    throw badRequest(
      `[${unknown.map((name) => `'${name.slice(0, 64)}'`).join(', ')}] is invalid attribute for filtering`,
      'HTTPBadRequest',
    );
  }
  const limit = limitOf(convention, query);
  const marker = one(query.marker);
  return {
    conditions,
    sort: sortOf(resource, convention, query),
    limit: limit ?? convention.paging.maximum,
    marker: marker === '' ? undefined : marker,
    markerAmong: options.visible ?? options.conditions ?? [],
    reverse: /^(true|1)$/i.test(one(query.page_reverse) ?? ''),
    fields: convention.paging.fields ? [query.fields ?? []].flat().filter((name) => name !== '') : [],
    paged: limit !== undefined,
  };
}

const isNeutron = ({ paging }: Convention): boolean => paging.links === 'neutron';

/** Whether a list may be filtered by the name at all. */
function knowsFilter(resource: Resource, convention: Convention, name: string): boolean {
  if (Object.hasOwn(resource.filters, name)) return true;
  return Object.entries(resource.fields).some(([key, f]) => {
    if (!isStored(f) || f.filter === undefined || f.filter === false) return false;
    const external = apiName(key, f);
    return external === name || key === name || convention.aliases[external] === name;
  });
}

/** The fault for a marker that names nothing. */
export function unknownMarker(convention: Convention, marker: string): Fault {
  return convention.name === 'network'
    ? badRequest(`Marker '${marker}' could not be found.`, 'HTTPBadRequest')
    : badRequest(`marker [${marker}] not found`);
}

/**
 * The body of a list: the items under the collection's name, with links as the service gives them.
 * @param path of the list below the service's root (`/servers/detail`)
 */
export function listBody(
  resource: Resource,
  convention: Convention,
  context: RequestContext,
  listing: Listing,
  query: Query,
  path: string,
  items: readonly unknown[],
  ids: readonly string[],
): Record<string, unknown> {
  const body: Record<string, unknown> = { [resource.collection]: items };
  const link = (marker: string | undefined, reverse: boolean): string => {
    const params = new URLSearchParams();
    for (const [name, given] of Object.entries(query)) {
      if (name === 'marker' || name === 'page_reverse') continue;
      for (const value of [given].flat()) params.append(name, value);
    }
    if (marker !== undefined) params.set('marker', marker);
    if (reverse) params.set('page_reverse', 'True');
    const text = params.toString();
    return `${context.baseUrl}${path}${text === '' ? '' : `?${text}`}`;
  };
  const full = ids.length > 0 && ids.length >= listing.limit;
  const links: { href: string; rel: string }[] = [];
  switch (convention.paging.links) {
    case 'nova':
      if (full) body[`${resource.collection}_links`] = [{ rel: 'next', href: link(ids.at(-1), false) }];
      break;
    case 'neutron':
      // Neutron knows only whether the page was full: towards where it came from there may always be more.
      if (full || (listing.paged && listing.reverse === true)) {
        links.push({ href: link(ids.at(-1) ?? listing.marker, false), rel: 'next' });
      }
      if (listing.paged && (full || listing.reverse !== true)) {
        links.push({ href: link(ids[0] ?? listing.marker, true), rel: 'previous' });
      }
      if (links.length > 0) body[`${resource.collection}_links`] = links;
      break;
    case 'glance': {
      const relative = (href: string) => href.slice(context.baseUrl.length - convention.root.length);
      body.first = relative(link(undefined, false));
      body.schema = `${convention.root}/schemas/${resource.collection}`;
      if (full) body.next = relative(link(ids.at(-1), false));
      break;
    }
    case 'keystone':
      body.links = {
        self: `${context.baseUrl}${path}${queryText(query)}`,
        previous: null,
        next: full ? link(ids.at(-1), false) : null,
      };
      // Keystone says so where a list was cut that nobody asked to be cut.
      if (full && !listing.paged) body.truncated = true;
  }
  return body;
}

/** A query as it was sent, as far as that can be told from what was read: Keystone repeats it. */
export function queryText(query: Query): string {
  const escaped = (text: string): string =>
    encodeURIComponent(text).replace(/%(3A|40|2C|2F|24|3B)/g, (sign) => decodeURIComponent(sign));
  const pairs = Object.entries(query).flatMap(([name, given]) =>
    [given].flat().map((value) => (value === '' ? escaped(name) : `${escaped(name)}=${escaped(value)}`)),
  );
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

/**
 * A list's body of items that are JSON already.
 * @param body as `listBody` gives it
 * @param items each in one or more parts
 */
export function listBytes(
  resource: Resource,
  body: Record<string, unknown>,
  items: readonly (readonly (Buffer | string)[])[],
): JsonBytes {
  const { [resource.collection]: _items, ...rest } = body;
  const tail = JSON.stringify(rest).slice(1);
  const parts: (Buffer | string)[] = [];
  for (const item of items) parts.push(parts.length === 0 ? `{"${resource.collection}":[` : COMMA, ...item);
  if (parts.length === 0) parts.push(`{"${resource.collection}":[`);
  parts.push(`]${tail === '}' ? '' : ','}${tail}`);
  return new JsonBytes(parts);
}

const COMMA = Buffer.from(',');

function filter(
  resource: Resource,
  convention: Convention,
  context: RequestContext,
  name: string,
  values: readonly string[],
): RawBuilder<SqlBool> | undefined {
  // A client may well ask for `constructor`, which every object has.
  const own = Object.hasOwn(resource.filters, name) ? resource.filters[name] : undefined;
  if (own !== undefined) return own(values, context);
  for (const [key, f] of Object.entries(resource.fields)) {
    if (!isStored(f) || f.filter === undefined || f.filter === false) continue;
    const external = apiName(key, f);
    if (external !== name && key !== name && convention.aliases[external] !== name) continue;
    if (context.version < (f.since ?? 0)) continue;
    if (typeof f.filter === 'function') return f.filter(values, context);
    if (f.filter === 'contains') return sql<SqlBool>`position(${values[0] ?? ''} in ${sql.ref(key)}) > 0`;
    const typed = values.map((value) => typedValue(convention, f, external, value));
    if (typed.includes(null)) {
      return sql<SqlBool>`(${sql.ref(key)} is null or ${sql.ref(key)} = any(${typed.filter((value) => value !== null)}))`;
    }
    return typed.length === 1
      ? sql<SqlBool>`${sql.ref(key)} = ${typed[0]}`
      : sql<SqlBool>`${sql.ref(key)} = any(${typed})`;
  }
  return undefined;
}

/** A filter's text as the column's type. */
function typedValue(convention: Convention, f: Field, name: string, text: string): string | number | boolean | null {
  const types = typesOf(f.schema);
  if (types.has('boolean')) {
    const value = booleanOf(text);
    if (value === undefined) throw badValue(convention, name, `'${text.slice(0, 64)}' cannot be converted to boolean.`);
    return value;
  }
  if (types.has('integer')) {
    if (/^-?\d{1,15}$/.test(text)) return Number(text);
    throw badValue(convention, name, `'${text.slice(0, 64)}' is not an integer.`);
  }
  return types.has('null') && text === '' && !types.has('string') ? null : text;
}

/** A text as a boolean, in every form that OpenStack takes; undefined for any other. */
export function booleanOf(text: string): boolean | undefined {
  if (/^(true|1|yes|on|t|y)$/i.test(text)) return true;
  return /^(false|0|no|off|f|n)$/i.test(text) ? false : undefined;
}

/** The fault for a filter's value that is none of the field's type. */
const badValue = (convention: Convention, name: string, reason: string): Fault =>
  isNeutron(convention)
    ? badRequest(`Invalid input for operation: ${reason}`, 'InvalidInput')
    : badRequest(`Invalid input for ${name}. Reason: ${reason}`);

function typesOf(schema: TSchema): Set<string> {
  const types = new Set<string>();
  const visit = (part: { type?: string; anyOf?: TSchema[] }) => {
    if (part.type !== undefined) types.add(part.type);
    for (const option of part.anyOf ?? []) visit(option);
  };
  visit(schema as { type?: string; anyOf?: TSchema[] });
  return types;
}

function limitOf(convention: Convention, query: Query): number | undefined {
  const text = one(query.limit);
  if (text === undefined || (text === '' && isNeutron(convention))) return undefined;
  if (!/^\d{1,9}$/.test(text) && isNeutron(convention)) {
    const shown = text.slice(0, 64);
    throw badRequest(`Bad limit request: Limit must be an integer 0 or greater and not '${shown}'.`, 'BadRequest');
  }
  if (!/^\d{1,9}$/.test(text)) {
    throw badRequest(
      /^-\d+$/.test(text) ? 'limit param must be positive' : 'limit param must be an integer',
      'HTTPBadRequest',
    );
  }
  const limit = Number(text);
  // Neutron takes 0 as no limit; for the others an empty page says nothing, and they give none.
  if (limit === 0) return convention.name === 'network' ? undefined : 0;
  return Math.min(limit, convention.paging.maximum);
}

function sortOf(resource: Resource, convention: Convention, query: Query): Page['sort'] {
  if (convention.paging.sort === 'none') return convention.paging.defaultSort;
  const pairs: [string, string][] = [];
  if (convention.paging.sort === 'keys-and-list' && query.sort !== undefined) {
    for (const part of [query.sort].flat().flatMap((text) => text.split(','))) {
      const [key = '', direction = 'desc'] = part.trim().split(':');
      pairs.push([key, direction]);
    }
  } else {
    const keys = [query.sort_key ?? []].flat();
    const directions = [query.sort_dir ?? []].flat();
    if (isNeutron(convention)) checkNeutronSort(resource, convention, keys, directions);
    keys.forEach((key, at) => pairs.push([key, directions[at] ?? directions[0] ?? 'desc']));
  }
  if (pairs.length === 0) return convention.paging.defaultSort;
  return pairs.slice(0, 8).map(([name, direction]) => {
    if (direction !== 'asc' && direction !== 'desc') {
      throw badRequest(`Invalid sort direction: ${direction.slice(0, 32)}. Must be 'asc' or 'desc'.`);
    }
    return [sortKey(resource, convention, name), direction] as const;
  });
}

/** @throws Fault 400 in Neutron's words */
function checkNeutronSort(
  resource: Resource,
  convention: Convention,
  keys: readonly string[],
  directions: readonly string[],
): void {
  const named = (values: readonly string[]) => `[${values.map((value) => `'${value.slice(0, 64)}'`).join(', ')}]`;
  if (keys.length !== directions.length) {
    throw badRequest('The number of sort_keys and sort_dirs must be same', 'HTTPBadRequest');
  }
  const odd = directions.filter((direction) => direction !== 'asc' && direction !== 'desc');
  if (odd.length > 0) {
    const valid = "valid value is 'asc' and 'desc'";
    throw badRequest(`${named(odd)} is invalid value for sort_dirs, ${valid}`, 'HTTPBadRequest');
  }
  const unknown = keys.filter((key) => findSortKey(resource, convention, key) === undefined);
  if (unknown.length > 0) {
    throw badRequest(`${named(unknown)} is invalid attribute for sort_keys`, 'HTTPBadRequest');
  }
}

function sortKey(resource: Resource, convention: Convention, name: string): string {
  const key = findSortKey(resource, convention, name);
  if (key !== undefined) return key;
  throw badRequest(`${name.slice(0, 64)} is an invalid attribute for sort keys`, 'HTTPBadRequest');
}

function findSortKey(resource: Resource, convention: Convention, name: string): string | undefined {
  if (name === 'id' || name === 'created_at' || name === 'updated_at') return name;
  for (const [key, f] of Object.entries(resource.fields)) {
    const external = apiName(key, f);
    if (
      isStored(f) &&
      f.sort !== undefined &&
      f.sort !== false &&
      (external === name || key === name || convention.aliases[external] === name)
    ) {
      return key;
    }
  }
  return undefined;
}

function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}
