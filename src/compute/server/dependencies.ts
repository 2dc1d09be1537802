/** What servers need of the rest of the house; createCompute hands it in. */
import type { Logger } from 'pino';
import type { Cascade } from '../../cascade/contract.ts';
import type { Db, Queryable } from '../../db/database.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerImages } from '../../image/server-images.ts';
import type { ServerNetworks } from '../../network/server-networks.ts';
import type { QuotaBook } from '../../resource/quota.ts';
import type { ServerVolumes } from '../../volume/server-volumes.ts';
import type { ServerFlavor } from './resource.ts';

export interface ServerFlavors {
  /** The flavor of that id, where the caller may boot with it. */
  find(query: Queryable, context: RequestContext, flavorId: string): Promise<ServerFlavor | undefined>;
}

export interface ServerKeypairs {
  /** A user's key by name; `id` is what its replicas are known by. */
  find(
    query: Queryable,
    userId: string,
    name: string,
  ): Promise<{ readonly id: string; readonly name: string } | undefined>;
}

export interface ServerDependencies {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly network: ServerNetworks;
  readonly volumes: ServerVolumes;
  readonly images: ServerImages;
  readonly flavors: ServerFlavors;
  readonly keypairs: ServerKeypairs;
  readonly quotas: QuotaBook;
  readonly log: Logger;
}
