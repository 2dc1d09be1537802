/**
 * Who uses whom in a child: a router its ports, a port its subnets, everything its project. What was brought with
 * another copy uses it; so a copy that is to go waits for those that use it and are themselves about to go or to
 * change, and is looked at again as soon as they are: the child is asked once, when it can say yes.
 *
 * It only orders. Killed between a copy's going and the word of it, or where nobody knows who uses what: the removal is
 * looked at again soon anyway, and what is in use after all the child refuses to take away.
 */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { ReplicaReference } from './contract.ts';

/** How a copy is written down among those that another one uses. */
export const useOf = ({ kind, id }: ReplicaReference): string => `${kind}:${id}`;

/**
 * Whether a copy that is to go is used, in its child, by one that will soon be gone or use it no more. One that is used
 * by something at rest is not waited for: nothing would ever say that it can go.
 */
export async function isInUse(query: Queryable, { kind, id }: ReplicaReference, child: string): Promise<boolean> {
  const result = await sql<{ is_in_use: boolean }>`select exists (
      select 1 from replicas going join replicas user_of on user_of.child = going.child
      where going.kind = ${kind} and going.resource_id = ${id} and going.child = ${child}
        and going.retiring and going.child_id is not null
        and user_of.uses @> array[${useOf({ kind, id })}] and user_of.child_id is not null
        and (user_of.retiring or exists (
          select 1 from work
          where work.lane = user_of.child and work.kind = user_of.kind and work.resource_id = user_of.resource_id
        ))
    ) as is_in_use`.execute(query);
  return result.rows[0]?.is_in_use === true;
}

/** Says of copies that one which used them does so no more: those of them that are to go are due now. */
export async function noLongerUsed(query: Queryable, child: string, uses: readonly string[]): Promise<void> {
  if (uses.length === 0) return;
  await sql`update work set generation = generation + 1, due_at = least(due_at, clock_timestamp())
    from replicas, unnest(${[...uses]}::text[]) as use(name)
    where replicas.kind = split_part(name, ':', 1) and replicas.resource_id = split_part(name, ':', 2)
      and replicas.child = ${child} and replicas.retiring
      and work.lane = replicas.child and work.kind = replicas.kind and work.resource_id = replicas.resource_id`.execute(
    query,
  );
}

/** Of what a copy used before, that which it uses no more. */
export const dropped = (before: { readonly uses: readonly string[] }, now: ReadonlySet<string>): string[] =>
  before.uses.filter((use) => !now.has(use));
