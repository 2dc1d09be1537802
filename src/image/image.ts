/** The image service: Glance v2 in the parent, and glance-sync into the children. */
import type { Logger } from 'pino';
import type { Cascade } from '../cascade/contract.ts';
import type { Db } from '../db/database.ts';
import { image as convention } from '../http/conventions.ts';
import type { Service } from '../http/service.ts';
import { createQuotas, type QuotaBook } from '../resource/quota.ts';
import { extraOperations } from './extras.ts';
import { fileOperations } from './file.ts';
import { imageOperations } from './images.ts';
import { createLocalStore } from './local-store.ts';
import { createServerImages, imagesFeed } from './made.ts';
import { memberOperations } from './members.ts';
import { imageKind } from './replica.ts';
import { rules } from './resource.ts';
import { schemaOperations } from './schemas.ts';
import type { ServerImages } from './server-images.ts';
import { type ImageCore, QUOTA_COUNT } from './service.ts';
import { healUploads } from './upload.ts';

export interface ImageOptions {
  readonly db: Db;
  readonly cascade: Cascade;
  /** Images are uncounted by default, as Glance ships. */
  readonly quotas?: QuotaBook;
  /** Image data goes below `<data_dir>/images`; every process that serves images must see the same folder. */
  readonly data_dir: string;
  readonly log: Logger;
  /** Largest image in bytes; 1 TiB by default, as Glance's `image_size_cap`. */
  readonly size_max?: number;
}

export interface ImageService {
  readonly service: Service;
  readonly serverImages: ServerImages;
  /**
   * Ends uploads that a killed process left and removes files that no image has. Call it at start and every few minutes;
   * harmless beside uploads under way.
   */
  heal(): Promise<void>;
}

const SIZE_MAX_BYTES = 2 ** 40;

/** Makes the image service and registers what cascading must know of images. Touches neither database nor disk. */
export function createImage(options: ImageOptions): ImageService {
  const core: ImageCore = {
    db: options.db,
    cascade: options.cascade,
    quotas: options.quotas ?? createQuotas('image', { [QUOTA_COUNT]: -1 }),
    store: createLocalStore(options.data_dir),
    log: options.log,
    size_max: options.size_max ?? SIZE_MAX_BYTES,
  };
  options.cascade.register({ replica: imageKind(core), feed: imagesFeed() });
  return {
    service: {
      convention,
      // Some are asked within operations that another one guards.
      rules: Object.values(rules),
      operations: [
        ...schemaOperations(),
        ...extraOperations(core),
        ...fileOperations(core),
        ...memberOperations(core),
        ...imageOperations(core),
      ],
    },
    serverImages: createServerImages(core),
    heal: () => healUploads(core),
  };
}
