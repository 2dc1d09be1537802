/** The children's Open vSwitches: what they are joined by, and endpoints on their ports. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TESTBED_HOME } from '../harness/testbed.ts';
import { type Endpoint, startEndpoint } from './endpoint.ts';

const CLOUDS = ['child1', 'child2'] as const;
export type Cloud = (typeof CLOUDS)[number];

/** What is between the sites: a port of each child's bridge of the physical network, and a wire between the two. */
const WAN = 'headwater-wan';
/** Where a child's external network is left. */
const OUTSIDE = 'headwater-out';

const run = promisify(execFile);
const folderOf = (cloud: Cloud): string => join(TESTBED_HOME, cloud, 'ovn', 'host1');
const socketOf = (cloud: Cloud, device: string): string => join(folderOf(cloud), `${device}.sock`);

/** Runs a command about a child's switch; where it fails, the error has the switch's last words. */
async function control(cloud: Cloud, command: string, ...args: string[]): Promise<string> {
  try {
    return (await run(command, ['--timeout=30', ...args])).stdout.trim();
  } catch (cause) {
    // Both commands wait in vain for a switch that has died.
    const log = await readFile(join(TESTBED_HOME, cloud, 'log', 'ovs-vswitchd1.log'), 'utf8').catch(() => '');
    throw new Error(`${command} ${args.join(' ')} in ${cloud}; its switch says: ${log.slice(-1000)}`, { cause });
  }
}

const vsctl = (cloud: Cloud, ...args: string[]): Promise<string> =>
  control(cloud, 'ovs-vsctl', `--db=unix:${join(folderOf(cloud), 'db.sock')}`, ...args);

/** Joins the children's physical networks by a wire, and gives their external networks a way out. Twice: as once. */
export async function joinClouds(): Promise<void> {
  await partClouds();
  const wire = socketOf('child1', WAN);
  await addPort('child1', 'br-physnet1', WAN, `options:pstream=punix:${wire}`);
  await addPort('child2', 'br-physnet1', WAN, `options:stream=unix:${wire}`);
  for (const cloud of CLOUDS) {
    await addPort(cloud, 'br-ex', OUTSIDE);
    await setZeroSnat(cloud, false);
  }
}

const addPort = (cloud: Cloud, bridge: string, port: string, ...options: string[]) =>
  vsctl(cloud, 'add-port', bridge, port, '--', 'set', 'Interface', port, 'type=dummy', ...options);

/** Takes the ports away again. Twice: nothing. */
export async function partClouds(): Promise<void> {
  for (const cloud of CLOUDS) {
    for (const port of [WAN, OUTSIDE]) await vsctl(cloud, '--if-exists', 'del-port', port);
    await setZeroSnat(cloud, true);
  }
}

/**
 * Whether OVN has connections tracked with a translation that changes nothing, against collisions. The user-space
 * connection tracking of Open vSwitch 3.1 knows such a connection by two entries of one hash, and now and then takes the
 * wrong one for the connection itself and ends (`conn_update_state`). What it can do is in its database, where OVN reads
 * it; the switch writes it when it starts.
 */
async function setZeroSnat(cloud: Cloud, value: boolean): Promise<void> {
  const datapath = await vsctl(cloud, 'get', 'Open_vSwitch', '.', 'datapaths:dummy');
  await vsctl(cloud, 'set', 'Datapath', datapath, `capabilities:ct_zero_snat=${value}`);
}

/** Puts an endpoint on a device of the child's switch. */
export async function plug(cloud: Cloud, device: string, mac: string): Promise<Endpoint> {
  const socket = socketOf(cloud, device);
  await vsctl(cloud, 'set', 'Interface', device, `options:pstream=punix:${socket}`);
  return startEndpoint(socket, mac);
}

/** What is beyond the child's external network. */
export const plugOutside = (cloud: Cloud): Promise<Endpoint> => plug(cloud, OUTSIDE, '02:00:00:00:00:01');

/** Waits until the child's OVN has put into its switch what its Neutron told it. */
export const settled = (cloud: Cloud): Promise<string> =>
  control(
    cloud,
    'ovn-nbctl',
    '--no-leader-only',
    `--db=unix:${join(TESTBED_HOME, cloud, 'ovn', 'nb.sock')}`,
    '--wait=hv',
    'sync',
  );
