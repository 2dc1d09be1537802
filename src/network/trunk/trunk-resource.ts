/** Trunks as the API shows and takes them. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { RequestContext } from '../../http/service.ts';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { callersProject } from '../network-project.ts';
import { standardAttributes, standardFilters } from '../standard-attributes.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const trunkExtensions: readonly Extension[] = [
  {
    alias: 'trunk',
    name: 'Trunk Extension',
    description: 'Ports that carry the traffic of others, tagged.',
    updated: '2016-01-01T10:00:00-00:00',
  },
  {
    alias: 'trunk-details',
    name: 'Trunk port details',
    description: 'A parent port shows the subports of its trunk.',
    updated: '2016-01-01T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });

export interface SubPort {
  readonly port_id: string;
  readonly segmentation_type: string;
  readonly segmentation_id: number;
}

export const trunkResource = resource({
  name: 'trunk',
  table: 'trunks',
  filters: standardFilters(1),
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Name, { create: 'optional', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true }),
    admin_state_up: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: true,
      filter: true,
      sort: true,
    }),
    port_id: field(Type.String({ format: 'uuid' }), { create: 'required', filter: true, sort: true }),
    status: field(Type.String(), { column: true, sort: true, default: 'DOWN' }),
    /** What each must be is told in Neutron's words (`subPortsGiven`). */
    sub_ports: field(Type.Array(Type.Unsafe<SubPort>(Type.Object({}, { additionalProperties: true }))), {
      create: 'optional',
      default: [],
      input: Type.Array(Type.Object({}, { additionalProperties: true, maxProperties: 8 }), { maxItems: 4096 }),
    }),
    child: field(Type.Union([Type.String(), Type.Null()]), { column: true, show: 'never', default: null }),
    ...standardAttributes(1),
  },
});

export type TrunkRow = Row<typeof trunkResource>;
export const trunkStore = createStore(trunkResource);

/** A project sees its own trunks, an admin all. */
export const visibleTrunks = (context: RequestContext): readonly RawBuilder<SqlBool>[] =>
  context.identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${callersProject(context)}`];

declare module '../../db/tables.ts' {
  interface Tables {
    trunks: TableOf<typeof trunkResource>;
  }
}
