/** What Tempest said of each test, read from the output of `tempest run`. */

export type Verdict = 'passed' | 'failed' | 'skipped';

export interface Outcome {
  readonly verdict: Verdict;
  /** Why it was skipped, or the error that it failed with, in one line; empty where it passed. */
  readonly reason: string;
}

const VERDICTS: Readonly<Record<string, Verdict>> = { ok: 'passed', FAILED: 'failed', SKIPPED: 'skipped' };
const CLASS_LINE = /^\{\d+\} (setUpClass|tearDownClass) \((\S+)\).*? \.\.\. (ok|FAILED|SKIPPED)(?:: (.*))?$/;
const TEST_LINE = /^\{\d+\} (\S+?)(?:\[\S*\])?(?: \[[\d.]+s\])? \.\.\. (ok|FAILED|SKIPPED)(?:: (.*))?$/;
const ERROR_LINE = /^ *((?:[a-zA-Z_]\w*\.)+[A-Z]\w*|[A-Z]\w*(?:Error|Exception|Timeout))(?:: (.*))?$/;
const REASON_LENGTH_MAX = 400;

/** The bare name of a test: `tempest run --list-tests` and the output append its tags in brackets. */
export const bareName = (line: string): string => line.trim().replace(/\[.*$/, '');

/**
 * The outcome of each of `tests`, those that left no trace excepted.
 * A class that is skipped, or fails, as a whole has one line for all of its tests.
 */
export function outcomesOf(tests: readonly string[], output: string): Map<string, Outcome> {
  const own = new Map<string, Outcome>();
  const classes = new Map<string, Outcome>();
  const lines = output.split('\n');
  for (const [at, line] of lines.entries()) {
    const ofClass = CLASS_LINE.exec(line);
    const found = ofClass ?? TEST_LINE.exec(line);
    if (found === null) continue;
    const [said, said_reason] = ofClass === null ? [found[2], found[3]] : [found[3], found[4]];
    const verdict = VERDICTS[said ?? ''] ?? 'failed';
    const reason = verdict === 'failed' ? errorAfter(lines, at) : (said_reason ?? '');
    if (ofClass === null) own.set(found[1] ?? '', { verdict, reason });
    else if (found[1] === 'setUpClass') classes.set(found[2] ?? '', { verdict, reason: `setUpClass: ${reason}` });
  }
  return new Map(
    tests.flatMap((test) => {
      const outcome = own.get(test) ?? classes.get(test.slice(0, test.lastIndexOf('.')));
      return outcome === undefined ? [] : [[test, outcome] as const];
    }),
  );
}

/** The error at the end of the traceback that follows a test's line, with the words of the cloud where it has some. */
function errorAfter(lines: readonly string[], at: number): string {
  let error = '';
  for (let next = at + 1; next < lines.length; next++) {
    const line = lines[next] ?? '';
    if (/^\{\d+\} /.test(line)) break;
    // What follows are the log and the errors of the clean-up, which mostly come of the first.
    if (/^Captured (pythonlogging|traceback-\d+)/.test(line)) break;
    const found = ERROR_LINE.exec(line);
    if (found !== null) {
      const short = (found[1] ?? '').split('.').at(-1);
      error = `${short}: ${found[2] ?? ''}`;
    } else if (error !== '' && /^ *Details: /.test(line)) error += ` ${line.trim()}`;
  }
  return error.slice(0, REASON_LENGTH_MAX) || 'no error was printed';
}
