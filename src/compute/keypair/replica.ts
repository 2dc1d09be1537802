/**
 * Keypairs in children: under the account's own user, named by the parent's id, always imported. A keypair never
 * changes, so a copy that is there is current.
 */
import type { ChildContext, ReplicaKind } from '../../cascade/contract.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import { type Keypair, keypairStore } from './keypair.ts';

/** 2.2 has types; nothing later is needed. */
const VERSION = { microversion: '2.2', atMost: true } as const;

/** Nova counts keypairs by the limit of the project of the call: in the tenant's own that limit is lifted. */
async function scopeOf(context: ChildContext, projectId: string): Promise<CloudScope> {
  if (projectId === '') return {};
  try {
    return await context.scope(projectId);
  } catch (error) {
    // The project that it was made in is gone; the keypair is the user's and stays.
    if (error instanceof Error && error.name === 'Gone') return {};
    throw error;
  }
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
