/**
 * `npm run bench`: the figures of docs/performance.md, as ratios within one run. With the testbed up, the same calls go
 * to the parent (over both of its clouds) and straight to its first cloud; without, the parent is measured alone, over
 * simulated children.
 *
 *   npm run bench -- [--servers 1000000] [--child-servers 1000] [--boots 10] [--folder /var/tmp/headwater-bench] [--keep] [--simulated]
 */
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { openDatabase } from '../src/db/database.ts';
import { startEmbedded } from '../src/db/embedded.ts';
import { type Cloud, configureParent, openCloud, startBenchParent, testbedAuths } from './clouds.ts';
import { type BootPlan, boots, empty, fill, listDetails, show, showsPerSecond, token } from './figures.ts';
import { ask, closeConnections, login, type Timed } from './measure.ts';
import { seedServers } from './seed.ts';

const PORT = 18_080;
const { values: options } = parseArgs({
  options: {
    servers: { type: 'string', default: '1000000' },
    'child-servers': { type: 'string', default: '1000' },
    boots: { type: 'string', default: '10' },
    folder: { type: 'string', default: '/var/tmp/headwater-bench' },
    keep: { type: 'boolean', default: false },
    simulated: { type: 'boolean', default: false },
  },
});

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
const childServers = Math.min(Number(options['child-servers']), PAGE);

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

async function plan(cloud: Cloud, zone: string | undefined): Promise<BootPlan> {
  const flavor = { id: 'bench', name: 'bench', ram: 128, vcpus: 1, disk: 1 };
  await ask(cloud.compute, 'POST', '/flavors', { flavor }, [200, 409]);
  const image = { base: cloud.compute.base, headers: cloud.compute.headers };
  const images = await ask<{ images: { id: string }[] }>(
    { ...image, base: await imageBase(cloud) },
    'GET',
    '/images?name=bench',
  );
  let imageRef = images.body.images[0]?.id;
  if (imageRef === undefined) {
    const base = { ...image, base: await imageBase(cloud) };
    const made = await ask<{ id: string }>(base, 'POST', '/images', {
      name: 'bench',
      disk_format: 'raw',
      container_format: 'bare',
    });
    imageRef = made.body.id;
    const response = await fetch(`${base.base}/images/${imageRef}/file`, {
      method: 'PUT',
      headers: { ...base.headers, 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(65_536, 'bench'),
    });
    if (response.status !== 204) throw new Error(`image data was not taken: ${response.status}`);
  }
  const name = 'bench-net';
  const networks = await ask<{ networks: { id: string }[] }>(cloud.network, 'GET', `/networks?name=${name}`);
  let networkId = networks.body.networks[0]?.id;
  if (networkId === undefined) {
    networkId = (await ask<{ network: { id: string } }>(cloud.network, 'POST', '/networks', { network: { name } })).body
      .network.id;
    await ask(cloud.network, 'POST', '/subnets', {
      subnet: { network_id: networkId, ip_version: 4, cidr: '10.99.0.0/16' },
    });
  }
  return { flavorRef: 'bench', imageRef, networkId, ...(zone === undefined ? {} : { zone }) };
}

async function imageBase(cloud: Cloud): Promise<string> {
  return `${(await login(cloud.auth)).service('image')}/v2`;
}

async function unplan(cloud: Cloud, plan: BootPlan): Promise<void> {
  await ask(cloud.network, 'DELETE', `/networks/${plan.networkId}`, undefined, [204, 404, 409]);
  await ask(
    { ...cloud.compute, base: await imageBase(cloud) },
    'DELETE',
    `/images/${plan.imageRef}`,
    undefined,
    [204, 404],
  );
  await ask(cloud.compute, 'DELETE', `/flavors/${plan.flavorRef}`, undefined, [202, 404]);
}

async function figuresOf(
  cloud: Cloud,
  ids: readonly string[],
  bootPlan: BootPlan,
  rounds: { lists: number; shows: number },
): Promise<Figures> {
  say(`${cloud.name}: list, show, token`);
  const list = await listDetails(cloud, rounds.lists, childServers);
  const page = ids.length >= PAGE ? await listDetails(cloud, rounds.lists, PAGE) : undefined;
  const showing = await show(cloud, ids, rounds.shows);
  const shows = await showsPerSecond(cloud, ids, 8000);
  const tokens = await token(cloud, cloud.compute.headers['x-auth-token'] ?? '', 30);
  say(`${cloud.name}: boots`);
  const { acknowledged, active } = await boots(cloud, bootPlan, Number(options.boots));
  return { list, page, show: showing, shows, token: tokens, acknowledged, active };
}

const ms = (timed: Timed): string => `${timed.median_ms.toFixed(timed.median_ms < 10 ? 2 : 0)} ms`;

function table(servers: number, parent: Figures, child: Figures | undefined): string {
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
    `Medians of one run on ${cpus().length} cores; ${servers.toLocaleString('en')} servers at the parent, ${child === undefined ? 'no real cloud beside it' : `${options['child-servers']} at the child`}.`,
    '',
    '| | parent | child itself | ratio | aim |',
    '| --- | --- | --- | --- | --- |',
    time(`list ${childServers} servers with details`, (figures) => figures.list, '60x'),
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

async function main(): Promise<void> {
  const { folder } = options;
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
  const ids = await seedServers(db, Number(options.servers), admin.projectId);
  await db.close();
  await embedded.stop();
  parent = await startBenchParent(files, PORT);
  try {
    const cloud = await openCloud('parent', parent.auth);
    const quota = { quota_set: { instances: -1, cores: -1, ram: -1 } };
    await ask(cloud.compute, 'PUT', `/os-quota-sets/${cloud.projectId}`, quota);
    const ownPlan = await plan(cloud, 'east');
    const own = await figuresOf(cloud, ids, ownPlan, { lists: 20, shows: 500 });
    let other: Figures | undefined;
    if (real[0] !== undefined) {
      const child = await openCloud('child', real[0]);
      const childPlan = await plan(child, undefined);
      say(`${child.name}: filling it with ${options['child-servers']} servers`);
      const childIds = await fill(child, childPlan, Number(options['child-servers']));
      other = await figuresOf(child, childIds, childPlan, { lists: 5, shows: 50 });
      say(`${child.name}: taking them away`);
      await empty(child);
      await unplan(child, childPlan);
    }
    await unplan(cloud, ownPlan);
    process.stdout.write(table(Number(options.servers), own, other));
  } finally {
    await parent.stop();
    await Promise.all(files.sims.map((sim) => sim.close()));
    await closeConnections();
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
}

await main();
