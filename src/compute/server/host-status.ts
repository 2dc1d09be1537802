/** The status of a server's host, which is its child: for admins only. */
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';

/** A function that tells the host status of servers, from one look at the children. */
export async function hostStatuses({ cascade, db }: ServerDependencies): Promise<(row: ServerRow) => string> {
  const [children, proxies] = await Promise.all([
    cascade.children(db.query),
    cascade.proxies(db.query, 'nova-compute'),
  ]);
  const up = new Map(children.map((child) => [child.name, child.up]));
  const proxy = new Map(proxies.map((one) => [one.child, one]));
  return ({ child }) => {
    if (child === null) return '';
    const state = up.get(child);
    if (state === undefined) return 'UNKNOWN';
    const { enabled = true, forced_down = false } = proxy.get(child) ?? {};
    if (!enabled) return 'MAINTENANCE';
    return state && !forced_down ? 'UP' : 'DOWN';
  };
}
