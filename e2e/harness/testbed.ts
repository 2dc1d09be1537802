/** The testbed's commands, as `npm run testbed --` has them. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');
export const TESTBED_HOME = process.env.TESTBED_HOME ?? '/var/tmp/testbed';

/** Whether servers of the testbed are machines that boot and can be logged in to, instead of stand-ins. */
export const GUESTS = process.env.TB_GUESTS === '1';
/** The disk that they boot; there once the testbed has been up. */
const GUEST_IMAGE = join(TESTBED_HOME, 'guest', 'guest.qcow2');

/** What an image of the testbed's clouds holds, as in its seed: a disk that boots, or some bytes where nothing does. */
export function imageContent(name: string): { readonly disk_format: string; readonly content: Uint8Array } {
  if (GUESTS) return { disk_format: 'qcow2', content: readFileSync(GUEST_IMAGE) };
  return { disk_format: 'raw', content: new TextEncoder().encode(`testbed image ${name}\n`.repeat(32)) };
}

/**
 * Runs a command of the testbed and gives what it printed.
 * @throws Error with the end of its messages where its exit status is not 0
 */
export async function testbed(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'testbed', 'main.ts'), ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status === 0) return stdout;
  throw new Error(`testbed ${args.join(' ')}: exit status ${status}\n${(stdout + stderr).slice(-4000)}`);
}

export interface Leftover {
  readonly id?: string;
  readonly name?: string;
  readonly status?: string;
  readonly project_id?: string;
  readonly user_id?: string;
}

/** Everything in these clouds that is not of their seed: cloud, kind, objects. */
export async function leftovers(...clouds: string[]): Promise<Record<string, Record<string, Leftover[]>>> {
  return JSON.parse(await testbed('leftovers', ...clouds)) as Record<string, Record<string, Leftover[]>>;
}

/** What tells one leftover from another. */
export const keyOf = (kind: string, item: Leftover): string => `${kind} ${item.id ?? `${item.user_id} ${item.name}`}`;
