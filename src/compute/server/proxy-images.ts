/** Images that a child makes of a server, and in which it shelves one. */
import type { ChildContext } from '../../cascade/contract.ts';
import type { ServerDependencies } from './dependencies.ts';
import { act, call, type Step } from './proxy-step.ts';
import type { PendingAction, ServerRow } from './resource.ts';
import { SHELVED_SUFFIX } from './state.ts';

export interface Rotation {
  readonly image_id: string;
  readonly backup_type: string;
  readonly keep: number;
}

/** Once the newest backup has its data, the oldest ones go; one that failed costs none of them. */
export async function rotateBackups({ db, images }: ServerDependencies, body: Rotation): Promise<Step> {
  const newest = (await images.known(db.query, [body.image_id])).get(body.image_id);
  if (newest?.status === 'queued' || newest?.status === 'saving') return 'later';
  if (newest?.status !== 'active') return undefined;
  const { backup_type, keep } = body;
  return async (tx, row) =>
    images.rotate(tx, { server_id: row.id, project_id: row.project_id, type: backup_type, keep });
}

/** The image carries the parent's id as a property, so that one whose answer was lost is found and not made again. */
export async function createImage(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const image_id = String(body.image_id);
  const made = (entry.sent_at === null ? undefined : await findImage(context, row, image_id)) ?? (await request());
  return async (tx) => dependencies.images.adoptChildImage(tx, { image_id, child: context.child, child_id: made });

  async function request(): Promise<string> {
    const metadata = { ...(body.metadata as Record<string, string>), headwater_id: image_id };
    const answer = await call<{ image_id?: string } | undefined>(context, row, entry, 'POST', '/action', {
      createImage: { name: body.name, metadata },
    });
    return answer.body?.image_id ?? answer.headers.location?.split('/').at(-1) ?? '';
  }
}

/** The child makes the image before it answers; where the answer was lost, the image tells that it was heard. */
export async function shelve(
  { images }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const image_id = typeof body.image_id === 'string' ? body.image_id : undefined;
  const before = entry.sent_at === null ? undefined : await findShelved(context, row);
  if (before === undefined) await act(context, row, entry, null);
  if (image_id === undefined) return undefined;
  const made = before ?? (await findShelved(context, row));
  return async (tx) => {
    if (made !== undefined) return images.adoptChildImage(tx, { image_id, child: context.child, child_id: made });
    await images.remove(tx, image_id);
    return { shelved_image: null };
  };
}

/** The image that the child shelved the server in: named so, of this server, and none that a tenant asked for. */
async function findShelved(context: ChildContext, row: ServerRow): Promise<string | undefined> {
  const answer = await context.api.call<{ images?: { id: string; name?: string; headwater_id?: string }[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { instance_uuid: row.child_id ?? '' },
    scope: await context.scopeOfExisting(row.project_id),
  });
  return answer.body.images?.find(
    ({ name, headwater_id }) => headwater_id === undefined && name?.endsWith(SHELVED_SUFFIX) === true,
  )?.id;
}

async function findImage(context: ChildContext, row: ServerRow, id: string): Promise<string | undefined> {
  const answer = await context.api.call<{ images?: { id: string }[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { headwater_id: id },
    scope: await context.scopeOfExisting(row.project_id),
  });
  return answer.body.images?.[0]?.id;
}
