/**
 * A shelved server that is unshelved in another child. From the request on its row belongs to the new child, where it is
 * made like at a boot, from the image that it was shelved in; `origin` says where it is shelved, and stays whole there
 * until the new one is up. Then the old one is left behind, or else the new one, and the row goes back.
 *
 * All of it is read off the row: killed anywhere, the next process goes on where `child_id`, `create_sent_at` and
 * `origin` say. A child that is away is waited for, as at a boot.
 */
import type { Tx } from '../../db/database.ts';
import { clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { leaveBehind } from './leaving.ts';
import {
  type Asker,
  bury,
  change,
  closeOpenActions,
  faultOf,
  recordAction,
  states,
  wake,
  wantsAttention,
} from './records.ts';
import { type ServerRow, serverStore } from './resource.ts';

export interface Destination {
  readonly child: string;
  readonly zone: string;
  readonly pinned_zone: string | null;
}

/**
 * Has a shelved server go to another child. In the transaction of the request, its row locked; quota is as before, since
 * a shelved server counts.
 * @throws Fault 409 where a network does not reach there
 */
export async function startMove(
  tx: Tx,
  dependencies: ServerDependencies,
  row: ServerRow & { readonly child: string; readonly child_id: string; readonly shelved_image: string },
  to: Destination,
  asker: Asker,
): Promise<void> {
  const { images, network } = dependencies;
  const { child, child_id, zone, pinned_zone, facts_pushed, shelved_image } = row;
  await network.move(tx, row.id, to);
  const image = (await images.known(tx, [shelved_image])).get(shelved_image);
  const brings_image = image?.children.includes(to.child) !== true;
  await recordAction(tx, row.id, 'unshelve', asker);
  const after = await change(tx, row, {
    ...states(row.vm_state, 'unshelving'),
    ...to,
    child_id: null,
    create_sent_at: null,
    delete_sent_at: null,
    boot: { admin_pass: null, block_devices: row.disks, personality: [] },
    origin: { child, child_id, zone, pinned_zone, facts_pushed, brings_image },
  });
  await wake(tx, dependencies, after, asker.request_id);
}

/** What becomes of the row once the new server is up: the shelved one is none of the parent's any more. */
export async function arrive(tx: Tx, dependencies: ServerDependencies, row: ServerRow): Promise<Partial<ServerRow>> {
  if (row.origin === null) return {};
  await leaveBehind(tx, dependencies, row, { ...row.origin, create_sent_at: null });
  return { origin: null };
}

/** The server cannot come up in the new child: it is shelved where it was, and what was made of it there goes. */
export async function turnBack(
  tx: Tx,
  dependencies: ServerDependencies,
  row: ServerRow,
  message: string,
): Promise<void> {
  const { origin, child, child_id, create_sent_at, shelved_image } = row;
  if (origin === null || child === null) return;
  await leaveBehind(tx, dependencies, row, { child, child_id, create_sent_at });
  await dependencies.network.moveBack(tx, row.id, origin);
  if (origin.brings_image && shelved_image !== null) await dependencies.images.withdraw(tx, shelved_image, child);
  await closeOpenActions(tx, row, message);
  const now = await clock(tx);
  const after = await change(tx, row, {
    ...states('shelved_offloaded', null),
    child: origin.child,
    child_id: origin.child_id,
    zone: origin.zone,
    pinned_zone: origin.pinned_zone,
    facts_pushed: origin.facts_pushed,
    fault_record: faultOf(message, now),
    create_sent_at: null,
    delete_sent_at: null,
    acted_at: now,
    boot: null,
    origin: null,
  });
  if (wantsAttention(after)) await wake(tx, dependencies, after, undefined);
}

/**
 * The child does not have the server any more. It is gone here too, unless it was only on its way there: then it is still
 * shelved where it comes from. Twice: the second does nothing.
 */
export async function vanish(tx: Tx, dependencies: ServerDependencies, id: string): Promise<void> {
  const row = await serverStore.lock(tx, id);
  if (row === undefined || row.deleted_at !== null) return;
  if (row.origin === null || row.task_state === 'deleting') return bury(tx, dependencies, id);
  await turnBack(tx, dependencies, row, `Instance ${id} was deleted while it was unshelved.`);
}
