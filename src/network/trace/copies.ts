/** What the parent's database knows of an object's copies and of the work that is still to be done for them. */
import { sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';

export interface KnownCopy {
  readonly child: string;
  /** Null while it is not made, or it is not known whether it is. */
  readonly child_id: string | null;
  /** What it was last brought to; null of the child's own that stands behind an external network: it is never brought. */
  readonly revision: number | null;
  readonly retiring: boolean;
  readonly is_sent: boolean;
  readonly error: string | null;
}

export interface KnownWork {
  readonly child: string;
  readonly attempts: number;
  readonly is_claimed: boolean;
  /** Until it is due; below zero where it is. */
  readonly due_in_ms: number;
  readonly request_id: string | null;
}

export interface Known {
  readonly copies: readonly KnownCopy[];
  readonly work: readonly KnownWork[];
}

/** Two queries. */
export async function knownCopies(query: Queryable, kind: string, id: string): Promise<Known> {
  const [copies, work] = await Promise.all([
    sql<KnownCopy>`select child, child_id, revision, retiring, sent_at is not null as is_sent, error from replicas
      where kind = ${kind} and resource_id = ${id}
      union all select child, child_id, null, false, false, null from external_networks
      where ${kind}::text = 'network' and network_id = ${id}
      union all select child, child_id, null, false, false, null from external_subnets
      where ${kind}::text = 'subnet' and subnet_id = ${id} order by child`.execute(query),
    sql<KnownWork>`select lane as child, attempts, claimed_by is not null as is_claimed, request_id,
        (extract(epoch from due_at - clock_timestamp()) * 1000)::float8 as due_in_ms
      from work where kind = ${kind} and resource_id = ${id} order by lane`.execute(query),
  ]);
  return { copies: copies.rows, work: work.rows };
}

/** The parent's ids by the child's, of the copies of one kind; those of others are absent. */
export async function parentIds(
  query: Queryable,
  kind: string,
  child: string,
  childIds: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const found = await sql<{ child_id: string; resource_id: string }>`select child_id, resource_id from replicas
    where kind = ${kind} and child = ${child} and child_id = any(${[...childIds]}::text[])`.execute(query);
  return new Map(found.rows.map(({ child_id, resource_id }) => [child_id, resource_id]));
}

/** The children's ids of a network, by child: of a copy, or of the child's own that stands behind an external one. */
export async function networkIds(query: Queryable, networkId: string): Promise<ReadonlyMap<string, string>> {
  const found = await sql<{ child: string; child_id: string }>`
    select child, child_id from external_networks where network_id = ${networkId}
    union select child, child_id from replicas
      where kind = 'network' and resource_id = ${networkId} and child_id is not null`.execute(query);
  return new Map(found.rows.map(({ child, child_id }) => [child, child_id]));
}

/** What is still to be done, in a sentence for each child. */
export function workInWords({ work }: Known): string[] {
  return work.map(({ child, attempts, is_claimed, due_in_ms, request_id }) => {
    const when = is_claimed ? 'being worked on now' : due_in_ms <= 0 ? 'due' : `due in ${seconds(due_in_ms)}`;
    const tries = attempts === 0 ? '' : `, ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'} so far`;
    return `${child}: work under way: ${when}${tries}${request_id === null ? '' : ` (${request_id})`}`;
  });
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;

/** What was last said against each copy. */
export const errorsInWords = ({ copies }: Known): string[] =>
  copies.flatMap(({ child, error }) => (error === null ? [] : [`${child}: last error: ${error}`]));
