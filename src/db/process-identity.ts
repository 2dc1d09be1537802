import { execFile } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

async function ps(pid: number, column: string): Promise<string | undefined> {
  try {
    const { stdout } = await run('ps', ['-o', `${column}=`, '-p', String(pid)]);
    return stdout.trim() || undefined;
  } catch {
    return undefined;
  }
}

/**
 * What tells a process from every other that had or will have its id, also after a reboot or in a new container:
 * undefined when there is no such process, or only a dead one
 * that nobody has waited for.
 */
export async function processIdentity(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') {
    const started = await ps(pid, 'lstart');
    return started === undefined ? undefined : `${pid} ${started}`;
  }
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold spaces; the start time is the 20th field after it.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') {
      return undefined;
    }
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    return `${pid} ${fields[19]} ${boot.trim()}`;
  } catch {
    return undefined;
  }
}

/** Whether the process is the PostgreSQL server of this folder (given as a real path). */
export async function servesFolder(pid: number, folder: string): Promise<boolean> {
  if (process.platform === 'linux') {
    return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === folder;
  }
  return (await ps(pid, 'command'))?.includes(folder) === true;
}
