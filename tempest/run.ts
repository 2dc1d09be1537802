/** Runs Tempest in a workspace. */
import { spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Options } from './options.ts';
import { bareName, type Outcome, outcomesOf } from './outcome.ts';

const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', PYTHONWARNINGS: 'ignore' };
const PROGRESS_EVERY = 50;
/** A line of --list-tests that names one: Tempest's own, or a plugin's. */
const TEST = /^\w*tempest\w*\.\S+\.\S+/;

/** One run at one cloud. */
export interface Run {
  /** All tests that there were to run. */
  readonly tests: readonly string[];
  readonly outcomes: ReadonlyMap<string, Outcome>;
  readonly duration_ms: number;
}

/**
 * Runs the tests of `regex` and gives what became of each. Tempest's output is kept as run.log in the folder.
 * @throws Error where Tempest cannot be run at all; tests that fail are no error
 */
export async function runTempest(
  folder: string,
  options: Pick<Options, 'regex' | 'concurrency' | 'plugin'>,
  say: (text: string) => void,
): Promise<Run> {
  const config = ['--config-file', join(folder, 'etc', 'tempest.conf')];
  const env = {
    ...ENVIRONMENT,
    HOME: folder,
    ...(options.plugin === undefined ? {} : { PYTHONPATH: options.plugin }),
  };
  const initialized = await command('stestr', ['init'], folder, env);
  if (initialized.status !== 0) throw new Error(`stestr init: ${initialized.output.join('\n').slice(-2000)}`);
  const listed = await command('tempest', ['run', ...config, '--list-tests', '--regex', options.regex], folder, env);
  const tests = listed.output.filter((line) => TEST.test(line)).map(bareName);
  if (tests.length === 0) {
    throw new Error(`Tempest has no test for ${options.regex}:\n${listed.output.join('\n').slice(-2000)}`);
  }
  const log = join(folder, 'run.log');
  const begun = performance.now();
  let ended = 0;
  await command(
    'tempest',
    ['run', ...config, '--concurrency', String(options.concurrency), '--regex', options.regex],
    folder,
    env,
    {
      log,
      line(text) {
        if (!/^\{\d+\} \w*tempest\w*\..* \.\.\. /.test(text)) return;
        ended += 1;
        if (text.endsWith('FAILED')) say(text);
        else if (ended % PROGRESS_EVERY === 0) say(`${ended} of ${tests.length} tests ended`);
      },
    },
  );
  const duration_ms = performance.now() - begun;
  return { tests, outcomes: outcomesOf(tests, readFileSync(log, 'utf8')), duration_ms };
}

async function command(
  program: string,
  args: readonly string[],
  folder: string,
  env: Readonly<Record<string, string>>,
  watch: { readonly log?: string; line?(text: string): void } = {},
): Promise<{ status: number | null; output: string[] }> {
  const child = spawn(`/usr/bin/${program}`, args, { cwd: folder, env });
  // Ctrl-C reaches Tempest by itself; this is for whoever ends us alone.
  const end = () => child.kill('SIGTERM');
  process.once('SIGTERM', end);
  const log = watch.log === undefined ? undefined : createWriteStream(watch.log);
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (log === undefined) output.push(line);
      else log.write(`${line}\n`);
      watch.line?.(line);
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  process.off('SIGTERM', end);
  if (log !== undefined) await new Promise((resolve) => log.end(resolve));
  return { status, output };
}
