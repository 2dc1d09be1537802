/** The figures of servers: the same calls at a parent with a million of them, and at a real cloud beside it. */
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { openDatabase } from '../src/db/database.ts';
import { startEmbedded } from '../src/db/embedded.ts';
import { type Cloud, configureParent, openCloud, startBenchParent, testbedAuths } from './clouds.ts';
import { type BootPlan, boots, empty, fill, listDetails, show, showsPerSecond, token } from './figures.ts';
import { ask, type Timed } from './measure.ts';
import { plan, unplan } from './plan.ts';
import { seedServers } from './seed.ts';

const PORT = 18_080;
export interface ServersOptions {
  /** In the parent's database. */
  readonly servers: number;
  /** In the child that is compared with. */
  readonly childServers: number;
  readonly boots: number;
  readonly folder: string;
  /** Whether the folder stays for another run. */
  readonly keep: boolean;
  /** Simulated children although the testbed is up. */
  readonly simulated: boolean;
}

interface Figures {
  /** As many as the child has. */
  list: Timed;
  /** A whole page; only at the parent, unless the child has as many. */
  page: Timed | undefined;
  show: Timed;
  shows: number;
  token: Timed;
  acknowledged: Timed;
  active: Timed;
}

const PAGE = 1000;

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

async function figuresOf(
  cloud: Cloud,
  ids: readonly string[],
  bootPlan: BootPlan,
  rounds: { lists: number; shows: number; boots: number; size: number },
): Promise<Figures> {
  say(`${cloud.name}: list, show, token`);
  const list = await listDetails(cloud, rounds.lists, rounds.size);
  const page = ids.length >= PAGE ? await listDetails(cloud, rounds.lists, PAGE) : undefined;
  const showing = await show(cloud, ids, rounds.shows);
  const shows = await showsPerSecond(cloud, ids, 8000);
  const tokens = await token(cloud, cloud.compute.headers['x-auth-token'] ?? '', 30);
  say(`${cloud.name}: boots`);
  const { acknowledged, active } = await boots(cloud, bootPlan, rounds.boots);
  return { list, page, show: showing, shows, token: tokens, acknowledged, active };
}

const ms = (timed: Timed): string => `${timed.median_ms.toFixed(timed.median_ms < 10 ? 2 : 0)} ms`;

function table({ servers, childServers }: ServersOptions, parent: Figures, child: Figures | undefined): string {
  const size = Math.min(childServers, PAGE);
  const row = (what: string, own: string, other: string, ratio: string, aim: string) =>
    `| ${what} | ${own} | ${other} | ${ratio} | ${aim} |`;
  const faster = (pick: (figures: Figures) => Timed) =>
    child === undefined ? '' : `${(pick(child).median_ms / pick(parent).median_ms).toFixed(1)}x faster`;
  const time = (what: string, pick: (figures: Figures) => Timed, aim: string) =>
    row(what, ms(pick(parent)), child === undefined ? '' : ms(pick(child)), faster(pick), aim);
  const active =
    child === undefined
      ? ''
      : `${(parent.active.median_ms / child.active.median_ms).toFixed(2)}x the time, ${(parent.active.median_ms - child.active.median_ms).toFixed(0)} ms more`;
  return [
    `Medians of one run on ${cpus().length} cores; ${servers.toLocaleString('en')} servers at the parent, ${child === undefined ? 'no real cloud beside it' : `${childServers} at the child`}.`,
    '',
    '| | parent | child itself | ratio | aim |',
    '| --- | --- | --- | --- | --- |',
    time(`list ${size} servers with details`, (figures) => figures.list, '60x'),
    row(
      'list 1,000 servers with details',
      parent.page === undefined ? '' : ms(parent.page),
      child?.page === undefined ? '' : ms(child.page),
      '',
      '',
    ),
    time('show a server', (figures) => figures.show, '20x'),
    row(
      'shows a second, 16 clients, one process',
      parent.shows.toFixed(0),
      child?.shows.toFixed(0) ?? '',
      child === undefined ? '' : `${(parent.shows / child.shows).toFixed(1)}x`,
      '60x',
    ),
    time('boot acknowledged, with a network', (figures) => figures.acknowledged, '15x'),
    row(
      'boot to ACTIVE, with a network',
      ms(parent.active),
      child === undefined ? '' : ms(child.active),
      active,
      'at most 1.15x and 500 ms',
    ),
    time('token by token', (figures) => figures.token, ''),
    '',
  ].join('\n');
}

/** Prints the table of servers. */
export async function benchServers(options: ServersOptions): Promise<void> {
  const { folder } = options;
  const size = Math.min(options.childServers, PAGE);
  if (!options.keep) rmSync(folder, { recursive: true, force: true });
  const real = options.simulated ? [] : await testbedAuths();
  say(
    real.length > 0
      ? 'the testbed is up: the parent is over its clouds'
      : 'no testbed is up: the parent is over simulated clouds',
  );
  const files = await configureParent(folder, PORT, real);
  let parent = await startBenchParent(files, PORT);
  const admin = await openCloud('parent', parent.auth);
  await parent.stop();
  say(`adding ${options.servers} servers to the parent's database`);
  const embedded = await startEmbedded({ data_dir: `${folder}/postgres` });
  const db = await openDatabase({ url: embedded.url });
  const ids = await seedServers(db, options.servers, admin.projectId);
  await db.close();
  await embedded.stop();
  parent = await startBenchParent(files, PORT);
  try {
    const cloud = await openCloud('parent', parent.auth);
    const quota = { quota_set: { instances: -1, cores: -1, ram: -1 } };
    await ask(cloud.compute, 'PUT', `/os-quota-sets/${cloud.projectId}`, quota);
    const ownPlan = await plan(cloud, 'east');
    const own = await figuresOf(cloud, ids, ownPlan, { lists: 20, shows: 500, boots: options.boots, size });
    let other: Figures | undefined;
    if (real[0] !== undefined) {
      const child = await openCloud('child', real[0]);
      const childPlan = await plan(child, undefined);
      say(`${child.name}: filling it with ${options.childServers} servers`);
      const childIds = await fill(child, childPlan, options.childServers);
      other = await figuresOf(child, childIds, childPlan, { lists: 5, shows: 50, boots: options.boots, size });
      say(`${child.name}: taking them away`);
      await empty(child);
      await unplan(child, childPlan);
    }
    await unplan(cloud, ownPlan);
    process.stdout.write(table(options, own, other));
  } finally {
    await parent.stop();
    await Promise.all(files.sims.map((sim) => sim.close()));
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
}
