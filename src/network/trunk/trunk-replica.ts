/** The copy of a trunk in the child of its parent port. Its mark is its name: the parent's id. */
import { sql } from 'kysely';
import { applyEach } from '../../cascade/apply-each.ts';
import type { ChildContext, Feed, ReplicaKind } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import { CloudError } from '../../openstack/error.ts';
import { describe, detailOf, findByName, removeByPath, scopeFor } from '../network-replica.ts';
import { type SubPort, type TrunkRow, trunkStore } from './trunk-resource.ts';

interface ChildTrunk {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly admin_state_up: boolean;
  readonly status: string;
  readonly sub_ports: readonly SubPort[];
}

const PATH = '/trunks';
const AGAIN_MS = 1000;
const IDLE_MS = 30_000;
const BUSY_MS = 1000;
const STATUSES = new Set(['ACTIVE', 'DOWN', 'BUILD', 'DEGRADED', 'ERROR']);

/** The kind `trunk`. */
export const trunkKind: ReplicaKind<TrunkRow> = {
  kind: 'trunk',
  table: 'trunks',
  // A port is the parent of one trunk: the child itself takes no second one.
  unique: true,
  load: (query, id) => trunkStore.find(query, id),
  needs: (row) => [row.port_id, ...row.sub_ports.map(({ port_id }) => port_id)].map((id) => ({ kind: 'port', id })),
  find: (context, id, row) => findByName(context, PATH, 'trunks', id, row?.project_id),
  /** Twice: the second is refused by the child, since the port has a trunk. */
  async make(context, row) {
    const port = await context.ensure('port', row.port_id);
    const trunk = {
      name: row.id,
      description: describe(row.name),
      port_id: port.child_id,
      sub_ports: await translated(context, row.sub_ports),
    };
    const { body } = await whileOthersLeave(context, row.id, async () =>
      context.api.call<{ trunk: ChildTrunk }>({
        service: 'network',
        method: 'POST',
        path: PATH,
        body: { trunk },
        scope: await context.scope(row.project_id),
      }),
    );
    // Whether it is up is brought afterwards: one that is down takes no change.
    return { child_id: body.trunk.id, detail: detailOf(row.project_id), current: false };
  },
  /** Reads the copy and changes what differs; twice: the second finds nothing that does. */
  async bring(context, row, replica) {
    const scope = await context.scope(row.project_id);
    const path = `${PATH}/${replica.child_id}`;
    const call = { service: 'network', scope } as const;
    const { body } = await context.api.call<{ trunk: ChildTrunk }>({ ...call, method: 'GET', path });
    const there = body.trunk;
    const wanted = await translated(context, row.sub_ports);
    const surplus = there.sub_ports.filter((one) => !wanted.some((other) => same(one, other)));
    const missing = wanted.filter((one) => !there.sub_ports.some((other) => same(one, other)));
    const isChanged = surplus.length > 0 || missing.length > 0;
    let isUp = there.admin_state_up;
    if (isChanged && !isUp) {
      await put(context, path, scope, { trunk: { admin_state_up: true } });
      isUp = true;
    }
    if (surplus.length > 0) {
      const sub_ports = surplus.map(({ port_id }) => ({ port_id }));
      await put(context, `${path}/remove_subports`, scope, { sub_ports });
    }
    if (missing.length > 0) {
      await whileOthersLeave(context, row.id, () =>
        put(context, `${path}/add_subports`, scope, { sub_ports: missing }),
      );
    }
    const changes = {
      ...(isUp === row.admin_state_up ? {} : { admin_state_up: row.admin_state_up }),
      ...(there.description === describe(row.name) ? {} : { description: describe(row.name) }),
    };
    if (Object.keys(changes).length > 0) await put(context, path, scope, { trunk: changes });
  },
  /** Twice: a 404 counts as done. */
  async remove(context, replica) {
    const scope = await scopeFor(context, replica.detail.project_id);
    const path = `${PATH}/${replica.child_id}`;
    // A disabled trunk cannot be deleted.
    await put(context, path, scope, { trunk: { admin_state_up: true } });
    await removeByPath(context, path, replica.detail.project_id);
  },
  async failed(context, id, tenantMessage) {
    context.log.warn({ trunk_id: id, reason: tenantMessage }, 'a trunk could not be brought to a child');
    await trunkStore.update(context.db.query, id, { status: 'ERROR' }, { revise: false });
  },
};

const same = (one: SubPort, other: SubPort): boolean =>
  one.port_id === other.port_id &&
  one.segmentation_type === other.segmentation_type &&
  one.segmentation_id === other.segmentation_id;

function translated(context: ChildContext, subPorts: readonly SubPort[]): Promise<SubPort[]> {
  return Promise.all(
    subPorts.map(async (one) => ({ ...one, port_id: (await context.ensure('port', one.port_id)).child_id })),
  );
}

async function put(context: ChildContext, path: string, scope: CloudScope, body: object): Promise<void> {
  await context.api.call({ service: 'network', method: 'PUT', path, body, scope, accept: [404] });
}

/** A port that left another trunk here is free in the child when that trunk's copy has let go of it, too. */
async function whileOthersLeave<T>(context: ChildContext, id: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CloudError) || error.status !== 409) throw error;
    const leaving = await sql`select 1 from replicas r left join trunks t on t.id = r.resource_id
      where r.kind = 'trunk' and r.child = ${context.child} and r.resource_id <> ${id}
        and (r.retiring or t.revision is distinct from r.revision) limit 1`.execute(context.db.query);
    if (leaving.rows.length === 0) throw error;
    throw new Later(AGAIN_MS, error.message);
  }
}

/** The feed by which a child tells which trunks are up. */
export const trunkFeed: Feed = {
  name: 'trunks',
  idle_ms: IDLE_MS,
  busy_ms: BUSY_MS,
  async busy(query, child) {
    const found = await sql`select 1 from trunks where child = ${child} and status in ('DOWN', 'BUILD')
      and updated_at > clock_timestamp() - interval '1 minute' limit 1`.execute(query);
    return found.rows.length > 0;
  },
  round: async (context, cursor) => {
    const any = await sql`select 1 from trunks where child = ${context.child} limit 1`.execute(context.db.query);
    if (any.rows.length === 0) return cursor;
    const query = { fields: ['id', 'status'] };
    const pages = context.api.pages<ChildTrunk>({ service: 'network', method: 'GET', path: PATH, query }, 'trunks');
    for await (const page of pages) {
      await applyEach(
        page,
        context.log,
        ({ id }) => id,
        (one) => applyStatus(context, one),
      );
    }
    return cursor;
  },
};

/** Only of a copy that is at the parent's revision: an older one tells how it was before the last change. */
async function applyStatus(context: ChildContext, { id, status }: ChildTrunk): Promise<void> {
  if (!STATUSES.has(status)) return;
  await sql`update trunks t set status = ${status}, updated_at = clock_timestamp() from replicas r
    where r.kind = 'trunk' and r.resource_id = t.id and r.child = ${context.child} and r.revision = t.revision
      and r.child_id = ${id} and t.status <> ${status}`.execute(context.db.query);
}
