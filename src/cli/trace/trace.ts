/** `headwater network trace`: why does this traffic not flow? */
import type { Db } from '../../db/database.ts';
import type { Trace, TraceKind } from '../../network/trace/contract.ts';
import { trace } from '../../network/trace/trace.ts';
import { createCloudClient } from '../../openstack/client.ts';
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import { type Config, ConfigError, readConfig } from '../config.ts';
import { withDatabase } from '../database.ts';
import { entryOf } from '../parent.ts';
import { printTrace } from './print.ts';

export const TRACE_KINDS: readonly TraceKind[] = ['router', 'network', 'port'];

export interface TraceOptions {
  readonly config: string;
  readonly json?: boolean;
}

/**
 * Prints an object of the parent and its copies in the children.
 * @returns the exit status: 1 where something is not as it should be, or a child could not be asked
 * @throws ConfigError for what is wrong with the configuration, and for an object that the parent does not have
 */
export async function printedTrace(kind: string, id: string, options: TraceOptions): Promise<number> {
  const known = TRACE_KINDS.find((one) => one === kind);
  if (known === undefined) throw new ConfigError(`there is no tracing a ${kind}; name a ${TRACE_KINDS.join(', ')}`);
  const config = readConfig(options.config);
  const found = await withDatabase(config, (db) => traced(db, config, known, id));
  process.stdout.write(options.json === true ? `${JSON.stringify(found, undefined, 2)}\n` : printTrace(found));
  return found.differences > 0 || found.children.some(({ unreachable }) => unreachable !== null) ? 1 : 0;
}

/** @throws ConfigError where the parent has no such object */
export async function traced(
  db: Db,
  config: Pick<Config, 'children' | 'topology'>,
  kind: TraceKind,
  id: string,
  { clouds, login_ms }: { readonly clouds?: Readonly<Record<string, CloudEntry>>; readonly login_ms?: number } = {},
): Promise<Trace> {
  const apis = new Map(
    config.children.map((child) => [
      child.name,
      createCloudClient({
        entry: entryOf(child.cloud, clouds),
        name: child.name,
        concurrency: 4,
        timeout_ms: child.timeout_ms,
      }),
    ]),
  );
  try {
    const { query } = db;
    const { topology } = config;
    const found = await trace({ query, apis, topology, ...(login_ms === undefined ? {} : { login_ms }) }, kind, id);
    if (found === undefined) throw new ConfigError(`the parent has no ${kind} ${id}`);
    return found;
  } finally {
    await Promise.all([...apis.values()].map((api) => api.close()));
  }
}
