/** Neutron's flavors and service profiles as the API shows and takes them. */
import { Type } from 'typebox';
import { field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const flavorExtensions: readonly Extension[] = [
  {
    alias: 'flavors',
    name: 'Neutron Service Flavors',
    description: 'Flavors of services and the profiles behind them.',
    updated: '2015-09-17T10:00:00-00:00',
  },
  {
    alias: 'service-type',
    name: 'Neutron Service Type Management',
    description: 'Providers of advanced services: none.',
    updated: '2013-01-20T00:00:00-00:00',
  },
];

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

const serviceProfileResource = resource({
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
