/** Before all tests: two real clouds, a parent over them as an operator would set it up, and a clouds.yaml. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { parse, stringify } from 'yaml';
import { endParent, parentServes, spawnParent } from './parent.ts';
import { bringUp, makePlace } from './place.ts';
import type { Stage } from './stage.ts';
import { keyOf, leftovers, TESTBED_HOME } from './testbed.ts';

const say = (text: string): void => void process.stderr.write(`e2e: ${text}\n`);

/** Gives what stops the parent. The clouds stay up: bringing them up is most of a run's start. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await bringUp(say);
  const place = await makePlace('/var/tmp/headwater-e2e-');
  const { folder, url } = place;
  const found = await leftovers('child1', 'child2');
  const stage: Stage = {
    ...place,
    cloudsFile: join(folder, 'clouds.yaml'),
    before: Object.fromEntries(
      Object.entries(found).map(([cloud, kinds]) => [
        cloud,
        Object.entries(kinds).flatMap(([kind, items]) => items.map((item) => keyOf(kind, item))),
      ]),
    ),
  };
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
