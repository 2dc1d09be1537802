/** Puts cascading together: the children, their lanes of work, their feeds, and what services use of all that. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Db, Lock } from '../db/database.ts';
import type { CloudApi } from '../openstack/contract.ts';
import { createChildren } from './children.ts';
import type {
  Cascade,
  ChildConfig,
  ChildContext,
  Feed,
  HostedKind,
  Progress,
  ReplicaKind,
  ReplicaReference,
} from './contract.ts';
import { type Lane, startLane } from './lane.ts';
import { startMonitor } from './monitor.ts';
import { projectKind, scopeOf } from './project.ts';
import { isCloudAdmin } from './rights.ts';
import { createReplicas, Gone } from './replicas.ts';
import { processLock, releaseDead, sweep } from './sweep.ts';
import { type Sync, startSync } from './sync.ts';
import { backlog, dueNow, retireReplicas, want, wantReplicas } from './work.ts';

export interface CascadeOptions {
  readonly db: Db;
  readonly log: Logger;
  readonly children: readonly { readonly config: ChildConfig; readonly api: CloudApi }[];
  /** Pieces of work under way at once in a child. */
  readonly lane_concurrency?: number;
  /** Told of every look at a child, for the metrics. */
  readonly observe?: (child: string, state: { up: boolean; backlog: number }) => void;
  readonly random?: () => number;
  /** Where servers and volumes go that name no zone, unless what they need lies elsewhere. */
  readonly default_zone?: string | undefined;
}

export interface RunningCascade extends Cascade {
  /** Starts this process's proxies: workers, feeds and health checks. An API-only process never calls it. */
  start(): Promise<void>;
  /** Ends them, waiting a little for what is under way. The children's clients are closed. */
  stop(): Promise<void>;
}

const CHANNEL = 'headwater_work';
const NOTIFY_EVERY_MS = 20;
const SWEEP_EVERY_MS = 10 * 60_000;
const REAP_EVERY_MS = 5000;
const STOP_PATIENCE_MS = 5000;

/** Makes the cascade of a process; kinds are registered before `start`. */
export async function createCascade(options: CascadeOptions): Promise<RunningCascade> {
  const { db, log } = options;
  const process = randomUUID();
  const apis = new Map(options.children.map(({ config, api }) => [config.name, api]));
  const configs = new Map(options.children.map(({ config }) => [config.name, config]));
  const replicated = new Map<string, ReplicaKind<{ revision: number }>>([[projectKind.kind, projectKind as never]]);
  const hosted = new Map<string, HostedKind>();
  const feeds: Feed[] = [];
  const children = createChildren(db, [...configs.values()], options);
  const replicas = createReplicas(db, replicated, process);
  const lanes = new Map<string, Lane>();
  const syncs = new Map<string, Sync>();
  const stops: (() => Promise<unknown>)[] = [];
  const announced = new Map<string, NodeJS.Timeout>();

  await children.configure();

  function context(child: string, requestId?: string, note?: (use: ReplicaReference) => void): ChildContext {
    const api = apis.get(child);
    const config = configs.get(child);
    if (api === undefined || config === undefined) throw new Error(`no child is configured as ${child}`);
    const self: ChildContext = {
      child,
      tenancy: config.tenancy,
      api: requestId === undefined ? api : withRequestId(api, requestId),
      db,
      log: requestId === undefined ? log : log.child({ request_id: requestId }),
      requestId,
      scope: (projectId) => scopeOf(config, self, projectId),
      scopeOfExisting: (projectId) =>
        scopeOf(config, self, projectId).catch((error: unknown) => {
          if (error instanceof Gone) return {};
          throw error;
        }),
      async ensure(kind, id) {
        note?.({ kind, id });
        return replicas.ensure(self, kind, id);
      },
      noting: (other) => context(child, requestId, other),
      recheck: (kind, id) => replicas.recheck(self, kind, id),
      async childId(kind, id) {
        const row = await db.query
          .selectFrom('replicas')
          .select('child_id')
          .where('kind', '=', kind)
          .where('resource_id', '=', id)
          .where('child', '=', child)
          .executeTakeFirst();
        return row?.child_id ?? undefined;
      },
      async parentIds(kind, childIds) {
        if (childIds.length === 0) return new Map();
        const rows = await db.query
          .selectFrom('replicas')
          .select(['child_id', 'resource_id'])
          .where('kind', '=', kind)
          .where('child', '=', child)
          .where('child_id', 'in', [...childIds])
          .execute();
        return new Map(rows.map((row) => [row.child_id as string, row.resource_id]));
      },
      childZone: (zone) => children.childZone(child, zone),
    };
    return self;
  }

  async function perform(childContext: ChildContext, kind: string, id: string): Promise<Progress> {
    const own = hosted.get(kind);
    if (own !== undefined) return own.reconcile(childContext, id);
    if (!replicas.has(kind)) throw new Error(`work of an unknown kind: ${kind}`);
    try {
      await replicas.advance(childContext, kind, id);
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
    }
    return 'done';
  }

  /** Other processes hear of it too, at most every few milliseconds; a notification lost costs them a poll. */
  function announce(child: string): void {
    if (announced.has(child)) return;
    const timer = setTimeout(() => {
      announced.delete(child);
      db.notify(db.query, CHANNEL, child).catch(() => undefined);
    }, NOTIFY_EVERY_MS);
    announced.set(child, timer);
  }

  function poke(child?: string): void {
    for (const name of child === undefined ? apis.keys() : [child]) {
      lanes.get(name)?.wake();
      announce(name);
    }
  }

  async function startChild(name: string, api: CloudApi): Promise<void> {
    const rebuild = () => sweep(db, name, replicated.values(), hosted.values()).then(() => lanes.get(name)?.wake());
    const sync = startSync({ db, log, child: name, api, feeds, context: () => context(name), leading: rebuild });
    syncs.set(name, sync);
    const lane = startLane({
      db,
      log,
      child: name,
      api,
      process,
      concurrency: options.lane_concurrency ?? 24,
      context,
      perform,
      performed: () => sync.expect(),
    });
    lanes.set(name, lane);
    const sweeping = setInterval(
      () => void rebuild().catch((err: unknown) => log.error({ err }, 'the sweep failed')),
      SWEEP_EVERY_MS,
    );
    const stopMonitor = startMonitor({
      child: name,
      api,
      log,
      seen: async (up, changed) => {
        // What the token says; a child that issues none shows it when it does.
        const isAdmin = up ? await isCloudAdmin(api).catch(() => undefined) : undefined;
        await children.seen(name, up, isAdmin);
        if (up && changed) {
          await dueNow(db.query, name);
          lane.wake();
          sync.expect();
        }
        options.observe?.(name, { up, backlog: await backlog(db.query, name) });
      },
    });
    stops.push(
      async () => clearInterval(sweeping),
      stopMonitor,
      () => sync.stop(),
      () => lane.stop(STOP_PATIENCE_MS),
    );
  }

  return {
    db,
    log,
    register(kind) {
      if (kind.replica !== undefined) replicated.set(kind.replica.kind, kind.replica as never);
      if (kind.hosted !== undefined) hosted.set(kind.hosted.kind, kind.hosted);
      if (kind.feed !== undefined) feeds.push(kind.feed);
    },
    children: children.list,
    child: (name) => apis.get(name),
    zones: children.zones,
    setZones: children.setZones,
    proxies: children.proxies,
    setProxy: children.setProxy,
    setCapacity: children.setCapacity,
    schedule: children.schedule,
    want: (tx, child, kind, id, wanted = {}) => want(tx, child, kind, id, wanted),
    revise: (tx, kind, id, wanted = {}) => wantReplicas(tx, kind, id, wanted),
    retire: (tx, kind, id, wanted = {}) => retireReplicas(tx, kind, id, wanted),
    async wantReplica(tx, child, kind, id, wanted = {}) {
      await sql`insert into replicas (kind, resource_id, child) values (${kind}, ${id}, ${child})
        on conflict (kind, resource_id, child) do update set retiring = false where replicas.retiring`.execute(tx);
      await want(tx, child, kind, id, wanted);
    },
    async replicasOf(query, kind, id) {
      return query
        .selectFrom('replicas')
        .select(['kind', 'resource_id', 'child', 'child_id', 'revision', 'detail'])
        .where('kind', '=', kind)
        .where('resource_id', '=', id)
        .where('retiring', '=', false)
        .execute();
    },
    poke,
    expect: (child) => syncs.get(child)?.expect(),
    context,
    async start() {
      const alive = await db.tryLock(processLock(process));
      if (alive === undefined) throw new Error('the lock of this process is taken, which cannot be');
      await releaseDead(db, process);
      const reaping = setInterval(() => void releaseDead(db, process).catch(() => undefined), REAP_EVERY_MS);
      const unlisten = await db.listen(CHANNEL, (child) => {
        for (const name of child === '' ? lanes.keys() : [child]) {
          lanes.get(name)?.wake();
          syncs.get(name)?.expect();
        }
      });
      for (const [name, api] of apis) await startChild(name, api);
      stops.push(
        async () => clearInterval(reaping),
        unlisten,
        () => release(alive),
      );
    },
    async stop() {
      for (const timer of announced.values()) clearTimeout(timer);
      // In turn: feeds and workers end before the lock that says this process lives.
      await Promise.all(stops.slice(0, -1).map((stop) => stop()));
      await stops.at(-1)?.();
      await Promise.all([...apis.values()].map((api) => api.close()));
    },
  };
}

async function release(lock: Lock): Promise<void> {
  await lock.release().catch(() => undefined);
}

/** The same client, sending the request's id along with every call that has none of its own. */
function withRequestId(api: CloudApi, requestId: string): CloudApi {
  return Object.create(api, {
    call: { value: <B>(call: Parameters<CloudApi['call']>[0]) => api.call<B>({ requestId, ...call }) },
    download: { value: (call: Parameters<CloudApi['download']>[0]) => api.download({ requestId, ...call }) },
    pages: {
      value: <I>(call: Parameters<CloudApi['pages']>[0], collection: string) =>
        api.pages<I>({ requestId, ...call }, collection),
    },
  }) as CloudApi;
}
