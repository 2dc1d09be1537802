/** The volume service: Cinder's API, and its proxies in the children. */
import type { Logger } from 'pino';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { volume as convention } from '../http/conventions.ts';
import type { Service } from '../http/service.ts';
import type { ServerImages } from '../image/server-images.ts';
import { adminOperations } from './admin-operations.ts';
import { hostedFeed } from './feed.ts';
import { hostedKind } from './proxy.ts';
import { quotaOperations } from './quota-operations.ts';
import type { ServerVolumes } from './server-volumes.ts';
import { snapshotOperations } from './snapshot/operations.ts';
import { snapshotProxy } from './snapshot/proxy.ts';
import { typeOperations } from './type/operations.ts';
import { volumeActions } from './volume/actions.ts';
import { forServers } from './volume/for-servers.ts';
import { volumeOperations } from './volume/operations.ts';
import { volumeProxy } from './volume/proxy.ts';
import { RESTING, type VolumeCore } from './volume/volume.ts';

export interface VolumeDependencies {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly images: ServerImages;
  readonly log: Logger;
}

const SNAPSHOTS_REST_IN = ['available', 'error', 'error_deleting'];

/**
 * Makes the service and registers its kinds and feeds with cascading; asks nothing of the database.
 * @returns the API, and what compute may ask of volumes
 */
export function createVolume({ db, cascade, images }: VolumeDependencies): {
  readonly service: Service;
  readonly serverVolumes: ServerVolumes;
} {
  const listeners: ((tx: Tx, serverIds: readonly string[]) => Promise<void>)[] = [];
  const core: VolumeCore = {
    db,
    cascade,
    images,
    async attachmentsChanged(tx, serverIds) {
      for (const listener of listeners) await listener(tx, serverIds);
    },
  };
  const volumes = volumeProxy(core);
  cascade.register({ hosted: hostedKind(volumes), feed: hostedFeed(volumes, RESTING) });
  cascade.register({ hosted: hostedKind(snapshotProxy), feed: hostedFeed(snapshotProxy, SNAPSHOTS_REST_IN) });
  return {
    service: {
      convention,
      operations: [
        ...volumeOperations(core),
        ...volumeActions(core),
        ...snapshotOperations(core),
        ...typeOperations(core),
        ...quotaOperations(core),
        ...adminOperations(core),
      ],
    },
    serverVolumes: { ...forServers(core), onChange: (listener) => void listeners.push(listener) },
  };
}
