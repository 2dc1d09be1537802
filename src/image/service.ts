/** What the parts of the image service share. */
import type { Logger } from 'pino';
import type { Cascade } from '../cascade/contract.ts';
import type { Db } from '../db/database.ts';
import { image as convention } from '../http/conventions.ts';
import type { RequestContext } from '../http/service.ts';
import type { QuotaBook } from '../resource/quota.ts';
import { renderer } from '../resource/render.ts';
import type { LocalStore } from './local-store.ts';
import { image, type ImageRow } from './resource.ts';

export interface ImageCore {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly quotas: QuotaBook;
  readonly store: LocalStore;
  readonly log: Logger;
  /** Bytes of one image. */
  readonly size_max: number;
}

/** An image as the API shows it. */
export const view = (context: RequestContext): ((row: ImageRow) => Record<string, unknown>) =>
  renderer<ImageRow>(image, convention, context, 'detail');

/** The kind of replica that images are, and the resource of the quota. */
export const IMAGE = 'image';
export const QUOTA_COUNT = 'image_count_total';

/** Methods of `POST /v2/images/{id}/import`. */
export const IMPORT_METHODS = ['glance-direct', 'copy-image'] as const;
