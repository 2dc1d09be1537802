/** Asks children what they show, each with little patience: a trace is for when something is the matter. */
import type { CloudApi } from '../../openstack/contract.ts';
import type { TraceChild } from './contract.ts';

/** An object as a child shows it, in Neutron's names. */
export type Shown = Readonly<Record<string, unknown>>;

/** What came of asking for one object. `undefined` body: the child does not have it. */
export type Asked = { readonly answered: true; readonly body: Shown | undefined } | { readonly answered: false };

export interface Asker {
  /** One object, e.g. `/ports/ID`, whose body stands under `key`. */
  show(child: string, path: string, key: string): Promise<Asked>;
  /** A list, of one page; undefined where the child could not be asked. */
  list(
    child: string,
    path: string,
    key: string,
    query: Readonly<Record<string, string | readonly string[]>>,
  ): Promise<readonly Shown[] | undefined>;
  /** How the children that were asked answered. */
  children(names: readonly string[]): Promise<TraceChild[]>;
}

const LOGIN_MS = 5000;
const CALL_MS = 4000;

/**
 * @param apis of the children, by name
 * @param login_ms how long a child may take to let us in, after which it counts as unreachable
 */
export function createAsker(apis: ReadonlyMap<string, CloudApi>, login_ms = LOGIN_MS): Asker {
  const reached = new Map<string, Promise<string | undefined>>();
  const failed = new Map<string, string>();

  async function login(child: string): Promise<string | undefined> {
    const api = apis.get(child);
    if (api === undefined) return 'it is not in the configuration';
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`no answer within ${login_ms / 1000} s`), login_ms);
    });
    const tried = api.account().then(() => undefined, reasonOf);
    return Promise.race([tried, late]).finally(() => clearTimeout(timer));
  }

  async function get(child: string, path: string, query?: Readonly<Record<string, string | readonly string[]>>) {
    let way = reached.get(child);
    if (way === undefined) {
      way = login(child);
      reached.set(child, way);
    }
    const api = apis.get(child);
    if ((await way) !== undefined || failed.has(child) || api === undefined) return undefined;
    try {
      const call = { service: 'network', method: 'GET', path, timeout_ms: CALL_MS, accept: [404] } as const;
      return await api.call<Record<string, unknown>>(query === undefined ? call : { ...call, query });
    } catch (error) {
      // One that stopped answering meanwhile is not waited for again.
      failed.set(child, reasonOf(error));
      return undefined;
    }
  }

  return {
    async show(child, path, key) {
      const answer = await get(child, path);
      if (answer === undefined) return { answered: false };
      return { answered: true, body: answer.status === 404 ? undefined : (answer.body[key] as Shown) };
    },
    async list(child, path, key, query) {
      const answer = await get(child, path, query);
      return answer === undefined || answer.status === 404 ? undefined : (answer.body[key] as Shown[]);
    },
    async children(names) {
      return Promise.all(
        names.map(async (name) => ({ name, unreachable: (await reached.get(name)) ?? failed.get(name) ?? null })),
      );
    },
  };
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
