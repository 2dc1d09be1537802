/** Where one run of the end-to-end tests plays: what its set-up made, as its tests see it. */
import { inject } from 'vitest';

export interface Stage {
  /** Everything of the run: configuration, clouds.yaml, the parent's data and its log. */
  readonly folder: string;
  readonly url: string;
  readonly configFile: string;
  /** Entries `admin` and `tenant` of the parent, and the children's own `child1` and `child2`. */
  readonly cloudsFile: string;
  readonly logFile: string;
  readonly pidFile: string;
  readonly passwords: { readonly admin: string; readonly tenant: string };
  /** What was in the children before, by child: not of our making, and not to be found fault with. */
  readonly before: Readonly<Record<string, readonly string[]>>;
}

declare module 'vitest' {
  interface ProvidedContext {
    stage: Stage;
  }
}

/** The stage of this run. */
export const stage: Stage = inject('stage');

/** The parent's name of each child, the zone that it is there, and the cloud behind it. */
export const CHILDREN = [
  { name: 'east', zone: 'east', cloud: 'child1' },
  { name: 'west', zone: 'west', cloud: 'child2' },
] as const;
