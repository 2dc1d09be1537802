/** Why there is no place for a server: the server says so until it is deleted. */
import type { Queryable } from '../../db/database.ts';
import type { PlaceRequest, Resolved } from './boot-lookup.ts';
import type { ServerDependencies } from './dependencies.ts';

const NO_VALID_HOST = 'No valid host was found.';
/** Nova's words where nothing is lacking but room. */
export const NO_ROOM = `${NO_VALID_HOST} There are not enough hosts available.`;

/**
 * Nova's words for a boot without a place, with what a tenant can do something about: networks that do not reach where
 * the server was to go.
 */
export async function whyNowhere(
  query: Queryable,
  { cascade }: Pick<ServerDependencies, 'cascade'>,
  { networks, children: ofVolumes }: Pick<Resolved, 'networks' | 'children'>,
  { zone, host }: Pick<PlaceRequest, 'zone' | 'host'>,
): Promise<string> {
  const ofZone =
    zone === undefined ? undefined : (await cascade.zones(query)).find(({ name }) => name === zone)?.children;
  const isIn = (child: string): boolean =>
    (host === undefined || child === host) && ofZone?.includes(child) !== false && ofVolumes?.includes(child) !== false;
  const reached = networks.children;
  if (host !== undefined && ofZone?.includes(host) === false) {
    return `${NO_VALID_HOST} Compute host ${host} is not in availability zone ${zone ?? ''}.`;
  }
  if (reached === undefined || reached.some(isIn)) return NO_ROOM;
  const ids = [...new Set(networks.requests.map(({ network_id }) => network_id))];
  const which = ids.length === 1 ? `Network ${ids[0]} does` : 'The requested networks do';
  const where =
    host !== undefined
      ? `compute host ${host}`
      : zone === undefined
        ? 'the availability zone of the volumes'
        : `availability zone ${zone}`;
  return `${NO_VALID_HOST} ${which} not reach ${where}.`;
}
