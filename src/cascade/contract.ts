/**
 * What a kind of resource tells cascading about itself. Two sorts: *replicated* (the parent owns it and copies it into
 * a child when something there first needs it) and *hosted* (it lives in exactly one child). A service implements
 * these few functions in the resource's own folder; when to call them, how often and after which crash is decided in
 * this folder alone. Every function here may be called twice with the same arguments; each says what that does.
 */
import type { Logger } from 'pino';
import type { Db, Queryable, Tx } from '../db/database.ts';
import type { CloudApi, CloudScope } from '../openstack/contract.ts';

/** The copy of one replicated resource in one child. */
export interface Replica {
  readonly kind: string;
  readonly resource_id: string;
  readonly child: string;
  /** Null while it is being made: it may or may not exist in the child, and is found by its mark. */
  readonly child_id: string | null;
  /** The parent's revision that the copy was last brought to. */
  readonly revision: number;
  /** What the kind wants to remember of the copy (ids of its parts). */
  readonly detail: Readonly<Record<string, unknown>>;
}

/** What was found or made in a child. */
export interface Found {
  readonly child_id: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** True where it is known to be at the parent's revision already; else `bring` follows. */
  readonly current?: boolean;
}

export interface ReplicaReference {
  readonly kind: string;
  readonly id: string;
}

/** One child as a proxy sees it while doing one thing there. */
export interface ChildContext {
  readonly child: string;
  /** How tenants are kept apart there. With `shared`, whatever is asked of the child is asked of the account's one project. */
  readonly tenancy: ChildConfig['tenancy'];
  readonly api: CloudApi;
  readonly db: Db;
  readonly log: Logger;
  /** The request that caused this, sent along as the child's global request id. */
  readonly requestId: string | undefined;
  /** The token scope of a parent project in this child, making the project there at first need. */
  scope(projectId: string): Promise<CloudScope>;
  /** The same for what is there already: the account's own scope where the parent's project is gone and its things are not. */
  scopeOfExisting(projectId: string): Promise<CloudScope>;
  /** Brings a replica to the child and to the parent's current revision; no call to the child where it is there already. */
  ensure(kind: string, id: string): Promise<Replica & { readonly child_id: string }>;
  /** The same context, which tells what replicas it was asked to bring. */
  noting(note: (use: ReplicaReference) => void): ChildContext;
  /**
   * After the child refused something that was done with a replica: looks whether the replica still serves, and forgets
   * one that does not. True where it was forgotten, so that the same may be tried with another.
   */
  recheck(kind: string, id: string): Promise<boolean>;
  /** The child's id of a replica that is known to be there, or undefined; never calls the child. */
  childId(kind: string, id: string): Promise<string | undefined>;
  /** The parent's ids by the child's ids, for reading a child's answer; ids nobody knows are absent. */
  parentIds(kind: string, childIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** The child's own name of a parent zone, undefined where the child does not serve it. */
  childZone(zone: string): string | undefined;
}

/** A resource that the parent owns and copies. `R` is its row; `revision` of the row is what replicas are held against. */
export interface ReplicaKind<R extends { readonly revision: number } = { readonly revision: number }> {
  readonly kind: string;
  /** Table of the parent's rows (`id`, `revision`): the sweep finds stale and orphaned replicas by it. */
  readonly table: string;
  /**
   * True where the child itself refuses a second one with the same mark (a given id, a unique name): then a create whose
   * outcome is unknown may be repeated at once, else only after the child had time to finish it.
   */
  readonly unique: boolean;
  load(query: Queryable, id: string): Promise<R | undefined>;
  /** Other replicas that must be in the child before this one; brought side by side. */
  needs?(row: R): readonly ReplicaReference[];
  /** Looks for the copy by its mark. Twice: the same answer. */
  find(context: ChildContext, id: string, row: R | undefined): Promise<Found | undefined>;
  /** Makes it, with its mark. Called only after `find` found nothing; a 409 leads to another `find`. */
  make(context: ChildContext, row: R): Promise<Found>;
  /** Brings an existing copy to the row. Twice: the second changes nothing. May return a new `detail`. */
  bring?(context: ChildContext, row: R, replica: Replica): Promise<Readonly<Record<string, unknown>> | void>;
  /**
   * Whether a copy at the row's revision still serves; asked before each use. For kinds of which something that is not
   * ours may serve, and may be changed or taken away at any time. Absent, and for what is ours: no call. Twice: the same.
   */
  serves?(context: ChildContext, row: R, replica: Replica): Promise<boolean>;
  /** Takes the copy away. Twice: a 404 counts as done. A 409 (still in use) is tried again later. */
  remove(context: ChildContext, replica: Replica & { readonly child_id: string }): Promise<void>;
  /**
   * Told when making or bringing it failed for good (a 4xx of the child): put the fault on the parent's object. The
   * replica is tried again when the object changes or something needs it.
   */
  failed?(context: ChildContext, id: string, tenantMessage: string): Promise<void>;
}

/** Whether there is more to do for an object, and when to look again. */
export type Progress = 'done' | { readonly again_ms: number };

/** A resource that lives in one child; its row says what remains to be done there. */
export interface HostedKind {
  readonly kind: string;
  /**
   * Does the next thing for one object, read off its row. Called by one worker at a time per object, anywhere, after
   * any crash: it looks before it creates, and a second call for a row that wants nothing does nothing.
   * Throw a CloudError with `transient` to be called again with backoff; anything else is called again too, more
   * slowly, and logged: what is final (a 4xx of the child) must be put on the object, not thrown.
   */
  reconcile(context: ChildContext, id: string): Promise<Progress>;
  /** Ids of all rows that want something in the child: the queue can be rebuilt from it at any time. */
  pending(query: Queryable, child: string): Promise<readonly string[]>;
}

/** One stream of a child's state into the parent's rows. The only way by which a child's state enters the database. */
export interface Feed {
  readonly name: string;
  /** Between two rounds when nothing is under way, and when something is. */
  readonly idle_ms: number;
  readonly busy_ms: number;
  /** Whether something is under way in the child whose outcome this feed will show. */
  busy(query: Queryable, child: string): Promise<boolean>;
  /**
   * Reads what changed since the cursor and applies it; returns the next cursor, which is stored only then. One record
   * that cannot be read or applied must not drop the rest (`applyEach`). Twice from the same cursor: the same rows.
   */
  round(context: ChildContext, cursor: string | undefined): Promise<string | undefined>;
}

/** A child as it is configured. */
export interface ChildConfig {
  readonly name: string;
  /** Parent zone to the child's own. */
  readonly zones: Readonly<Record<string, string>>;
  readonly tenancy: 'mirrored' | 'shared' | 'federated';
  /** Parent external network name to the child's own; absent: every external network of the child, by its name. */
  readonly external_networks?: Readonly<Record<string, string>>;
  /** Extra routes that one of its routers may have, which no API tells; absent: Neutron's default. */
  readonly max_routes?: number;
  /** Whether its rules with an address group really let nobody else pass, which no API tells; absent: they may not. */
  readonly enforces_address_groups?: boolean;
}

/** What is known of a child right now. */
export interface ChildState extends ChildConfig {
  readonly up: boolean;
  /** When it last answered; null where it never did. */
  readonly seen_at: string | null;
  readonly created_at: string;
  readonly capacity: Capacity | undefined;
}

/** Sizes as the child's own statistics show them. */
export interface Capacity {
  readonly vcpus: number;
  readonly vcpus_used: number;
  readonly memory_mb: number;
  readonly memory_mb_used: number;
  readonly local_gb: number;
  readonly local_gb_used: number;
  readonly running_vms: number;
  /** What a host of it says of how long it has been up, in the words of `uptime`; undefined where none says. */
  readonly uptime?: string | undefined;
}

/** A proxy as the admin lists show it: host is the child's name, binary e.g. `nova-compute`. */
export interface ProxyService {
  readonly child: string;
  readonly binary: string;
  readonly enabled: boolean;
  readonly disabled_reason: string | null;
  readonly forced_down: boolean;
  readonly updated_at: string;
}

/** What services use of cascading. */
export interface Cascade {
  readonly db: Db;
  readonly log: Logger;
  register(kind: { readonly replica?: ReplicaKind; readonly hosted?: HostedKind; readonly feed?: Feed }): void;

  // ---- children, zones, proxies
  children(query: Queryable): Promise<readonly ChildState[]>;
  child(name: string): CloudApi | undefined;
  /** Zones with the children that serve them now (aggregates may have moved a child), and whether any of those is up. */
  zones(
    query: Queryable,
  ): Promise<readonly { readonly name: string; readonly children: readonly string[]; readonly available: boolean }[]>;
  /** Puts a child into these zones instead of the configured ones; null: back to the configuration. */
  setZones(tx: Tx, child: string, zones: Readonly<Record<string, string>> | null): Promise<void>;
  proxies(query: Queryable, binary: string): Promise<readonly ProxyService[]>;
  setProxy(
    tx: Tx,
    child: string,
    binary: string,
    change: Partial<Pick<ProxyService, 'enabled' | 'disabled_reason' | 'forced_down'>>,
  ): Promise<void>;
  /** What a child's own statistics say of its size; the scheduler weighs by it. */
  setCapacity(query: Queryable, child: string, capacity: Capacity): Promise<void>;
  /**
   * Chooses a child: of the zone's (or any), enabled for the binary, not excluded; where no zone is named, those of
   * the configured default zone before all others; then those up before those down, then the roomiest. Undefined where none is left; throws nothing.
   */
  schedule(query: Queryable, want: ScheduleRequest): Promise<Placement | undefined>;

  // ---- work
  /** Says in the caller's transaction that the object wants attention in the child. Repeated intents are one. */
  want(
    tx: Tx,
    child: string,
    kind: string,
    id: string,
    options?: { readonly requestId?: string; readonly delay_ms?: number },
  ): Promise<void>;
  /**
   * Says that a replicated resource changed: every replica is to be brought to the row, not before `delay_ms` from now
   * where changes come in crowds. One statement.
   */
  revise(
    tx: Tx,
    kind: string,
    id: string,
    options?: { readonly requestId?: string; readonly delay_ms?: number },
  ): Promise<void>;
  /**
   * Says that a replicated resource is going: every replica is to be removed, or the one in `child` alone. One
   * statement; the row may go at once.
   */
  retire(
    tx: Tx,
    kind: string,
    id: string,
    options?: { readonly requestId?: string; readonly child?: string },
  ): Promise<void>;
  /**
   * Wants a replica in a child although nothing there needs it yet (a port bound there, a router with a subnet there);
   * also one that was just said to go.
   */
  wantReplica(
    tx: Tx,
    child: string,
    kind: string,
    id: string,
    options?: { readonly requestId?: string },
  ): Promise<void>;
  /** Where a resource has replicas that are made or wanted. */
  replicasOf(query: Queryable, kind: string, id: string): Promise<readonly Replica[]>;
  /** After a commit: workers look now instead of at the next wake-up. */
  poke(child?: string): void;
  /** After a commit that expects an answer from a child soon: its feeds run at their busy pace. */
  expect(child: string): void;
  /** A child's context for something asked of it directly (a console log), outside of any work. */
  context(child: string, requestId?: string): ChildContext;
}

export interface ScheduleRequest {
  readonly zone?: string | undefined;
  readonly binary: string;
  /** Only these children (where the networks or volumes asked for live). */
  readonly among?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly vcpus?: number;
  readonly memory_mb?: number;
  readonly local_gb?: number;
}

export interface Placement {
  readonly child: string;
  readonly zone: string;
}
