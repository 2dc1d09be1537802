/** What a child holds, and what it was asked: seen from the child itself. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { api, list } from './rest.ts';
import { stage } from './stage.ts';
import { keyOf, type Leftover, leftovers, TESTBED_HOME } from './testbed.ts';
import { until } from './until.ts';

/**
 * Waits until the children hold nothing that was not there before the run, but for the kinds named in `except`.
 * @throws Error listing what is left
 */
export async function nothingLeft(options: { except?: readonly string[]; timeout_ms?: number } = {}): Promise<void> {
  let left: Record<string, Leftover[]> = {};
  await until(
    'the children hold nothing of ours',
    async () => {
      left = await ours(options.except);
      if (Object.keys(left).length > 0) throw new Error(JSON.stringify(left, null, 1));
      return true;
    },
    { timeout_ms: options.timeout_ms ?? 180_000, every_ms: 2_000 },
  );
}

/**
 * What the children hold that was not there before: `child1 server` and the like, with the objects. The projects of
 * tenants that the parent still has, its administrators' too, are there to stay.
 */
export async function ours(except: readonly string[] = []): Promise<Record<string, Leftover[]>> {
  const tenants = new Set((await list(api('admin'), 'identity', '/projects', 'projects')).map(({ id }) => id));
  const isMirrored = (kind: string, item: Leftover) => kind === 'project' && tenants.has(item.name ?? '');
  const found = Object.entries(await leftovers('child1', 'child2')).flatMap(([cloud, kinds]) =>
    Object.entries(kinds)
      .filter(([kind]) => !except.includes(kind))
      .map(([kind, items]): [string, Leftover[]] => [
        `${cloud} ${kind}`,
        items.filter((item) => !isMirrored(kind, item) && !stage.before[cloud]?.includes(keyOf(kind, item))),
      ]),
  );
  return Object.fromEntries(found.filter(([, items]) => items.length > 0));
}

const API_LOGS = ['nova-api', 'glance-api', 'neutron-server', 'cinder-api'] as const;

/** The ends of a child's API logs at one moment. */
export type LogMark = Readonly<Record<string, number>>;

const logOf = (cloud: string, name: string): string => join(TESTBED_HOME, cloud, 'log', `${name}.log`);

export const markLogs = (cloud: string): LogMark =>
  Object.fromEntries(API_LOGS.map((name) => [name, statSync(logOf(cloud, name)).size]));

/** What the child's APIs were asked since the mark, from their own logs: `POST /v2.1/servers`, without queries. */
export function requestsSince(cloud: string, mark: LogMark): string[] {
  return API_LOGS.flatMap((name) => {
    const log = readFileSync(logOf(cloud, name)).subarray(mark[name]).toString('utf8');
    return [...log.matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\/[^ ?"]*)[^ "]* HTTP\/1\.[01]"/g)].map(
      ([, method, path]) => `${method} ${path}`,
    );
  });
}
