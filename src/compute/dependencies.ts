/** What the admin side of compute is built on. */
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Queryable } from '../db/database.ts';

export interface ComputeDependencies {
  readonly db: Db;
  readonly cascade: Cascade;
  /** Whether there is such a project; where it is not given, every project id is believed. */
  readonly projectExists?: (query: Queryable, projectId: string) => Promise<boolean>;
}
