/** `headwater check`: what a child must offer, in executable form. */
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import { type Config, ConfigError, readConfig } from '../config.ts';
import { entryOf } from '../parent.ts';
import { terminalWidth } from '../terminal.ts';
import { checkChild } from './child.ts';
import { type ChildReport, isWhole } from './finding.ts';
import { printReports } from './print.ts';

export interface CheckOptions {
  readonly config: string;
  readonly json?: boolean;
  /** Makes a network on a free VLAN of each range in each child, and takes it away again. */
  readonly try?: boolean;
}

/**
 * Walks the children and prints what was found.
 * @param names of the children; all where none is named
 * @returns the exit status: 1 where something essential is missing
 * @throws ConfigError for what is wrong with the configuration
 */
export async function check(names: readonly string[], options: CheckOptions): Promise<number> {
  const reports = await checkChildren(readConfig(options.config), names, { tries: options.try === true });
  const text =
    options.json === true
      ? `${JSON.stringify({ whole: isWhole(reports), children: reports }, undefined, 2)}\n`
      : printReports(reports, terminalWidth());
  process.stdout.write(text);
  return isWhole(reports) ? 0 : 1;
}

/** The reports of the children named, side by side. @throws ConfigError for a name or a cloud that there is not */
export async function checkChildren(
  config: Config,
  names: readonly string[],
  { tries = false, clouds }: { readonly tries?: boolean; readonly clouds?: Readonly<Record<string, CloudEntry>> } = {},
): Promise<ChildReport[]> {
  const children = config.children.map(({ name }) => name);
  const strange = names.find((name) => !children.includes(name));
  if (strange !== undefined) {
    throw new ConfigError(`the configuration has no child ${strange} (it has: ${children.join(', ')})`);
  }
  const wanted = config.children.filter(({ name }) => names.length === 0 || names.includes(name));
  const entries = wanted.map((child) => ({ child, entry: entryOf(child.cloud, clouds) }));
  const keystoneUrl = config.keystone?.url;
  return Promise.all(
    entries.map(({ child, entry }) =>
      checkChild({ child, entry, topology: config.topology, children, tries, keystoneUrl }),
    ),
  );
}
