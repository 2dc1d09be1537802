/** Bringing a server's name, description, host name, metadata and tags to its child. */
import type { ChildContext, Progress } from '../../cascade/contract.ts';
import { CloudError } from '../../openstack/error.ts';
import { markItem, markTag, minorAt, takesTags } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import { changeQuietly, wantsAttention } from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';
import { isRefusal } from './words.ts';

const BUSY_AGAIN_MS = 2000;
const TAGS_MAX = 49;

/** Twice: the second writes the same again. */
export async function pushFacts({ db }: ServerDependencies, context: ChildContext, row: ServerRow): Promise<Progress> {
  const pushed = row.facts;
  try {
    await push(context, row);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    // A child in the middle of something takes no metadata; one in ERROR never will, and the parent's own are right.
    if (error instanceof CloudError && error.status === 409 && row.vm_state !== 'error') {
      return { again_ms: BUSY_AGAIN_MS };
    }
    context.log.info({ server_id: row.id, status: error.status }, 'a child did not take what a server is called');
  }
  return db.transaction(async (tx) => {
    const current = await serverStore.lock(tx, row.id);
    if (current === undefined || current.deleted_at !== null) return 'done';
    // It is another server by now, in another child, that has not been told.
    if (current.child_id !== row.child_id) return 'done';
    const after = await changeQuietly(tx, current, { facts_pushed: Math.max(current.facts_pushed, pushed) });
    return wantsAttention(after) ? { again_ms: 0 } : 'done';
  });
}

async function push(context: ChildContext, row: ServerRow): Promise<void> {
  const minor = await minorAt(context, 90);
  const tagged = takesTags(minor);
  const call = {
    service: 'compute',
    method: 'PUT',
    microversion: `2.${minor}`,
    scope: await context.scopeOfExisting(row.project_id),
    ...(context.requestId === undefined ? {} : { requestId: context.requestId }),
  } as const;
  const path = `/servers/${row.child_id}`;
  await context.api.call({
    ...call,
    path,
    body: { server: { name: row.name, ...(minor >= 19 ? { description: row.description } : {}) } },
  });
  const metadata = tagged ? row.metadata : { ...row.metadata, ...markItem(row.id) };
  await context.api.call({ ...call, path: `${path}/metadata`, body: { metadata } });
  if (tagged) {
    const tags = [markTag(row.id), ...row.tags.slice(0, TAGS_MAX)];
    await context.api.call({ ...call, path: `${path}/tags`, body: { tags } });
  }
}
