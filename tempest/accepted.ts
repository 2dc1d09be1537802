/** The kept reasons for which a test that passes at a cloud need not pass at a parent. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Accepted {
  /** Matches names of tests, whole. */
  readonly tests: RegExp;
  readonly reason: string;
}

/**
 * Reads accepted.txt: a regular expression, white space and the reason a line; `#` begins a comment.
 * @throws Error naming the line that has no reason, or no regular expression
 */
export function readAccepted(text = readFileSync(join(import.meta.dirname, 'accepted.txt'), 'utf8')): Accepted[] {
  return text.split('\n').flatMap((line, at) => {
    if (line.trim() === '' || line.startsWith('#')) return [];
    const [, pattern, reason] = /^(\S+)\s+(\S.*)$/.exec(line) ?? [];
    if (pattern === undefined || reason === undefined)
      throw new Error(`accepted.txt, line ${at + 1}: it has no reason`);
    return [{ tests: new RegExp(`^(?:${pattern})$`), reason }];
  });
}
