/** The copy of a stretched network in a child: made with the rights of the child's administrator, owned by the tenant. */
import { sql } from 'kysely';
import type { ChildContext } from '../../cascade/contract.ts';
import { CloudError, plainSentence } from '../../openstack/error.ts';
import type { NetworkRow } from '../network-resource.ts';
import type { PhysicalNetwork } from '../topology.ts';
import { renewTransit, type TransitParts } from '../transit/join.ts';
import { physicalOf } from './place.ts';
import { chooseAnother, noteRefused, segmentNow } from './segment.ts';

/**
 * Makes the copy on the same segment as in every other child. Twice: the child refuses the second, since the segment is
 * taken, and it is found by its name.
 * @param values what the copy shares with those of other networks: its mark, its name's description and so on
 * @returns the child's id of it
 * @throws CloudError, `transient` where another VLAN was chosen because this child uses the first for something else;
 *   else in words for the tenant, where the child cannot take part
 */
export async function makeStretched(
  context: ChildContext,
  parts: TransitParts,
  row: NetworkRow,
  values: Readonly<Record<string, unknown>>,
): Promise<string> {
  const physical = physicalOf(parts.topology, row);
  const name = physical?.children[context.child];
  if (physical === undefined || name === undefined) {
    throw refusal(context, row, 'it is not joined by the physical network', undefined);
  }
  const segmentation_id = await segmentNow(context.db, row.id);
  if (segmentation_id === undefined) throw again(context, 'the network is gone', undefined);
  const { projectId } = await context.scope(row.project_id);
  const network = {
    ...values,
    ...(projectId === undefined ? {} : { project_id: projectId }),
    'provider:network_type': row.provider_network_type,
    'provider:physical_network': name,
    ...(segmentation_id === null ? {} : { 'provider:segmentation_id': segmentation_id }),
  };
  try {
    const { body } = await context.api.call<{ network: { id: string } }>({
      service: 'network',
      method: 'POST',
      path: '/networks',
      body: { network },
    });
    await isWell(context, row.id);
    return body.network.id;
  } catch (error) {
    throw await explained(context, parts, row, physical, segmentation_id, error);
  }
}

/** The network is in order again, as far as no other child has refused it. */
async function isWell(context: ChildContext, networkId: string): Promise<void> {
  await sql`update networks set status = 'ACTIVE' where id = ${networkId} and status = 'ERROR'
    and not exists (select 1 from replicas where kind = 'network' and resource_id = ${networkId}
      and child <> ${context.child} and error is not null)`.execute(context.db.query);
}

async function explained(
  context: ChildContext,
  parts: TransitParts,
  row: NetworkRow,
  physical: PhysicalNetwork,
  id: number | null,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof CloudError) || error.failure !== 'refused' || error.transient) return error;
  if (error.status !== 409) {
    return error.status === 400 || error.status === 403
      ? refusal(context, row, 'it cannot take part in networks of several availability zones', error)
      : error;
  }
  if (!/in use/i.test(error.message)) return error;
  if (id === null) return refusal(context, row, 'its untagged segment is in use there', error);
  if (await moved(context, parts, row, id))
    return again(context, 'its VLAN was in use, and its router has another', error);
  if (await chooseAnother(context.db, row.id, context.child, id, physical)) {
    context.log.warn(
      { network_id: row.id, segmentation_id: id },
      'a VLAN is used for something else: another is taken',
    );
    return again(context, 'its VLAN was in use, and it has another now', error);
  }
  return refusal(context, row, 'its VLAN is in use there by another network', error);
}

/** Whether this was a router's transit, which has another VLAN now, in all of its children. */
async function moved(context: ChildContext, parts: TransitParts, row: NetworkRow, refused: number): Promise<boolean> {
  if (row.copies_project_id === null || row.provider_physical_network === null) return false;
  const name = row.provider_physical_network;
  const isMoved = await context.db.transaction(async (tx) => {
    await noteRefused(tx, name, refused);
    return renewTransit(tx, parts, row.id);
  });
  context.log.warn(
    { child: context.child, segmentation_id: refused },
    'a VLAN for routed traffic is used for something else',
  );
  if (isMoved) parts.cascade.poke();
  return isMoved;
}

/** To be tried again at once. A status, unlike a `Later`, says that nothing was made. */
const again = (context: ChildContext, why: string, cause: CloudError | undefined): CloudError =>
  new CloudError(`${context.child}: ${why}`, {
    failure: 'refused',
    stage: 'answer',
    status: 409,
    transient: true,
    tenantMessage: plainSentence.busy,
    cause,
  });

/** Without the child's own names: what a tenant reads. */
function refusal(context: ChildContext, row: NetworkRow, why: string, cause: CloudError | undefined): CloudError {
  const tenantMessage = `Network ${row.id} cannot be brought to this availability zone: ${why}.`;
  return new CloudError(`${context.child}: ${cause?.message ?? tenantMessage}`, {
    failure: 'refused',
    stage: 'answer',
    status: cause?.status ?? 409,
    tenantMessage,
    requestId: cause?.requestId,
    cause,
  });
}
