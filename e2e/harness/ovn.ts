/** What a child's switch is told: OVN's northbound database, as the child's own Neutron wrote it. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TESTBED_HOME } from './testbed.ts';

const run = promisify(execFile);

/** One command of `ovn-nbctl`, and what it printed. */
export async function northbound(cloud: 'child1' | 'child2', ...args: string[]): Promise<string> {
  const database = `unix:${join(TESTBED_HOME, cloud, 'ovn', 'nb.sock')}`;
  return (await run('ovn-nbctl', ['--no-leader-only', '--timeout=30', `--db=${database}`, ...args])).stdout;
}

/**
 * Whom a security group lets in: the matches of its ACLs towards its ports, without the ports themselves, sorted:
 * `ip4 && ip4.src == 10.0.0.5/32 && tcp && tcp.dst == 5432`.
 * @param id of the child's own
 */
export async function letIn(cloud: 'child1' | 'child2', id: string): Promise<string[]> {
  const listed = await northbound(cloud, 'acl-list', `pg_${id.replaceAll('-', '_')}`);
  return [...listed.matchAll(/^ *to-lport +\d+ \(outport == @\S+ && (.*)\) allow/gm)]
    .map(([, match = '']) => match)
    .sort();
}
