/** Neutron's quotas, with the limits that OpenStack ships, and its words for going past one. */
import type { Tx } from '../db/database.ts';
import { conflict } from '../http/fault.ts';
import { createQuotas, QuotaExceeded } from '../resource/quota.ts';

export const networkQuotas = createQuotas('network', {
  network: 100,
  subnet: 100,
  subnetpool: -1,
  port: 500,
  router: 10,
  floatingip: 50,
  security_group: 10,
  security_group_rule: 100,
  rbac_policy: 10,
  trunk: -1,
});

/**
 * Counts objects made (or, negative, gone) in a project. The counters stay locked until the transaction ends, so it is
 * the last thing a transaction does.
 * @throws Fault 409 `OverQuota`; nothing is counted
 */
export async function countQuota(tx: Tx, projectId: string, changes: Readonly<Record<string, number>>): Promise<void> {
  try {
    await networkQuotas.reserve(tx, projectId, changes);
  } catch (error) {
    if (!(error instanceof QuotaExceeded)) throw error;
    const names = error.over.map(({ resource }) => `'${resource}'`).join(', ');
    throw conflict(`Quota exceeded for resources: [${names}].`, 'OverQuota');
  }
}
