/**
 * What a server left behind in a child: the shelved one that it was before it came up elsewhere, or the one that could
 * not come up. It is deleted there by the child's own lane, so that nobody waits for a child that is away.
 */
import { sql } from 'kysely';
import type { ChildContext, HostedKind, Progress } from '../../cascade/contract.ts';
import { SETTLE_MS } from '../../cascade/replicas.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { findByMark, takeAway } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';

const KIND = 'server_leaving';
const POLL_MS = 400;
const LOOK_AGAIN_MS = 1000;

interface Leaving {
  readonly child: string;
  readonly server_id: string;
  readonly project_id: string;
  readonly child_id: string | null;
  readonly create_sent_at: string | null;
  readonly delete_sent_at: string | null;
  readonly ports: string[];
}

/**
 * Says, in the caller's transaction, that the server has no business in a child any more, nor have the copies of its
 * ports. To be called while it has its ports.
 */
export async function leaveBehind(
  tx: Tx,
  { cascade, network }: ServerDependencies,
  row: Pick<ServerRow, 'id' | 'project_id'>,
  there: Pick<Leaving, 'child' | 'child_id' | 'create_sent_at'>,
): Promise<void> {
  const ports = ((await network.portsOf(tx, [row.id])).get(row.id) ?? []).map(({ id }) => id);
  await sql`insert into server_leavings (child, server_id, project_id, child_id, create_sent_at, ports)
    values (${there.child}, ${row.id}, ${row.project_id}, ${there.child_id}, ${there.create_sent_at}, ${ports}::text[])
    on conflict (child, server_id) do update set
      child_id = coalesce(server_leavings.child_id, excluded.child_id),
      create_sent_at = greatest(server_leavings.create_sent_at, excluded.create_sent_at),
      ports = array(select distinct unnest(server_leavings.ports || excluded.ports))`.execute(tx);
  await cascade.want(tx, there.child, KIND, row.id);
}

/** Whether something of a server is still to be deleted in a child: until then no other is made there. */
export async function isLeaving(query: Queryable, child: string, serverId: string): Promise<boolean> {
  return (await find(query, child, serverId)) !== undefined;
}

async function find(query: Queryable, child: string, serverId: string): Promise<Leaving | undefined> {
  const { rows } = await sql<Leaving>`select * from server_leavings
    where child = ${child} and server_id = ${serverId}`.execute(query);
  return rows[0];
}

/** The kind `server_leaving`: a server's id, in the lane of the child that it leaves. */
export function leavingKind(dependencies: ServerDependencies): HostedKind {
  const { cascade, db, network } = dependencies;

  async function gone({ child, server_id, child_id }: Leaving): Promise<Progress> {
    const isDone = await db.transaction(async (tx) => {
      // Unless more was left behind meanwhile.
      const { rows } = await sql<{ ports: string[] }>`delete from server_leavings where child = ${child}
        and server_id = ${server_id} and child_id is not distinct from ${child_id} returning ports`.execute(tx);
      await network.leaveChild(tx, rows[0]?.ports ?? [], child);
      return rows.length > 0;
    });
    cascade.poke(child);
    return isDone ? 'done' : { again_ms: 0 };
  }

  return {
    kind: KIND,
    async reconcile(context, id) {
      const leaving = await find(db.query, context.child, id);
      if (leaving === undefined) return 'done';
      const server = { id, project_id: leaving.project_id };
      if (leaving.child_id === null) {
        const found = leaving.create_sent_at === null ? undefined : await findByMark(context, server);
        if (found === undefined) return (await mayStillShow(context, id)) ? { again_ms: LOOK_AGAIN_MS } : gone(leaving);
        await note(context, id, sql`child_id = ${found.id}`);
        return { again_ms: 0 };
      }
      const { child_id, delete_sent_at } = leaving;
      const step = await takeAway(context, { ...server, child_id, delete_sent_at });
      if (step === 'gone') return gone(leaving);
      if (step === 'asked') await note(context, id, sql`delete_sent_at = clock_timestamp()`);
      return { again_ms: POLL_MS };
    },
    async pending(query, child) {
      const { rows } = await sql<{ server_id: string }>`select server_id from server_leavings
        where child = ${child}`.execute(query);
      return rows.map(({ server_id }) => server_id);
    },
  };
}

/** Whether a create whose answer was lost had no time yet to show. */
async function mayStillShow({ db, child }: ChildContext, id: string): Promise<boolean> {
  const { rows } = await sql`select 1 from server_leavings where child = ${child} and server_id = ${id}
    and create_sent_at > clock_timestamp() - ${SETTLE_MS} * interval '1 millisecond'`.execute(db.query);
  return rows.length > 0;
}

async function note({ db, child }: ChildContext, id: string, change: ReturnType<typeof sql>): Promise<void> {
  await sql`update server_leavings set ${change} where child = ${child} and server_id = ${id}`.execute(db.query);
}
