/** Puts one object and its copies side by side: what is the same for all kinds. */
import type { Queryable } from '../../db/database.ts';
import type { Asked, Asker, Shown } from './ask.ts';
import type { Cell, TraceRow, TraceSection } from './contract.ts';
import { errorsInWords, type Known, type KnownCopy, knownCopies, workInWords } from './copies.ts';

export interface TraceParts {
  readonly query: Queryable;
  readonly asker: Asker;
}

/** One attribute: what the parent has, what each child should show, and what it shows. */
export interface Attribute {
  readonly name: string;
  readonly parent: string | null;
  /** What a child should show; undefined where that is its own affair. */
  readonly wanted?: (child: string) => string | null | undefined;
  /** Absent where a child shows nothing of the sort. */
  readonly shown?: (body: Shown, child: string) => string | null;
}

export interface Traced {
  /** As replicas call it. */
  readonly kind: string;
  readonly id: string;
  readonly title: string;
  readonly revision: number;
  /** Of the child's API. */
  readonly path: string;
  readonly key: string;
  /** Children that should have a copy, beside those that are known to have one. */
  readonly expected?: readonly string[];
  readonly attributes: readonly Attribute[];
  /** Whether there is an object in the child behind what replicas call its id; absent: always. */
  readonly isObject?: (childId: string) => boolean;
}

/** What a child shows of a copy, with what the parent knows of that copy. */
export interface Copy {
  readonly known: KnownCopy;
  readonly asked: Asked;
}

const NOTHING: Asked = { answered: true, body: undefined };

/** The copies of an object, as the children show them now. */
export async function askCopies(
  { query, asker }: TraceParts,
  traced: Pick<Traced, 'kind' | 'id' | 'path' | 'key' | 'isObject'>,
): Promise<{ readonly known: Known; readonly copies: ReadonlyMap<string, Copy> }> {
  const known = await knownCopies(query, traced.kind, traced.id);
  const ask = async (child: string, childId: string): Promise<Asked> =>
    traced.isObject?.(childId) === false
      ? { answered: true, body: {} }
      : asker.show(child, `${traced.path}/${childId}`, traced.key);
  const copies = await Promise.all(
    known.copies.map(async (copy): Promise<[string, Copy]> => {
      const { child, child_id } = copy;
      const asked = child_id === null ? NOTHING : await ask(child, child_id);
      return [copy.child, { known: copy, asked }];
    }),
  );
  return { known, copies: new Map(copies) };
}

/** The table of one object. */
export async function section(parts: TraceParts, traced: Traced): Promise<TraceSection> {
  const { known, copies } = await askCopies(parts, traced);
  return tableOf(traced, known, copies);
}

/** The table of an object whose copies were asked for already. */
export function tableOf(traced: Traced, known: Known, copies: ReadonlyMap<string, Copy>): TraceSection {
  const { kind, id, title, revision, attributes, expected = [] } = traced;
  const children = [...new Set([...copies.keys(), ...expected])].sort();
  const each = (cell: (child: string, copy: Copy | undefined) => Cell | undefined): Record<string, Cell> =>
    Object.fromEntries(
      children.flatMap((child) => {
        const found = cell(child, copies.get(child));
        return found === undefined ? [] : [[child, found]];
      }),
    );
  const rows: TraceRow[] = [
    { name: 'id', parent: id, children: each((_child, copy) => plain(copy?.known.child_id ?? null)) },
    { name: 'state', parent: null, children: each((_child, copy) => state(copy, revision)) },
    { name: 'revision', parent: String(revision), children: each((_child, copy) => brought(copy, revision)) },
    ...attributes.map(({ name, parent, wanted, shown }) => ({
      name,
      parent,
      children: each((child, copy) => {
        if (shown === undefined || copy === undefined || !copy.asked.answered || copy.asked.body === undefined)
          return undefined;
        // The child's own is as it is.
        return cellOf(shown(copy.asked.body, child), copy.known.revision === null ? undefined : wanted?.(child));
      }),
    })),
  ];
  return {
    kind,
    id,
    title,
    rows,
    notes: [...errorsInWords(known), ...workInWords(known)],
    under_way: known.work.length,
  };
}

const plain = (shown: string | null): Cell => ({ shown, differs: false });

/** @param wanted undefined where it is the child's own affair */
export function cellOf(shown: string | null, wanted: string | null | undefined): Cell {
  return wanted === undefined ? plain(shown) : { shown, wanted, differs: shown !== wanted };
}

const wrong = (shown: string): Cell => ({ shown, differs: true });

function state(copy: Copy | undefined, revision: number): Cell {
  if (copy === undefined) return wrong('not there');
  const { known, asked } = copy;
  if (known.retiring) return plain('on its way out');
  if (known.child_id === null) return wrong(known.is_sent ? 'being made' : 'to be made');
  if (!asked.answered) return plain('unreachable');
  if (asked.body === undefined) return wrong('gone');
  if (known.revision === null) return plain("the child's own");
  return known.revision === revision ? plain('there') : wrong('behind');
}

function brought(copy: Copy | undefined, revision: number): Cell | undefined {
  if (copy === undefined || copy.known.child_id === null || copy.known.revision === null) return undefined;
  const shown = String(copy.known.revision);
  return copy.known.retiring ? plain(shown) : cellOf(shown, String(revision));
}

// ---- words for values

export const yes = (value: unknown): string => (value === true ? 'true' : 'false');
export const text = (value: unknown): string | null => (value == null || value === '' ? null : String(value));
/** As one text whose order does not matter. */
export const set = (values: readonly string[]): string | null =>
  values.length === 0 ? null : [...values].sort().join(', ');
/** As many as are named; the rest is counted. */
export const NAMED_MAX = 5;

/** The first few of many, and how many more there are. */
export function few(values: readonly string[]): string | null {
  const named = set([...values].sort().slice(0, NAMED_MAX));
  const rest = values.length - NAMED_MAX;
  return named === null || rest <= 0 ? named : `${named} and ${rest} more`;
}

/** A field of Neutron's that holds a list. */
export const listIn = (body: Shown, name: string): readonly Shown[] => (Array.isArray(body[name]) ? body[name] : []);
