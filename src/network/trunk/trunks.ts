/** Trunks: their operations, and what else a change to one entails. */
import { sql } from 'kysely';
import { Type } from 'typebox';
import type { Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { type Call, type Operation, operation, type PolicyRule, type RequestContext } from '../../http/service.ts';
import { crudOperations } from '../../resource/crud.ts';
import { renderer } from '../../resource/render.ts';
import type { EdgeParts } from '../edge-core.ts';
import { portNotFound } from '../network-fault.ts';
import { plainPolicies, projectOf } from '../network-project.ts';
import { countQuota } from '../network-quota.ts';
import { type PortRow, portStore } from '../port-resource.ts';
import { segmentTaken, subPortNotFound, trunkDisabled, trunkInError, trunkNotFound } from './trunk-fault.ts';
import { settleTrunk } from './trunk-place.ts';
import { type SubPort, trunkResource, type TrunkRow, trunkStore, visibleTrunks } from './trunk-resource.ts';
import { parentGiven, portIdsOf, subPortsGiven } from './trunk-rules.ts';

/** What Neutron calls the owner of a subport. */
const SUBPORT = 'trunk:subport';

/** The operations on trunks and their subports. */
export function trunkOperations(parts: EdgeParts): Operation[] {
  const { db, cascade } = parts;
  return [
    ...crudOperations<TrunkRow>({
      db,
      convention,
      store: trunkStore,
      path: '/trunks',
      policies: plainPolicies('trunk', 'a trunk'),
      visible: visibleTrunks,
      missing: trunkNotFound,
      bulk: true,
      creating: async (given, context, tx) => {
        const parent = await parentGiven(tx, context, given.port_id ?? '');
        const { subPorts, ports } = await subPortsGiven(tx, context, parent, given.sub_ports ?? []);
        return {
          project_id: projectOf(context, given.project_id),
          name: given.name ?? '',
          description: given.description ?? '',
          admin_state_up: given.admin_state_up ?? true,
          port_id: parent.id,
          status: 'DOWN',
          sub_ports: [...subPorts],
          child: (await settleTrunk(tx, parts, parent, ports)) ?? null,
          tags: [],
        };
      },
      created: async (row, context, tx) => {
        await storeSubPorts(tx, row.id, row.sub_ports);
        if (row.child !== null) {
          await cascade.wantReplica(tx, row.child, 'trunk', row.id, { requestId: context.requestId });
        }
        await countQuota(tx, row.project_id, { trunk: 1 });
      },
      updated: (row, _before, context, tx) => cascade.revise(tx, 'trunk', row.id, { requestId: context.requestId }),
      removing: async (row, context, tx) => {
        refuseDisabled(row);
        await dropTrunk(tx, parts, row, context.requestId);
      },
      committed: () => cascade.poke(),
    }),
    subPortsOperation(parts),
    changeOperation(parts, 'add_subports', 'Add subports to a trunk', addSubPorts),
    changeOperation(parts, 'remove_subports', 'Remove subports from a trunk', removeSubPorts),
  ];
}

/**
 * To be called in the transaction in which ports go: a trunk goes with its parent, and loses subports that go.
 */
export async function forgetTrunkPorts(tx: Tx, parts: EdgeParts, ports: readonly PortRow[]): Promise<void> {
  const ids = ports.map(({ id }) => id);
  const touched = await sql<{ id: string }>`
    select id from trunks where port_id = any(${ids}::text[])
    union select trunk_id from trunk_subports where port_id = any(${ids}::text[]) order by id`.execute(tx);
  for (const { id } of touched.rows) {
    const row = await trunkStore.lock(tx, id);
    if (row === undefined) continue;
    if (ids.includes(row.port_id)) {
      await dropTrunk(tx, parts, row, undefined);
      await trunkStore.remove(tx, row.id);
      continue;
    }
    await sql`delete from trunk_subports where port_id = any(${ids}::text[]) and trunk_id = ${id}`.execute(tx);
    await trunkStore.update(tx, id, { sub_ports: row.sub_ports.filter(({ port_id }) => !ids.includes(port_id)) });
    await parts.cascade.revise(tx, 'trunk', id);
  }
}

async function dropTrunk(tx: Tx, { cascade }: EdgeParts, row: TrunkRow, requestId: string | undefined) {
  await freeSubPorts(
    tx,
    row.sub_ports.map(({ port_id }) => port_id),
  );
  await cascade.retire(tx, 'trunk', row.id, requestId === undefined ? {} : { requestId });
  await countQuota(tx, row.project_id, { trunk: -1 });
}

type Change = (
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  row: TrunkRow,
  given: unknown,
) => Promise<Partial<TrunkRow>>;

function changeOperation(parts: EdgeParts, name: string, summary: string, change: Change): Operation {
  return operation<{ sub_ports: unknown }>({
    method: 'PUT',
    path: `/trunks/:trunk_id/${name}`,
    policy: rule(name, 'rule:project_member_or_admin', summary),
    body: Type.Object({ sub_ports: Type.Unknown() }, { additionalProperties: false }),
    status: 200,
    summary,
    handle: async ({ body, context, params }) => {
      const id = params.trunk_id ?? '';
      const changed = await parts.db.transaction(async (tx) => {
        const row = await trunkStore.lock(tx, id, visibleTrunks(context));
        if (row === undefined) throw trunkNotFound(id);
        const patch = await change(tx, parts, context, row, body.sub_ports);
        // The child says when it is ACTIVE again.
        const after = (await trunkStore.update(tx, id, { ...patch, status: 'DOWN' })) as TrunkRow;
        const { requestId } = context;
        if (after.child !== null && row.child === null) {
          await parts.cascade.wantReplica(tx, after.child, 'trunk', id, { requestId });
        }
        await parts.cascade.revise(tx, 'trunk', id, { requestId });
        return after;
      });
      parts.cascade.poke();
      // Neutron answers the bare trunk here.
      return renderer<TrunkRow>(trunkResource, convention, context, 'detail')(changed);
    },
  });
}

function subPortsOperation({ db }: EdgeParts): Operation {
  const summary = 'List the subports of a trunk';
  return operation({
    method: 'GET',
    path: '/trunks/:trunk_id/get_subports',
    policy: rule('get_subports', 'rule:project_reader_or_admin', summary),
    status: 200,
    summary,
    handle: async ({ context, params }: Call) => {
      const row = await trunkStore.find(db.query, params.trunk_id ?? '', visibleTrunks(context));
      if (row === undefined) throw trunkNotFound(params.trunk_id ?? '');
      return { sub_ports: row.sub_ports };
    },
  });
}

const rule = (name: string, check: string, description: string): PolicyRule => ({ name, check, description });

function refuseDisabled(row: TrunkRow): void {
  if (!row.admin_state_up) throw trunkDisabled(row.id);
}

const addSubPorts: Change = async (tx, parts, context, row, given) => {
  const parent = await portStore.find(tx, row.port_id);
  if (parent === undefined) throw portNotFound(row.port_id);
  const { subPorts, ports } = await subPortsGiven(tx, context, parent, given);
  refuseDisabled(row);
  if (row.status === 'ERROR') throw trunkInError(row.id);
  const segmentOf = (one: SubPort): string => `${one.segmentation_type} ${one.segmentation_id}`;
  const taken = new Set(row.sub_ports.map(segmentOf));
  const twin = subPorts.find((one) => taken.has(segmentOf(one)));
  if (twin !== undefined) throw segmentTaken(row.id, twin);
  await storeSubPorts(tx, row.id, subPorts);
  const child = ports.length === 0 ? row.child : await settleTrunk(tx, parts, parent, ports, row.child);
  return { sub_ports: [...row.sub_ports, ...subPorts], child: child ?? null };
};

const removeSubPorts: Change = async (tx, _parts, _context, row, given) => {
  refuseDisabled(row);
  const ids = portIdsOf(given);
  const unknown = ids.find((id) => !row.sub_ports.some(({ port_id }) => port_id === id));
  if (unknown !== undefined) throw subPortNotFound(row.id, unknown);
  await sql`delete from trunk_subports where port_id = any(${ids}::text[])`.execute(tx);
  await freeSubPorts(tx, ids);
  return { sub_ports: row.sub_ports.filter(({ port_id }) => !ids.includes(port_id)) };
};

async function storeSubPorts(tx: Tx, trunkId: string, subPorts: readonly SubPort[]): Promise<void> {
  for (const { port_id, segmentation_type, segmentation_id } of subPorts) {
    await sql`insert into trunk_subports (port_id, trunk_id, segmentation_type, segmentation_id)
      values (${port_id}, ${trunkId}, ${segmentation_type}, ${segmentation_id})`.execute(tx);
    await portStore.update(tx, port_id, { device_owner: SUBPORT }, { revise: false });
  }
}

async function freeSubPorts(tx: Tx, portIds: readonly string[]): Promise<void> {
  await sql`update ports set device_owner = '', updated_at = clock_timestamp()
    where id = any(${[...portIds]}::text[]) and device_owner = ${SUBPORT}`.execute(tx);
}
