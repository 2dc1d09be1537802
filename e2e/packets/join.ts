/** Before all tests of packets, when the clouds are up: joins them. Afterwards they are apart again. */
import { joinClouds, partClouds } from './switch.ts';

export async function setup(): Promise<() => Promise<void>> {
  await joinClouds();
  // Said and not thrown: the parent is to be stopped all the same.
  return () => partClouds().catch((error: unknown) => console.error('the clouds are still joined:', error));
}
