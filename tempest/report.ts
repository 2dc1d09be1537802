/** Two runs side by side, in words. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Accepted } from './accepted.ts';
import type { Service } from './options.ts';
import type { Outcome } from './outcome.ts';
import type { Run } from './run.ts';

export interface Difference {
  readonly test: string;
  readonly reason: string;
  readonly accepted: boolean;
}

/** Each test that passed at the child and not at the parent, with why. */
export function differences(child: Run, parent: Run, accepted: readonly Accepted[]): Difference[] {
  return passedIn(child).flatMap((test) => {
    const outcome = parent.outcomes.get(test);
    if (outcome?.verdict === 'passed') return [];
    const kept = accepted.find(({ tests }) => tests.test(test));
    const reason = kept?.reason ?? failure(outcome);
    return [{ test, reason, accepted: kept !== undefined }];
  });
}

const failure = (outcome: Outcome | undefined): string =>
  outcome === undefined ? 'was not run' : `${outcome.verdict}: ${outcome.reason}`;

const passedIn = (run: Run): string[] =>
  [...run.outcomes].flatMap(([test, { verdict }]) => (verdict === 'passed' ? [test] : [])).sort();

/** The service's tests that interoperability requires. */
export function interopRequired(service: Service): string[] {
  const text = readFileSync(join(import.meta.dirname, 'interop-required.txt'), 'utf8');
  return text.split('\n').flatMap((line) => (line.startsWith(`${service} `) ? [line.slice(service.length + 1)] : []));
}

/** How one run went, and how many of the required tests passed. */
export function summary(label: string, run: Run, service: Service): string[] {
  const count = (verdict: Outcome['verdict']) =>
    [...run.outcomes.values()].filter((one) => one.verdict === verdict).length;
  const took = run.duration_ms === 0 ? 'kept' : `${Math.round(run.duration_ms / 1000)} s`;
  const rest = run.tests.length - run.outcomes.size;
  const not_run = rest === 0 ? '' : `, ${rest} not run`;
  const required = interopRequired(service);
  const met = required.filter((test) => run.outcomes.get(test)?.verdict === 'passed');
  return [
    `passed at ${label}: ${count('passed')} of ${run.tests.length} (${count('failed')} failed, ${count('skipped')} skipped${not_run}; ${took})`,
    `interop-required tests passed at ${label}: ${met.length} of ${required.length}`,
  ];
}

/** What fell short at the parent, one test a line, and the share that did not. */
export function comparison(child: Run, found: readonly Difference[]): string[] {
  const of = passedIn(child).length;
  const share = of === 0 ? '' : ` (${(((of - found.length) * 100) / of).toFixed(1)}%)`;
  const lines = [`of the ${of} that passed at the child, ${of - found.length} passed at the parent${share}`];
  for (const accepted of [false, true]) {
    const some = found.filter((one) => one.accepted === accepted);
    if (some.length === 0) continue;
    lines.push(
      `passed at the child and not at the parent, ${accepted ? 'with a kept reason' : 'to be mended'}: ${some.length}`,
    );
    for (const { test, reason } of some) lines.push(`  ${test}`, `    ${reason}`);
  }
  return lines;
}

/** The failures of a run that is compared with nothing. */
export function failures(run: Run): string[] {
  return [...run.outcomes].flatMap(([test, { verdict, reason }]) =>
    verdict === 'failed' ? [`  ${test}`, `    ${reason}`] : [],
  );
}
