/** What `headwater check` finds of a child: one thing that holds or does not, what tenants lose by it, and the mend. */

/**
 * `holds`: as it should be. `missing`: something does without it. `essential`: the child cannot take part as it is
 * configured. `unknown`: the child does not tell.
 */
export type State = 'holds' | 'missing' | 'essential' | 'unknown';

export interface Finding {
  /** What was looked at, in a word or two; several findings may share it. */
  readonly topic: string;
  readonly state: State;
  readonly says: string;
  /** What tenants lose by it. */
  readonly lost?: string;
  /** What the operator may do about it. */
  readonly mend?: string;
}

/** All that was found of one child. */
export interface ChildReport {
  readonly child: string;
  readonly cloud: string;
  readonly zones: readonly string[];
  readonly findings: readonly Finding[];
}

export const holds = (topic: string, says: string): Finding => ({ topic, state: 'holds', says });
export const unknown = (topic: string, says: string): Finding => ({ topic, state: 'unknown', says });

/** Something that is not as it should be. */
export function lacking(
  topic: string,
  state: 'missing' | 'essential',
  says: string,
  more: { readonly lost: string; readonly mend?: string },
): Finding {
  return { topic, state, says, ...more };
}

/** Whether everything essential is there. */
export const isWhole = (reports: readonly ChildReport[]): boolean =>
  reports.every(({ findings }) => findings.every(({ state }) => state !== 'essential'));
