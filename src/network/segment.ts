/**
 * Segments as Neutron lists them. A network here has one, the same in all of its children, and shown under the
 * network's own id: it comes and goes with its network.
 */
import { type SqlBool, sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Db, Queryable } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { conflict, type Fault, notFound } from '../http/fault.ts';
import { type Operation, operation, type PolicyRule } from '../http/service.ts';
import { listBody, parseListing } from '../resource/listing.ts';
import { field, nullable, resource } from '../resource/resource.ts';
import { chooseFields } from './edge-list.ts';
import { type NetworkRow, networkStore } from './network-resource.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const segmentExtensions: readonly Extension[] = [
  {
    alias: 'segment',
    name: 'Segment',
    description: 'The segments of networks, one each.',
    updated: '2016-02-24T17:00:00-00:00',
  },
  {
    alias: 'standard-attr-segment',
    name: 'Standard Attribute Segment Extension',
    description: 'Segments tell when they were made and changed.',
    updated: '2018-04-09T10:00:00-00:00',
  },
];

const SegmentName = nullable(Type.String({ maxLength: 255 }));

/** A view of networks: what a list of it may be asked for. */
const segment = resource({
  name: 'segment',
  table: 'networks',
  fields: {
    id: field(Type.String(), { filter: true }),
    network_id: field(Type.String(), { filter: (values) => sql<SqlBool>`id = any(${[...values]}::text[])` }),
    name: field(SegmentName, { filter: (values) => named('name', values) }),
    description: field(SegmentName, { filter: (values) => named('description', values) }),
    provider_network_type: field(Type.String(), { name: 'network_type', filter: true, sort: true }),
    provider_physical_network: field(Type.String(), { name: 'physical_network', filter: true }),
    provider_segmentation_id: field(Type.Integer(), { name: 'segmentation_id', filter: true }),
  },
  filters: { revision_number: (values) => sql<SqlBool>`'0' = any(${[...values]}::text[])` },
});

const named = (column: string, values: readonly string[]) => sql<SqlBool>`exists (select 1 from segment_names s
  where s.network_id = networks.id and s.${sql.ref(column)} = any(${[...values]}::text[]))`;

const rule = (verb: string, description: string): PolicyRule => ({
  name: `${verb}_segment`,
  check: 'rule:admin_only',
  description,
});
const segmentNotFound = (id: string): Fault => notFound(`Segment ${id} could not be found.`, 'SegmentNotFound');
/** A network without a type has no segment that anybody could name. */
const HAS_SEGMENT = sql<SqlBool>`provider_network_type is not null`;

const NewSegment = Type.Object(
  { segment: Type.Object({ network_id: Type.String({ format: 'uuid' }) }, { additionalProperties: true }) },
  { additionalProperties: false },
);
const SegmentUpdate = Type.Object(
  {
    segment: Type.Object(
      { name: Type.Optional(SegmentName), description: Type.Optional(SegmentName) },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

/** All operations on segments. */
export function segmentOperations(db: Db): Operation[] {
  const find = async (query: Queryable, id: string): Promise<NetworkRow> => {
    const network = await networkStore.find(query, id, [HAS_SEGMENT]);
    if (network === undefined) throw segmentNotFound(id);
    return network;
  };
  return [
    operation({
      method: 'GET',
      path: '/segments',
      policy: rule('get', 'List segments'),
      status: 200,
      summary: 'List segments: one for each network',
      handle: async ({ context, query }) => {
        const listing = parseListing(segment, convention, context, query, { conditions: [HAS_SEGMENT] });
        const networks = await networkStore.page(db.query, listing);
        if (networks === undefined) throw segmentNotFound(listing.marker ?? '');
        const items = (await segmentsOf(db.query, networks)).map((item) => chooseFields(item, query));
        const ids = networks.map(({ id }) => id);
        return listBody(segment, convention, context, listing, query, '/segments', items, ids);
      },
    }),
    operation({
      method: 'GET',
      path: '/segments/:segment_id',
      policy: rule('get', 'Show a segment'),
      status: 200,
      summary: 'Show a segment',
      handle: async ({ params, query }) => {
        const [item] = await segmentsOf(db.query, [await find(db.query, params.segment_id ?? '')]);
        return { segment: chooseFields(item ?? {}, query) };
      },
    }),
    operation<Static<typeof SegmentUpdate>>({
      method: 'PUT',
      path: '/segments/:segment_id',
      policy: rule('update', 'Name or describe a segment'),
      body: SegmentUpdate,
      status: 200,
      summary: 'Name or describe a segment',
      handle: async ({ body, params }) =>
        db.transaction(async (tx) => {
          const network = await find(tx, params.segment_id ?? '');
          const [before] = await segmentsOf(tx, [network]);
          const { name = before?.name ?? null, description = before?.description ?? null } = body.segment;
          await sql`insert into segment_names (network_id, name, description) values (${network.id}, ${name}, ${description})
            on conflict (network_id) do update set name = excluded.name, description = excluded.description`.execute(
            tx,
          );
          const [after] = await segmentsOf(tx, [network]);
          return { segment: after };
        }),
    }),
    operation<Static<typeof NewSegment>>({
      method: 'POST',
      path: '/segments',
      policy: rule('create', 'Create a segment'),
      body: NewSegment,
      status: 201,
      summary: 'Refused: a network has one segment here',
      handle: async ({ body }) => {
        const { network_id } = body.segment;
        throw conflict(`Network ${network_id} has its one segment already.`, 'SegmentCreateError');
      },
    }),
    operation({
      method: 'DELETE',
      path: '/segments/:segment_id',
      policy: rule('delete', 'Delete a segment'),
      status: 204,
      summary: 'Refused: a segment goes with its network',
      handle: async ({ params }) => {
        const { id } = await find(db.query, params.segment_id ?? '');
        throw conflict(`Segment '${id}' cannot be deleted: it goes with its network.`, 'SegmentInUse');
      },
    }),
  ];
}

async function segmentsOf(query: Queryable, networks: readonly NetworkRow[]) {
  const ids = networks.map(({ id }) => id);
  const { rows } = await sql<{ network_id: string; name: string | null; description: string | null }>`
    select network_id, name, description from segment_names where network_id = any(${ids}::text[])`.execute(query);
  const names = new Map(rows.map((row) => [row.network_id, row]));
  return networks.map((network) => ({
    id: network.id,
    network_id: network.id,
    name: names.get(network.id)?.name ?? null,
    description: names.get(network.id)?.description ?? null,
    physical_network: network.provider_physical_network,
    network_type: network.provider_network_type,
    segmentation_id: network.provider_segmentation_id,
    created_at: convention.timestamp(network.created_at),
    updated_at: convention.timestamp(network.updated_at),
    revision_number: 0,
  }));
}
