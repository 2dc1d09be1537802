/**
 * A recording proxy before a cloud, which holds each exchange against the published description of its service. The
 * proxy is no part of this project: it is any folder with a proxy.mjs and a report.mjs that take the options used here.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../e2e/harness/place.ts';
import { until } from '../e2e/harness/until.ts';
import type { Target } from './target.ts';

const SERVICES: Readonly<Record<string, string>> = {
  identity: 'identity',
  compute: 'compute',
  network: 'network',
  image: 'image',
  volumev3: 'volume',
  'block-storage': 'volume',
};

interface Mount {
  readonly service: string;
  /** Scheme, host and port. */
  readonly origin: string;
  /** The path before the version, without a slash at its end. */
  readonly path: string;
}

export interface Recorder {
  /** Where Keystone is found behind the proxy. */
  readonly identityUrl: string;
  stop(): Promise<void>;
}

/** Puts the proxy of `tools` before a target; what it records goes to `file`. */
export async function startRecorder(tools: string, target: Target, file: string): Promise<Recorder> {
  const mounts = await mountsOf(target);
  const fronts = new Map<string, string>();
  for (const { origin } of mounts) {
    if (!fronts.has(origin)) fronts.set(origin, `127.0.0.1:${await freePort()}`);
  }
  const args = ['--report', file];
  for (const [origin, front] of fronts)
    args.push('--route', `${front}=${origin}`, '--rewrite', `${origin}=http://${front}`);
  for (const { service, origin, path } of mounts) args.push('--service', `${fronts.get(origin)}${path}/=${service}`);
  const proxy = spawn(process.execPath, [join(tools, 'proxy.mjs'), ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => proxy.once('close', () => resolve()));
  const identity = new URL(target.entry.auth.auth_url);
  const identityUrl = `http://${fronts.get(identity.origin)}${identity.pathname}`;
  try {
    // It reads descriptions of some megabytes first.
    const hasEnded = (): boolean => proxy.exitCode !== null || proxy.signalCode !== null;
    await until('the recording proxy answers', async () => hasEnded() || (await fetch(identityUrl)).ok);
    if (hasEnded()) throw new Error(`the recording proxy ended at once: ${join(tools, 'proxy.mjs')}`);
  } catch (error) {
    proxy.kill('SIGTERM');
    throw error;
  }
  return {
    identityUrl,
    async stop() {
      proxy.kill('SIGTERM');
      await ended;
    },
  };
}

/** Where the target's catalog says that its services are. */
async function mountsOf(target: Target): Promise<Mount[]> {
  interface Catalog {
    readonly catalog: readonly {
      readonly type: string;
      readonly endpoints: readonly { readonly interface: string; readonly url: string }[];
    }[];
  }
  const { body } = await target.api.call<Catalog>({ service: 'identity', method: 'GET', path: '/auth/catalog' });
  return body.catalog.flatMap(({ type, endpoints }) => {
    const service = SERVICES[type];
    const url = endpoints.find((endpoint) => endpoint.interface === 'public')?.url;
    if (service === undefined || url === undefined) return [];
    const { origin, pathname } = new URL(url);
    return [{ service, origin, path: pathname.replace(/\/v\d.*$/, '').replace(/\/$/, '') }];
  });
}

/**
 * Sums up what was recorded.
 * @param known files of departures that a real cloud shows too; they are not counted
 * @param write where the departures are kept as known ones, for the reports that follow
 */
export async function reportOf(
  tools: string,
  file: string,
  options: { readonly known: readonly string[]; readonly write?: string },
): Promise<string> {
  const known = options.known.filter((path) => existsSync(path)).map((path) => readFileSync(path, 'utf8').trim());
  const merged = `${file}.known`;
  writeFileSync(merged, `${known.join('\n')}\n`);
  const write = options.write === undefined ? [] : ['--write-known', options.write];
  const report = spawn(process.execPath, [join(tools, 'report.mjs'), file, '--known', merged, ...write]);
  let output = '';
  report.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  report.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  await new Promise<void>((resolve, reject) => {
    report.once('error', reject);
    report.once('close', () => resolve());
  });
  return output.trim();
}
