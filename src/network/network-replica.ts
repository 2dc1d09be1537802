/** The copy of a tenant network in the child that it lives in. Its mark is its name: the parent's id. */
import type { ChildContext, Found, ReplicaKind } from '../cascade/contract.ts';
import type { CloudScope } from '../openstack/contract.ts';
import { CloudError, plainSentence } from '../openstack/error.ts';
import { isMadeHere } from './external-network.ts';
import { TENANT_MTU } from './networks.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import { asCopied } from './copies-project.ts';
import { policyInChild } from './qos/qos-child.ts';
import { isStretched } from './stretched/place.ts';
import { makeStretched } from './stretched/network.ts';
import type { TransitParts } from './transit/join.ts';

/** What a copy remembers: whose it is, so that it can be taken away with the same rights it was made with. */
export const detailOf = (projectId: string): Readonly<Record<string, unknown>> => ({ project_id: projectId });

/** The name that a tenant gave, for whoever looks at the child. */
export const describe = (name: string): string => `Headwater: ${name}`.slice(0, 255);

/** The token scope of a parent project; the account's own where that project is gone or not known. */
export async function scopeFor(context: ChildContext, projectId: unknown): Promise<CloudScope> {
  if (typeof projectId !== 'string' || projectId === '') return {};
  try {
    return await context.scope(projectId);
  } catch (error) {
    if (error instanceof Error && error.name === 'Gone') return {};
    throw error;
  }
}

/**
 * Looks for an object by its mark.
 * @param path of the collection, e.g. `/networks`
 * @param collection key of the answer
 */
export async function findByName(
  context: ChildContext,
  path: string,
  collection: string,
  id: string,
  projectId: string | undefined,
): Promise<Found | undefined> {
  const { body } = await context.api.call<Record<string, { id: string; name?: string }[]>>({
    service: 'network',
    method: 'GET',
    path,
    query: { name: id, fields: ['id', 'name'] },
    scope: await scopeFor(context, projectId),
  });
  const found = body[collection]?.find(({ name }) => name === undefined || name === id);
  if (found === undefined) return undefined;
  return { child_id: found.id, ...(projectId === undefined ? {} : { detail: detailOf(projectId) }) };
}

/**
 * Takes an object away; one that is gone already counts as taken away. That is asked for: Neutron also answers 404 where
 * a part of the object was deleted beside (a network's subnet), and then the object is still there.
 */
export async function removeByPath(context: ChildContext, path: string, projectId: unknown): Promise<void> {
  const scope = await scopeFor(context, projectId);
  const call = { service: 'network', path, accept: [404], scope } as const;
  const removed = await context.api.call({ ...call, method: 'DELETE' });
  if (removed.status !== 404) return;
  const shown = await context.api.call({ ...call, method: 'GET' });
  if (shown.status === 404) return;
  throw new CloudError(`${context.child}: DELETE network ${path} answered 404, and it is still there`, {
    failure: 'refused',
    stage: 'answer',
    status: 409,
    transient: true,
    tenantMessage: plainSentence.busy,
  });
}

/** Tenant networks, and external ones that were made here; others are the child's own and never copied. */
export function networkKind(parts: TransitParts): ReplicaKind<NetworkRow> {
  return {
    kind: 'network',
    table: 'networks',
    unique: false,
    async load(query, id) {
      const row = await networkStore.find(query, id);
      if (row === undefined) return undefined;
      return row.external && !(await isMadeHere(query, id)) ? undefined : asCopied(row);
    },
    find: (context, id, row) => findByName(context, '/networks', 'networks', id, row?.project_id),
    async make(context, row) {
      const values = { name: row.id, ...(await valuesOf(context, row, false)) };
      if (isStretched(row)) {
        const child_id = await makeStretched(context, parts, row, values);
        return { child_id, detail: detailOf(row.project_id) };
      }
      const { body } = await context.api.call<{ network: { id: string } }>({
        service: 'network',
        method: 'POST',
        path: '/networks',
        body: { network: values },
        scope: await context.scope(row.project_id),
      });
      return { child_id: body.network.id, detail: detailWith(row) };
    },
    /** Sends all that may change; twice: the same values again. */
    async bring(context, row, replica) {
      await context.api.call({
        service: 'network',
        method: 'PUT',
        path: `/networks/${replica.child_id}`,
        body: { network: await valuesOf(context, row, replica.detail.external === true) },
        scope: await context.scope(row.project_id),
      });
      return detailWith(row);
    },
    remove: (context, replica) => removeByPath(context, `/networks/${replica.child_id}`, replica.detail.project_id),
    async failed(context, id, tenantMessage) {
      context.log.warn({ network_id: id, reason: tenantMessage }, 'a network could not be brought to a child');
      await networkStore.update(context.db.query, id, { status: 'ERROR' }, { revise: false });
    },
  };
}

const detailWith = (row: NetworkRow) => ({
  ...detailOf(row.project_id),
  ...(row.external ? { external: true } : {}),
});

/** What a copy shall be; whether it is external is said only of one that is, or was. */
async function valuesOf(
  context: ChildContext,
  row: NetworkRow,
  wasExternal: boolean,
): Promise<Record<string, unknown>> {
  return {
    ...(row.external || wasExternal ? { 'router:external': row.external } : {}),
    description: describe(row.name),
    admin_state_up: row.admin_state_up,
    port_security_enabled: row.port_security_enabled,
    // What the child chooses by itself fits its own wires; only another wish is told. Copies of one segment are alike.
    ...(row.mtu === TENANT_MTU && !isStretched(row) ? {} : { mtu: row.mtu }),
    ...(await policyInChild(context, row)),
  };
}
