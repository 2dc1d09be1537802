/**
 * The image that a shelved server waited in, once the server is up again. A child that made the server of it makes it of
 * it again when a host fails (evacuation) and would put it into error without: there its copy stays, seen by no tenant of
 * the parent, for as long as the child shows the server to be made of it. Elsewhere it goes.
 */
import type { Tx } from '../../db/database.ts';
import type { ChildServer } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';

/**
 * What becomes of the images behind a server whose child shows `server`: that which it waited in goes when it is up, as
 * does what was kept of another when it is made of that no more. Twice: the second changes nothing.
 */
export async function dropImages(
  tx: Tx,
  { images }: ServerDependencies,
  row: ServerRow,
  { image }: ChildServer,
): Promise<Partial<ServerRow>> {
  const { child, shelved_image, kept_image } = row;
  const waits = row.task_state !== null || row.vm_state.startsWith('shelved') || row.pending.length > 0;
  if (waits || child === null) return {};
  const child_id = typeof image === 'object' ? image.id : undefined;
  const patch: { kept_image?: ServerRow['kept_image']; shelved_image?: null } = {};
  if (
    kept_image !== null &&
    child_id !== undefined &&
    !(kept_image.child === child && kept_image.child_id === child_id)
  ) {
    await images.release(tx, kept_image);
    patch.kept_image = null;
  }
  if (shelved_image === null) return patch;
  const kept = child_id === undefined ? undefined : await images.keep(tx, shelved_image, { child, child_id });
  await images.remove(tx, shelved_image);
  return { ...patch, ...(kept === undefined ? {} : { kept_image: kept }), shelved_image: null };
}
