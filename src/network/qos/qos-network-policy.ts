/** A port shows beside its own QoS policy that of its network: read for a whole page at once. */
import { sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';

type Shown = { readonly network_id: string; qos_network_policy_id: string | null };

/**
 * Fills in the policies of the networks of all ports in an answer.
 * @param answer whatever an operation on ports answers; anything else in it is left as it is
 */
export async function withNetworkPolicies(query: Queryable, answer: unknown): Promise<unknown> {
  if (answer === null || typeof answer !== 'object') return answer;
  const ports = Object.values(answer).flat().filter(isPort);
  if (ports.length === 0) return answer;
  const ids = [...new Set(ports.map(({ network_id }) => network_id))];
  const found = await sql<{ id: string; qos_policy_id: string }>`select id, qos_policy_id from networks
    where id = any(${ids}::text[]) and qos_policy_id is not null`.execute(query);
  const policies = new Map(found.rows.map(({ id, qos_policy_id }) => [id, qos_policy_id]));
  for (const port of ports) port.qos_network_policy_id = policies.get(port.network_id) ?? null;
  return answer;
}

const isPort = (item: unknown): item is Shown =>
  typeof item === 'object' &&
  item !== null &&
  'qos_network_policy_id' in item &&
  'network_id' in item &&
  typeof item.network_id === 'string';
