/** The status of a server's host, which is its child: for admins only. */
import type { RequestContext } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import { inner } from './rules.ts';

type StatusOf = (child: string | null) => string;

/** A child's health is looked at every few seconds; to ask the database for it at every show would say nothing newer. */
const FRESH_MS = 1000;
const known = new WeakMap<
  ServerDependencies['cascade'],
  { readonly until: number; readonly statuses: Promise<StatusOf> }
>();

const SHOWN_SINCE = 16;
const UNKNOWN = 'UNKNOWN';

/** What the caller may know of the hosts of servers: all, only that nothing is known of one, or (undefined) nothing. */
export async function shownHostStatuses(
  dependencies: ServerDependencies,
  context: RequestContext,
): Promise<((child: string | null) => string | undefined) | undefined> {
  if (context.version < SHOWN_SINCE) return undefined;
  const all = context.allowed(inner.hostStatus.name);
  if (!all && !context.allowed(inner.hostUnknown.name)) return undefined;
  const statusOf = await hostStatuses(dependencies);
  return (child) => {
    const status = statusOf(child);
    return all || status === UNKNOWN ? status : undefined;
  };
}

/** A function that tells the host status of a child's servers, at most a second old. */
function hostStatuses(dependencies: ServerDependencies): Promise<StatusOf> {
  const last = known.get(dependencies.cascade);
  if (last !== undefined && Date.now() < last.until) return last.statuses;
  const statuses = readStatuses(dependencies);
  known.set(dependencies.cascade, { until: Date.now() + FRESH_MS, statuses });
  statuses.catch(() => known.delete(dependencies.cascade));
  return statuses;
}

async function readStatuses({ cascade, db }: ServerDependencies): Promise<StatusOf> {
  const [children, proxies] = await Promise.all([
    cascade.children(db.query),
    cascade.proxies(db.query, 'nova-compute'),
  ]);
  const up = new Map(children.map((child) => [child.name, child.up]));
  const proxy = new Map(proxies.map((one) => [one.child, one]));
  return (child) => {
    if (child === null) return '';
    const state = up.get(child);
    if (state === undefined) return UNKNOWN;
    const { enabled = true, forced_down = false } = proxy.get(child) ?? {};
    if (!enabled) return 'MAINTENANCE';
    return state && !forced_down ? 'UP' : 'DOWN';
  };
}
