/** What the admin side of compute is built on. */
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Queryable } from '../db/database.ts';
import type { RequestContext } from '../http/service.ts';
import type { ServerImage } from '../image/server-images.ts';

export interface ComputeDependencies {
  readonly db: Db;
  readonly cascade: Cascade;
  /** An image that the caller may use. @throws Fault 400 where there is none */
  readonly images: (query: Queryable, context: RequestContext, id: string) => Promise<ServerImage>;
  /** Whether there is such a project; where it is not given, every project id is believed. */
  readonly projectExists?: (query: Queryable, projectId: string) => Promise<boolean>;
}
