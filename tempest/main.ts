/**
 * `npm run tempest -- --service network`: OpenStack's own test suite with one configuration twice, straight at a child
 * of the testbed and at a parent over two, and what of it passed at the one and not at the other. README.md tells more.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bringUp } from '../e2e/harness/place.ts';
import { readAccepted } from './accepted.ts';
import { readBaseline, writeBaseline } from './baseline.ts';
import { reportOf, startRecorder } from './conformance.ts';
import { type Options, readOptions, USAGE, UsageError } from './options.ts';
import { comparison, differences, failures, summary } from './report.ts';
import { type Run, runTempest } from './run.ts';
import { openChild, startParent } from './stage.ts';
import { everybodys, inventory, sweep, tempests, type Whose } from './sweep.ts';
import type { Target } from './target.ts';
import { extensionsOf, makeWorkspace } from './workspace.ts';

const say = (text: string): void => void process.stderr.write(`tempest: ${text}\n`);
const print = (lines: readonly string[]): void => void process.stdout.write(`${lines.join('\n')}\n`);

/** Runs Tempest at one cloud and leaves the cloud as it was. */
async function runAt(target: Target, extensions: readonly string[], whose: Whose, options: Options): Promise<Run> {
  const workspace = join(options.folder, target.name);
  const before = await inventory(target.api);
  const record = join(options.folder, `${target.name}.jsonl`);
  const recorder =
    options.conformance === undefined ? undefined : await startRecorder(options.conformance, target, record);
  try {
    const identityUrl = recorder?.identityUrl ?? target.entry.auth.auth_url;
    await makeWorkspace(workspace, target, extensions, identityUrl);
    say(`running ${options.regex} at ${target.label}; the log is ${join(workspace, 'run.log')}`);
    return await runTempest(workspace, options, say);
  } finally {
    await recorder?.stop();
    const { gone, left } = await sweep(target.api, before, whose);
    say(`swept ${gone} objects that Tempest left at ${target.label}`);
    for (const one of left) say(`could not be swept: ${one}`);
  }
}

/** The report of the recorded exchanges with a target; departures that the child showed are no fault of the parent's. */
async function conformanceOf(target: Target, options: Options): Promise<string[]> {
  const tools = options.conformance;
  if (tools === undefined) return [];
  const record = join(options.folder, `${target.name}.jsonl`);
  const published = [join(tools, 'known-zed.txt'), join(import.meta.dirname, 'known-departures.txt')];
  const shown = join(options.folder, 'child-departures.txt');
  const report =
    target.name === 'child'
      ? await reportOf(tools, record, { known: published, write: shown })
      : await reportOf(tools, record, { known: [...published, shown] });
  return [`conformance at ${target.label}:`, ...report.split('\n').map((line) => `  ${line}`)];
}

async function main(options: Options): Promise<number> {
  mkdirSync(options.folder, { recursive: true });
  await bringUp(say);
  const child = openChild();
  const extensions = await extensionsOf(child);
  const lines = [`tempest, ${options.regex}, ${options.concurrency} at a time`];
  let atChild: Run | undefined;
  let atParent: Run | undefined;
  try {
    if (options.child) {
      atChild = await runAt(child, extensions, tempests, options);
      if (options.writeBaseline) writeBaseline(options.service, atChild, options.whole);
    } else if (options.baseline) atChild = readBaseline(options.service, options.regex);
    if (atChild !== undefined) lines.push(...summary('the child', atChild, options.service));
    if (options.child) lines.push(...(await conformanceOf(child, options)));
    if (options.parent) {
      const stage = await startParent(say);
      try {
        atParent = await runAt(stage.target, extensions, everybodys, options);
      } finally {
        await stage.stop(process.env.HEADWATER_TEMPEST_KEEP !== undefined);
        await stage.target.api.close();
      }
      lines.push(...summary('the parent', atParent, options.service), ...(await conformanceOf(stage.target, options)));
    }
  } finally {
    await child.api.close();
  }
  const outcomes = (run: Run | undefined) => run && Object.fromEntries(run.outcomes);
  const results = join(options.folder, 'results.json');
  writeFileSync(results, JSON.stringify({ child: outcomes(atChild), parent: outcomes(atParent) }, null, 1));
  if (atChild !== undefined && atParent !== undefined) {
    const found = differences(atChild, atParent, readAccepted());
    print([...lines, ...comparison(atChild, found)]);
    return found.some(({ accepted }) => !accepted) ? 1 : 0;
  }
  const failed = failures(atChild ?? (atParent as Run));
  print([...lines, ...failed]);
  return failed.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(readOptions(process.argv.slice(2)));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  const isUsage =
    error instanceof UsageError || (error as { code?: unknown }).code?.toString().startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`tempest: ${message}\n${isUsage === true ? `\n${USAGE}\n` : ''}`);
  process.exitCode = 2;
}
