/** What tenants may never read: everything that only a child, or who administers it, knows. */
import type { SimCloud } from '../sim/cloud.ts';
import type { TestParent } from './parent.ts';

/**
 * Texts that betray a child, with what each is; read off the simulated children as they are now.
 * @param shared ids of flavors and images: the same everywhere, for copies to be known from what a child has of its own
 */
export function childSecrets(parent: TestParent, shared: readonly string[]): Map<string, string> {
  const secrets = new Map<string, string>();
  for (const [name, sim] of Object.entries(parent.sims)) {
    const { auth } = sim.cloudsYamlEntry;
    secrets.set(new URL(sim.authUrl).host, `the address of ${name}`);
    secrets.set(auth.password, `the password of ${name}`);
    for (const [kind, store] of Object.entries(sim.state)) {
      for (const id of idsOf(store)) if (id.length >= 16) secrets.set(id, `one of the ${kind} of ${name}`);
    }
  }
  for (const id of shared) secrets.delete(id);
  return secrets;
}

function idsOf(store: SimCloud['state'][keyof SimCloud['state']]): string[] {
  if (store instanceof Set) return [...store].flatMap((key) => key.split('/'));
  const rows = [...(store as ReadonlyMap<string, unknown>)];
  return rows.flatMap(([key, row]) => {
    const id = (row as { id?: unknown } | null)?.id;
    return [...key.split('/'), ...(typeof id === 'string' ? [id] : [])];
  });
}
