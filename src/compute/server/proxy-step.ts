/** What the proxy's steps on a server share: the calls, and what a step comes to. */
import type { ChildContext } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { minorAt } from './child.ts';
import { rememberChildRequest } from './records.ts';
import type { PendingAction, ServerRow } from './resource.ts';

/** The microversion that actions are written for. */
export const ACTION_MINOR = 90;

/** What a step that went through still has to store, in the transaction that takes it off the queue. */
export type Afterwards = ((tx: Tx, row: ServerRow) => Promise<Partial<ServerRow> | void>) | undefined;
/** `later`: not yet, and to be tried again soon. */
export type Step = 'later' | Afterwards;

/** A call below the server in its child; under which id the child keeps its record of it is noted. */
export async function call<Body>(
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
  accept?: readonly number[],
  limit = ACTION_MINOR,
) {
  const answer = await context.api.call<Body>({
    service: 'compute',
    method,
    path: `/servers/${row.child_id}${path}`,
    microversion: `2.${await minorAt(context, limit)}`,
    scope: await context.scopeOfExisting(row.project_id),
    requestId: entry.request_id,
    ...(body === undefined ? {} : { body }),
    ...(accept === undefined ? {} : { accept }),
  });
  if (method !== 'GET') await rememberChildRequest(context.db.query, entry.record_id, answer.headers);
  return answer;
}

/** An action in Nova's own form. */
export async function act(
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: unknown,
): Promise<undefined> {
  await call(context, row, entry, 'POST', '/action', { [entry.action]: body ?? null });
}
