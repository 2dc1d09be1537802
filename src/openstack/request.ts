/** The parts of a request that need no connection: its path and query, its template for counting, its next page. */
import type { CloudCall } from './contract.ts';

/** A path segment that is, or holds, an id: a uuid with or without dashes, a long hash, a number. */
const idSegment =
  /\/(?:[^/]*[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}[^/]*|[^/]*[0-9a-f]{32}[^/]*|[0-9a-f]{16,}|\d+)(?=\/|$)/gi;

/** The path with each id replaced by a star, so that calls of one kind count as one. */
export function templateOf(path: string): string {
  return path.replace(idSegment, '/*');
}

/** The query as it stands in a URL, with its `?`; empty where there is none. Arrays are repeated keys. */
export function queryString(query: CloudCall['query']): string {
  if (query === undefined) return '';
  let text = '';
  for (const key in query) {
    const value = query[key];
    if (value === undefined) continue;
    const name = encodeURIComponent(key);
    if (typeof value === 'object') for (const one of value) text += `&${name}=${encodeURIComponent(one)}`;
    else text += `&${name}=${encodeURIComponent(String(value))}`;
  }
  return text === '' ? '' : `?${text.slice(1)}`;
}

/**
 * Holds a path against what a path below a service's root may be. Throws a TypeError: a wrong one is a mistake of
 * the caller, and one with `..` could reach another resource than the one meant.
 */
export function checkPath(path: string): void {
  if (!path.startsWith('/') || /[\s?#\\]|\/\.{1,2}(?:\/|$)/.test(path)) {
    throw new TypeError(`'${path}' is not a path below a service: encode its parts and give the query apart`);
  }
}

/**
 * The query of the next page (with its `?`), from whichever form of `next` link the page has: Nova's, Cinder's,
 * Neutron's and Octavia's `<collection>_links`, Glance's `next`, Keystone's `links.next`; undefined on the last page.
 * Only the query is taken: the same list is asked on, at our own endpoint, since behind proxies a link's host and
 * even its path are often wrong, and a token must never follow a link to another host.
 */
export function nextQuery(body: unknown, collection: string): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const page = body as Record<string, unknown>;
  const listed = page[`${collection}_links`];
  let href: unknown = page['next'];
  if (Array.isArray(listed))
    href = (listed as { rel?: string; href?: string }[]).find(({ rel }) => rel === 'next')?.href;
  else if (href === undefined) href = (page['links'] as { next?: string | null } | null | undefined)?.next;
  if (typeof href !== 'string') return undefined;
  const mark = href.indexOf('?');
  if (mark === -1) return undefined;
  const hash = href.indexOf('#', mark);
  return href.slice(mark, hash === -1 ? undefined : hash).replace(/[\s<>"]/g, encodeURIComponent);
}
