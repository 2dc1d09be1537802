/**
 * What networks cost: time and calls to the children for each network, router and port. Half of the networks live in each
 * of two children; each router joins one of the one with one of the other, over a transit; each port is a server's.
 */
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../src/db/database.ts';
import { runningEmbedded } from '../src/db/embedded.ts';
import { type Cloud, configureParent, openCloud, startBenchParent, testbedAuths } from './clouds.ts';
import { type CountingProxy, startCountingProxy } from './counting-proxy.ts';
import { ask, login, pause, summary } from './measure.ts';
import { plan, unplan } from './plan.ts';

export interface NetworksOptions {
  readonly networks: number;
  readonly routers: number;
  readonly ports: number;
  /** Over the testbed's clouds instead of simulated ones. */
  readonly testbed: boolean;
  readonly folder: string;
}

const PORT = 18_081;
/** Clients at once. */
const CLIENTS = 8;
const ZONES = ['east', 'west'] as const;
const PATIENCE_MS = 30 * 60_000;

/** One line of the table. */
interface Phase {
  readonly what: string;
  readonly count: number;
  readonly acknowledged_ms: number;
  /** Until nothing was left to be done in the children. */
  readonly all_ms: number;
  readonly calls: ReadonlyMap<string, number>;
}

interface Stage {
  readonly cloud: Cloud;
  readonly db: Db;
  readonly proxies: readonly CountingProxy[];
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** Prints the table of networks. */
export async function benchNetworks(options: NetworksOptions): Promise<void> {
  const { folder } = options;
  rmSync(folder, { recursive: true, force: true });
  const real = options.testbed ? await testbedAuths() : [];
  if (options.testbed && real.length === 0) throw new Error('the testbed is not up: npm run testbed -- up 2');
  const proxies: CountingProxy[] = [];
  const files = await configureParent(folder, PORT, real, {
    more: {
      physical_networks: {
        bench: {
          children: { east: 'physnet1', west: 'physnet1' },
          transit_vlans: `1000-${999 + Math.max(1, options.routers)}`,
        },
      },
    },
    async networkAt(auth) {
      const proxy = await startCountingProxy((await login(auth)).service('network'));
      proxies.push(proxy);
      return proxy.url;
    },
  });
  const parent = await startBenchParent(files, PORT);
  const url = await runningEmbedded(`${folder}/postgres`);
  const db = await openDatabase({ url: url ?? '' });
  try {
    const cloud = await openCloud('parent', parent.auth);
    const phases = await phasesOf({ cloud, db, proxies }, options);
    process.stdout.write(table(options, phases));
  } finally {
    await db.close();
    await parent.stop();
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await Promise.all(files.sims.map((sim) => sim.close()));
    rmSync(folder, { recursive: true, force: true });
  }
}

async function phasesOf(stage: Stage, options: NetworksOptions): Promise<Phase[]> {
  const { cloud } = stage;
  const bootPlan = await plan(cloud, undefined);
  const quota = { network: -1, subnet: -1, port: -1, router: -1, security_group: -1, security_group_rule: -1 };
  await ask(cloud.network, 'PUT', `/quotas/${cloud.projectId}`, { quota });
  const quota_set = { instances: -1, cores: -1, ram: -1 };
  await ask(cloud.compute, 'PUT', `/os-quota-sets/${cloud.projectId}`, { quota_set });
  const networks: { id: string; subnet: string; zone: (typeof ZONES)[number] }[] = [];
  const routers: { id: string; subnets: string[] }[] = [];
  const servers: string[] = [];
  const boot = async (at: number, name: string) => {
    const network = networks[at % networks.length];
    if (network === undefined) throw new Error('there is no network to boot on');
    const { flavorRef, imageRef } = bootPlan;
    const server = {
      name,
      flavorRef,
      imageRef,
      networks: [{ uuid: network.id }],
      availability_zone: network.zone,
    };
    const { body } = await ask<{ server: { id: string } }>(cloud.compute, 'POST', '/servers', { server });
    servers.push(body.server.id);
  };
  const phases: Phase[] = [];
  const measured = async (what: string, count: number, work: (at: number) => Promise<void>) => {
    say(what);
    phases.push(await phase(stage, what, count, work));
  };

  await measured('network with a subnet, nothing on it yet', options.networks, async (at) => {
    const zone = ZONES[at % 2] ?? 'east';
    const network = { name: `bench-${at}`, availability_zone_hints: [zone] };
    const { body } = await ask<{ network: { id: string } }>(cloud.network, 'POST', '/networks', { network });
    const cidr = `10.${100 + (at >> 8)}.${at & 255}.0/24`;
    const subnet = { network_id: body.network.id, ip_version: 4, cidr };
    const made = await ask<{ subnet: { id: string } }>(cloud.network, 'POST', '/subnets', { subnet });
    networks[at] = { id: body.network.id, subnet: made.body.subnet.id, zone };
  });
  await measured('router over both children, its networks with it', options.routers, async (at) => {
    const subnets = [0, 1].map((side) => networks[(2 * at + side) % networks.length]?.subnet ?? '');
    const router = { name: `bench-${at}` };
    const { body } = await ask<{ router: { id: string } }>(cloud.network, 'POST', '/routers', { router });
    for (const subnet_id of subnets) {
      await ask(cloud.network, 'PUT', `/routers/${body.router.id}/add_router_interface`, { subnet_id });
    }
    routers.push({ id: body.router.id, subnets });
  });
  // What is brought to a child once (flavor, image, security group) is not a port's cost.
  for (const at of [0, 1]) await boot(at, `bench-first-${at}`);
  await isDone(stage);
  await measured('server with a port, on a network that is there', options.ports, (at) => boot(at, `bench-${at}`));
  await agree(stage, { routers: options.routers, ports: options.ports + 2 });

  await measured('server and port gone', servers.length, async (at) => {
    await ask(cloud.compute, 'DELETE', `/servers/${servers[at]}`);
  });
  await portsGone(stage);
  await measured('router gone', routers.length, async (at) => {
    const { id = '', subnets = [] } = routers[at] ?? {};
    for (const subnet_id of subnets) {
      await ask(cloud.network, 'PUT', `/routers/${id}/remove_router_interface`, { subnet_id });
    }
    await ask(cloud.network, 'DELETE', `/routers/${id}`);
  });
  await measured('network gone', networks.length, async (at) => {
    await ask(cloud.network, 'DELETE', `/networks/${networks[at]?.id}`);
  });
  await unplan(cloud, bootPlan);
  return phases;
}

/** Runs the work for each object, several clients at once, until nothing is left to be done in the children. */
async function phase(stage: Stage, what: string, count: number, work: (at: number) => Promise<void>): Promise<Phase> {
  for (const proxy of stage.proxies) proxy.reset();
  const times: number[] = [];
  const started = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let at = next++; at < count; at = next++) {
        const sent = performance.now();
        await work(at);
        times.push(performance.now() - sent);
      }
    }),
  );
  await isDone(stage);
  const all_ms = performance.now() - started;
  const calls = new Map<string, number>();
  for (const { counts } of stage.proxies) {
    for (const [kind, times_] of counts) calls.set(kind, (calls.get(kind) ?? 0) + times_);
  }
  return { what, count, acknowledged_ms: summary(times).median_ms, all_ms, calls };
}

/** Waits until no work is left for any child, and no server is on its way. */
async function isDone({ db }: Stage): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (performance.now() < until) {
    const left = await sql<{ work: number; servers: number }>`select (select count(*) from work)::int as work,
      (select count(*) from servers where status = 'BUILD')::int as servers`.execute(db.query);
    const [row] = left.rows;
    if (row?.work === 0 && row.servers === 0) return;
    await pause(100);
  }
  throw new Error('the children were not brought to the state of the parent in time');
}

async function portsGone({ db }: Stage): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const left = await sql<{ count: number }>`select count(*)::int as count from ports
      where starts_with(device_owner, 'compute:')`.execute(db.query);
    if (left.rows[0]?.count === 0) return;
    if (performance.now() > until) throw new Error('ports of deleted servers stayed');
    await pause(200);
  }
}

/** A figure of what did not come to be is none. */
async function agree({ db }: Stage, expected: { routers: number; ports: number }): Promise<void> {
  const found = await sql<{ routers: number; ports: number; faults: number }>`select
    (select count(*) from replicas where kind = 'router' and child_id is not null)::int as routers,
    (select count(*) from replicas r join ports p on p.id = r.resource_id
      where r.kind = 'port' and r.child_id is not null and starts_with(p.device_owner, 'compute:'))::int as ports,
    (select count(*) from replicas where error is not null or child_id is null)::int
      + (select count(*) from servers where status <> 'ACTIVE')::int as faults`.execute(db.query);
  const [row] = found.rows;
  if (row?.routers === expected.routers * 2 && row.ports === expected.ports && row.faults === 0) return;
  throw new Error(`not all came to be in the children: ${JSON.stringify({ found: row, expected })}`);
}

function table(options: NetworksOptions, phases: readonly Phase[]): string {
  const { networks, routers, ports, testbed } = options;
  const where = testbed ? "the testbed's two clouds" : 'two simulated clouds';
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  const lines = phases.map(({ what, count, acknowledged_ms, all_ms, calls }) => {
    const own = [...calls].filter(([kind]) => kind !== 'feeds').sort(([, one], [, other]) => other - one);
    const total = own.reduce((sum, [, times]) => sum + times, 0);
    const each = own.map(([kind, times]) => `${kind} ${(times / count).toFixed(2)}`).join(', ');
    return `| ${what} | ${count} | ${acknowledged_ms.toFixed(0)} ms | ${seconds(all_ms)} s | ${(all_ms / count).toFixed(0)} ms | ${(total / count).toFixed(2)} | ${each} |`;
  });
  return [
    `${networks} networks, ${routers} routers over both children, ${ports} ports, over ${where}; ${CLIENTS} clients, ${cpus().length} cores.`,
    '',
    '| | objects | acknowledged | all in the children | for each | network calls to the children for each | which |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}
