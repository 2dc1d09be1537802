/** The network side of a machine: see endpoint.py, which does all of it. */
import { join } from 'node:path';
import { startJsonProcess } from '../harness/json-process.ts';
import { type Frame, readFrame } from './frame.ts';

export interface Pings {
  readonly sent: number;
  readonly received: number;
  /** Of each reply, what was left of its TTL (or hop limit): it begins with 64. */
  readonly ttls: readonly number[];
}

/** What a TCP conversation came to: the address by which the service saw the client, or why there was none. */
export type Talk = { readonly seen_as: string } | { readonly failure: string };

export interface Lease {
  readonly address: string;
  readonly prefix: number;
  readonly router: string | null;
  readonly mtu: number | null;
  readonly server: string;
}

export interface Endpoint {
  /** Asks the network's DHCP server for its address, and takes it with router and MTU. */
  lease(): Promise<Lease>;
  configure(addresses: readonly string[], options?: { gateways?: string[]; device?: 'lo' }): Promise<void>;
  /** Its global addresses; `dynamic` are those of routers' announcements. */
  addresses(): Promise<{ address: string; dynamic: boolean }[]>;
  ping(to: string, options?: { count?: number; wait_ms?: number; size?: number }): Promise<Pings>;
  /** Forgets the MACs of its neighbours. */
  forget(): Promise<void>;
  /** Starts a TCP service for `talk`. */
  listen(port: number): Promise<void>;
  /** Connects to another's service and has 100,000 bytes sent there and back. */
  talk(to: string, port: number, options?: { wait_ms?: number }): Promise<Talk>;
  /** The frames of its device since the last time. */
  frames(): Promise<Frame[]>;
  end(): Promise<void>;
}

/** Starts an endpoint on a port of a switch that listens on this socket. */
export async function startEndpoint(socket: string, mac: string): Promise<Endpoint> {
  const script = join(import.meta.dirname, 'endpoint.py');
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };
  const program = startJsonProcess('/usr/bin/python3', [script, socket, mac], env);
  const ask = async <Result>(what: string, values: object = {}): Promise<Result> => {
    const answer = await program.ask<{ result: Result; error?: string }>({ ...values, do: what });
    if (answer.error !== undefined) throw new Error(`${what} ${JSON.stringify(values)}: ${answer.error}`);
    return answer.result;
  };
  await program.ready();
  return {
    lease: () => ask('lease'),
    configure: (addresses, { gateways = [], ...options } = {}) => ask('configure', { addresses, gateways, ...options }),
    addresses: () => ask('addresses'),
    ping: (to, options) => ask('ping', { to, ...options }),
    forget: () => ask('forget'),
    listen: (port) => ask('listen', { port }),
    talk: (to, port, options) => ask('talk', { to, port, ...options }),
    frames: async () => (await ask<{ direction: 'in' | 'out'; frame: string }[]>('frames')).map(readFrame),
    end: () => program.end(),
  };
}
