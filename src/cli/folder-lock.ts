/** One process at a time in a data folder: a second start must not write into what the first one keeps there. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processIdentity } from '../db/process-identity.ts';
import { ConfigError } from './config.ts';

/**
 * Takes the folder for this process.
 * @returns how to let go of it; a process that is killed lets go by being dead
 * @throws ConfigError naming the process that has it
 */
export async function lockFolder(folder: string): Promise<() => void> {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const path = join(folder, 'process');
  const own = (await processIdentity(process.pid)) ?? String(process.pid);
  for (;;) {
    try {
      writeFileSync(path, own, { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error;
    }
    const holder = readFileSync(path, 'utf8');
    const pid = Number.parseInt(holder, 10);
    if (Number.isSafeInteger(pid) && pid > 0 && (await processIdentity(pid)) === holder) {
      throw new ConfigError(
        `${folder} is in use by process ${pid}; stop that one, or choose another folder with --data-dir`,
      );
    }
    rmSync(path, { force: true });
  }
}
