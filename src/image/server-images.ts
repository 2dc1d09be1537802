/**
 * What servers and volumes need of images: the contract that compute and volume build on. Resolving and registering
 * happen in the parent's database; bringing an image to a child is `context.ensure('image', id)`.
 */
import type { Queryable, Tx } from '../db/database.ts';
import type { RequestContext } from '../http/service.ts';

/** An image as whoever boots from it sees it. */
export interface ServerImage {
  readonly id: string;
  readonly name: string;
  /** `active`; a boot also meets `queued`, `saving`, `deactivated`: Nova answers 400 "Image <id> is not active." */
  readonly status: string;
  /** GiB and MiB. */
  readonly min_disk: number;
  readonly min_ram: number;
  /** Bytes; 0 while it has no data. */
  readonly size: number;
  readonly disk_format: string | null;
  readonly container_format: string | null;
  /** Custom properties, `hw_*` and `block_device_mapping` among them. */
  readonly properties: Readonly<Record<string, string>>;
  /** Children that hold its data already, sorted: a scheduler may prefer them. */
  readonly children: readonly string[];
  /** True where the parent's own store has the data; else it lives only in `children`. */
  readonly local: boolean;
}

/** A server's image to be, before any child was asked. */
export interface SnapshotRequest {
  readonly name: string;
  /** Custom properties (`image_type`, `instance_uuid`, what the tenant gave). */
  readonly properties: Readonly<Record<string, string>>;
  /** The child that makes it. */
  readonly child: string;
  readonly server_id: string;
  /** Another project that the image is shared with: the server's, where somebody else asked for the image of it. */
  readonly share_with?: string | undefined;
  readonly disk_format?: string | null;
  readonly container_format?: string | null;
  readonly min_disk?: number;
  readonly min_ram?: number;
}

/** An image that is nothing but its properties. */
export type EmptyImageRequest = Pick<SnapshotRequest, 'name' | 'properties' | 'share_with' | 'min_disk' | 'min_ram'>;

/** The copy of an image in one child that outlives the image. */
export interface KeptImage {
  readonly image_id: string;
  readonly child: string;
  readonly child_id: string;
  /** What the copy's replica remembered. */
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface ServerImages {
  /**
   * The image, where the caller may use it.
   * @throws Fault 404 "Image <id> could not be found." where there is none or it is not the caller's to see. Nova answers
   *   400 with the same words when a boot names it: compute turns it into that
   */
  resolve(query: Queryable, context: RequestContext, imageId: string): Promise<ServerImage>;
  /** Images by id, without any check of who asks: for what a server or volume has long been made from. */
  known(query: Queryable, imageIds: readonly string[]): Promise<ReadonlyMap<string, ServerImage>>;
  /**
   * In a transaction: registers an image that a child will make (Nova's createImage, Cinder's upload-to-image), owned by
   * the caller's project, `private`, status `queued`. Until `adoptChildImage` is called nothing asks the child for it.
   * @returns the parent's id of the image
   * @throws Fault 413 over the image quota
   */
  registerSnapshot(tx: Tx, context: RequestContext, wanted: SnapshotRequest): Promise<string>;
  /**
   * In a transaction: an image without data, which says by its properties alone what a server is to be made of (that of a
   * server which boots from volumes). It is active from the start, and no child need know of it.
   * @returns the parent's id of the image
   * @throws Fault 413 over the image quota
   */
  registerEmpty(tx: Tx, context: RequestContext, wanted: EmptyImageRequest): Promise<string>;
  /**
   * The child made it, under its own id: the feed follows it from here until it is active. Twice: the same. Where the
   * tenant deleted the image meanwhile, the child's is deleted too.
   */
  adoptChildImage(
    tx: Tx,
    made: { readonly image_id: string; readonly child: string; readonly child_id: string },
  ): Promise<void>;
  /** The child refused to make it, or it vanished there: the image becomes `killed`, as Glance words a failed upload. Twice: the same. */
  abandonSnapshot(tx: Tx, imageId: string): Promise<void>;
  /**
   * Of a server's backups of one type (`backup_type`) the newest are kept, and the others deleted here and, later, in their
   * child. Protected ones stay. Twice: the second finds nothing to delete.
   */
  rotate(
    tx: Tx,
    backups: {
      readonly server_id: string;
      /** Whose the server is: what others call a backup of it is not touched. */
      readonly project_id: string;
      readonly type: string;
      readonly keep: number;
    },
  ): Promise<void>;
  /** An image's copy in one child is needed no more. Twice: it is on its way out already. */
  withdraw(tx: Tx, imageId: string, child: string): Promise<void>;
  /** An image that served its end (a shelved server's) is deleted here and, later, in its child. Twice: the second finds none. */
  remove(tx: Tx, imageId: string): Promise<void>;
  /**
   * Has the copy that a child knows by this id stay there when the image goes; who is given it has to `release` it.
   * Undefined where that is no copy of the image, or one that is on its way out already.
   */
  keep(tx: Tx, imageId: string, where: Pick<KeptImage, 'child' | 'child_id'>): Promise<KeptImage | undefined>;
  /** What was kept is needed no more. Twice: it is on its way out already. */
  release(tx: Tx, kept: KeptImage): Promise<void>;
}
