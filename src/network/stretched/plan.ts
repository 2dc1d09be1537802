/** Where a new network is going to live, by its provider attributes, its hints and the operator's default. */
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable } from '../../db/database.ts';
import { badRequest, conflict, notFound } from '../../http/fault.ts';
import { invalidInput } from '../network-fault.ts';
import type { NetworkTopology, PhysicalNetwork } from '../topology.ts';
import { joinedBy, zonesOfChildren } from './place.ts';
import { OVERLAY, type ProviderRequest, type Segment, segmentAsked, segmentByDefault, type Wire } from './provider.ts';

export interface NetworkPlan {
  readonly segment: Segment;
  /** The one child that it lives in; null where none is chosen yet, or there are several. */
  readonly child: string | null;
  /** That child's zones; those of a stretched network follow from the physical network that is taken. */
  readonly zones: readonly string[];
}

export interface PlanParts {
  readonly cascade: Cascade;
  readonly topology: NetworkTopology;
}

/**
 * Chooses between a network of one child and a stretched one.
 * @throws Fault 400 for provider attributes that cannot be, an external network on a shared physical network, and
 *   hints that no network can follow; 404 for a zone that there is not; 409 where the children that it would lie in
 *   cannot take part
 */
export async function planNetwork(
  query: Queryable,
  parts: PlanParts,
  given: ProviderRequest & { readonly external?: boolean | undefined },
  hints: readonly string[],
): Promise<NetworkPlan> {
  const { topology, cascade } = parts;
  const asked = segmentAsked(topology, given);
  const serving = await childrenOfHints(query, cascade, hints);
  if (asked !== undefined && asked.type !== OVERLAY) {
    if (given.external === true) {
      throw invalidInput(
        'an external network cannot be made on a physical network of several availability zones: external networks are made in these, and appear here.',
      );
    }
    return { segment: await narrowed(query, asked, serving, hints), child: null, zones: [] };
  }
  const common = serving[0]?.find((child) => serving.every((children) => children.includes(child)));
  if (common !== undefined) {
    const zones = await zonesOfChildren(query, cascade, [common]);
    return { segment: { type: OVERLAY }, child: common, zones };
  }
  const byDefault = asked === undefined && given.external !== true ? segmentByDefault(topology) : undefined;
  if (byDefault !== undefined) {
    return { segment: await narrowed(query, byDefault, serving, hints), child: null, zones: [] };
  }
  if (hints.length > 0) throw nowhere(hints);
  return { segment: { type: OVERLAY }, child: null, zones: [] };
}

/**
 * Of the physical networks that would do, those that join children of every zone hinted at, and children at all, which
 * are able to take part.
 */
async function narrowed(
  query: Queryable,
  segment: Wire,
  serving: readonly (readonly string[])[],
  hints: readonly string[],
): Promise<Wire> {
  const candidates = segment.type === 'flat' ? [segment.physical] : segment.physical;
  const joining = candidates.filter(({ children }) => serving.every((names) => names.some((name) => name in children)));
  if (joining.length === 0 && candidates.length > 0) throw nowhere(hints);
  const fit: PhysicalNetwork[] = [];
  let reason: string | undefined;
  for (const physical of joining) {
    const { able, refusals } = await joinedBy(query, physical);
    const lacking = [...serving, Object.keys(physical.children)].find(
      (names) => !names.some((name) => able.includes(name)),
    );
    if (lacking === undefined) fit.push(physical);
    else reason ??= lacking.flatMap((name) => refusals.get(name)?.tenant ?? [])[0];
  }
  if (fit.length === 0 && reason !== undefined) {
    throw conflict(`Unable to create the network: ${reason}.`, 'NetworkAvailabilityZoneNotJoined');
  }
  return segment.type === 'flat' ? segment : { ...segment, physical: fit };
}

const nowhere = (hints: readonly string[]) =>
  badRequest(
    `A network lives in one place, and no such place serves all of the availability zones ${hints.join(', ')}.`,
    'InvalidInput',
  );

/** @throws Fault 404 for the first zone that there is not */
async function childrenOfHints(query: Queryable, cascade: Cascade, hints: readonly string[]) {
  if (hints.length === 0) return [];
  const zones = await cascade.zones(query);
  return hints.map((hint) => {
    const zone = zones.find(({ name }) => name === hint);
    if (zone === undefined) {
      throw notFound(`AvailabilityZone ${hint} could not be found.`, 'AvailabilityZoneNotFound');
    }
    return zone.children;
  });
}
