/** The `headwater` command as an operator runs it beside a parent. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, TESTBED_HOME } from './testbed.ts';

/** Runs it and gives its exit status and what it printed; its messages go where ours go. */
export async function runHeadwater(
  configFile: string,
  args: readonly string[],
  cloudsFile = join(TESTBED_HOME, 'clouds.yaml'),
): Promise<{ readonly status: number | null; readonly stdout: string }> {
  const command = spawn(process.execPath, [join(ROOT, 'bin', 'headwater.mjs'), ...args, '--config', configFile], {
    cwd: ROOT,
    env: { ...process.env, OS_CLIENT_CONFIG_FILE: cloudsFile },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  command.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const status = await new Promise<number | null>((resolve, reject) => {
    command.once('error', reject);
    command.once('close', resolve);
  });
  return { status, stdout };
}
