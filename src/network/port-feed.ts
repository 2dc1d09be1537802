/**
 * Reads the state of ports out of a child. Those whose outcome is awaited are asked for by id every round (Neutron takes
 * no `changed_since` for ports everywhere); a look at all of them from time to time shows every other change, and ports
 * that were deleted behind the parent's back, which are then made again.
 */
import { sql } from 'kysely';
import { applyEach } from '../cascade/apply-each.ts';
import type { Cascade, ChildContext, Feed } from '../cascade/contract.ts';
import { portStore } from './port-resource.ts';

interface ChildPort {
  readonly id: string;
  readonly status: string;
}

interface Cursor {
  /** When all were last looked at, by the parent's clock, in ms. */
  readonly all_at_ms?: number;
}

const STATUSES = new Set(['ACTIVE', 'DOWN', 'BUILD', 'ERROR']);
const ALL_EVERY_MS = 60_000;
const ALL_EVERY_LARGE_MS = 10 * 60_000;
const LARGE = 2000;
const AWAITED_MAX = 500;
/** Ids in one query, so that the URL stays below what servers take. */
const IDS_MAX = 50;
const CHECKED_MAX = 50;

/** The feed `ports`. */
export function portFeed(cascade: Pick<Cascade, 'revise' | 'poke'>): Feed {
  return {
    name: 'ports',
    idle_ms: 10_000,
    busy_ms: 1000,
    async busy(query, child) {
      const found = await sql`select 1 from ports
        where child = ${child} and status <> 'ACTIVE' and starts_with(device_owner, 'compute:')
          and updated_at > clock_timestamp() - interval '2 minutes' limit 1`.execute(query);
      return found.rows.length > 0;
    },
    async round(context, cursor) {
      const { all_at_ms } = parse(cursor);
      const known = await copies(context);
      const started = Date.now();
      const every = known.length > LARGE ? ALL_EVERY_LARGE_MS : ALL_EVERY_MS;
      if (all_at_ms !== undefined && started - all_at_ms < every && started >= all_at_ms) {
        const awaited = known.filter((copy) => copy.awaited).slice(0, AWAITED_MAX);
        for (let at = 0; at < awaited.length; at += IDS_MAX) {
          await read(
            context,
            awaited.slice(at, at + IDS_MAX).map(({ child_id }) => child_id),
          );
        }
        return cursor;
      }
      const seen = await read(context, undefined);
      await missing(
        context,
        cascade,
        known.filter(({ child_id }) => !seen.has(child_id)),
      );
      return JSON.stringify({ all_at_ms: started });
    },
  };
}

/** Reads ports by id, or all of them, into the rows. Gives the ids that were there. */
async function read(context: ChildContext, ids: readonly string[] | undefined): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const query = { fields: ['id', 'status'], ...(ids === undefined ? {} : { id: ids }) };
  const pages = context.api.pages<ChildPort>({ service: 'network', method: 'GET', path: '/ports', query }, 'ports');
  for await (const page of pages) {
    const readable: ChildPort[] = [];
    await applyEach(page, context.log, describeRecord, (port) => {
      const checked = check(port);
      seen.add(checked.id);
      readable.push(checked);
    });
    await applyStatuses(context, readable);
  }
  return seen;
}

const describeRecord = (port: ChildPort): string => String((port as ChildPort | null)?.id);

function check(port: ChildPort): ChildPort {
  const { id, status } = port;
  if (typeof id !== 'string' || typeof status !== 'string') throw new TypeError('a port without id or status');
  return { id, status };
}

function parse(cursor: string | undefined): Cursor {
  try {
    return cursor === undefined ? {} : (JSON.parse(cursor) as Cursor);
  } catch {
    return {};
  }
}

interface Copy {
  readonly resource_id: string;
  readonly child_id: string;
  /** Whether its status is about to change: a server is being made with it. */
  readonly awaited: boolean;
}

async function copies(context: ChildContext): Promise<Copy[]> {
  const result = await sql<Copy>`
    select r.resource_id, r.child_id,
      coalesce(p.status <> 'ACTIVE' and starts_with(p.device_owner, 'compute:'), false) as awaited
    from replicas r left join ports p on p.id = r.resource_id
    where r.child = ${context.child} and r.kind = 'port' and r.child_id is not null and not r.retiring`.execute(
    context.db.query,
  );
  return result.rows;
}

/** One statement for a page. The status is not what the parent wants but what it was told: no revision. */
async function applyStatuses(context: ChildContext, ports: readonly ChildPort[]): Promise<void> {
  const usable = ports.filter(({ status }) => STATUSES.has(status));
  if (usable.length === 0) return;
  await sql`update ports set status = c.status, updated_at = clock_timestamp()
    from unnest(${usable.map(({ id }) => id)}::text[], ${usable.map(({ status }) => status)}::text[]) as c(id, status)
    join replicas r on r.child = ${context.child} and r.kind = 'port' and r.child_id = c.id
    where ports.id = r.resource_id and ports.status <> c.status and ports.child = ${context.child}`.execute(
    context.db.query,
  );
}

/** Copies that the list did not show: each is asked for by itself, since it may have been made meanwhile. */
async function missing(
  context: ChildContext,
  cascade: Pick<Cascade, 'revise' | 'poke'>,
  suspects: readonly Copy[],
): Promise<void> {
  for (const { resource_id, child_id } of suspects.slice(0, CHECKED_MAX)) {
    const { status } = await context.api.call({
      service: 'network',
      method: 'GET',
      path: `/ports/${child_id}`,
      query: { fields: 'id' },
      accept: [404],
    });
    if (status !== 404) continue;
    context.log.warn({ kind: 'port', id: resource_id, child: context.child }, 'a port is gone from the child');
    await context.db.transaction(async (tx) => {
      // A new revision is what brings it back: bringing it finds that there is nothing to bring, and makes it.
      await portStore.update(tx, resource_id, { status: 'DOWN' });
      await cascade.revise(tx, 'port', resource_id);
    });
    cascade.poke(context.child);
  }
}
