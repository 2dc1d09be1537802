/** Making, describing and deleting flavors, in the caller's transaction. */
import { sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import { type Flavor, flavorNotFound, flavorStore } from './flavor.ts';

export type NewFlavor = Pick<
  Flavor,
  'id' | 'name' | 'ram' | 'vcpus' | 'disk' | 'ephemeral' | 'swap' | 'rxtx_factor' | 'is_public' | 'description'
>;

/**
 * Stores a new flavor.
 * @throws Fault 409 where the id or the name is taken
 */
export async function createFlavor(tx: Tx, flavor: NewFlavor): Promise<Flavor> {
  const name = flavor.name.trim();
  // Two at once: one waits here for the other, and then sees it.
  await sql`select pg_advisory_xact_lock(hashtext('flavors'))`.execute(tx);
  const taken = await tx
    .selectFrom('flavors')
    .select('id')
    .where((eb) => eb.or([eb('id', '=', flavor.id), eb('name', '=', name)]))
    .execute();
  if (taken.some((row) => row.id === flavor.id)) throw conflict(`Flavor with ID ${flavor.id} already exists.`);
  if (taken.length > 0) throw conflict(`Flavor with name ${name} already exists.`);
  // A flavor of this id may just have been deleted: copies that were to go are brought to the new one instead.
  await tx
    .updateTable('replicas')
    .set({ retiring: false, revision: 0 })
    .where('kind', '=', 'flavor')
    .where('resource_id', '=', flavor.id)
    .execute();
  return flavorStore.insert(tx, { ...flavor, name, disabled: false, extra_specs: {} });
}

/**
 * Gives a flavor another description; copies in children do not carry it.
 * @throws Fault 404
 */
export async function describeFlavor(tx: Tx, id: string, description: string | null): Promise<Flavor> {
  const row = await flavorStore.update(tx, id, { description }, { revise: false });
  if (row === undefined) throw flavorNotFound(id);
  return row;
}

/**
 * Deletes a flavor and its copies. Servers keep what they were made with.
 * @throws Fault 404
 */
export async function deleteFlavor(tx: Tx, cascade: Cascade, id: string, requestId: string): Promise<void> {
  await cascade.retire(tx, 'flavor', id, { requestId });
  if (!(await flavorStore.remove(tx, id))) throw flavorNotFound(id);
}
