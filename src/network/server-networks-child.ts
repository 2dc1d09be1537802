/** A server's ports brought to its child. */
import { sql } from 'kysely';
import type { ChildContext } from '../cascade/contract.ts';
import type { PortBatches } from './port-batch.ts';

/** See `ServerNetworks.ensurePorts`. */
export async function ensurePorts(
  context: ChildContext,
  batches: PortBatches,
  serverId: string,
): Promise<readonly string[]> {
  const ports = await sql<{ id: string; there: boolean }>`
    select p.id, exists (select 1 from replicas r where r.kind = 'port' and r.resource_id = p.id
      and r.child = ${context.child} and r.child_id is not null) as there
    from ports p
    where p.device_id = ${serverId} and p.device_id <> '' and starts_with(p.device_owner, 'compute:')
    order by p.boot_index, p.created_at, p.id`.execute(context.db.query);
  const missing = ports.rows.filter(({ there }) => !there).length;
  const done = batches.expect(context.child, serverId, missing);
  try {
    const present = await Promise.all(ports.rows.map(({ id }) => context.ensure('port', id)));
    return present.map(({ child_id }) => child_id);
  } finally {
    done();
  }
}
