/**
 * Ports of stretched networks follow their servers: a free one may be given to a server in another child, and keeps MAC
 * and addresses there. It stays while something in its child hangs on it: a floating IP, a port forwarding, a trunk.
 */
import { sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';

interface PlacedPort {
  readonly id: string;
  readonly child: string;
  readonly may_move: boolean;
}

/** In which children ports have copies, and whether they may leave. One query; none where there are no ports. */
async function placed(query: Queryable, ids: readonly string[]): Promise<readonly PlacedPort[]> {
  if (ids.length === 0) return [];
  const found = await sql<PlacedPort>`
    select p.id, r.child, n.provider_physical_network is not null
      and not exists (select 1 from floating_ips f where f.port_id = p.id)
      and not exists (select 1 from port_forwardings f where f.internal_port_id = p.id)
      and not exists (select 1 from trunks t where t.port_id = p.id) as may_move
    from ports p join networks n on n.id = p.network_id
    join replicas r on r.kind = 'port' and r.resource_id = p.id and not r.retiring
    where p.id = any(${[...ids]}::text[]) order by p.id, r.child`.execute(query);
  return found.rows;
}

/** Children in which these ports have to stay, each once. */
export async function placesToStay(query: Queryable, ids: readonly string[]): Promise<string[]> {
  const ports = await placed(query, ids);
  return [...new Set(ports.filter(({ may_move }) => !may_move).map(({ child }) => child))];
}

/**
 * Has ports that are given to a server leave all other children. To be called with the ports locked, in the transaction
 * that gives them to it. Twice, or where they are nowhere else: nothing.
 * @returns false where one of them has to stay in another child; nothing is to be committed then
 */
export async function followServer(
  tx: Tx,
  { cascade }: { readonly cascade: Cascade },
  ids: readonly string[],
  child: string,
): Promise<boolean> {
  const elsewhere = (await placed(tx, ids)).filter((port) => port.child !== child);
  if (elsewhere.some(({ may_move }) => !may_move)) return false;
  for (const port of elsewhere) await cascade.retire(tx, 'port', port.id, { child: port.child });
  return true;
}
