/** Actions that are the parent's own: locks, states, deletion. */
import { conflict } from '../../http/fault.ts';
import type { Call, Operation } from '../../http/service.ts';
import { act } from './act.ts';
import { clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, withServer } from './lookup.ts';
import { remove } from './operations.ts';
import { change, enqueue, faultOf, recordAction, states } from './records.ts';
import type { ServerRow } from './resource.ts';
import { inner, rules } from './rules.ts';
import { emptyActionSchema, lockSchema, resetStateSchema } from './schema.ts';

const REASONS_SINCE = 73;

/** As whom the caller locks a server. */
const lockerOf = ({ context }: Call, row: ServerRow): 'owner' | 'admin' =>
  context.identity.project?.id === row.project_id ? 'owner' : 'admin';

/** Actions that no child need know of, or that it must not contradict. */
export function ownActions(dependencies: ServerDependencies): Operation[] {
  return [
    act<{ locked_reason?: string } | null>({
      action: 'lock',
      policy: rules.lock,
      body: lockSchema,
      summary: 'Lock a server',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          const locked_by = lockerOf(call, row);
          // Locked already: only an administrator's lock goes over another.
          if (row.locked && locked_by === 'owner') return;
          await recordAction(tx, row.id, 'lock', askerOf(call.context));
          const reason = call.context.version >= REASONS_SINCE ? call.body?.locked_reason : undefined;
          await change(tx, row, {
            locked: true,
            locked_by,
            ...(reason === undefined ? {} : { locked_reason: reason }),
          });
        }),
    }),
    act({
      action: 'unlock',
      policy: rules.unlock,
      body: emptyActionSchema('unlock'),
      summary: 'Unlock a server',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          if (row.locked && row.locked_by !== null && row.locked_by !== lockerOf(call, row)) {
            call.context.enforce(inner.unlockOverride.name, { project_id: row.project_id });
          }
          await recordAction(tx, row.id, 'unlock', askerOf(call.context));
          await change(tx, row, { locked: false, locked_by: null, locked_reason: null });
        }),
    }),
    act<{ state: 'active' | 'error' }>({
      action: 'os-resetState',
      policy: rules.resetState,
      body: resetStateSchema,
      summary: 'Reset the state of a server',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          if (row.child_id === null) throw conflict(`Instance ${row.id} is not ready`);
          // The child must agree, or its next change would undo it.
          await enqueue(tx, dependencies, row, askerOf(call.context), {
            action: 'os-resetState',
            record: 'resetState',
            body: { state: call.body.state },
            stateful: true,
            patch: {
              ...states(call.body.state, null),
              ...(call.body.state === 'error'
                ? { fault_record: faultOf('The state was reset by an administrator.', await clock(tx)) }
                : {}),
            },
          });
        }),
    }),
    act({
      action: 'forceDelete',
      policy: rules.forceDelete,
      body: emptyActionSchema('forceDelete'),
      summary: 'Delete a server in any state',
      handle: (call) => remove(dependencies, call, 'forceDelete'),
    }),
  ];
}
