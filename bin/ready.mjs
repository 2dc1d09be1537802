/**
 * Makes a fresh clone ready to run: installs the packages of the lock file when they are missing or older
 * than it. Runs before every npm script, so that `npm start` and `npm test` work as the first thing typed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`headwater: Node 20.19 or later is needed, this is ${process.versions.node}`);
  process.exit(1);
}

const stamp = join(root, 'node_modules', '.package-lock.json');
const lock = join(root, 'package-lock.json');
if (!existsSync(stamp) || statSync(stamp).mtimeMs < statSync(lock).mtimeMs) {
  console.error('headwater: installing packages (once) ...');
  // Not `npm ci`: it refuses the lock file where a registry lacks another platform's optional packages.
  const run = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (run.status !== 0) {
    console.error('headwater: npm install failed; its messages are above');
    process.exit(run.status ?? 1);
  }
  if (existsSync(stamp)) utimesSync(stamp, new Date(), new Date());
}
