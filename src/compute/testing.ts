/** For compute's own tests: the admin side over a database, with simulated clouds as children. */
import { sql } from 'kysely';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import type { ChildConfig } from '../cascade/contract.ts';
import { compute } from '../http/conventions.ts';
import { badRequest } from '../http/fault.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { silent, type TestAnswer, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { computeAdminOperations, computeAdminRules, registerComputeKinds } from './admin.ts';
import type { ComputeDependencies } from './dependencies.ts';

/** Images are another service's: there are none here. */
const noImages: ComputeDependencies['images'] = async (_query, _context, id) => {
  throw badRequest(`Image ${id} could not be found.`);
};

export interface ComputeTest {
  readonly db: Awaited<ReturnType<typeof testDatabase>>;
  readonly cascade: RunningCascade;
  readonly sims: Readonly<Record<string, SimCloud>>;
  /** @param minor of the microversion: 1 is 2.1 */
  call(who: string, method: string, path: string, body?: unknown, minor?: number): Promise<TestAnswer>;
  close(): Promise<void>;
}

/** @param children the zones of each child; the simulated cloud itself has the zone `nova` */
export async function computeTest(
  children: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
  more: Partial<ComputeDependencies> = {},
): Promise<ComputeTest> {
  const db = await testDatabase();
  const sims: Record<string, SimCloud> = {};
  const configured: { config: ChildConfig; api: ReturnType<typeof createCloudClient> }[] = [];
  for (const [name, zones] of Object.entries(children)) {
    const sim = await createSimCloud({ name });
    sims[name] = sim;
    const entry = { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry };
    const api = createCloudClient({ entry, name, backoff_ms: 1 });
    configured.push({ config: { name, zones, tenancy: 'mirrored' }, api });
  }
  const cascade = await createCascade({ db, log: silent, children: configured });
  await sql`update children set up = true, seen_at = clock_timestamp()`.execute(db.query);
  registerComputeKinds(cascade);
  const api = testApi([
    {
      convention: compute,
      operations: computeAdminOperations({ db, cascade, images: noImages, ...more }),
      rules: computeAdminRules,
    },
  ]);
  return {
    db,
    cascade,
    sims,
    call: (who, method, path, body, minor = 96) =>
      api.call(who, method, `/compute/v2.1${path}`, body, { 'openstack-api-version': `compute 2.${minor}` }),
    async close() {
      await api.close();
      await cascade.stop();
      for (const sim of Object.values(sims)) await sim.close();
    },
  };
}
