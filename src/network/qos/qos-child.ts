/** How the copy of a network, port or floating IP says which QoS policy it has. */
import type { ChildContext } from '../../cascade/contract.ts';

/** What each such row has: the policy, and whether it ever had one. */
export interface WithPolicy {
  readonly qos_policy_id: string | null;
  readonly qos_known: boolean;
}

/** Of what is made without a policy. */
export const NO_POLICY = { qos_policy_id: null, qos_known: false } as const;

/**
 * The attribute to send to the child, the policy being brought there first. What never had a policy says nothing, so
 * that a child without QoS need not know the word.
 */
export async function policyInChild(
  context: ChildContext,
  { qos_policy_id, qos_known }: WithPolicy,
): Promise<{ readonly qos_policy_id?: string | null }> {
  if (qos_policy_id !== null) {
    return { qos_policy_id: (await context.ensure('qos_policy', qos_policy_id)).child_id };
  }
  return qos_known ? { qos_policy_id: null } : {};
}
