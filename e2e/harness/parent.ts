/** The parent as a process of its own, which may be killed and started again at any moment. */
import { spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Place } from './place.ts';
import { ROOT, TESTBED_HOME } from './testbed.ts';
import { until } from './until.ts';

/** Starts a parent and returns at once; its clouds are the testbed's, unless another file names them. */
export function spawnParent(place: Place, cloudsFile = join(TESTBED_HOME, 'clouds.yaml')): void {
  const log = openSync(place.logFile, 'a');
  const parent = spawn(process.execPath, [join(ROOT, 'bin', 'headwater.mjs'), 'serve', '--config', place.configFile], {
    cwd: ROOT,
    stdio: ['ignore', log, log],
    env: {
      ...process.env,
      OS_CLIENT_CONFIG_FILE: cloudsFile,
      HEADWATER_ADMIN_PASSWORD: place.passwords.admin,
    },
  });
  parent.unref();
  writeFileSync(place.pidFile, String(parent.pid));
}

/** Waits until the parent serves; fails early where its process has ended. */
export async function parentServes(place: Place): Promise<void> {
  const state = await until(
    'the parent serves',
    async () => (isRunning(place) ? (await fetch(`${place.url}/healthcheck`)).ok && 'serves' : 'ended'),
    { timeout_ms: 60_000, every_ms: 100 },
  );
  if (state === 'ended') throw new Error(`the parent has ended:\n${readFileSync(place.logFile, 'utf8').slice(-3000)}`);
}

/** Ends the parent by a signal and waits until its process is gone. Where there is none, nothing happens. */
export async function endParent(place: Place, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  if (!isRunning(place)) return;
  process.kill(pidOf(place), signal);
  await until('the parent ends', async () => !isRunning(place), { timeout_ms: 30_000, every_ms: 20 });
}

const pidOf = (place: Place): number => Number(readFileSync(place.pidFile, 'utf8'));

function isRunning(place: Place): boolean {
  try {
    // A dead child of another process of ours is a zombie until that process has seen it.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pidOf(place)}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
