/**
 * Auto-allocated topology: a network with subnets out of the default pools, behind a router on the default external
 * network, made for a project that asks for it without naming any part. All of it in one transaction.
 */
import { sql } from 'kysely';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault, forbidden } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { createRow, removeRow } from '../../resource/crud.ts';
import { all } from '../../resource/store.ts';
import type { EdgeParts } from '../edge-core.ts';
import { callersProject, visibleNetworks } from '../network-project.ts';
import { networkStore } from '../network-resource.ts';
import { networkCrud } from '../networks.ts';
import { addInterface, changeInterface, removeInterface } from '../router-interface.ts';
import { routers } from '../router-resource.ts';
import { routerCrud } from '../router.ts';
import { defaultPoolOf } from '../subnet-pool/pool-allocation.ts';
import { subnetCrud } from '../subnets.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const autoTopologyExtensions: readonly Extension[] = [
  {
    alias: 'auto-allocated-topology',
    name: 'Auto Allocated Topology Services',
    description: 'A network behind a router, without asking for its parts.',
    updated: '2016-01-01T00:00:00-00:00',
  },
];

const PATH = '/auto-allocated-topology/:project_id';
const DRY_RUN = 'dry-run';

const failure = (reason: string): Fault => conflict(`Deployment error: ${reason}.`, 'AutoAllocationFailure');

/** `GET` and `DELETE /auto-allocated-topology/:project_id`; the first makes it where it is not there. */
export function autoTopologyOperations(parts: EdgeParts): Operation[] {
  const { db, cascade } = parts;
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy: {
        name: 'get_auto_allocated_topology',
        check: 'rule:project_reader_or_admin',
        description: "Show a project's auto-allocated topology, and make it where it is not there",
      },
      status: 200,
      summary: "Show a project's auto-allocated topology, and make it where it is not there",
      handle: async (call) => {
        const { context, query } = call;
        const project = projectOf(call);
        const fields = [query.fields ?? []].flat();
        const shown = (id: string) => ({ auto_allocated_topology: { id, tenant_id: project } });
        if (fields.includes(DRY_RUN)) {
          await requirements(db.query, context);
          return shown('dry-run=pass');
        }
        if (fields.length > 0) throw badRequest('Bad auto_allocate request: Unrecognized field.', 'BadRequest');
        return shown(await autoAllocate(parts, context, project));
      },
    }),
    operation({
      method: 'DELETE',
      path: PATH,
      policy: {
        name: 'delete_auto_allocated_topology',
        check: 'rule:project_member_or_admin',
        description: "Delete a project's auto-allocated topology",
      },
      status: 204,
      summary: "Delete a project's auto-allocated topology",
      handle: async (call) => {
        const project = projectOf(call);
        await db.transaction((tx) => removeTopology(tx, parts, call.context, project));
        cascade.poke();
      },
    }),
  ];
}

/** Clients that mean their own project name none. @throws Fault 403 for another project's */
function projectOf({ context, params }: Call): string {
  const own = callersProject(context);
  const project = params.project_id === 'None' ? own : (params.project_id ?? '');
  if (!context.identity.isAdmin && project !== own) throw forbidden('Not authorized.', 'NotAuthorized');
  return project;
}

/** Whether a project has a topology, or the deployment what one is made of. */
export async function canAutoAllocate(query: Queryable, context: RequestContext): Promise<boolean> {
  const parts = await partsOf(query, context);
  return parts.external !== undefined && parts.pools.length > 0;
}

/**
 * The network of a project's topology, which is made where it is not there. Twice at once: one is made.
 * @returns the network's id
 * @throws Fault 409 where the deployment has no default external network or no default subnet pool
 */
export async function autoAllocate(parts: EdgeParts, context: RequestContext, project: string): Promise<string> {
  const made = await parts.db.transaction(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`auto topology ${project}`}, 0))`.execute(tx);
    return (await topologyOf(tx, project))?.network_id ?? (await build(tx, parts, context, project));
  });
  parts.cascade.poke();
  return made;
}

interface Topology {
  readonly network_id: string;
  readonly router_id: string;
}

async function topologyOf(query: Queryable, project: string): Promise<Topology | undefined> {
  const { rows } = await sql<Topology>`
    select network_id, router_id from auto_topologies where project_id = ${project}`.execute(query);
  return rows[0];
}

interface Parts {
  readonly external: string | undefined;
  readonly pools: readonly { readonly id: string; readonly ip_version: number }[];
}

async function partsOf(query: Queryable, context: RequestContext): Promise<Parts> {
  const { rows } = await sql<{ id: string }>`select id from networks
    where external and is_default and ${all(visibleNetworks(context))} order by id limit 1`.execute(query);
  const pools = [];
  for (const ip_version of [4, 6]) {
    const id = await defaultPoolOf(query, context, ip_version);
    if (id !== undefined) pools.push({ id, ip_version });
  }
  return { external: rows[0]?.id, pools };
}

async function requirements(query: Queryable, context: RequestContext) {
  const { external, pools } = await partsOf(query, context);
  if (external === undefined) throw failure('No default router:external network');
  if (pools.length === 0) throw failure('No default subnetpools defined');
  return { external, pools };
}

async function build(tx: Tx, parts: EdgeParts, context: RequestContext, project: string): Promise<string> {
  const { external, pools } = await requirements(tx, context);
  const whose = project === callersProject(context) ? {} : { project_id: project };
  const network = await createRow(networkCrud(parts), { ...whose, name: 'auto_allocated_network' }, context, tx);
  const router = await createRow(
    routerCrud(parts),
    { ...whose, name: 'auto_allocated_router', external_gateway_info: { network_id: external } },
    context,
    tx,
  );
  for (const { id, ip_version } of pools) {
    const values = { name: `auto_allocated_subnet_v${ip_version}`, ip_version, subnetpool_id: id };
    const subnet = await createRow(subnetCrud(parts), { ...whose, ...values, network_id: network.id }, context, tx);
    await changeInterface(tx, parts, context, router, { subnet_id: subnet.id }, addInterface);
  }
  await sql`insert into auto_topologies (project_id, network_id, router_id)
    values (${project}, ${network.id}, ${router.id})`.execute(tx);
  return network.id;
}

async function removeTopology(tx: Tx, parts: EdgeParts, context: RequestContext, project: string): Promise<void> {
  const topology = await topologyOf(tx, project);
  if (topology === undefined) return;
  const router = await routers.lock(tx, topology.router_id);
  const network = await networkStore.lock(tx, topology.network_id);
  if (router !== undefined) {
    const { rows } = await sql<{ subnet_id: string }>`
      select a.subnet_id from ip_allocations a join ports p on p.id = a.port_id
      where p.device_id = ${router.id} and p.network_id = ${topology.network_id}`.execute(tx);
    for (const request of rows) await changeInterface(tx, parts, context, router, request, removeInterface);
    const bare = await routers.lock(tx, router.id);
    if (bare !== undefined) await removeRow(routerCrud(parts), bare, context, tx);
  }
  if (network !== undefined) await removeRow(networkCrud(parts), network, context, tx);
}
