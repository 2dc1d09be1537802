/** A trace as people read it: a table for each object, the parent and the children side by side. */
import type { Cell, Trace, TraceRow, TraceSection } from '../../network/trace/contract.ts';
import { dim, strong } from '../terminal.ts';

const GAP = '  ';

/** All tables, and at the end what differs. */
export function printTrace(trace: Trace): string {
  const names = trace.children.map(({ name }) => name);
  const unreachable = trace.children.filter((child) => child.unreachable !== null);
  return [
    ...trace.sections.flatMap((section) => [...printSection(section, names), '']),
    ...unreachable.map((child) => strong(`${child.name} is unreachable: ${child.unreachable}`)),
    summary(trace, unreachable.length),
    '',
  ].join('\n');
}

function summary({ differences, sections }: Trace, unreachable: number): string {
  const asked = unreachable === 0 ? '' : ', as far as the children could be asked';
  if (differences === 0) return `Parent and children agree${asked}.`;
  const are = differences === 1 ? 'One thing is' : `${differences} things are`;
  const again = sections.some(({ under_way }) => under_way > 0) ? ' Work is under way: look again in a moment.' : '';
  return strong(`${are} not as it should be${asked}: see the lines marked with !.${again}`);
}

function printSection({ title, id, rows, notes }: TraceSection, children: readonly string[]): string[] {
  const columns = children.filter((name) => rows.some((row) => name in row.children));
  const table = [
    ['', '', 'parent', ...columns],
    ...rows.map((row) => [
      isMarked(row) ? '!' : ' ',
      row.name,
      row.parent ?? '-',
      ...columns.map((name) => inWords(row.children[name])),
    ]),
  ];
  const widths = table[0]?.map((_, at) => Math.max(...table.map((cells) => cells[at]?.length ?? 0))) ?? [];
  const lines = table.map((cells, at) => {
    const line = cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(GAP)
      .trimEnd();
    if (at === 0) return dim(line);
    return cells[0] === '!' ? strong(line) : line;
  });
  return [strong(`${title}  ${id}`), ...lines, ...notes.map((note) => `   ${note}`)];
}

const isMarked = ({ children }: TraceRow): boolean => Object.values(children).some(({ differs }) => differs);

/** Blank where the child has no part in it or could not be asked. */
function inWords(cell: Cell | undefined): string {
  if (cell === undefined) return '';
  const shown = cell.shown ?? '-';
  if (!cell.differs || cell.wanted === undefined) return shown;
  return `${shown} (should be ${cell.wanted ?? 'nothing'})`;
}
