/** Cinder's quotas: of the project, and of each volume type in it. */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import type { Fault } from '../http/fault.ts';
import { createQuotas, type QuotaBook, QuotaExceeded } from '../resource/quota.ts';
import { overQuota } from './faults.ts';

const SHIPPED = {
  volumes: 10,
  per_volume_gigabytes: -1,
  snapshots: 10,
  gigabytes: 1000,
  backups: 10,
  backup_gigabytes: 1000,
};
const PER_TYPE = ['volumes', 'gigabytes', 'snapshots'] as const;

/** What objects of one type take; negative where they go. */
export interface Amounts {
  readonly volumes?: number;
  readonly snapshots?: number;
  readonly gigabytes?: number;
}

/** The book of all resources, those of each type among them, in the order Cinder lists them. */
export async function volumeQuotas(query: Queryable): Promise<QuotaBook> {
  const types = await sql<{ name: string }>`select name from volume_types order by created_at desc`.execute(query);
  const perType = types.rows.flatMap(({ name }) => PER_TYPE.map((what) => [`${what}_${name}`, -1] as const));
  return createQuotas('volume', { ...SHIPPED, ...Object.fromEntries(perType), groups: 10 });
}

const counters = createQuotas('volume', SHIPPED);

/**
 * Counts objects of a type in a project. The counters stay locked until the transaction ends, so it is the last thing a
 * transaction does.
 * @throws Fault 413 in Cinder's words; nothing is counted
 */
export async function count(tx: Tx, projectId: string, typeName: string, amounts: Amounts): Promise<void> {
  const changes: Record<string, number> = {};
  for (const what of PER_TYPE) {
    const amount = amounts[what] ?? 0;
    if (amount === 0) continue;
    changes[what] = amount;
    changes[`${what}_${typeName}`] = amount;
  }
  try {
    await counters.reserve(tx, projectId, changes);
  } catch (error) {
    if (!(error instanceof QuotaExceeded)) throw error;
    throw refusal(error);
  }
}

/**
 * Holds one volume's size against `per_volume_gigabytes`.
 * @throws Fault 413
 */
export async function checkSize(query: Queryable, projectId: string, size: number): Promise<void> {
  const limit = (await counters.usage(query, projectId)).per_volume_gigabytes?.limit ?? -1;
  if (limit < 0 || size <= limit) return;
  throw overQuota(
    'VolumeSizeExceedsLimit',
    `Requested volume size ${size}G is larger than maximum allowed limit ${limit}G.`,
  );
}

function refusal({ over }: QuotaExceeded): Fault {
  const gigabytes = over.find(({ resource }) => resource.startsWith('gigabytes'));
  if (gigabytes !== undefined) {
    const { resource, requested, limit, in_use } = gigabytes;
    return overQuota(
      'VolumeSizeExceedsAvailableQuota',
      `Requested volume or snapshot exceeds allowed ${resource} quota. Requested ${requested}G, quota is ${limit}G and ${in_use}G has been consumed.`,
    );
  }
  const [first] = over;
  if (first?.resource.startsWith('snapshots') === true) {
    return overQuota('SnapshotLimitExceeded', `Maximum number of snapshots allowed (${first.limit}) exceeded`);
  }
  return overQuota(
    'VolumeLimitExceeded',
    `Maximum number of volumes allowed (${first?.limit ?? 0}) exceeded for quota '${first?.resource ?? 'volumes'}'.`,
  );
}
