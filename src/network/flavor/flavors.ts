/** Neutron's flavors and service profiles: their operations. They name providers of services, of which there are none. */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Db, Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';
import { type Operation, operation, type PolicyRule } from '../../http/service.ts';
import { crudOperations } from '../../resource/crud.ts';
import { type FlavorRow, flavorStore, type ServiceProfileRow, serviceProfileStore } from './flavor-resource.ts';

/** The services that Neutron knows by the plugins that this API stands for. */
const SERVICE_TYPES = new Set([
  'CORE',
  'FLAVORS',
  'L3_ROUTER_NAT',
  'PORTFORWARDING',
  'QOS',
  'TAG',
  'revision_plugin',
  'segments',
  'timestamp',
  'trunk',
]);

const flavorNotFound = (id: string): Fault => notFound(`Flavor ${id} could not be found.`, 'FlavorNotFound');
const profileNotFound = (id: string): Fault =>
  notFound(`Service Profile ${id} could not be found.`, 'ServiceProfileNotFound');
const notTied = (profileId: string, flavorId: string): Fault =>
  notFound(
    `Service Profile ${profileId} is not associated with flavor ${flavorId}.`,
    'FlavorServiceProfileBindingNotFound',
  );

const rule = (name: string, check: string, description: string): PolicyRule => ({ name, check, description });
const policies = (name: string, description: string, reading: string) => ({
  list: rule(`get_${name}`, reading, `List ${description}s`),
  show: rule(`get_${name}`, reading, `Show a ${description}`),
  create: rule(`create_${name}`, 'rule:admin_only', `Create a ${description}`),
  update: rule(`update_${name}`, 'rule:admin_only', `Update a ${description}`),
  remove: rule(`delete_${name}`, 'rule:admin_only', `Delete a ${description}`),
});

/** The operations on flavors, on service profiles, and on which flavor has which profiles. */
export function flavorOperations(db: Db): Operation[] {
  return [
    ...crudOperations<FlavorRow>({
      db,
      convention,
      store: flavorStore,
      path: '/flavors',
      policies: policies('flavor', 'flavor', 'rule:project_reader_or_admin'),
      visible: () => [],
      missing: flavorNotFound,
      bulk: true,
      creating: async (given) => {
        const service_type = given.service_type ?? '';
        if (!SERVICE_TYPES.has(service_type)) {
          throw badRequest(`Invalid service type: ${service_type}.`, 'InvalidServiceType');
        }
        return {
          name: given.name ?? '',
          description: given.description ?? '',
          service_type,
          enabled: given.enabled ?? true,
          service_profiles: [],
        };
      },
    }),
    ...crudOperations<ServiceProfileRow>({
      db,
      convention,
      store: serviceProfileStore,
      path: '/service_profiles',
      policies: policies('service_profile', 'service profile', 'rule:admin_only'),
      visible: () => [],
      missing: profileNotFound,
      bulk: true,
      creating: async (given) => {
        const { driver = '', metainfo = '' } = given;
        refuseDriver(driver);
        if (driver === '' && metainfo === '') {
          throw badRequest('Service Profile needs either a driver or metainfo.', 'ServiceProfileEmpty');
        }
        return { driver, metainfo, description: given.description ?? '', enabled: given.enabled ?? true };
      },
      updating: async (row, given, _context, tx) => {
        refuseDriver(given.driver ?? '');
        await refuseUsed(tx, row.id);
        return given;
      },
      removing: (row, _context, tx) => refuseUsed(tx, row.id),
    }),
    ...bindingOperations(db),
  ];
}

/** A driver is that of a service provider, and there is none. */
function refuseDriver(driver: string): void {
  if (driver === '') return;
  throw notFound(`Service Profile driver ${driver} could not be found.`, 'ServiceProfileDriverNotFound');
}

async function refuseUsed(tx: Tx, profileId: string): Promise<void> {
  const used =
    await sql`select 1 from network_flavors where service_profiles @> ${[profileId]}::text[] limit 1`.execute(tx);
  if (used.rows.length === 0) return;
  throw conflict(`Service Profile ${profileId} is used by some service instance.`, 'ServiceProfileInUse');
}

const Binding = Type.Object(
  { service_profile: Type.Object({ id: Type.String({ format: 'uuid' }) }, { additionalProperties: false }) },
  { additionalProperties: false },
);

function bindingOperations(db: Db): Operation[] {
  const path = '/flavors/:flavor_id/service_profiles';
  const lock = async (tx: Tx, id: string): Promise<FlavorRow> => {
    const row = await flavorStore.lock(tx, id);
    if (row === undefined) throw flavorNotFound(id);
    return row;
  };
  return [
    operation<Static<typeof Binding>>({
      method: 'POST',
      path,
      policy: rule('create_flavor_service_profile', 'rule:admin_only', 'Give a flavor a service profile'),
      body: Binding,
      status: 201,
      summary: 'Give a flavor a service profile',
      handle: async ({ body, params }) => {
        const { id } = body.service_profile;
        const flavor = await db.transaction(async (tx) => {
          const row = await lock(tx, params.flavor_id ?? '');
          // Locked, so that it is not deleted meanwhile.
          if ((await serviceProfileStore.lock(tx, id)) === undefined) throw profileNotFound(id);
          if (row.service_profiles.includes(id)) {
            throw conflict(
              `Service Profile ${id} is already associated with flavor ${row.id}.`,
              'FlavorServiceProfileBindingExists',
            );
          }
          await flavorStore.update(tx, row.id, { service_profiles: [...row.service_profiles, id] });
          return row;
        });
        // Neutron answers the flavor's id under this name.
        return { service_profile: { id: flavor.id } };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:service_profile_id`,
      policy: rule('get_flavor_service_profile', 'rule:project_reader_or_admin', 'Show a profile of a flavor'),
      status: 200,
      summary: 'Tell whether a flavor has a service profile',
      handle: async ({ params }) => {
        const { flavor_id = '', service_profile_id = '' } = params;
        const row = await flavorStore.find(db.query, flavor_id);
        if (row?.service_profiles.includes(service_profile_id) !== true) throw notTied(service_profile_id, flavor_id);
        return { service_profile: { id: service_profile_id } };
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:service_profile_id`,
      policy: rule('delete_flavor_service_profile', 'rule:admin_only', 'Take a service profile from a flavor'),
      status: 204,
      summary: 'Take a service profile from a flavor',
      handle: async ({ params }) => {
        const { flavor_id = '', service_profile_id = '' } = params;
        await db.transaction(async (tx) => {
          const row = await lock(tx, flavor_id);
          if (!row.service_profiles.includes(service_profile_id)) throw notTied(service_profile_id, flavor_id);
          const service_profiles = row.service_profiles.filter((id) => id !== service_profile_id);
          await flavorStore.update(tx, row.id, { service_profiles });
        });
      },
    }),
  ];
}
