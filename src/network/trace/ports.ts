/** How many ports a network has in each child, and which of them are missing there or not the parent's. */
import { sql } from 'kysely';
import type { Shown } from './ask.ts';
import type { Cell, TraceRow, TraceSection } from './contract.ts';
import { networkIds } from './copies.ts';
import { TRANSIT } from '../transit/make.ts';
import { cellOf, few, NAMED_MAX, set, type TraceParts } from './section.ts';

interface PortCopy {
  readonly id: string;
  readonly child: string;
  readonly child_id: string | null;
  readonly error: string | null;
}

/** Ports by child, those that the child makes by itself (DHCP, metadata, routers' interfaces) apart. */
export async function portsSection({ query, asker }: TraceParts, networkId: string): Promise<TraceSection> {
  const [total, copies, networks] = await Promise.all([
    sql<{ count: number }>`select count(*)::int as count from ports where network_id = ${networkId}
      and (device_owner = ${TRANSIT} or not starts_with(device_owner, 'network:'))`.execute(query),
    sql<PortCopy>`select p.id, r.child, r.child_id, r.error from ports p
      join replicas r on r.kind = 'port' and r.resource_id = p.id and not r.retiring
      where p.network_id = ${networkId}`.execute(query),
    networkIds(query, networkId),
  ]);
  const rows: Record<'ours' | 'missing' | 'others', Record<string, Cell>> = { ours: {}, missing: {}, others: {} };
  for (const [child, child_id] of networks) {
    const fields = ['id', 'name', 'device_owner'];
    const shown = await asker.list(child, '/ports', 'ports', { network_id: child_id, fields });
    if (shown === undefined) continue;
    const own = copies.rows.filter((copy) => copy.child === child);
    const there = new Set(shown.map(({ id }) => String(id)));
    const missing = own.filter((copy) => copy.child_id === null || !there.has(copy.child_id)).map(({ id }) => id);
    const known = new Set(own.map((copy) => copy.child_id));
    rows.ours[child] = cellOf(String(own.length - missing.length), String(own.length));
    rows.missing[child] = cellOf(few(missing), null);
    rows.others[child] = cellOf(owners(shown.filter(({ id }) => !known.has(String(id)))), undefined);
  }
  const errors = copies.rows.filter(({ error }) => error !== null);
  const row = (name: string, parent: string | null, children: Record<string, Cell>): TraceRow => ({
    name,
    parent,
    children,
  });
  return {
    kind: 'ports',
    id: networkId,
    title: 'ports on the network',
    rows: [
      row('ports', String(total.rows[0]?.count ?? 0), rows.ours),
      ...(Object.values(rows.missing).some(({ shown }) => shown !== null) ? [row('missing', null, rows.missing)] : []),
      row("child's own", null, rows.others),
    ],
    notes: errors.slice(0, NAMED_MAX).map(({ id, child, error }) => `${child}: last error of port ${id}: ${error}`),
    under_way: 0,
  };
}

function owners(ports: readonly Shown[]): string | null {
  const counts = new Map<string, number>();
  for (const { device_owner } of ports) {
    const owner = String(device_owner ?? '') || 'nobody';
    counts.set(owner, (counts.get(owner) ?? 0) + 1);
  }
  return set([...counts].map(([owner, count]) => `${count} of ${owner}`));
}
