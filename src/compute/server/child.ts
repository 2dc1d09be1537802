/** What proxies ask of servers in a child: the few calls that more than one path needs. */
import type { ChildContext } from '../../cascade/contract.ts';
import { CloudError } from '../../openstack/error.ts';
import { age_ms } from './clock.ts';
import type { ServerRow } from './resource.ts';

/** A server as a child shows it; whatever it leaves out is not known, and is not read. */
export interface ChildServer {
  readonly id: string;
  readonly status?: string;
  readonly updated?: string;
  readonly tags?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly flavor?: Readonly<Record<string, unknown>>;
  /** What it was made of; '' for a server that boots from a volume. */
  readonly image?: { readonly id?: string } | '';
  readonly fault?: { readonly code?: number; readonly message?: string; readonly created?: string };
  readonly progress?: number;
  readonly 'OS-EXT-STS:vm_state'?: string;
  readonly 'OS-EXT-STS:task_state'?: string | null;
  readonly 'OS-EXT-STS:power_state'?: number;
  readonly 'OS-SRV-USG:launched_at'?: string | null;
  readonly 'OS-SRV-USG:terminated_at'?: string | null;
  readonly 'OS-EXT-SRV-ATTR:root_device_name'?: string | null;
}

/** What of a row its server is found and spoken to by. */
type Owned = Pick<ServerRow, 'project_id'>;
type Marked = Pick<ServerRow, 'id' | 'project_id'>;

const TAG_PREFIX = 'headwater:';
/** Where a child has no tags at creation yet (before 2.52), the mark is an item of the child's own metadata. */
const METADATA_MARK = 'headwater_id';
const TAGS_AT_CREATION_MINOR = 52;

/** The microversion that reads of servers are written for. */
export const READ_MICROVERSION = '2.93';

/** The mark in its two forms: as a tag, and as a metadata item. */
export const markTag = (id: string): string => `${TAG_PREFIX}${id}`;
export const markItem = (id: string): Record<string, string> => ({ [METADATA_MARK]: id });

/** The parent's id that a child's server is marked with. */
export function markOf(server: ChildServer): string | undefined {
  const tag = server.tags?.find((one) => one.startsWith(TAG_PREFIX));
  return tag?.slice(TAG_PREFIX.length) ?? server.metadata?.[METADATA_MARK];
}

/** The highest minor microversion that both the child and this program speak, at most `limit`. */
export async function minorAt(context: ChildContext, limit: number): Promise<number> {
  const maximum = await context.api.maximumMicroversion('compute');
  const minor = Number(maximum?.split('.')[1] ?? 1);
  return Math.min(Number.isFinite(minor) ? minor : 1, limit);
}

/** Whether the child takes tags when a server is made. */
export const takesTags = (minor: number): boolean => minor >= TAGS_AT_CREATION_MINOR;

/** The child's server that carries this row's mark, whatever its state; undefined where there is none. */
export async function findByMark(context: ChildContext, row: Marked): Promise<ChildServer | undefined> {
  const tags = takesTags(await minorAt(context, 90));
  const pages = context.api.pages<ChildServer>(
    {
      service: 'compute',
      method: 'GET',
      path: '/servers/detail',
      query: tags ? { tags: markTag(row.id) } : {},
      microversion: READ_MICROVERSION,
      atMost: true,
      scope: await context.scopeOfExisting(row.project_id),
    },
    'servers',
  );
  for await (const page of pages) {
    const found = page.find((server) => markOf(server) === row.id);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** One server in the child, or undefined where it is gone. */
export async function readServer(context: ChildContext, row: Owned, childId: string): Promise<ChildServer | undefined> {
  const answer = await context.api.call<{ server: ChildServer }>({
    service: 'compute',
    method: 'GET',
    path: `/servers/${childId}`,
    microversion: READ_MICROVERSION,
    atMost: true,
    accept: [404],
    scope: await context.scopeOfExisting(row.project_id),
  });
  return answer.status === 404 ? undefined : answer.body.server;
}

/** Deletes a server in the child; true where there was none any more. */
export async function deleteServer(context: ChildContext, row: Owned, childId: string): Promise<boolean> {
  const answer = await context.api.call({
    service: 'compute',
    method: 'DELETE',
    path: `/servers/${childId}`,
    accept: [404],
    scope: await context.scopeOfExisting(row.project_id),
    ...(context.requestId === undefined ? {} : { requestId: context.requestId }),
  });
  return answer.status === 404;
}

/** The same for one that the child keeps for a while although it was deleted. Twice: a 404 or 409 of the second counts as done. */
async function forceDeleteServer(context: ChildContext, row: Owned, childId: string): Promise<void> {
  await context.api.call({
    service: 'compute',
    method: 'POST',
    path: `/servers/${childId}/action`,
    body: { forceDelete: null },
    accept: [404, 409],
    scope: await context.scopeOfExisting(row.project_id),
    ...(context.requestId === undefined ? {} : { requestId: context.requestId }),
  });
}

/** A delete that had no effect for so long is asked for again. */
const DELETE_AGAIN_MS = 30_000;

/**
 * The next step of taking a server out of its child: asking for it, looking whether it is gone. Twice: the second looks.
 * @returns `asked` where it was just asked for, which the caller notes as `delete_sent_at`
 */
export async function takeAway(
  context: ChildContext,
  server: Owned & { readonly child_id: string; readonly delete_sent_at: string | null },
): Promise<'gone' | 'asked' | 'waiting'> {
  const { child_id, delete_sent_at } = server;
  if (delete_sent_at === null || (await age_ms(context.db.query, delete_sent_at)) > DELETE_AGAIN_MS) {
    return (await deleteServer(context, server, child_id)) ? 'gone' : 'asked';
  }
  const shown = await readServer(context, server, child_id);
  if (shown === undefined || shown.status === 'DELETED') return 'gone';
  // A child that keeps deleted servers for a while: the parent has none that could be restored, and waits for none.
  if (shown['OS-EXT-STS:vm_state'] === 'soft-delete' && shown['OS-EXT-STS:task_state'] == null) {
    await forceDeleteServer(context, server, child_id);
  }
  return 'waiting';
}

/** Whether an error says that the thing asked for is not there. */
export const isMissing = (error: unknown): boolean => error instanceof CloudError && error.status === 404;
