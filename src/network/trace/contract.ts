/** What a trace shows: an object of the parent and its copies side by side, as a table for each object that takes part. */

/** One value of a child, as it shows it. */
export interface Cell {
  /** What the child shows; null where it shows nothing. */
  readonly shown: string | null;
  /** What it should show; absent where that is the child's own affair. */
  readonly wanted?: string | null;
  /** Whether it shows something else than it should. */
  readonly differs: boolean;
}

export interface TraceRow {
  readonly name: string;
  /** What the parent has. */
  readonly parent: string | null;
  /** By child; absent where the child has no part in it, or could not be asked. */
  readonly children: Readonly<Record<string, Cell>>;
}

/** One object and its copies. */
export interface TraceSection {
  readonly kind: string;
  readonly id: string;
  readonly title: string;
  readonly rows: readonly TraceRow[];
  /** What was last said against a copy, and work still under way, in sentences that begin with the child. */
  readonly notes: readonly string[];
  /** Pieces of work that are still to be done for the copies. */
  readonly under_way: number;
}

export interface TraceChild {
  readonly name: string;
  /** Null where it answers; else why it does not. */
  readonly unreachable: string | null;
}

export type TraceKind = 'router' | 'network' | 'port';

export interface Trace {
  readonly kind: TraceKind;
  readonly id: string;
  readonly children: readonly TraceChild[];
  readonly sections: readonly TraceSection[];
  /** How many cells differ from what they should show. */
  readonly differences: number;
}
