/** An action that moves a server's states, from the request to the queue of its proxy. */
import type { Tx } from '../../db/database.ts';
import type { Call } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf } from './lookup.ts';
import { enqueue, type MigrationRecord, states } from './records.ts';
import type { ServerRow } from './resource.ts';

/** Shows the task and leaves the action to the proxy. */
export async function send(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call,
  action: string,
  record: string,
  body: unknown,
  becomes: string,
  patch: Partial<ServerRow> = {},
  migration?: MigrationRecord,
): Promise<ServerRow> {
  return enqueue(tx, dependencies, row, askerOf(call.context), {
    action,
    record,
    body,
    stateful: true,
    patch: { ...states(row.vm_state, becomes), ...patch },
    ...(migration === undefined ? {} : { migration }),
  });
}
