/**
 * Keypairs in children: under the account's own user, named by the parent's id, always imported. A keypair never
 * changes, so a copy that is there is current.
 */
import { sql } from 'kysely';
import type { ChildContext, ReplicaKind } from '../../cascade/contract.ts';
import { Gone } from '../../cascade/replicas.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import { type Keypair, keypairStore } from './keypair.ts';

/** 2.2 has types; nothing later is needed. */
const VERSION = { microversion: '2.2', atMost: true } as const;

/**
 * Nova counts keypairs by the limit of the project of the call: in the tenant's own that limit is lifted. A keypair is
 * its user's and outlives the project that it was made in: then any project of a tenant there does.
 */
async function scopeOf(context: ChildContext, projectId: string): Promise<CloudScope> {
  try {
    if (projectId !== '') return await context.scope(projectId);
  } catch (error) {
    if (!(error instanceof Gone)) throw error;
  }
  const { rows } = await sql<{ child_id: string }>`select child_id from replicas
    where kind = 'project' and child = ${context.child} and child_id is not null and revision > 0 and not retiring
    limit 1`.execute(context.db.query);
  return rows[0] === undefined ? {} : { projectId: rows[0].child_id };
}

/** How children hold keypairs. */
export const keypairKind: ReplicaKind<Keypair> = {
  kind: 'keypair',
  table: 'keypairs',
  unique: true,
  load: (query, id) => keypairStore.find(query, id),
  async find({ api }, id) {
    const { status } = await api.call({
      service: 'compute',
      method: 'GET',
      path: `/os-keypairs/${id}`,
      accept: [404],
      ...VERSION,
    });
    return status === 404 ? undefined : { child_id: id, current: true };
  },
  /** Twice: a 409, after which it is found. */
  async make(context, row) {
    await context.api.call({
      service: 'compute',
      method: 'POST',
      path: '/os-keypairs',
      scope: await scopeOf(context, row.project_id),
      body: { keypair: { name: row.id, public_key: row.public_key, type: row.type } },
      ...VERSION,
    });
    return { child_id: row.id };
  },
  /** Twice: a 404, which is as well. Servers keep the key they were made with. */
  async remove({ api }, replica) {
    await api.call({
      service: 'compute',
      method: 'DELETE',
      path: `/os-keypairs/${replica.child_id}`,
      accept: [404],
      ...VERSION,
    });
  },
};
