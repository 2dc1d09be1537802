/** The command line of `npm run tempest`. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const SERVICES = ['network', 'compute', 'identity', 'volume', 'image'] as const;
export type Service = (typeof SERVICES)[number];

export interface Options {
  readonly service: Service;
  /** Which tests, as Tempest's own --regex; by default all of the service's API tests. */
  readonly regex: string;
  /** Whether these are all of the service's. */
  readonly whole: boolean;
  readonly child: boolean;
  readonly parent: boolean;
  /** The outcome at the child is that of testbed/tempest-baseline, and no run. */
  readonly baseline: boolean;
  /** The run at the child goes into testbed/tempest-baseline. */
  readonly writeBaseline: boolean;
  readonly concurrency: number;
  /** Folder of a recording proxy that is put before the clouds; see the README. */
  readonly conformance: string | undefined;
  /** A folder on Python's path with a plugin of Tempest's, whose tests `regex` can name too. */
  readonly plugin: string | undefined;
  /** Where workspaces, logs and results.json go. */
  readonly folder: string;
}

export const USAGE = `npm run tempest -- --service ${SERVICES.join('|')} [options]
  --regex REGEX         only these tests (default: all of the service's API tests)
  --child-only          run at the child and not at the parent
  --parent-only         run at the parent and not at the child
  --baseline            compare with testbed/tempest-baseline instead of a run at the child
  --write-baseline      with --child-only: put the run into testbed/tempest-baseline
  --concurrency N       tests at a time (default 2)
  --conformance FOLDER  put the recording proxy of FOLDER before the clouds and print its report
  --plugin FOLDER       a Python folder with a Tempest plugin, for --regex to name its tests
  --folder FOLDER       for logs and results.json (default /var/tmp/headwater-tempest)`;

/** A command line that cannot be meant. */
export class UsageError extends Error {}

/**
 * @throws UsageError, with what is wrong in one line, for a command line that cannot be meant
 */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      service: { type: 'string' },
      regex: { type: 'string' },
      'child-only': { type: 'boolean', default: false },
      'parent-only': { type: 'boolean', default: false },
      baseline: { type: 'boolean', default: false },
      'write-baseline': { type: 'boolean', default: false },
      concurrency: { type: 'string', default: '2' },
      conformance: { type: 'string' },
      plugin: { type: 'string' },
      folder: { type: 'string', default: '/var/tmp/headwater-tempest' },
    },
  });
  const service = SERVICES.find((name) => name === values.service);
  if (service === undefined) throw new UsageError(`--service must be one of ${SERVICES.join(', ')}`);
  const concurrency = Number(values.concurrency);
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 16) {
    throw new UsageError('--concurrency must be a number from 1 to 16');
  }
  const childOnly = values['child-only'];
  const parentOnly = values['parent-only'];
  if (childOnly && (parentOnly || values.baseline)) throw new UsageError('--child-only leaves nothing to compare with');
  if (values['write-baseline'] && !childOnly) {
    throw new UsageError('--write-baseline goes with --child-only');
  }
  const conformance = values.conformance === undefined ? undefined : resolve(values.conformance);
  if (conformance !== undefined && !existsSync(join(conformance, 'proxy.mjs'))) {
    throw new UsageError(`--conformance: there is no proxy.mjs in ${conformance}`);
  }
  return {
    service,
    whole: values.regex === undefined,
    regex: values.regex ?? `^tempest\\.api\\.${service}\\.`,
    child: !parentOnly && !values.baseline,
    parent: !childOnly,
    baseline: values.baseline,
    writeBaseline: values['write-baseline'],
    concurrency,
    conformance,
    plugin: values.plugin === undefined ? undefined : resolve(values.plugin),
    folder: resolve(values.folder),
  };
}
