/** Create, list, show, update and delete of servers. */
import { type RawBuilder, sql } from 'kysely';
import { compute } from '../../http/conventions.ts';
import { type Call, JsonBytes, type Operation, operation, Reply, type RequestContext } from '../../http/service.ts';
import { renderer } from '../../resource/render.ts';
import { boot } from './boot.ts';
import type { CreateBody } from './boot-request.ts';
import '../server-group/server-group.ts';
import type { ServerDependencies } from './dependencies.ts';
import { shownHostStatuses } from './host-status.ts';
import { listServers } from './list.ts';
import { listQuery } from './list-filters.ts';
import { askerOf, living, missing, withServer } from './lookup.ts';
import { bury, change, dropPending, recordAction, states, wake } from './records.ts';
import { canonicalIp, linksOf, type ServerAddress, type ServerRow, server, serverRenderings } from './resource.ts';
import { rules } from './rules.ts';
import { createSchema, isTrue, updateSchema } from './schema.ts';
import { requireState } from './state.ts';

/** From this microversion on a shown server names its groups. */
const SHOWS_GROUPS = 71;

/** One server with all that the caller may see of it, as show answers. */
export async function view(
  dependencies: ServerDependencies,
  context: RequestContext,
  row: ServerRow,
): Promise<Record<string, unknown>> {
  const shown = renderer<ServerRow>(server, compute, context, 'detail')(row);
  const status = (await shownHostStatuses(dependencies, context))?.(row.child);
  if (status !== undefined) shown.host_status = status;
  if (context.version >= SHOWS_GROUPS) {
    const groups = await sql<{ ids: string[] }>`select ${groupsOf(row.id)} as ids`.execute(dependencies.db.query);
    shown.server_groups = groups.rows[0]?.ids ?? [];
  }
  return shown;
}

const groupsOf = (id: string): RawBuilder<string[]> =>
  sql`array(select group_id from server_group_members where server_id = ${id})`;

/** The same as `view` for the server of the URL, as bytes and in one query. */
async function show(dependencies: ServerDependencies, call: Call): Promise<JsonBytes> {
  const { context } = call;
  const id = call.params.server_id as string;
  const { version } = context;
  const found = await serverRenderings.find(dependencies.db.query, id, living(context), context, {
    child: sql.ref('child'),
    ...(version >= SHOWS_GROUPS ? { groups: groupsOf(id) } : {}),
  });
  if (found === undefined) throw missing(id);
  const { child, groups } = found.live as { child: string | null; groups?: string[] };
  const status = (await shownHostStatuses(dependencies, context))?.(child);
  const more = {
    ...(status === undefined ? {} : { host_status: status }),
    ...(groups === undefined ? {} : { server_groups: groups }),
  };
  const rest = JSON.stringify(more).slice(1);
  return new JsonBytes(['{"server":', found.open, rest === '}' ? '' : ',', rest, '}']);
}

const LATER = /^(OS-EXT-|OS-SRV-USG:|os-extended-volumes:|config_drive$|key_name$|security_groups$|host_status$)/;

/** The answers of update and rebuild show less before 2.75: fewer attributes, and of addresses not their kind. */
export function narrowed(shown: Record<string, unknown>, version: number, keep: readonly string[] = []): unknown {
  if (version >= 75) return shown;
  const kept = Object.entries(shown).filter(([name]) => !LATER.test(name) || keep.includes(name));
  const addresses = Object.entries((shown.addresses ?? {}) as Readonly<Record<string, readonly ServerAddress[]>>);
  return {
    ...Object.fromEntries(kept),
    addresses: Object.fromEntries(
      addresses.map(([network, list]) => [
        network,
        list.map(({ version: family, addr }) => ({ version: family, addr })),
      ]),
    ),
  };
}

interface CreateRequest {
  readonly server: CreateBody;
  readonly 'os:scheduler_hints'?: Readonly<Record<string, unknown>>;
  readonly 'OS-SCH-HNT:scheduler_hints'?: Readonly<Record<string, unknown>>;
}

interface UpdateRequest {
  readonly server: {
    readonly name?: string;
    readonly description?: string | null;
    readonly hostname?: string;
    readonly accessIPv4?: string;
    readonly accessIPv6?: string;
    readonly 'OS-DCF:diskConfig'?: string;
  };
}

/** The operations on servers; Nova has all of them under `/os-volumes_boot` too, which old clients boot from volumes by. */
export function serverOperations(dependencies: ServerDependencies): Operation[] {
  const servers = ownOperations(dependencies);
  return [...servers, ...servers.map((one) => ({ ...one, path: one.path.replace(/^\/servers/, '/os-volumes_boot') }))];
}

function ownOperations(dependencies: ServerDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/servers',
      policy: rules.index,
      query: listQuery,
      status: 200,
      summary: 'List servers',
      handle: (call) => listServers(dependencies, call, 'summary'),
    }),
    operation({
      method: 'GET',
      path: '/servers/detail',
      policy: rules.detail,
      query: listQuery,
      status: 200,
      summary: 'List servers with details',
      handle: (call) => listServers(dependencies, call, 'detail'),
    }),
    operation<CreateRequest>({
      method: 'POST',
      path: '/servers',
      policy: rules.create,
      body: createSchema,
      status: 202,
      summary: 'Create a server',
      handle: (call) => create(dependencies, call),
    }),
    operation({
      method: 'GET',
      path: '/servers/:server_id',
      policy: rules.show,
      status: 200,
      summary: 'Show a server',
      handle: (call) => show(dependencies, call),
    }),
    operation<UpdateRequest>({
      method: 'PUT',
      path: '/servers/:server_id',
      policy: rules.update,
      body: updateSchema,
      status: 200,
      summary: 'Update a server',
      handle: (call) => update(dependencies, call),
    }),
    operation({
      method: 'DELETE',
      path: '/servers/:server_id',
      policy: rules.delete,
      status: 204,
      summary: 'Delete a server',
      handle: (call) => remove(dependencies, call, 'delete'),
    }),
  ];
}

async function create(dependencies: ServerDependencies, call: Call<CreateRequest>): Promise<unknown> {
  const { context, body } = call;
  const hints = body['os:scheduler_hints'] ?? body['OS-SCH-HNT:scheduler_hints'] ?? {};
  const { rows, reservation_id, admin_pass } = await boot(dependencies, context, body.server, hints);
  if (isTrue(body.server.return_reservation_id)) return { reservation_id };
  const row = rows[0] as ServerRow;
  const links = linksOf(context, 'servers', row.id);
  return new Reply(
    202,
    {
      server: {
        id: row.id,
        links,
        'OS-DCF:diskConfig': row.disk_config,
        security_groups: body.server.security_groups ?? [{ name: 'default' }],
        adminPass: admin_pass,
      },
    },
    { location: links[0]?.href ?? '' },
  );
}

async function update(dependencies: ServerDependencies, call: Call<UpdateRequest>): Promise<unknown> {
  const { context, body } = call;
  const { name, description, hostname, accessIPv4, accessIPv6 } = body.server;
  const row = await withServer(dependencies, call, async (tx, before) => {
    const after = await change(tx, before, {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
      ...(hostname === undefined ? {} : { hostname }),
      ...(accessIPv4 === undefined ? {} : { access_ip_v4: accessIPv4 }),
      ...(accessIPv6 === undefined ? {} : { access_ip_v6: canonicalIp(accessIPv6) }),
      ...(body.server['OS-DCF:diskConfig'] === undefined ? {} : { disk_config: body.server['OS-DCF:diskConfig'] }),
      facts: before.facts + 1,
    });
    await wake(tx, dependencies, after, context.requestId);
    return after;
  });
  return { server: narrowed(await view(dependencies, context, row), context.version) };
}

/**
 * Deletes a server: at once where nothing was ever sent to a child, else its proxy does it there first.
 * @param method as a refusal names it
 */
export async function remove(
  dependencies: ServerDependencies,
  call: Call,
  method: 'delete' | 'forceDelete',
): Promise<void> {
  const { context } = call;
  await withServer(dependencies, call, async (tx, row) => {
    requireState(row, context, { method, task: 'any', launched: false });
    const gone = row.child === null || dependencies.cascade.child(row.child) === undefined;
    if (row.task_state === 'deleting' && !gone) {
      await wake(tx, dependencies, row, context.requestId);
      return;
    }
    await recordAction(tx, row.id, 'delete', askerOf(context));
    if (gone || (row.child_id === null && row.create_sent_at === null)) {
      await bury(tx, dependencies, row.id);
      return;
    }
    await dropPending(tx, dependencies, row);
    // What was still to be done there is done with: only the delete counts from here on.
    await dependencies.volumes.leaving(tx, row.id);
    const after = await change(tx, row, { ...states(row.vm_state, 'deleting'), pending: [], delete_sent_at: null });
    await wake(tx, dependencies, after, context.requestId);
  });
}
