/** Before all tests of packets, when the clouds are up: joins them. Afterwards they are apart again. */
import { joinClouds, partClouds } from './switch.ts';

export async function setup(): Promise<() => Promise<void>> {
  await joinClouds();
  return partClouds;
}
