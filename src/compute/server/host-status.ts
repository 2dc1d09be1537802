/** The status of a server's host, which is its child: for admins only. */
import type { ServerDependencies } from './dependencies.ts';

type StatusOf = (child: string | null) => string;

/** A child's health is looked at every few seconds; to ask the database for it at every show would say nothing newer. */
const FRESH_MS = 1000;
const known = new WeakMap<
  ServerDependencies['cascade'],
  { readonly until: number; readonly statuses: Promise<StatusOf> }
>();

/** A function that tells the host status of a child's servers, at most a second old. */
export function hostStatuses(dependencies: ServerDependencies): Promise<StatusOf> {
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
    if (state === undefined) return 'UNKNOWN';
    const { enabled = true, forced_down = false } = proxy.get(child) ?? {};
    if (!enabled) return 'MAINTENANCE';
    return state && !forced_down ? 'UP' : 'DOWN';
  };
}
