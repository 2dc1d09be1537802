/**
 * What servers need of volumes: the contract that compute builds on. Everything up to a boot's answer happens in the
 * parent's database; only `childVolume` speaks to a child.
 */
import type { ChildContext } from '../cascade/contract.ts';
import type { Queryable, Tx } from '../db/database.ts';
import type { RequestContext } from '../http/service.ts';

/** A volume as whoever boots from it or attaches it sees it. */
export interface ServerVolume {
  readonly id: string;
  /** Null while it was not placed anywhere. */
  readonly child: string | null;
  readonly zone: string;
  /** GiB. */
  readonly size: number;
  readonly bootable: boolean;
  /** The image it was made from. */
  readonly image_id: string | null;
  /** What is kept with it of that image's properties. */
  readonly image_metadata: Readonly<Record<string, string>>;
  readonly status: string;
  readonly multiattach: boolean;
}

export interface ServerSnapshot {
  readonly id: string;
  readonly child: string | null;
  readonly zone: string;
  /** GiB, of the volume it was taken from. */
  readonly size: number;
  /** What is kept with that volume, while it is there, of the properties of the image it was made from. */
  readonly image_metadata: Readonly<Record<string, string>>;
  readonly status: string;
}

/** A volume that a boot makes; it is the server's from the start. */
export interface BootVolume {
  readonly size: number;
  readonly image_id?: string | undefined;
  readonly snapshot_id?: string | undefined;
  readonly source_volume_id?: string | undefined;
  readonly volume_type?: string | undefined;
  readonly name?: string | undefined;
  /** Says so to the child also of one that is made of nothing: servers may boot from it. */
  readonly bootable?: boolean | undefined;
  readonly child: string;
  readonly zone: string;
}

export interface ServerVolumeAttachment {
  /** Of the attachment. */
  readonly id: string;
  readonly volume_id: string;
  readonly device: string;
  readonly delete_on_termination: boolean;
  readonly tag: string | null;
}

export interface ServerVolumes {
  /** @throws Fault 404 "Volume <id> could not be found." where there is none or it is another project's */
  resolve(query: Queryable, context: RequestContext, volumeId: string): Promise<ServerVolume>;
  /** @throws Fault 404 "Snapshot <id> could not be found." where there is none or it is another project's */
  resolveSnapshot(query: Queryable, context: RequestContext, snapshotId: string): Promise<ServerSnapshot>;
  /**
   * In a boot's transaction: a new volume in that child, counted in the quota, status `creating`; `attach` follows.
   * @returns its id
   * @throws Fault over the quota
   */
  create(tx: Tx, context: RequestContext, wanted: BootVolume): Promise<string>;
  /**
   * In a transaction: reserves the volume for the server: `available` becomes `attaching`, one that is being created for
   * it stays so until it is there. What the child shows later (`in-use`) is the volume's own sync.
   * @throws Fault 400 "Invalid volume: ..." in Nova's words where its status does not allow it
   */
  attach(
    tx: Tx,
    volumeId: string,
    to: {
      readonly server_id: string;
      readonly device?: string | undefined;
      /** What the server's devices are called but for the last letter, as far as it is known: `/dev/vd`. */
      readonly device_prefix?: string | undefined;
      readonly delete_on_termination: boolean;
      readonly tag?: string | undefined;
    },
  ): Promise<{ readonly attachment_id: string; readonly device: string }>;
  /**
   * In a transaction: an attached volume becomes `detaching`; the attachment ends when the child shows it so.
   * @throws Fault 400 where its status does not allow it
   */
  detach(tx: Tx, volumeId: string, serverId: string): Promise<void>;
  /** The child refused to attach or detach: back to the status before. Twice: the second changes nothing. */
  unwind(tx: Tx, volumeId: string, serverId: string): Promise<void>;
  /** Changes what becomes of an attached volume when its server goes. */
  setDeleteOnTermination(tx: Tx, volumeId: string, serverId: string, value: boolean): Promise<void>;
  /**
   * In a transaction: a snapshot of each of these volumes, in use or not, all or none.
   * @returns the snapshots by the volumes' ids
   * @throws Fault 400 where a volume's status does not allow it, 404 where it is gone, 413 over the quota
   */
  snapshot(
    tx: Tx,
    context: RequestContext,
    volumeIds: readonly string[],
    name: string,
  ): Promise<ReadonlyMap<string, { readonly id: string; readonly size: number }>>;
  /** Attachments of servers in the order they were made; a server without any is absent. */
  attachmentsOf(
    query: Queryable,
    serverIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly ServerVolumeAttachment[]>>;
  /**
   * Child side: the child's id of a volume, once a server there can take it; made there first where it is not.
   * @returns undefined while it is being made: ask again later
   * @throws CloudError or Fault where it cannot be made at all
   */
  childVolume(context: ChildContext, volumeId: string): Promise<string | undefined>;
  /**
   * The server's end was asked for: however soon the child lets go of its volumes, their attachments last until `release`,
   * so that what was to go with the server does.
   */
  leaving(tx: Tx, serverId: string): Promise<void>;
  /**
   * The server is gone: its attachments end, volumes go back to `available`, those with delete_on_termination are
   * deleted. Twice: the second finds nothing to do.
   */
  release(tx: Tx, serverId: string): Promise<void>;
  /** Adds who is told, in the same transaction, that attachments of servers changed behind compute's back. */
  onChange(listener: (tx: Tx, serverIds: readonly string[]) => Promise<void>): void;
}
