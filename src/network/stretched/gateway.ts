/** What a router's interface on a stretched subnet means to the copies of that subnet. */
import type { Cascade } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { type SubnetRow, subnetStore } from '../subnet-resource.ts';
import { isOnStretched } from './address.ts';

/**
 * To be called in the transaction in which a router comes onto subnets or leaves them: in each child the gateway of a
 * stretched subnet's copy is the router's address there, as long as it is on it. Other subnets: nothing.
 */
export async function gatewaysFollow(
  tx: Tx,
  { cascade }: { readonly cascade: Cascade },
  networkId: string,
  subnets: readonly SubnetRow[],
  requestId: string,
): Promise<void> {
  if (!(await isOnStretched(tx, networkId))) return;
  for (const { id } of subnets) {
    // The revision is what the copies are held against.
    await subnetStore.update(tx, id, {});
    await cascade.revise(tx, 'subnet', id, { requestId });
  }
}
