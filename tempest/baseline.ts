/** The kept outcome of Tempest's API tests at a cloud of the testbed: lists of names, all services in one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Service } from './options.ts';
import type { Outcome, Verdict } from './outcome.ts';
import type { Run } from './run.ts';

const FOLDER = join(import.meta.dirname, '..', 'testbed', 'tempest-baseline');
const FILES: Readonly<Record<Verdict, string>> = { passed: 'pass.txt', failed: 'fail.txt', skipped: 'skip.txt' };
const REASONS = 'skip-reasons.txt';

const linesOf = (file: string): string[] =>
  readFileSync(join(FOLDER, file), 'utf8')
    .split('\n')
    .filter((line) => line !== '');

/** A service's part of the baseline, in the shape of a run. */
export function readBaseline(service: Service, regex: string): Run {
  const wanted = (test: string) => isOf(test, service) && new RegExp(regex).test(test);
  const reasons = new Map(
    linesOf(REASONS).map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
  );
  const outcomes = new Map<string, Outcome>();
  for (const [verdict, file] of Object.entries(FILES) as [Verdict, string][]) {
    for (const test of linesOf(file).filter(wanted)) outcomes.set(test, { verdict, reason: reasons.get(test) ?? '' });
  }
  return { tests: [...outcomes.keys()], outcomes, duration_ms: 0 };
}

/**
 * Puts a run in the place of the service's part of the baseline.
 * @param whole whether it was of all of the service's tests: then those that are no more go; else only those run change
 */
export function writeBaseline(service: Service, run: Run, whole: boolean): void {
  const ran = new Set(run.tests);
  const isReplaced = (line: string) => (whole ? isOf(line, service) : ran.has(line.replace(/: .*$/, '')));
  const others = (file: string) => linesOf(file).filter((line) => !isReplaced(line));
  for (const [verdict, file] of Object.entries(FILES)) {
    const own = [...run.outcomes].filter(([, outcome]) => outcome.verdict === verdict).map(([test]) => test);
    write(file, [...others(file), ...own]);
  }
  const skipped = [...run.outcomes].filter(([, outcome]) => outcome.verdict === 'skipped');
  write(REASONS, [...others(REASONS), ...skipped.map(([test, { reason }]) => `${test}: ${reason}`)]);
}

const isOf = (line: string, service: Service): boolean => line.startsWith(`tempest.api.${service}.`);
const write = (file: string, lines: string[]): void =>
  writeFileSync(join(FOLDER, file), `${lines.sort().join('\n')}\n`);
