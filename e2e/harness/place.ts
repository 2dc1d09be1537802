/** Where a parent over the two clouds plays: the clouds up, a folder of its own, a free address and its configuration. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Stage } from './stage.ts';
import { TESTBED_HOME, testbed } from './testbed.ts';

/** What a parent's process needs to know. */
export type Place = Pick<Stage, 'folder' | 'configFile' | 'logFile' | 'pidFile' | 'url' | 'passwords'>;

/**
 * Makes the place of one run, with its configuration written; removing its folder takes it away.
 * @param more lines that the configuration has beside those that every run needs
 */
export async function makePlace(prefix: string, more = '', children = OVER_BOTH): Promise<Place> {
  // World-passable, since the embedded database runs as another user where we are root.
  const folder = mkdtempSync(prefix);
  chmodSync(folder, 0o711);
  mkdirSync(join(folder, 'data'), { mode: 0o755 });
  const place: Place = {
    folder,
    url: `http://127.0.0.1:${await freePort()}`,
    configFile: join(folder, 'headwater.yaml'),
    logFile: join(folder, 'headwater.log'),
    pidFile: join(folder, 'headwater.pid'),
    passwords: { admin: randomBytes(12).toString('hex'), tenant: randomBytes(12).toString('hex') },
  };
  writeFileSync(place.configFile, `${configuration(place)}${children}${more}`);
  return place;
}

/** Brings the testbed's two clouds up, installing it first where it is not. */
export async function bringUp(say: (text: string) => void): Promise<void> {
  if (!existsSync('/usr/bin/openstack') || !existsSync(join(TESTBED_HOME, '.installed'))) {
    say('installing the OpenStack packages (once) ...');
    await testbed('install');
  }
  say('bringing two clouds up ...');
  await testbed('up', '2');
}

/** A port that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

/** The smallest that the documentation shows, and what joins the children's networks. */
const OVER_BOTH = `children:
  east: { cloud: child1, zones: { east: nova } }
  west: { cloud: child2, zones: { west: nova } }
physical_networks:
  wan: { children: { east: physnet1, west: physnet1 }, vlans: 220-229, transit_vlans: 230-239 }
`;

function configuration(place: Place): string {
  return `listen: ${place.url.replace('http://', '')}
data_dir: ${join(place.folder, 'data')}
admin_password_env: HEADWATER_ADMIN_PASSWORD
`;
}
