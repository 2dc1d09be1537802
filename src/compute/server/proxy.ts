/**
 * The nova-proxy: does in a child what a server's row says is to be done there. It keeps nothing of its own: killed
 * anywhere, the next call reads the row and goes on.
 */
import type { ChildContext, HostedKind, Progress } from '../../cascade/contract.ts';
import { sql } from 'kysely';
import { findByMark, takeAway } from './child.ts';
import { age_ms, clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { performNext } from './proxy-act.ts';
import { SETTLE_MS } from '../../cascade/replicas.ts';
import { makeThere } from './proxy-create.ts';
import { pushFacts } from './proxy-facts.ts';
import { bury, changeQuietly, isComing } from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';

const DELETE_POLL_MS = 400;
const LOOK_AGAIN_MS = 1000;

/** The kind `server` for the cascade. */
export function serverKind(dependencies: ServerDependencies): HostedKind {
  return {
    kind: 'server',
    async reconcile(context, id) {
      const row = await serverStore.find(dependencies.db.query, id);
      if (row === undefined || row.deleted_at !== null || row.child !== context.child) return 'done';
      if (row.task_state === 'deleting') return removeThere(dependencies, context, row);
      if (row.child_id === null) return isComing(row) ? makeThere(dependencies, context, row) : 'done';
      if (row.pending.length > 0) return performNext(dependencies, context, row);
      if (row.facts > row.facts_pushed) return pushFacts(dependencies, context, row);
      return 'done';
    },
    async pending(query, child) {
      const { rows } = await sql<{ id: string }>`
        select id from servers where child = ${child} and attention and deleted_at is null`.execute(query);
      return rows.map(({ id }) => id);
    },
  };
}

/** Deletes the server in the child and waits until it is gone there; only then is it gone here. */
async function removeThere(dependencies: ServerDependencies, context: ChildContext, row: ServerRow): Promise<Progress> {
  const { db } = dependencies;
  const finish = async (): Promise<Progress> => {
    await db.transaction((tx) => bury(tx, dependencies, row.id));
    return 'done';
  };
  const { child_id, create_sent_at, delete_sent_at } = row;
  if (child_id === null) {
    const found = await findByMark(context, row);
    if (found !== undefined) {
      await patch(dependencies, row.id, (current) => (current.child_id === null ? { child_id: found.id } : {}));
      return { again_ms: 0 };
    }
    // A create that was sent may still take effect: without the wait its server would be nobody's.
    if (create_sent_at === null || (await age_ms(db.query, create_sent_at)) > SETTLE_MS) return finish();
    return { again_ms: LOOK_AGAIN_MS };
  }
  const step = await takeAway(context, { ...row, child_id, delete_sent_at });
  if (step === 'gone') return finish();
  if (step === 'asked') {
    const sent = await clock(db.query);
    await patch(dependencies, row.id, () => ({ delete_sent_at: sent }));
    dependencies.cascade.expect(context.child);
  }
  return { again_ms: DELETE_POLL_MS };
}

async function patch(
  { db }: ServerDependencies,
  id: string,
  change: (row: ServerRow) => Partial<ServerRow>,
): Promise<void> {
  await db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    if (row !== undefined && row.deleted_at === null) await changeQuietly(tx, row, change(row));
  });
}
