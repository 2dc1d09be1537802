/** Before all tests: two real clouds, a parent over them as an operator would set it up, and a clouds.yaml. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { parse, stringify } from 'yaml';
import { endParent, parentServes, spawnParent } from './parent.ts';
import type { Stage } from './stage.ts';
import { keyOf, leftovers, TESTBED_HOME, testbed } from './testbed.ts';

const say = (text: string): void => void process.stderr.write(`e2e: ${text}\n`);

/** Gives what stops the parent. The clouds stay up: bringing them up is most of a run's start. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await bringUp();
  // World-passable, since the embedded database runs as another user where we are root.
  const folder = mkdtempSync('/var/tmp/headwater-e2e-');
  chmodSync(folder, 0o711);
  mkdirSync(join(folder, 'data'), { mode: 0o755 });
  const url = `http://127.0.0.1:${await freePort()}`;
  const passwords = { admin: randomBytes(12).toString('hex'), tenant: randomBytes(12).toString('hex') };
  const found = await leftovers('child1', 'child2');
  const stage: Stage = {
    folder,
    url,
    configFile: join(folder, 'headwater.yaml'),
    cloudsFile: join(folder, 'clouds.yaml'),
    logFile: join(folder, 'headwater.log'),
    pidFile: join(folder, 'headwater.pid'),
    passwords,
    before: Object.fromEntries(
      Object.entries(found).map(([cloud, kinds]) => [
        cloud,
        Object.entries(kinds).flatMap(([kind, items]) => items.map((item) => keyOf(kind, item))),
      ]),
    ),
  };
  writeFileSync(stage.configFile, configuration(stage));
  writeFileSync(stage.cloudsFile, clouds(stage), { mode: 0o600 });
  project.provide('stage', stage);
  const stop = async () => {
    await endParent(stage, 'SIGTERM').catch(() => endParent(stage, 'SIGKILL'));
    if (process.env.HEADWATER_E2E_KEEP === undefined) rmSync(folder, { recursive: true, force: true });
    else say(`kept: ${folder}`);
  };
  try {
    spawnParent(stage);
    await parentServes(stage);
  } catch (error) {
    await stop();
    throw error;
  }
  say(`the parent serves on ${url}, its log is ${stage.logFile}`);
  return stop;
}

async function bringUp(): Promise<void> {
  if (!existsSync('/usr/bin/openstack') || !existsSync(join(TESTBED_HOME, '.installed'))) {
    say('installing the OpenStack packages (once) ...');
    await testbed('install');
  }
  say('bringing two clouds up ...');
  await testbed('up', '2');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

/** The smallest file that the documentation shows, and what joins the children's networks. */
function configuration(stage: Stage): string {
  return `listen: ${stage.url.replace('http://', '')}
data_dir: ${join(stage.folder, 'data')}
admin_password_env: HEADWATER_ADMIN_PASSWORD
children:
  east: { cloud: child1, zones: { east: nova } }
  west: { cloud: child2, zones: { west: nova } }
physical_networks:
  wan: { children: { east: physnet1, west: physnet1 }, vlans: 220-229, transit_vlans: 230-239 }
`;
}

function clouds(stage: Stage): string {
  const children = parse(readFileSync(join(TESTBED_HOME, 'clouds.yaml'), 'utf8')) as { clouds: object };
  const entry = (username: string, password: string, project_name: string) => ({
    auth: {
      auth_url: `${stage.url}/identity/v3`,
      username,
      password,
      project_name,
      user_domain_name: 'Default',
      project_domain_name: 'Default',
    },
    region_name: 'RegionOne',
    identity_api_version: 3,
    compute_api_version: '2.90',
    volume_api_version: '3.70',
  });
  return stringify({
    clouds: {
      ...children.clouds,
      admin: entry('admin', stage.passwords.admin, 'admin'),
      tenant: entry('e2e', stage.passwords.tenant, 'e2e'),
      stranger: entry('stranger', stage.passwords.tenant, 'stranger'),
    },
  });
}
