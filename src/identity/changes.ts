/**
 * News of what tokens mean: whoever changes a user, project, role or assignment says so in the same transaction, and
 * every process forgets what it knew of it when that commits.
 */
import type { Db, Queryable } from '../db/database.ts';

export type Change =
  | `user ${string}`
  | `project ${string}`
  /** The token of this audit id was revoked. */
  | `token ${string}`
  /** An application credential or a trust is gone. */
  | `delegation ${string}`
  | 'catalog'
  | 'keys'
  /** Anything else: a role, a group, a domain. */
  | 'all';

export type ChangeListener = (change: Change) => void;

export interface Changes {
  /** Tells every process when `tx` commits. */
  announce(tx: Queryable, change: Change): Promise<void>;
  /** Tells this process now: who wrote must at once read what it wrote. */
  apply(change: Change): void;
  onChange(listener: ChangeListener): void;
  /** Begins to hear of other processes' changes; resolves when the server listens. Twice does nothing. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

const CHANNEL = 'identity';

export function createChanges(db: Db): Changes {
  const listeners: ChangeListener[] = [];
  let started: Promise<() => Promise<void>> | undefined;
  const apply = (change: Change): void => {
    for (const listener of listeners) listener(change);
  };
  return {
    apply,
    announce: (tx, change) => db.notify(tx, CHANNEL, change),
    onChange: (listener) => void listeners.push(listener),
    async start() {
      // After a gap in the connection nothing known before can be trusted.
      started ??= db.listen(CHANNEL, (payload) => apply(payload === '' ? 'all' : (payload as Change)));
      try {
        await started;
      } catch (error) {
        started = undefined;
        throw error;
      }
    },
    async stop() {
      const stopping = started;
      started = undefined;
      await (await stopping?.catch(() => undefined))?.();
    },
  };
}
