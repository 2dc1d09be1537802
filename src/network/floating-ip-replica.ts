/**
 * The child side of floating IPs. A floating IP has exactly one copy, in the child whose external subnet its address is
 * of; it is made there at once, tied to a port or not, so that the child keeps the address for it.
 */
import { sql } from 'kysely';
import { applyEach } from '../cascade/apply-each.ts';
import type { ChildContext, Feed, Found, ReplicaKind } from '../cascade/contract.ts';
import { Later } from '../cascade/later.ts';
import type { Db, Queryable } from '../db/database.ts';
import { CloudError } from '../openstack/error.ts';
import { externalNetworkIn } from './external-network.ts';
import { type FloatingIp, floatingIps } from './floating-ip-resource.ts';
import { forwardingsThere } from './port-forwarding/port-forwarding-replica.ts';
import { policyInChild } from './qos/qos-child.ts';
import { scopeFor } from './network-replica.ts';

interface ChildFloatingIp {
  readonly id: string;
  readonly description: string;
  readonly status: string;
  readonly port_id: string | null;
  readonly fixed_ip_address: string | null;
  readonly qos_policy_id?: string | null;
  readonly port_forwardings?: readonly unknown[];
}

const MARK = 'headwater:';
const HELD_AGAIN_MS = 1000;
const IDLE_MS = 30_000;
const BUSY_MS = 1000;
const STATUSES = new Set(['ACTIVE', 'DOWN', 'ERROR']);

/** The kind `floating_ip`. */
export const floatingIpKind: ReplicaKind<FloatingIp> = {
  kind: 'floating_ip',
  table: 'floating_ips',
  // The child itself gives no address twice.
  unique: true,
  load: (query, id) => floatingIps.find(query, id),
  needs: ({ port_id, router_id, forwardings }) =>
    router_id === null
      ? []
      : [
          { kind: 'router', id: router_id },
          ...(port_id === null ? [] : [{ kind: 'port', id: port_id }]),
          ...forwardings.map(({ internal_port_id }) => ({ kind: 'port', id: internal_port_id })),
        ],
  /** Twice: the same answer. */
  async find(context, id, row) {
    const { body } = await context.api.call<{ floatingips: ChildFloatingIp[] }>({
      service: 'network',
      method: 'GET',
      path: '/floatingips',
      query: { description: `${MARK}${id}` },
      scope: await scopeFor(context, row?.project_id),
    });
    const found = body.floatingips.find(({ description }) => description === `${MARK}${id}`);
    return found === undefined ? undefined : copyOf(found.id, row);
  },
  /** Twice: the second is refused by the child, since the address is taken. */
  async make(context, row) {
    const { floating_ip_address, project_id } = row;
    const external = await externalNetworkIn(context, row.floating_network_id);
    if (external === undefined) throw new Later(HELD_AGAIN_MS, 'the external network is not known yet');
    const tie = row.port_id === null ? {} : await tieOf(context, row);
    const policy = await policyInChild(context, row);
    const description = `${MARK}${row.id}`;
    try {
      const { body } = await context.api.call<{ floatingip: ChildFloatingIp }>({
        service: 'network',
        method: 'POST',
        path: '/floatingips',
        body: {
          floatingip: { floating_network_id: external.network_id, floating_ip_address, description, ...tie, ...policy },
        },
        scope: await context.scope(project_id),
      });
      // Its forwardings follow.
      return { ...copyOf(body.floatingip.id, row), current: row.forwardings.length === 0 };
    } catch (error) {
      if (error instanceof CloudError && error.status === 409 && (await isOurs(context, row))) {
        throw new Later(HELD_AGAIN_MS, 'the address is still held by a floating IP that is going');
      }
      throw error;
    }
  },
  /** Twice: the second finds it tied as it shall be. */
  async bring(context, row, replica) {
    const path = `/floatingips/${replica.child_id ?? ''}`;
    const scope = await context.scope(row.project_id);
    const { body } = await context.api.call<{ floatingip: ChildFloatingIp }>({
      service: 'network',
      method: 'GET',
      path,
      scope,
    });
    const { port_id, fixed_ip_address, qos_policy_id, port_forwardings = [] } = body.floatingip;
    const isForwarding = row.forwardings.length > 0 || port_forwardings.length > 0;
    const forwardings = isForwarding ? await forwardingsThere(context, row, path, scope) : undefined;
    // What is forwarded goes before it is tied to a port, and comes after it was untied.
    await forwardings?.removeSurplus();
    const wanted = row.port_id === null ? { port_id: null } : await tieOf(context, row);
    const policy = await policyInChild(context, row);
    const hasPolicy = policy.qos_policy_id === undefined || policy.qos_policy_id === qos_policy_id;
    const isTied = port_id === wanted.port_id && (port_id === null || fixed_ip_address === row.fixed_ip_address);
    if (!isTied || !hasPolicy) {
      const floatingip = { ...(isTied ? {} : wanted), ...policy };
      await context.api.call({ service: 'network', method: 'PUT', path, body: { floatingip }, scope });
    }
    await forwardings?.addMissing();
    return copyOf(replica.child_id ?? '', row).detail;
  },
  /** Twice: a 404 counts as done. */
  async remove(context, replica) {
    const { project_id, subnet_id, ip_address } = replica.detail;
    await context.api.call({
      service: 'network',
      method: 'DELETE',
      path: `/floatingips/${replica.child_id}`,
      accept: [404],
      scope: await scopeFor(context, project_id),
    });
    if (typeof subnet_id !== 'string' || typeof ip_address !== 'string') return;
    await sql`delete from ip_allocations where subnet_id = ${subnet_id} and ip_address = ${ip_address}::inet
      and port_id = ${`held:${context.child}`}`.execute(context.db.query);
  },
  /** The address that was answered is never exchanged for another: whoever asked may have passed it on. */
  async failed(context, id, tenantMessage) {
    context.log.warn({ floating_ip_id: id, reason: tenantMessage }, 'a floating IP could not be brought to a child');
    await sql`update floating_ips set status = 'ERROR', body = body || ${JSON.stringify({ fault: tenantMessage })}::jsonb
      where id = ${id}`.execute(context.db.query);
  },
};

function copyOf(child_id: string, row: FloatingIp | undefined): Found {
  if (row === undefined) return { child_id };
  const { project_id, subnet_id, floating_ip_address } = row;
  return { child_id, detail: { project_id, subnet_id, ip_address: floating_ip_address } };
}

async function tieOf(context: ChildContext, row: FloatingIp) {
  const port = await context.ensure('port', row.port_id ?? '');
  return { port_id: port.child_id, fixed_ip_address: row.fixed_ip_address };
}

/** Whether the address is held in the child by a floating IP of ours that the parent has no more. */
async function isOurs(context: ChildContext, row: FloatingIp): Promise<boolean> {
  const { body } = await context.api.call<{ floatingips: ChildFloatingIp[] }>({
    service: 'network',
    method: 'GET',
    path: '/floatingips',
    query: { floating_ip_address: row.floating_ip_address },
  });
  const marked = body.floatingips.filter(({ description }) => description.startsWith(MARK));
  const ids = marked.map(({ description }) => description.slice(MARK.length));
  return ids.length > 0 && (await floatingIps.findMany(context.db.query, ids)).length === 0;
}

/** The feed by which the child tells which floating IPs are up, and which it has no more. */
export function floatingIpFeed(db: Db): Feed {
  const missing = new Map<string, ReadonlySet<string>>();
  return {
    name: 'floating-ips',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    busy: isAwaited,
    round: async (context, cursor) => {
      const any = await sql`select 1 from floating_ips where child = ${context.child} limit 1`.execute(db.query);
      if (any.rows.length === 0) return cursor;
      const shown = new Set<string>();
      const query = { fields: ['id', 'description', 'status'] };
      const path = '/floatingips';
      const pages = context.api.pages<ChildFloatingIp>(
        { service: 'network', method: 'GET', path, query },
        'floatingips',
      );
      for await (const page of pages) {
        const marked = page.filter((one) => typeof one?.description === 'string' && one.description.startsWith(MARK));
        const apply = (one: ChildFloatingIp) => applyStatus(context, one);
        await applyEach(marked, context.log, ({ id }) => id, apply);
        for (const { id } of marked) shown.add(id);
      }
      missing.set(context.child, await markGone(context, shown, missing.get(context.child) ?? new Set()));
      return cursor;
    },
  };
}

async function isAwaited(query: Queryable, child: string): Promise<boolean> {
  const found = await sql`select 1 from floating_ips where child = ${child} and status = 'DOWN'
    and router_id is not null limit 1`.execute(query);
  return found.rows.length > 0;
}

/**
 * Shows ERROR for those that the child has no more. One may have been made while the list was read, so that only what
 * was missing before as well is gone.
 * @returns the child's ids that are missing now
 */
async function markGone(context: ChildContext, shown: ReadonlySet<string>, before: ReadonlySet<string>) {
  const known = await sql<{ child_id: string; id: string }>`
    select r.child_id, f.id from replicas r join floating_ips f on f.id = r.resource_id and f.child = r.child
    where r.kind = 'floating_ip' and r.child = ${context.child} and r.child_id is not null and not r.retiring
      and f.status <> 'ERROR'`.execute(context.db.query);
  const missing = known.rows.filter(({ child_id }) => !shown.has(child_id));
  const gone = missing.filter(({ child_id }) => before.has(child_id)).map(({ id }) => id);
  if (gone.length > 0) {
    context.log.warn({ child: context.child, floating_ip_ids: gone }, 'floating IPs are gone from a child');
    await sql`update floating_ips set status = 'ERROR', updated_at = clock_timestamp()
      where id = any(${gone}::text[])`.execute(context.db.query);
  }
  return new Set(missing.map(({ child_id }) => child_id));
}

/** Only of a copy that is at the parent's revision: an older one tells how it was before the last change. */
async function applyStatus(context: ChildContext, one: ChildFloatingIp): Promise<void> {
  const status = STATUSES.has(one.status) ? one.status : 'DOWN';
  await sql`update floating_ips f set status = ${status}, updated_at = clock_timestamp() from replicas r
    where r.kind = 'floating_ip' and r.resource_id = f.id and r.child = ${context.child} and r.revision = f.revision
      and r.child_id = ${one.id} and f.id = ${one.description.slice(MARK.length)} and f.status <> ${status}`.execute(
    context.db.query,
  );
}
