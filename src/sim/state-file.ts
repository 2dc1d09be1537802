/** Keeps a simulated cloud in a file, so that a demo's servers are still there after a restart. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { SimState } from './world.ts';

const SAVE_EVERY_MS = 1000;

/**
 * Fills the stores from the file.
 * @returns false where there is none, or none that this version can read: the cloud then begins empty
 */
export function loadState(path: string, state: SimState): boolean {
  if (!existsSync(path)) return false;
  let stored: SimState;
  try {
    stored = deserialize(readFileSync(path)) as SimState;
  } catch {
    return false;
  }
  for (const [name, into] of Object.entries(state) as [keyof SimState, Map<unknown, unknown> | Set<unknown>][]) {
    const from = stored[name] as Map<unknown, unknown> | Set<unknown> | undefined;
    if (from instanceof Map && into instanceof Map) for (const [key, value] of from) into.set(key, value);
    else if (from instanceof Set && into instanceof Set) for (const value of from) into.add(value);
  }
  settle(state);
  return true;
}

/** What was under way when the cloud stopped has no timer any more: it is taken as finished. */
function settle(state: SimState): void {
  for (const server of state.servers.values()) {
    if (server.taskState === null) continue;
    if (server.vmState === 'building') Object.assign(server, { vmState: 'active', powerState: 1 });
    server.taskState = null;
  }
  const finished: Readonly<Record<string, string>> = {
    creating: 'available',
    attaching: 'in-use',
    detaching: 'available',
    extending: 'available',
  };
  for (const kept of [state.volumes, state.snapshots]) {
    for (const [id, one] of kept) {
      if (one.status === 'deleting') kept.delete(id);
      else one.status = finished[one.status] ?? one.status;
    }
  }
}

/** Saves every second what has changed, and once more when the returned function is called. */
export function keepState(path: string, state: SimState): () => void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let last: Buffer | undefined;
  const save = (): void => {
    const now = serialize(state);
    if (last?.equals(now) === true) return;
    last = now;
    // Renamed into place: a kill in the middle leaves the former state whole.
    writeFileSync(`${path}.new`, now, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  };
  const timer = setInterval(save, SAVE_EVERY_MS);
  return () => {
    clearInterval(timer);
    save();
  };
}
