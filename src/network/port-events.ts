/** Who is told, in the same transaction, of what happens to ports. */
import type { Tx } from '../db/database.ts';
import type { PortRow } from './port-resource.ts';

export interface PortEvents {
  /** Adds who is told before ports are deleted: what hangs on them (floating IPs) is let go there. */
  onRemoving(listener: (tx: Tx, ports: readonly PortRow[]) => Promise<void>): void;
  removing(tx: Tx, ports: readonly PortRow[]): Promise<void>;
  /** Adds who is told after a port was changed by its owner: what hung on its former addresses is let go there. */
  onUpdated(listener: (tx: Tx, port: PortRow) => Promise<void>): void;
  updated(tx: Tx, port: PortRow): Promise<void>;
  /** Adds who is told before a network is deleted: what holds its addresses and would go with it is let go there. */
  onNetworkRemoving(listener: (tx: Tx, networkId: string, requestId: string) => Promise<void>): void;
  networkRemoving(tx: Tx, networkId: string, requestId: string): Promise<void>;
  /** Adds who is told that addresses or interfaces of servers changed. */
  onServersChanged(listener: (tx: Tx, serverIds: readonly string[]) => Promise<void>): void;
  /** Tells of the servers among the devices given; empty and repeated ids, and other devices' owners, are left out. */
  changed(tx: Tx, ports: readonly Pick<PortRow, 'device_id' | 'device_owner'>[]): Promise<void>;
  /** Tells of these servers. */
  serversChanged(tx: Tx, serverIds: readonly string[]): Promise<void>;
}

export function createPortEvents(): PortEvents {
  const removing: ((tx: Tx, ports: readonly PortRow[]) => Promise<void>)[] = [];
  const updated: ((tx: Tx, port: PortRow) => Promise<void>)[] = [];
  const networkRemoving: ((tx: Tx, networkId: string, requestId: string) => Promise<void>)[] = [];
  const changed: ((tx: Tx, serverIds: readonly string[]) => Promise<void>)[] = [];
  const serversChanged = async (tx: Tx, serverIds: readonly string[]): Promise<void> => {
    if (serverIds.length === 0) return;
    for (const listener of changed) await listener(tx, serverIds);
  };
  return {
    onRemoving: (listener) => void removing.push(listener),
    async removing(tx, ports) {
      for (const listener of removing) await listener(tx, ports);
    },
    onUpdated: (listener) => void updated.push(listener),
    async updated(tx, port) {
      for (const listener of updated) await listener(tx, port);
    },
    onNetworkRemoving: (listener) => void networkRemoving.push(listener),
    async networkRemoving(tx, networkId, requestId) {
      for (const listener of networkRemoving) await listener(tx, networkId, requestId);
    },
    onServersChanged: (listener) => void changed.push(listener),
    async changed(tx, ports) {
      const servers = ports.filter(({ device_id, device_owner }) => device_id !== '' && isServer(device_owner));
      await serversChanged(tx, [...new Set(servers.map(({ device_id }) => device_id))]);
    },
    serversChanged,
  };
}

/** Whether a port's owner is a server. */
const isServer = (deviceOwner: string): boolean => deviceOwner.startsWith('compute:');
