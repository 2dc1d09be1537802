/** The availability zones as Neutron lists them: each once for networks and once for routers. */
import type { Cascade } from '../cascade/contract.ts';
import type { Queryable } from '../db/database.ts';
import { notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { chooseItems } from './edge-list.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const availabilityZoneExtensions: readonly Extension[] = [
  {
    alias: 'availability_zone',
    name: 'Availability Zone',
    description: 'Availability zones.',
    updated: '2015-01-01T10:00:00-00:00',
  },
];

/** `GET /availability_zones`. */
export function availabilityZoneOperations(cascade: Cascade): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/availability_zones',
      policy: { name: 'get_availability_zone', check: 'rule:public', description: 'List availability zones' },
      status: 200,
      summary: 'List availability zones',
      handle: async (call) => {
        const zones = await cascade.zones(cascade.db.query);
        const items = zones.flatMap(({ name, available }) =>
          ['network', 'router'].map((resource) => ({
            name,
            resource,
            state: available ? 'available' : 'unavailable',
          })),
        );
        return { availability_zones: chooseItems(items, call.query, ['name', 'resource', 'state']) };
      },
    }),
  ];
}

/**
 * Holds `availability_zone_hints` against the zones there are.
 * @throws Fault 404 `AvailabilityZoneNotFound` for the first that there is not
 */
export async function checkZoneHints(cascade: Cascade, query: Queryable, hints: readonly string[]): Promise<void> {
  if (hints.length === 0) return;
  const known = new Set((await cascade.zones(query)).map(({ name }) => name));
  const missing = hints.find((hint) => !known.has(hint));
  if (missing === undefined) return;
  throw notFound(`AvailabilityZone ${missing} could not be found.`, 'AvailabilityZoneNotFound');
}
