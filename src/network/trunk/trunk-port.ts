/** What ports have to do with trunks: a parent shows its subports, and none may be deleted while it is in use. */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../../db/database.ts';
import { isParent, isSubPort } from './trunk-fault.ts';
import type { SubPort } from './trunk-resource.ts';

/** @throws Fault 409 for a port that is part of a trunk */
export async function refuseTrunkPort(tx: Tx, portId: string): Promise<void> {
  const sub = await sql<{ trunk_id: string }>`
    select trunk_id from trunk_subports where port_id = ${portId}`.execute(tx);
  if (sub.rows[0] !== undefined) throw isSubPort(portId, sub.rows[0].trunk_id);
  const parent = await sql<{ id: string }>`select id from trunks where port_id = ${portId}`.execute(tx);
  if (parent.rows[0] !== undefined) throw isParent(portId, parent.rows[0].id);
}

type Details = { readonly trunk_id: string; readonly sub_ports: readonly (SubPort & { mac_address: string })[] };

/**
 * Adds `trunk_details` to the parent ports of an answer, read for the whole page at once.
 * @param answer whatever an operation on ports answers
 * @param fields the attributes asked for; empty for all
 */
export async function withTrunkDetails(query: Queryable, answer: unknown, fields: readonly string[]): Promise<unknown> {
  const isWanted = fields.length === 0 || (fields.includes('trunk_details') && fields.includes('id'));
  if (answer === null || typeof answer !== 'object' || !isWanted) return answer;
  const ports = Object.values(answer).flat().filter(isPort);
  if (ports.length === 0) return answer;
  const found = await sql<Details & { port_id: string }>`
    select t.port_id, t.id as trunk_id, coalesce(jsonb_agg(jsonb_build_object(
      'segmentation_id', s.segmentation_id, 'segmentation_type', s.segmentation_type,
      'port_id', s.port_id, 'mac_address', p.mac_address) order by s.created_at) filter (where p.id is not null), '[]')
      as sub_ports
    from trunks t left join trunk_subports s on s.trunk_id = t.id left join ports p on p.id = s.port_id
    where t.port_id = any(${ports.map(({ id }) => id)}::text[]) group by t.port_id, t.id`.execute(query);
  const details = new Map(found.rows.map(({ port_id, ...rest }) => [port_id, rest]));
  for (const port of ports) {
    const trunk_details = details.get(port.id);
    if (trunk_details !== undefined) port.trunk_details = trunk_details;
  }
  return answer;
}

const isPort = (item: unknown): item is { id: string; trunk_details?: Details } =>
  typeof item === 'object' && item !== null && 'id' in item && typeof item.id === 'string';
