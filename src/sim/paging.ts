/** Paging as Nova and Cinder do it: `limit`, `marker`, and a `next` link beside the collection. */
import type { Call } from './http.ts';
import { type Row, SimFault } from './world.ts';

const maximum_page = 1000;

/** Cuts one page out of the sorted items; `unknownMarker` is the service's own fault. */
export function page<Item extends { readonly id: string }>(
  call: Call,
  items: readonly Item[],
  unknownMarker: (marker: string) => SimFault,
): { page: readonly Item[]; hasMore: boolean } {
  const text = call.query.get('limit');
  if (text !== null && !/^\d*$/.test(text)) {
    throw new SimFault(
      400,
      `Invalid input for query parameters limit. Value: ${text}. '${text}' does not match '^[0-9]*$'`,
    );
  }
  const limit = text === null || text === '' || text === '0' ? maximum_page : Math.min(Number(text), maximum_page);
  const marker = call.query.get('marker');
  const at = marker === null ? -1 : items.findIndex((one) => one.id === marker);
  if (marker !== null && at < 0) throw unknownMarker(marker);
  return { page: items.slice(at + 1, at + 1 + limit), hasMore: items.length > at + 1 + limit };
}

/** The collection's body, with its `next` link where there is more. */
export function pageBody(
  call: Call,
  collection: string,
  self: string,
  rows: Row[],
  lastId: string | undefined,
  hasMore: boolean,
): Row {
  const body: Row = { [collection]: rows };
  if (hasMore && lastId !== undefined) {
    const query = new URLSearchParams(call.query);
    query.set('marker', lastId);
    if (!query.has('limit')) query.set('limit', String(maximum_page));
    body[`${collection}_links`] = [{ rel: 'next', href: `${self}?${query}` }];
  }
  return body;
}

/** Sorts by `key:dir,key:dir` or sort_key/sort_dir; newest first by default, as both services do. */
export function sorted<Item extends { readonly id: string; readonly createdAt_ms: number }>(
  call: Call,
  items: Item[],
  valueOf: (item: Item, key: string) => string | number,
): Item[] {
  const combined = (call.query.get('sort') ?? '')
    .split(',')
    .filter((one) => one !== '')
    .map((one) => one.split(':'));
  const keys = combined.length > 0 ? combined.map(([key = '']) => key) : call.query.getAll('sort_key');
  const directions = combined.length > 0 ? combined.map(([, direction]) => direction) : call.query.getAll('sort_dir');
  const order = keys.length > 0 ? keys : ['created_at'];
  return items.sort((left, right) => {
    for (const [index, key] of [...order, 'id'].entries()) {
      const [one, other] =
        key === 'created_at'
          ? [left.createdAt_ms, right.createdAt_ms]
          : key === 'id'
            ? [left.id, right.id]
            : [valueOf(left, key), valueOf(right, key)];
      if (one !== other)
        return (one < other ? -1 : 1) * ((directions[index] ?? directions.at(-1) ?? 'desc') === 'asc' ? 1 : -1);
    }
    return 0;
  });
}

/** Reads `OpenStack-API-Version: <service> x.y` as Nova and Cinder do; gives the minor, the headers, or a refusal. */
export function negotiator(service: 'compute' | 'volume', major: number, least: number, most: number) {
  return (headers: Readonly<Record<string, string | string[] | undefined>>) => {
    const line = String(headers['openstack-api-version'] ?? '');
    const named = line
      .split(',')
      .map((one) => one.trim().split(/\s+/))
      .find(([name]) => name === service)?.[1];
    const legacy = service === 'compute' ? headers['x-openstack-nova-api-version'] : undefined;
    const asked = named ?? (typeof legacy === 'string' ? legacy : `${major}.${least}`);
    const echo = (version: string): Record<string, string> =>
      service === 'compute'
        ? {
            'openstack-api-version': `compute ${version}`,
            'x-openstack-nova-api-version': version,
            vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
          }
        : { 'openstack-api-version': `volume ${version}`, vary: 'OpenStack-API-Version' };
    if (asked === 'latest') return { minor: most, headers: echo(`${major}.${most}`) };
    const parts = /^(\d+)\.(\d+)$/.exec(asked);
    const minor = Number(parts?.[2]);
    if (parts === null) {
      const message = `API Version String ${asked} is of invalid format. Must be of format MajorNum.MinorNum.`;
      return { minor: least, headers: echo(`${major}.${least}`), refusal: new SimFault(400, message) };
    }
    if (Number(parts[1]) !== major || minor < least || minor > most) {
      const message = `Version ${asked} is not supported by the API. Minimum is ${major}.${least} and maximum is ${major}.${most}.`;
      return { minor: least, headers: echo(asked), refusal: new SimFault(406, message) };
    }
    return { minor, headers: echo(asked) };
  };
}

const fault_names: Record<number, string> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
};

/** A fault in the form that Nova and Cinder share. */
export function computeFault({ status, message }: SimFault): { status: number; body: Row } {
  if (status === 401) return { status, body: { error: { code: 401, title: 'Unauthorized', message } } };
  return { status, body: { [fault_names[status] ?? 'computeFault']: { code: status, message } } };
}
