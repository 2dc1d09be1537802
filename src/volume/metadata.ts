/** The metadata of a volume or snapshot as a resource of its own: the same six operations for both. */
import { Type } from 'typebox';
import type { Tx } from '../db/database.ts';
import { badRequest, notFound } from '../http/fault.ts';
import { type Operation, operation, type PolicyRule, Reply, type RequestContext } from '../http/service.ts';
import { invalidVolume } from './faults.ts';
import type { HostedRow } from './hosted.ts';
import { Metadata, metadataOf } from './shapes.ts';

export interface MetadataOf<R extends HostedRow> {
  /** `/volumes`. */
  readonly path: string;
  /** `volume`: the name in paths and faults. */
  readonly name: string;
  readonly policies: { readonly read: PolicyRule; readonly write: PolicyRule; readonly remove: PolicyRule };
  readonly seen: (context: RequestContext, id: string) => Promise<R>;
  /** Locks the row, lets `change` make its new metadata, stores it and wants it brought to the child. */
  readonly change: (
    context: RequestContext,
    id: string,
    change: (before: Record<string, string>, row: R, tx: Tx) => Record<string, string>,
  ) => Promise<R>;
}

const Body = Type.Object({ metadata: Metadata }, { additionalProperties: false });
const Item = Type.Object({ meta: Metadata }, { additionalProperties: false });
const MOST = 256;

/** GET, POST, PUT of all; GET, PUT, DELETE of one. */
export function metadataOperations<R extends HostedRow>(of: MetadataOf<R>): Operation[] {
  const all = `${of.path}/:${of.name}_id/metadata`;
  const one = `${all}/:key`;
  const idOf = (params: Readonly<Record<string, string>>): string => params[`${of.name}_id`] as string;
  const title = `${of.name[0]?.toUpperCase() ?? ''}${of.name.slice(1)}`;
  const missing = (id: string, key: string) => notFound(`${title} ${id} has no metadata with key ${key}.`);

  const bounded = (metadata: Record<string, string>): Record<string, string> => {
    if (Object.keys(metadata).length > MOST) throw badRequest(`There may be at most ${MOST} metadata items.`);
    return metadata;
  };
  const refuseMaintenance = (row: R): void => {
    if (row.status === 'maintenance')
      throw invalidVolume('Updating volume metadata is not allowed for volumes in maintenance status.');
  };

  return [
    operation({
      method: 'GET',
      path: all,
      policy: of.policies.read,
      status: 200,
      summary: `Show the metadata of a ${of.name}`,
      handle: async ({ context, params }) => ({ metadata: (await of.seen(context, idOf(params))).metadata }),
    }),
    operation<{ metadata: Record<string, string | null> }>({
      method: 'POST',
      path: all,
      policy: of.policies.write,
      body: Body,
      status: 200,
      summary: `Add metadata to a ${of.name}`,
      handle: async ({ context, params, body }) => {
        const row = await of.change(context, idOf(params), (before, now) => {
          refuseMaintenance(now);
          return bounded({ ...before, ...metadataOf(body.metadata) });
        });
        return { metadata: row.metadata };
      },
    }),
    operation<{ metadata: Record<string, string | null> }>({
      method: 'PUT',
      path: all,
      policy: of.policies.write,
      body: Body,
      status: 200,
      summary: `Replace the metadata of a ${of.name}`,
      handle: async ({ context, params, body }) => {
        const row = await of.change(context, idOf(params), (_before, now) => {
          refuseMaintenance(now);
          return metadataOf(body.metadata);
        });
        return { metadata: row.metadata };
      },
    }),
    operation({
      method: 'GET',
      path: one,
      policy: of.policies.read,
      status: 200,
      summary: `Show one metadata item of a ${of.name}`,
      handle: async ({ context, params }) => {
        const key = params.key as string;
        const { metadata } = await of.seen(context, idOf(params));
        if (!Object.hasOwn(metadata, key)) throw missing(idOf(params), key);
        return { meta: { [key]: metadata[key] } };
      },
    }),
    operation<{ meta: Record<string, string | null> }>({
      method: 'PUT',
      path: one,
      policy: of.policies.write,
      body: Item,
      status: 200,
      summary: `Set one metadata item of a ${of.name}`,
      handle: async ({ context, params, body }) => {
        const key = params.key as string;
        if (!Object.hasOwn(body.meta, key)) throw badRequest('Request body and URI mismatch');
        if (Object.keys(body.meta).length > 1) throw badRequest('Request body contains too many items');
        const row = await of.change(context, idOf(params), (before, now) => {
          refuseMaintenance(now);
          return bounded({ ...before, ...metadataOf(body.meta) });
        });
        return { meta: { [key]: row.metadata[key] ?? '' } };
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: of.policies.remove,
      status: 200,
      summary: `Delete one metadata item of a ${of.name}`,
      handle: async ({ context, params }) => {
        const key = params.key as string;
        await of.change(context, idOf(params), (before, now) => {
          refuseMaintenance(now);
          if (!Object.hasOwn(before, key)) throw missing(idOf(params), key);
          return Object.fromEntries(Object.entries(before).filter(([name]) => name !== key));
        });
        return new Reply(200);
      },
    }),
  ];
}
