/**
 * The nova-proxy: does in a child what a server's row says is to be done there. It keeps nothing of its own: killed
 * anywhere, the next call reads the row and goes on.
 */
import type { ChildContext, HostedKind, Progress } from '../../cascade/contract.ts';
import { sql } from 'kysely';
import { deleteServer, findByMark, forceDeleteServer, readServer } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import { performNext } from './proxy-act.ts';
import { SETTLE_MS } from '../../cascade/replicas.ts';
import { makeThere } from './proxy-create.ts';
import { pushFacts } from './proxy-facts.ts';
import { bury, changeQuietly, clock } from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';

const DELETE_POLL_MS = 400;
/** A delete that had no effect for so long is asked for again. */
const DELETE_AGAIN_MS = 30_000;
const LOOK_AGAIN_MS = 1000;

/** The kind `server` for the cascade. */
export function serverKind(dependencies: ServerDependencies): HostedKind {
  return {
    kind: 'server',
    async reconcile(context, id) {
      const row = await serverStore.find(dependencies.db.query, id);
      if (row === undefined || row.deleted_at !== null || row.child !== context.child) return 'done';
      if (row.task_state === 'deleting') return removeThere(dependencies, context, row);
      if (row.child_id === null) return row.vm_state === 'building' ? makeThere(dependencies, context, row) : 'done';
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
  const now = Date.parse(await clock(db.query));
  const finish = async (): Promise<Progress> => {
    await db.transaction((tx) => bury(tx, dependencies, row.id));
    return 'done';
  };
  if (row.child_id === null) {
    const found = await findByMark(context, row);
    if (found !== undefined) {
      await patch(dependencies, row.id, (current) => (current.child_id === null ? { child_id: found.id } : {}));
      return { again_ms: 0 };
    }
    // A create that was sent may still take effect: without the wait its server would be nobody's.
    if (row.create_sent_at === null || now - Date.parse(row.create_sent_at) > SETTLE_MS) return finish();
    return { again_ms: LOOK_AGAIN_MS };
  }
  if (row.delete_sent_at === null || now - Date.parse(row.delete_sent_at) > DELETE_AGAIN_MS) {
    if (await deleteServer(context, row, row.child_id)) return finish();
    const sent = await clock(db.query);
    await patch(dependencies, row.id, () => ({ delete_sent_at: sent }));
    dependencies.cascade.expect(context.child);
    return { again_ms: DELETE_POLL_MS };
  }
  const server = await readServer(context, row, row.child_id);
  if (server === undefined || server.status === 'DELETED') return finish();
  // A child that keeps deleted servers for a while: the parent has none that could be restored, and waits for none.
  if (server['OS-EXT-STS:vm_state'] === 'soft-delete' && server['OS-EXT-STS:task_state'] == null) {
    await forceDeleteServer(context, row, row.child_id);
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
