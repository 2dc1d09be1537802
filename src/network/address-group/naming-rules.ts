/** The rules in a child that name a list of addresses, brought after it. */
import { sql } from 'kysely';
import type { Cascade, ChildContext } from '../../cascade/contract.ts';
import { CloudError } from '../../openstack/error.ts';
import { bringRules } from '../security-group-replica.ts';

/**
 * Brings the rules of all groups with a copy in the child that name this one. Twice: the second changes nothing.
 * @param by how they name it
 */
export async function bringNaming(
  context: ChildContext,
  cascade: Pick<Cascade, 'want'>,
  by: 'remote_group_id' | 'remote_address_group_id',
  id: string,
): Promise<void> {
  const naming = await sql<{ id: string; child_id: string }>`select resource_id as id, child_id from replicas
    where kind = 'security_group' and child = ${context.child} and child_id is not null and not retiring
      and exists (select 1 from security_group_rules rule
        where rule.security_group_id = replicas.resource_id and rule.${sql.ref(by)} = ${id})
    order by 1`.execute(context.db.query);
  for (const copy of naming.rows) {
    try {
      await bringRules(context, cascade, copy.id, copy.child_id);
    } catch (error) {
      if (!(error instanceof CloudError) || error.status !== 404) throw error;
      // The copy is gone; whoever finds that out makes it again, and its rules with it.
      context.log.info(
        { security_group_id: copy.id, child: context.child, err: error },
        'a copy has no rules to bring',
      );
    }
  }
}
