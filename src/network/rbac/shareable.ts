/**
 * What it takes of a kind of object that other projects may be let to use it. Each says it once, beside its description;
 * policies, the attribute `shared` and who may no longer be shut out follow from that.
 */
import { type RawBuilder, sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import type { Tx } from '../../db/database.ts';
import { conflict, type Fault } from '../../http/fault.ts';
import type { Operation } from '../../http/service.ts';
import { type Crud, crudOperations } from '../../resource/crud.ts';
import type { BaseRow } from '../../resource/resource.ts';
import { countQuota } from '../network-quota.ts';

/** One way in which an object can be used by others. */
export interface Access {
  /** Columns of the object's table: whether everybody may, and which projects may. */
  readonly everybody: string;
  readonly projects: string;
  /** A query with one column `project_id`: whose things depend on the object. */
  readonly users: (id: string) => RawBuilder<unknown>;
}

/** A kind of object that can be shared. */
export interface Shareable {
  /** Its `object_type`. */
  readonly type: string;
  readonly table: string;
  /** By `action` of a policy. */
  readonly accesses: Readonly<Record<string, Access>>;
  /** What else speaks against a new policy, with the object locked; throws it. */
  readonly creating?: (tx: Tx, policy: NewPolicy) => Promise<void>;
  /** What else follows, after the columns follow the policies. */
  readonly changed?: (tx: Tx, action: string, objectId: string) => Promise<void>;
  /** The fault where everybody's access is taken away by `shared=False` while others use the object. */
  readonly unsharing?: (id: string) => Fault;
}

const ACCESS_AS_SHARED = 'access_as_shared';
export const EVERYBODY = '*';

/** The usual way, with the columns of `sharedFields`. */
export const sharedAccess = (users: Access['users']): Shareable['accesses'] => ({
  [ACCESS_AS_SHARED]: { everybody: 'shared', projects: 'shared_with', users },
});

export interface NewPolicy {
  readonly object_id: string;
  readonly action: string;
  readonly target_tenant: string;
}

export const rbacPolicyInUse = (objectId: string, details: string): Fault =>
  conflict(
    `RBAC policy on object ${objectId} cannot be removed because other objects depend on it.\nDetails: ${details}`,
    'RbacPolicyInUse',
  );

type Columns = Readonly<Record<string, unknown>>;

/**
 * The usual operations on a kind that can be shared: what a request says of `shared` becomes a policy, and policies go
 * with their object.
 */
export function sharedOperations<R extends BaseRow>(kind: Shareable, crud: Crud<R>): Operation[] {
  const accesses = Object.entries(kind.accesses);
  return crudOperations<R>({
    ...crud,
    async created(row, context, tx) {
      for (const [action, access] of accesses) {
        if (isForEverybody(access, row)) await addImplied(tx, kind, row, action);
      }
      return crud.created?.(row, context, tx);
    },
    async updating(row, given, context, tx) {
      const patch = (await crud.updating?.(row, given, context, tx)) ?? given;
      for (const [action, access] of accesses) {
        if (!isForEverybody(access, row) || isForEverybody(access, { ...row, ...patch })) continue;
        const other = await shutOut(tx, access, row, { action, target: EVERYBODY });
        if (other !== undefined) throw kind.unsharing?.(row.id) ?? rbacPolicyInUse(row.id, `project_id=${other}`);
      }
      return patch;
    },
    async updated(row, before, context, tx) {
      for (const [action, access] of accesses) {
        const [was, is] = [isForEverybody(access, before), isForEverybody(access, row)];
        const forNobody = !is && projectsOf(access, row).length === 0;
        if (is && !was) await addImplied(tx, kind, row, action);
        else if (forNobody && (was || projectsOf(access, before).length > 0)) await dropPolicies(tx, row.id, action);
        else if (was && !is) await dropPolicies(tx, row.id, action, EVERYBODY);
      }
      return crud.updated?.(row, before, context, tx);
    },
    async removing(row, context, tx) {
      await crud.removing?.(row, context, tx);
      await dropPolicies(tx, row.id);
    },
  });
}

const isForEverybody = ({ everybody }: Access, row: object): boolean => (row as Columns)[everybody] === true;
const projectsOf = ({ projects }: Access, row: object): readonly string[] =>
  ((row as Columns)[projects] ?? []) as readonly string[];

/** The policy that says what `shared` or `router:external` says; not counted. Twice: nothing. */
export async function addImplied(
  tx: Tx,
  kind: Pick<Shareable, 'type'>,
  row: { readonly id: string; readonly project_id: string },
  action: string,
): Promise<void> {
  await sql`insert into rbac_policies (id, project_id, object_type, object_id, action, target_tenant, counted)
    values (${randomUUID()}, ${row.project_id}, ${kind.type}, ${row.id}, ${action}, ${EVERYBODY}, false)
    on conflict do nothing`.execute(tx);
}

/** Takes policies of an object away, all or those of one action (and target), and uncounts them. */
async function dropPolicies(tx: Tx, objectId: string, action?: string, target?: string): Promise<void> {
  const gone = await sql<{ project_id: string; counted: boolean }>`
    delete from rbac_policies where object_id = ${objectId}
      and (${action ?? null}::text is null or action = ${action ?? null})
      and (${target ?? null}::text is null or target_tenant = ${target ?? null})
    returning project_id, counted`.execute(tx);
  const counts = new Map<string, number>();
  for (const { project_id, counted } of gone.rows) {
    if (counted) counts.set(project_id, (counts.get(project_id) ?? 0) + 1);
  }
  for (const [project, count] of [...counts].sort()) await countQuota(tx, project, { rbac_policy: -count });
}

/**
 * A project that uses an object and could no longer, were the policy for a target gone; undefined where there is none.
 * The object must be locked.
 * @param policy.next the target that takes its place
 */
export async function shutOut(
  tx: Tx,
  access: Access,
  object: { readonly id: string; readonly project_id: string },
  policy: { readonly action: string; readonly target: string; readonly next?: string },
): Promise<string | undefined> {
  const { action, target, next } = policy;
  if (target === object.project_id) return undefined;
  const held = await sql<{ target_tenant: string }>`select target_tenant from rbac_policies
    where object_id = ${object.id} and action = ${action} and target_tenant <> ${target}`.execute(tx);
  const left = held.rows.map(({ target_tenant }) => target_tenant);
  if (next !== undefined) left.push(next);
  if (left.includes(EVERYBODY)) return undefined;
  const found = await sql<{ project_id: string }>`select u.project_id from (${access.users(object.id)}) u
    where u.project_id <> all(${[...left, object.project_id, '']}::text[])
      and ${target} in (${EVERYBODY}, u.project_id) limit 1`.execute(tx);
  return found.rows[0]?.project_id;
}

/** Has an object's columns say what its policies of an action say. */
export async function followPolicies(tx: Tx, kind: Shareable, action: string, objectId: string): Promise<void> {
  const { everybody, projects } = kind.accesses[action] as Access;
  const targets = sql`select target_tenant from rbac_policies where object_id = ${objectId} and action = ${action}`;
  // Neither the revision nor the copies: no child is told who uses an object here.
  await sql`update ${sql.table(kind.table)} set
      ${sql.ref(everybody)} = ${EVERYBODY} in (${targets}),
      ${sql.ref(projects)} = array(${targets} and target_tenant <> ${EVERYBODY} order by 1)
    where id = ${objectId}`.execute(tx);
  await kind.changed?.(tx, action, objectId);
}
