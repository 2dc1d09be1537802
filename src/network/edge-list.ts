/** Lists that are made of what the parent knows anyway (agents, zones) and not of rows: filters, `fields=`, paging. */
import { network as convention } from '../http/conventions.ts';
import { badRequest } from '../http/fault.ts';
import type { Query } from '../http/service.ts';

type Item = Readonly<Record<string, unknown>>;

const CONTROLS = new Set(['fields', 'limit', 'marker', 'page_reverse', 'sort_key', 'sort_dir']);

/**
 * The items that a list's query asks for, with the attributes it asks for.
 * @param filters attributes that may be filtered by
 * @throws Fault 400 for any other filter, a bad limit or an unknown marker
 */
export function chooseItems(items: readonly Item[], query: Query, filters: readonly string[]): Item[] {
  const unknown = Object.keys(query).filter((name) => !CONTROLS.has(name) && !filters.includes(name));
  if (unknown.length > 0) {
    const names = unknown.map((name) => `'${name.slice(0, 64)}'`).join(', ');
    throw badRequest(`[${names}] is invalid attribute for filtering`, 'HTTPBadRequest');
  }
  const fitting = items.filter((item) =>
    filters.every((name) => query[name] === undefined || [query[name]].flat().some((text) => fits(item[name], text))),
  );
  return page(fitting, query).map((item) => chooseFields(item, query));
}

/** An item with only the attributes that `fields=` names; all of them where it names none. */
export function chooseFields(item: Item, query: Query): Item {
  const wanted = [query.fields ?? []].flat().filter((name) => name !== '');
  return wanted.length === 0
    ? item
    : Object.fromEntries(Object.entries(item).filter(([name]) => wanted.includes(name)));
}

function fits(value: unknown, text: string): boolean {
  if (typeof value === 'boolean') return value === /^(true|1|yes|on|t|y)$/i.test(text);
  return String(value ?? '') === text;
}

function page(items: readonly Item[], query: Query): readonly Item[] {
  const marker = [query.marker ?? []].flat()[0];
  const at = marker === undefined ? -1 : items.findIndex((item) => item.id === marker);
  if (marker !== undefined && at < 0) {
    throw badRequest(`Marker '${marker.slice(0, 64)}' could not be found.`, 'HTTPBadRequest');
  }
  const text = [query.limit ?? []].flat()[0];
  if (text !== undefined && !/^\d{1,9}$/.test(text)) {
    throw badRequest('limit param must be an integer', 'HTTPBadRequest');
  }
  // Neutron takes 0 as no limit.
  return items.slice(at + 1, at + 1 + (Number(text ?? 0) || convention.paging.maximum));
}
