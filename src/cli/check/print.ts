/** The findings as people read them. */
import { dim, strong, wrapped } from '../terminal.ts';
import type { ChildReport, Finding, State } from './finding.ts';

const WORDS: Readonly<Record<State, string>> = {
  holds: 'holds',
  missing: 'missing',
  essential: 'MISSING',
  unknown: 'not told',
};
const TOPIC_WIDTH = 22;
const STATE_WIDTH = 10;

/** All reports, and a line at the end that says what came of it. */
export function printReports(reports: readonly ChildReport[], width: number): string {
  return [...reports.map((report) => printReport(report, width)), summary(reports), ''].join('\n');
}

function printReport({ child, cloud, zones, findings }: ChildReport, width: number): string {
  const head = `${strong(child)}  (cloud ${cloud}; zones ${zones.join(', ')})`;
  return [head, ...findings.flatMap((finding, at) => lines(finding, findings[at - 1]?.topic, width)), ''].join('\n');
}

function lines({ topic, state, says, lost, mend }: Finding, before: string | undefined, width: number): string[] {
  const word = WORDS[state].padEnd(STATE_WIDTH);
  const shown = state === 'essential' ? strong(word) : state === 'missing' ? word : dim(word);
  const first = `  ${(topic === before ? '' : topic).padEnd(TOPIC_WIDTH)}${shown}`;
  const indent = ' '.repeat(2 + TOPIC_WIDTH + STATE_WIDTH);
  const room = Math.max(40, width - indent.length);
  const text = [
    ...wrapped(says, room),
    ...(lost === undefined ? [] : wrapped(`tenants lose: ${lost}`, room)),
    ...(mend === undefined ? [] : wrapped(`to mend it: ${mend}`, room)),
  ];
  return text.map((line, at) => (at === 0 ? first : indent) + line);
}

function summary(reports: readonly ChildReport[]): string {
  const count = (state: State): number =>
    reports.reduce((sum, { findings }) => sum + findings.filter((finding) => finding.state === state).length, 0);
  const essential = count('essential');
  const rest = `${count('missing')} missing, ${count('unknown')} not told, ${count('holds')} hold`;
  if (essential === 0) return `Nothing essential is missing (${rest}).`;
  return strong(`${essential} essential ${essential === 1 ? 'thing is' : 'things are'} MISSING (${rest}).`);
}
