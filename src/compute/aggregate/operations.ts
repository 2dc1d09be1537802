/** Host aggregates over HTTP. */
import { type TSchema, Type } from 'typebox';
import { badRequest } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import { nullable } from '../../resource/resource.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { PRINTABLE_NAME, ZONE_NAME } from '../parameters.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { micros } from '../service/hosts.ts';
import {
  addHost,
  type Aggregate,
  createAggregate,
  deleteAggregate,
  readAggregate,
  readAggregates,
  removeHost,
  setAggregateMetadata,
  updateAggregate,
  ZONE_KEY,
} from './aggregate.ts';

const rule = (name: string) => computeRule(`os-aggregates:${name}`, ADMIN);
const UUID_SINCE = 41;
const strict = { additionalProperties: false };

const CREATE = Type.Object(
  {
    aggregate: Type.Object({ name: PRINTABLE_NAME, availability_zone: Type.Optional(nullable(ZONE_NAME)) }, strict),
  },
  strict,
);
const UPDATE = Type.Object(
  {
    aggregate: Type.Object(
      {
        name: Type.Optional(PRINTABLE_NAME),
        availability_zone: Type.Optional(nullable(ZONE_NAME)),
      },
      { ...strict, minProperties: 1 },
    ),
  },
  strict,
);
const HOST = Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9\\-._]*$' });
const hostBody = (action: string): TSchema => Type.Object({ [action]: Type.Object({ host: HOST }, strict) }, strict);
const ADD_HOST = hostBody('add_host');
const REMOVE_HOST = hostBody('remove_host');
const SET_METADATA = Type.Object(
  {
    set_metadata: Type.Object(
      {
        metadata: Type.Unsafe({
          type: 'object',
          patternProperties: { '^[a-zA-Z0-9\\-_:. ]{1,255}$': { type: ['string', 'null'], maxLength: 255 } },
          additionalProperties: false,
          maxProperties: 512,
        }),
      },
      strict,
    ),
  },
  strict,
);

function view(aggregate: Aggregate, version: number) {
  const { id, uuid, name, hosts, metadata, created_at, updated_at } = aggregate;
  return {
    id,
    ...(version >= UUID_SINCE ? { uuid } : {}),
    name,
    hosts,
    metadata,
    availability_zone: metadata[ZONE_KEY] ?? null,
    created_at: micros(created_at),
    updated_at: updated_at === null ? null : micros(updated_at),
    deleted: false,
    deleted_at: null,
  };
}

/** The id in the path. @throws Fault 400 for what is no number */
export function aggregateIdOf(params: Readonly<Record<string, string>>): number {
  const text = params.aggregate_id as string;
  if (!/^-?\d{1,15}$/.test(text)) throw badRequest('Invalid input received: id must be an integer');
  return Number(text);
}

/** Everything below `/os-aggregates`. */
export function aggregateOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const path = '/os-aggregates';
  const item = `${path}/:aggregate_id`;
  return [
    operation({
      method: 'GET',
      path,
      policy: rule('index'),
      status: 200,
      summary: 'List host aggregates',
      handle: async ({ context }) => ({
        aggregates: (await readAggregates(db.query)).map((one) => view(one, context.version)),
      }),
    }),
    operation<{ aggregate: { name: string; availability_zone?: string | null } }>({
      method: 'POST',
      path,
      policy: rule('create'),
      body: CREATE,
      status: 200,
      summary: 'Create a host aggregate',
      handle: async ({ context, body: { aggregate } }) => {
        const zone = aggregate.availability_zone?.trim() || undefined;
        const made = await db.transaction((tx) => createAggregate(tx, aggregate.name.trim(), zone));
        const { hosts: _hosts, metadata: _metadata, ...shown } = view(made, context.version);
        return { aggregate: shown };
      },
    }),
    operation({
      method: 'GET',
      path: item,
      policy: rule('show'),
      status: 200,
      summary: 'Show a host aggregate',
      handle: async ({ context, params }) => ({
        aggregate: view(await readAggregate(db.query, aggregateIdOf(params)), context.version),
      }),
    }),
    operation<{ aggregate: { name?: string; availability_zone?: string | null } }>({
      method: 'PUT',
      path: item,
      policy: rule('update'),
      body: UPDATE,
      status: 200,
      summary: 'Update a host aggregate',
      handle: async ({ context, params, body: { aggregate } }) => {
        const name = aggregate.name?.trim();
        const change = { ...aggregate, ...(name === undefined ? {} : { name }) };
        const row = await db.transaction((tx) => updateAggregate(tx, cascade, aggregateIdOf(params), change));
        return { aggregate: view(row, context.version) };
      },
    }),
    operation({
      method: 'DELETE',
      path: item,
      policy: rule('delete'),
      status: 200,
      summary: 'Delete a host aggregate',
      handle: async ({ params }) => db.transaction((tx) => deleteAggregate(tx, aggregateIdOf(params))),
    }),
    operation<{ host: string }>({
      method: 'POST',
      path: `${item}/action`,
      action: 'add_host',
      policy: rule('add_host'),
      body: ADD_HOST,
      status: 200,
      summary: 'Add a host to an aggregate, and so to its zone',
      handle: async ({ context, params, body }) => {
        const row = await db.transaction((tx) => addHost(tx, cascade, aggregateIdOf(params), body.host));
        return { aggregate: view(row, context.version) };
      },
    }),
    operation<{ host: string }>({
      method: 'POST',
      path: `${item}/action`,
      action: 'remove_host',
      policy: rule('remove_host'),
      body: REMOVE_HOST,
      status: 200,
      summary: 'Take a host out of an aggregate',
      handle: async ({ context, params, body }) => {
        const row = await db.transaction((tx) => removeHost(tx, cascade, aggregateIdOf(params), body.host));
        return { aggregate: view(row, context.version) };
      },
    }),
    operation<{ metadata: Record<string, string | null> }>({
      method: 'POST',
      path: `${item}/action`,
      action: 'set_metadata',
      policy: rule('set_metadata'),
      body: SET_METADATA,
      status: 200,
      summary: "Set an aggregate's metadata",
      handle: async ({ context, params, body }) => {
        const row = await db.transaction((tx) =>
          setAggregateMetadata(tx, cascade, aggregateIdOf(params), body.metadata),
        );
        return { aggregate: view(row, context.version) };
      },
    }),
  ];
}
