/** The compute service: servers, and all that is beside them. */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Queryable, Tx } from '../db/database.ts';
import { compute as convention } from '../http/conventions.ts';
import { badRequest, Fault } from '../http/fault.ts';
import { callsInto } from '../http/inner-call.ts';
import type { Operation, RequestContext, Service } from '../http/service.ts';
import type { ServerImages } from '../image/server-images.ts';
import type { ServerNetworks } from '../network/server-networks.ts';
import type { ServerVolumes } from '../volume/server-volumes.ts';
import { computeAdminOperations, computeAdminRules, registerComputeKinds } from './admin.ts';
import { consoleOperations } from './console/operations.ts';
import { attachConsoleRelay } from './console/relay.ts';
import { visibleFlavor } from './flavor/flavor.ts';
import { forwardedOperations } from './forwarded/index.ts';
import { deleteKeypairsOf, findKeypair } from './keypair/keypair.ts';
import { computeQuotas } from './quota-set/quotas.ts';
import { createServers, owned, type ServerDependencies, type ServerFlavor } from './server/index.ts';

export { computeQuotas } from './quota-set/quotas.ts';
export { serverStore } from './server/index.ts';

export interface ComputeServices {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly network: ServerNetworks;
  readonly volumes: ServerVolumes;
  readonly images: ServerImages;
  /** The services that Nova hands old operations of its own on to. */
  readonly others: { readonly network: Service; readonly volume: Service; readonly image: Service };
  readonly projectExists?: (query: Queryable, projectId: string) => Promise<boolean>;
  readonly log: Logger;
}

/** Puts the service together and registers its kinds and feeds with cascading; reads and writes nothing yet. */
export function createCompute(services: ComputeServices): {
  readonly service: Service;
  /** Gives the HTTP server what is no operation: the relay of consoles. */
  attach(server: FastifyInstance): void;
  /** In the transaction that deletes a user: what was only theirs goes too. */
  userDeleted(tx: Tx, userId: string): Promise<void>;
} {
  const { db, cascade, network, volumes, images, others, projectExists, log } = services;
  registerComputeKinds(cascade);
  const quotas = computeQuotas();
  const dependencies: ServerDependencies = {
    db,
    cascade,
    network,
    volumes,
    images,
    log,
    quotas,
    flavors: { find: findFlavor },
    keypairs: { find: findKeypair },
  };
  const servers = createServers(dependencies);
  const forwarded = forwardedOperations(dependencies, {
    network: callsInto(others.network),
    volume: callsInto(others.volume),
    image: callsInto(others.image),
    db,
    quotas,
  });
  const admin = computeAdminOperations({
    db,
    cascade,
    images: (query, context, id) =>
      images.resolve(query, context, id).catch((error: unknown) => {
        throw error instanceof Fault && error.status === 404 ? badRequest(error.message) : error;
      }),
    ...(projectExists === undefined ? {} : { projectExists }),
  });
  const operations = [...servers.operations, ...consoleOperations(dependencies), ...admin, ...forwarded].map((one) =>
    owned(dependencies, one),
  );
  return {
    service: {
      convention,
      operations: [...operations, ...operations.flatMap(bootedFromVolume)],
      rules: [...servers.rules, ...computeAdminRules],
    },
    attach: (server) => attachConsoleRelay(server, { db, log }),
    userDeleted: (tx, userId) => deleteKeypairsOf(tx, cascade, userId),
  };
}

const ACTIONS = '/servers/:server_id/action';

/** Nova takes actions of servers where old clients boot from volumes, too. */
const bootedFromVolume = (one: Operation): Operation[] =>
  one.path === ACTIONS ? [{ ...one, path: ACTIONS.replace('/servers', '/os-volumes_boot') }] : [];

async function findFlavor(query: Queryable, context: RequestContext, id: string): Promise<ServerFlavor | undefined> {
  try {
    const { name, vcpus, ram, disk, ephemeral, swap, extra_specs, ...flavor } = await visibleFlavor(query, context, id);
    return { id: flavor.id, name, vcpus, ram, disk, ephemeral, swap, extra_specs };
  } catch (error) {
    if (error instanceof Fault && error.status === 404) return undefined;
    throw error;
  }
}
