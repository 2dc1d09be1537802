/** What tokens were found to mean a moment ago, so that most requests need no query to know who calls. */
import { createHash } from 'node:crypto';

export interface TokenCache<V> {
  /** What is known of a token, or what `find` finds; only found things are kept. */
  get(token: string, find: () => Promise<V | undefined>): Promise<V | undefined>;
  /** Forgets what `gone` says, and whatever is being looked up at this moment. */
  drop(gone: (value: V) => boolean): void;
  readonly size: number;
}

/**
 * A least-recently-used cache. Keys are hashes: a dump of the process's memory has no more tokens than need be.
 * @param options.now Unix time in milliseconds
 */
export function createTokenCache<V>(options: {
  readonly entries_max: number;
  readonly ttl_ms: number;
  readonly now: () => number;
}): TokenCache<V> {
  const { entries_max, ttl_ms, now } = options;
  const entries = new Map<string, { readonly value: V; readonly until_ms: number }>();
  const finding = new Map<string, Promise<V | undefined>>();
  let epoch = 0;

  return {
    async get(token, find) {
      const key = createHash('sha256').update(token).digest('base64');
      const known = entries.get(key);
      if (known !== undefined) {
        entries.delete(key);
        if (known.until_ms > now()) {
          // The youngest stand last in a Map: who was asked for is young again.
          entries.set(key, known);
          return known.value;
        }
      }
      const underway = finding.get(key);
      if (underway !== undefined) return underway;
      const began = epoch;
      const found = find();
      finding.set(key, found);
      try {
        const value = await found;
        // A change that came meanwhile may be one that the query did not see yet.
        if (value !== undefined && began === epoch) {
          entries.set(key, { value, until_ms: now() + ttl_ms });
          if (entries.size > entries_max) entries.delete(entries.keys().next().value as string);
        }
        return value;
      } finally {
        if (finding.get(key) === found) finding.delete(key);
      }
    },
    drop(gone) {
      epoch += 1;
      finding.clear();
      for (const [key, { value }] of entries) if (gone(value)) entries.delete(key);
    },
    get size() {
      return entries.size;
    },
  };
}
