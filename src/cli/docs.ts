/** `headwater docs`: writes docs/coverage.md from the operations that are served and docs/not-served.yaml. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { RunningCascade } from '../cascade/cascade.ts';
import type { Db } from '../db/database.ts';
import { format } from '../http/microversion.ts';
import type { Operation, Service } from '../http/service.ts';
import { announced } from '../network/extension.ts';
import { NO_TOPOLOGY } from '../network/topology.ts';
import { silentLogger } from './log.ts';
import { builtInIdentity, createServices } from './parent.ts';

export interface Missing {
  readonly what: string;
  readonly paths: readonly string[];
  readonly why: string;
  /** Why, in a word; see `KINDS`. */
  readonly kind?: keyof typeof KINDS;
  /** Extensions of a stock cloud that are not announced for it. */
  readonly extensions?: readonly string[];
}

/** Headings of what is not served; without a kind it is simply not served. */
const KINDS = {
  cascade: 'Not meaningful over a cascade: answers as where the extension is missing',
  newer: 'Newer than the children',
  missing: 'Not part of a stock cloud',
  described: 'Described, but not there in OpenStack either',
};

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The services' operations, made without a database: whoever builds them may not touch it. */
export function describedServices(): Service[] {
  const untouchable = (name: string) =>
    new Proxy({}, { get: (_target, key) => (key === 'register' ? () => undefined : refuse(name, String(key))) });
  const refuse = (name: string, key: string) => (): never => {
    throw new Error(`${name}.${key} was called while the operations were only being described`);
  };
  const db = untouchable('db') as Db;
  const parts = createServices({
    db,
    cascade: untouchable('cascade') as RunningCascade,
    log: silentLogger,
    data_dir: '/nonexistent',
    identity: builtInIdentity({ db, log: silentLogger, data_dir: '/nonexistent', publicUrl: 'http://parent' }),
    topology: NO_TOPOLOGY,
  });
  return [parts.identity, parts.compute, parts.network, parts.volume, parts.image].map((part) => part.service);
}

const read = (folder: string, name: string): unknown => parse(readFileSync(join(folder, name), 'utf8'));

/** What is not served of each service, by the convention's name. */
export const notServed = (folder: string = join(ROOT, 'docs')): Record<string, Missing[]> =>
  read(folder, 'not-served.yaml') as Record<string, Missing[]>;

/** What a stock cloud announces as extensions, by the convention's name. */
export const stockExtensions = (folder: string = join(ROOT, 'docs')): Record<string, string[]> =>
  read(folder, 'stock-extensions.yaml') as Record<string, string[]>;

/** Writes the page; returns how many operations it lists. */
export function writeCoverage(folder: string = join(ROOT, 'docs')): number {
  const missing = notServed(folder);
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
    ...lacking(convention.name, missing),
    ...(convention.name === 'network' ? networkExtensions(missing) : []),
  ].join('\n');
}

function lacking(name: string, missing: readonly Missing[]): string[] {
  const kinds = [undefined, ...(Object.keys(KINDS) as (keyof typeof KINDS)[])];
  return kinds.flatMap((kind) => {
    const rows = missing
      .filter((one) => one.kind === kind)
      .map(({ what, paths, why }) => `| ${what} | ${paths.map((path) => `\`${path}\``).join('<br>')} | ${why} |`);
    if (rows.length === 0) return [];
    const heading = kind === undefined ? `Not served: ${name}` : `${KINDS[kind]}: ${name}`;
    return [`### ${heading}`, '', '| what | paths | why |', '| --- | --- | --- |', ...rows, ''];
  });
}

/** What of a stock cloud's extensions is announced, and why the rest is not. */
function networkExtensions(missing: readonly Missing[]): string[] {
  const stock = new Set(stockExtensions().network);
  const whys = new Map(missing.flatMap(({ extensions = [], why }) => extensions.map((alias) => [alias, why] as const)));
  const ours = announced.map(({ alias, description }) => {
    const note = stock.has(alias) ? '' : ' (more than a stock cloud)';
    return `| \`${alias}\` | announced${note} | ${description} |`;
  });
  const theirs = [...whys].map(([alias, why]) => `| \`${alias}\` | not announced | ${why} |`);
  const both = ours.filter((row) => !row.includes('more than')).length;
  return [
    '### Extensions: network',
    '',
    `Of the ${stock.size} extensions of a stock Zed cloud with ML2/OVN, ${both} are announced.`,
    '',
    '| alias | | what it is, or why it is not announced |',
    '| --- | --- | --- |',
    ...[...ours, ...theirs].toSorted(compare),
    '',
  ];
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
