/** Neutron's flavors and service profiles as the API shows and takes them. */
import { Type } from 'typebox';
import { field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';

const Text = Type.String({ maxLength: 255 });
const text = { create: 'optional', update: true, default: '', filter: true, sort: true } as const;
const enabled = field(Type.Boolean(), { create: 'optional', update: true, default: true, filter: true, sort: true });

export const flavorResource = resource({
  name: 'flavor',
  table: 'network_flavors',
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Text, text),
    description: field(Text, { ...text, input: nullable(Text) }),
    service_type: field(Type.String({ maxLength: 64 }), { create: 'required', filter: true, sort: true }),
    enabled,
    service_profiles: field(Type.Array(Type.String()), { column: true, default: [] }),
    project_id: field(Text, { create: 'optional', show: 'never' }),
  },
});
export type FlavorRow = Row<typeof flavorResource>;
export const flavorStore = createStore(flavorResource);

export const serviceProfileResource = resource({
  name: 'service_profile',
  table: 'network_service_profiles',
  fields: {
    id: field(Type.String(), { filter: true }),
    description: field(Text, { ...text, input: nullable(Text) }),
    driver: field(Text, text),
    metainfo: field(Type.String({ maxLength: 4096 }), { create: 'optional', update: true, default: '', sort: true }),
    enabled,
    project_id: field(Text, { create: 'optional', show: 'never' }),
  },
});
export type ServiceProfileRow = Row<typeof serviceProfileResource>;
export const serviceProfileStore = createStore(serviceProfileResource);

declare module '../../db/tables.ts' {
  interface Tables {
    network_flavors: TableOf<typeof flavorResource>;
    network_service_profiles: TableOf<typeof serviceProfileResource>;
  }
}
