/** Finding the one server that a request names. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { type Fault, notFound } from '../../http/fault.ts';
import type { Call, RequestContext } from '../../http/service.ts';
import { ownProjectOrAdmin } from '../../resource/crud.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { Asker } from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';

export const missing = (id: string): Fault => notFound(`Instance ${id} could not be found.`);

/** Of the caller's project or, for an admin, any; and not deleted. */
export const living = (context: RequestContext): RawBuilder<SqlBool>[] => [
  ...ownProjectOrAdmin(context),
  sql<SqlBool>`deleted_at is null`,
];

const idOf = (call: Call): string => call.params.server_id as string;

/** The server of the URL. @throws Fault 404 where there is none, or it is another project's */
export async function findServer({ db }: ServerDependencies, call: Call): Promise<ServerRow> {
  const row = await serverStore.find(db.query, idOf(call), living(call.context));
  if (row === undefined) throw missing(idOf(call));
  return row;
}

/** The same, deleted ones too: their record of actions outlives them. */
export async function findServerOrTombstone({ db }: ServerDependencies, call: Call): Promise<ServerRow> {
  const row = await serverStore.find(db.query, idOf(call), ownProjectOrAdmin(call.context));
  if (row === undefined) throw missing(idOf(call));
  return row;
}

/** The same as `findServer`, locked until the transaction ends. */
export async function lockServer(tx: Tx, call: Call): Promise<ServerRow> {
  const row = await serverStore.lock(tx, idOf(call), living(call.context));
  if (row === undefined) throw missing(idOf(call));
  return row;
}

/** Who a request comes from, for the record. */
export function askerOf(context: RequestContext): Asker {
  return {
    request_id: context.requestId,
    user_id: context.identity.user.id,
    project_id: context.identity.project?.id ?? '',
  };
}

/** Changes a server in one transaction, and wakes its proxy. */
export async function withServer<T>(
  { db, cascade }: ServerDependencies,
  call: Call,
  work: (tx: Tx, row: ServerRow) => Promise<T>,
): Promise<T> {
  let child: string | null = null;
  const result = await db.transaction(async (tx) => {
    const row = await lockServer(tx, call);
    child = row.child;
    return work(tx, row);
  });
  if (child !== null) cascade.poke(child);
  return result;
}
