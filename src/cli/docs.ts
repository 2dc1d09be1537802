/** `headwater docs`: writes docs/coverage.md from the operations that are served and docs/not-served.yaml. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { RunningCascade } from '../cascade/cascade.ts';
import type { Db } from '../db/database.ts';
import { format } from '../http/microversion.ts';
import type { Operation, Service } from '../http/service.ts';
import { NO_TOPOLOGY } from '../network/topology.ts';
import { silentLogger } from './log.ts';
import { createServices } from './parent.ts';

interface Missing {
  readonly what: string;
  readonly paths: readonly string[];
  readonly why: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The services' operations, made without a database: whoever builds them may not touch it. */
export function describedServices(): Service[] {
  const untouchable = (name: string) =>
    new Proxy({}, { get: (_target, key) => (key === 'register' ? () => undefined : refuse(name, String(key))) });
  const refuse = (name: string, key: string) => (): never => {
    throw new Error(`${name}.${key} was called while the operations were only being described`);
  };
  const parts = createServices({
    db: untouchable('db') as Db,
    cascade: untouchable('cascade') as RunningCascade,
    log: silentLogger,
    data_dir: '/nonexistent',
    publicUrl: 'http://parent',
    topology: NO_TOPOLOGY,
  });
  return [parts.identity, parts.compute, parts.network, parts.volume, parts.image].map((part) => part.service);
}

/** Writes the page; returns how many operations it lists. */
export function writeCoverage(folder: string = join(ROOT, 'docs')): number {
  const missing = parse(readFileSync(join(folder, 'not-served.yaml'), 'utf8')) as Record<string, Missing[]>;
  const services = describedServices();
  const pages = services.map((service) => section(service, missing[service.convention.name] ?? []));
  const count = services.reduce((sum, service) => sum + service.operations.length, 0);
  writeFileSync(join(folder, 'coverage.md'), `${INTRODUCTION}${pages.join('\n')}`);
  return count;
}

const INTRODUCTION = `# Coverage

Which operations of each API are served, and which are not and why. Written by \`npm run docs\` from the operations
themselves and from docs/not-served.yaml; do not edit by hand.

Whatever is not listed as served answers 404 in the service's own form, as OpenStack does for an extension that is not
there.
`;

function section(service: Service, missing: readonly Missing[]): string {
  const { convention, operations } = service;
  const range = convention.microversions;
  const versions =
    range === undefined ? '' : ` (microversions ${format(range, range.minimum)} to ${format(range, range.maximum)})`;
  const rows = operations
    .toSorted((one, other) => compare(one.path, other.path) || compare(one.method, other.method))
    .map(
      (op) =>
        `| ${op.method} | \`${op.path}\`${op.action === undefined ? '' : ` \`${op.action}\``} | ${span(service, op)} | ${rule(op)} | ${op.summary} |`,
    );
  const lacks = missing.map(
    ({ what, paths, why }) => `| ${what} | ${paths.map((path) => `\`${path}\``).join('<br>')} | ${why} |`,
  );
  return [
    '',
    `## ${convention.name}${versions}`,
    '',
    `${operations.length} operations below \`/${convention.name}${convention.root}\`.`,
    '',
    '| method | path and action | since | policy | |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
    `### Not served: ${convention.name}`,
    '',
    '| what | paths | why |',
    '| --- | --- | --- |',
    ...lacks,
    '',
  ].join('\n');
}

const compare = (one: string, other: string): number => (one < other ? -1 : Number(one > other));

function span({ convention }: Service, op: Operation): string {
  const range = convention.microversions;
  if (range === undefined || (op.since === undefined && op.until === undefined)) return '';
  const until = op.until === undefined ? '' : ` to ${format(range, op.until)}`;
  return `${format(range, op.since ?? range.minimum)}${until}`;
}

function rule(op: Operation): string {
  return op.policy === 'none' ? 'no token needed' : `\`${op.policy.name}\``;
}
