/** For the network service's own tests: the service over a database, with simulated clouds as children. */
import { sql } from 'kysely';
import { afterAll } from 'vitest';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import type { Queryable } from '../db/database.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloud, type SimCloudOptions } from '../sim/cloud.ts';
import { silent, type TestAnswer, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { createNetwork, type ServerNetworks } from './index.ts';
import { NO_TOPOLOGY, type NetworkTopology } from './topology.ts';

export interface NetworkTest {
  readonly db: Awaited<ReturnType<typeof testDatabase>>;
  readonly cascade: RunningCascade;
  readonly sims: Readonly<Record<string, SimCloud>>;
  readonly serverNetworks: ServerNetworks;
  /** @param path below `/network/v2.0` */
  call(
    who: string,
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<TestAnswer>;
  /** Makes one object and gives it; fails the test where it is refused. `kind` as in the body: `network`. */
  // oxlint-disable-next-line typescript/no-explicit-any
  make(who: string, kind: string, values: Record<string, unknown>): Promise<any>;
}

/**
 * Call it once at the top of a file.
 * @param names of the children; each serves a zone of its name
 * @param topology what joins them; nothing where it is not said
 * @param networking what a child's networking has and lacks, by its name
 */
export async function networkTest(
  names: readonly string[] = [],
  topology: NetworkTopology = NO_TOPOLOGY,
  networking: Readonly<Record<string, NonNullable<SimCloudOptions['networking']>>> = {},
): Promise<NetworkTest> {
  const db = await testDatabase();
  await sql`insert into identity_domains (id, name) values ('default', 'Default') on conflict do nothing`.execute(
    db.query,
  );
  await sql`insert into identity_projects (id, name, domain_id, parent_id)
    select p, p, 'default', 'default' from unnest(array['p0', 'p1', 'p2']) p on conflict do nothing`.execute(db.query);
  const sims: Record<string, SimCloud> = {};
  const children = [];
  for (const name of names) {
    const sim = await createSimCloud({ name, networking: networking[name] ?? {} });
    sims[name] = sim;
    const entry = { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry };
    const api = createCloudClient({ entry, name, backoff_ms: 1 });
    const config = { name, zones: { [name]: 'nova' }, tenancy: 'mirrored' as const, enforces_address_groups: true };
    children.push({ config, api });
  }
  const cascade = await createCascade({ db, log: silent, children });
  await sql`update children set up = true, seen_at = clock_timestamp()`.execute(db.query);
  const { service, serverNetworks } = createNetwork({ db, cascade, topology, log: silent });
  const api = testApi([service]);
  afterAll(async () => {
    await api.close();
    await cascade.stop();
    for (const sim of Object.values(sims)) await sim.close();
  });
  const call: NetworkTest['call'] = (who, method, path, body, headers) =>
    api.call(who, method, `/network/v2.0${path}`, body, headers);
  return {
    db,
    cascade,
    sims,
    serverNetworks,
    call,
    async make(who, kind, values) {
      const path = kind === 'security_group' || kind === 'security_group_rule' ? kind.replaceAll('_', '-') : kind;
      const answer = await call(who, 'POST', `/${path}s`, { [kind]: values });
      if (answer.status !== 201) throw new Error(`${kind}: ${answer.status} ${answer.text}`);
      return answer.body[kind];
    },
  };
}

/**
 * Lets the time pass after which a create whose answer was lost counts as never made, and what waits for its time come to
 * it. A child that was away in a test is back long before.
 */
export async function timePasses(query: Queryable): Promise<void> {
  await sql`update replicas set sent_at = sent_at - interval '10 minutes' where child_id is null`.execute(query);
  await sql`update work set due_at = least(due_at, clock_timestamp())`.execute(query);
}

/** Makes networks with a subnet, of a range that no other of the file has. */
export function networksWithSubnet(make: NetworkTest['make']) {
  let third = 0;
  return async (who = 'alice', subnet: Readonly<Record<string, unknown>> = {}) => {
    const network = await make(who, 'network', { name: 'net' });
    third += 1;
    const range = { network_id: network.id, ip_version: 4, cidr: `10.${third}.0.0/24` };
    return { network, subnet: await make(who, 'subnet', { ...range, ...subnet }) };
  };
}
