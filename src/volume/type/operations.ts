/** The volume types API: types, their extra specs, and which projects may use those that are not public. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { Type } from 'typebox';
import type { Db, Tx } from '../../db/database.ts';
import { volume as convention } from '../../http/conventions.ts';
import { badRequest, conflict, notFound } from '../../http/fault.ts';
import { type Operation, operation, Reply, type RequestContext } from '../../http/service.ts';
import { listBody, parseListing } from '../../resource/listing.ts';
import { renderer } from '../../resource/render.ts';
import { bodySchema } from '../../resource/schema.ts';
import { typeMissing } from '../faults.ts';
import { projectIn } from '../hosted.ts';
import { administers, everyone } from '../rules.ts';
import { isTrue } from '../shapes.ts';
import { DEFAULT_TYPE, SPECS, typeFor, usable, type VolumeType, volumeType, volumeTypes } from './type.ts';

interface TypeBody {
  name?: string;
  description?: string | null;
  is_public?: unknown;
  extra_specs?: Record<string, string>;
  'os-volume-type-access:is_public'?: unknown;
}

const Access = Type.Object({ project: Type.String({ minLength: 1, maxLength: 255 }) }, { additionalProperties: false });
const specsBody = Type.Object({ extra_specs: SPECS }, { additionalProperties: false });
const ITEM = '/types/:volume_type_id';
const SPEC_MOST = 128;

/** Types are few, but a name is taken once: the database says so. */
const isTaken = (error: unknown): boolean => (error as { code?: unknown }).code === '23505';

export function typeOperations({ db }: { readonly db: Db }): Operation[] {
  const seen = async (context: RequestContext, id: string): Promise<VolumeType> => {
    const row = await volumeTypes.find(db.query, id, usable(context));
    if (row === undefined) throw typeMissing(id);
    return row;
  };
  const locked = async (tx: Tx, id: string): Promise<VolumeType> => {
    const row = await volumeTypes.lock(tx, id);
    if (row === undefined) throw typeMissing(id);
    return row;
  };
  const one = (row: VolumeType, context: RequestContext) => ({
    volume_type: renderer<VolumeType>(volumeType, convention, context, 'detail')(row),
  });
  const idOf = (params: Readonly<Record<string, string>>): string => params.volume_type_id as string;

  return [
    operation({
      method: 'GET',
      path: '/types',
      policy: everyone('volume_extension:type_get_all'),
      status: 200,
      summary: 'List volume types',
      handle: async ({ context, query }) => {
        const conditions = [...usable(context)];
        // To an admin too, only public types are shown unless others are asked for.
        if (query.is_public === undefined && context.identity.isAdmin) conditions.push(sql<boolean>`is_public`);
        const listing = parseListing(volumeType, convention, context, query, {
          conditions,
          visible: usable(context),
          ignore: ['extra_specs'],
        });
        const rows = await volumeTypes.page(db.query, listing);
        if (rows === undefined) throw typeMissing(listing.marker ?? '');
        const items = rows.map(renderer<VolumeType>(volumeType, convention, context, 'detail'));
        const path = `/${projectIn(context)}/types`;
        const body = listBody(
          volumeType,
          convention,
          context,
          listing,
          query,
          path,
          items,
          rows.map(({ id }) => id),
        );
        if (body.volume_types_links !== undefined) {
          body.volume_type_links = body.volume_types_links;
          delete body.volume_types_links;
        }
        return body;
      },
    }),
    operation({
      method: 'GET',
      path: ITEM,
      policy: everyone('volume_extension:type_get'),
      status: 200,
      summary: 'Show a volume type',
      handle: async ({ context, params }) => {
        const id = idOf(params);
        return one(
          id === 'default' ? await typeFor(db.query, context, DEFAULT_TYPE) : await seen(context, id),
          context,
        );
      },
    }),
    operation<{ volume_type: TypeBody }>({
      method: 'POST',
      path: '/types',
      policy: administers('volume_extension:type_create'),
      body: (version) => bodySchema(volumeType, 'create', version),
      status: 200,
      summary: 'Create a volume type',
      handle: async ({ context, body: { volume_type: asked } }) => {
        const name = (asked.name ?? '').trim();
        if (name === '') throw badRequest('Volume type name can not be empty.');
        const row = await db
          .transaction((tx) =>
            volumeTypes.insert(tx, {
              id: randomUUID(),
              name,
              description: asked.description ?? null,
              is_public: isTrue(asked['os-volume-type-access:is_public'] ?? true),
              extra_specs: asked.extra_specs ?? {},
            } as VolumeType),
          )
          .catch((error: unknown) => {
            if (isTaken(error)) throw conflict(`Volume Type ${name} already exists.`);
            throw error;
          });
        return one(row, context);
      },
    }),
    operation<{ volume_type: TypeBody }>({
      method: 'PUT',
      path: ITEM,
      policy: administers('volume_extension:type_update'),
      body: (version) => bodySchema(volumeType, 'update', version),
      status: 200,
      summary: 'Change a volume type',
      handle: async ({ context, params, body: { volume_type: asked } }) => {
        const patch: Partial<VolumeType> = {};
        if (asked.name !== undefined) patch.name = asked.name.trim();
        if (asked.description !== undefined) patch.description = asked.description;
        if (asked.is_public !== undefined) patch.is_public = isTrue(asked.is_public);
        if (Object.keys(patch).length === 0)
          throw badRequest('Specify volume type name, description, is_public or a combination thereof.');
        const row = await db
          .transaction(async (tx) => {
            const before = await locked(tx, idOf(params));
            if (patch.name !== undefined && patch.name !== before.name) await renameQuotas(tx, before.name, patch.name);
            return (await volumeTypes.update(tx, before.id, patch)) ?? before;
          })
          .catch((error: unknown) => {
            if (isTaken(error)) throw conflict(`Volume Type ${patch.name ?? ''} already exists.`);
            throw error;
          });
        return one(row, context);
      },
    }),
    operation({
      method: 'DELETE',
      path: ITEM,
      policy: administers('volume_extension:type_delete'),
      status: 202,
      summary: 'Delete a volume type',
      handle: async ({ params }) => {
        await db.transaction(async (tx) => {
          const row = await locked(tx, idOf(params));
          if (row.name === DEFAULT_TYPE) {
            throw badRequest(`The volume type ${row.id} is a default volume type and cannot be deleted.`);
          }
          const used = await sql`select 1 from volumes where volume_type_id = ${row.id} limit 1`.execute(tx);
          if (used.rows.length > 0) {
            throw badRequest('Target volume type is still in use.');
          }
          await volumeTypes.remove(tx, row.id);
        });
        return new Reply(202);
      },
    }),
    ...specOperations(db, seen, locked),
    ...accessOperations(db, locked),
    operation({
      method: 'GET',
      path: `${ITEM}/encryption`,
      policy: administers('volume_extension:volume_type_encryption:get'),
      status: 200,
      summary: 'Show the encryption of a volume type: there is none',
      handle: async ({ context, params }) => {
        await seen(context, idOf(params));
        return {};
      },
    }),
  ];
}

/** Counters of a type are named after it. */
async function renameQuotas(tx: Tx, before: string, after: string): Promise<void> {
  for (const what of ['volumes', 'gigabytes', 'snapshots']) {
    await sql`update quotas set resource = ${`${what}_${after}`}
      where service = 'volume' and resource = ${`${what}_${before}`}`.execute(tx);
  }
}

function specOperations(
  db: Db,
  seen: (context: RequestContext, id: string) => Promise<VolumeType>,
  locked: (tx: Tx, id: string) => Promise<VolumeType>,
): Operation[] {
  const path = `${ITEM}/extra_specs`;
  const idOf = (params: Readonly<Record<string, string>>): string => params.volume_type_id as string;
  const specsOf = (row: VolumeType): Record<string, string> => row.extra_specs as Record<string, string>;
  const missing = (id: string, key: string) => notFound(`Volume Type ${id} has no extra specs with key ${key}.`);
  const change = (id: string, next: (before: Record<string, string>) => Record<string, string>): Promise<void> =>
    db.transaction(async (tx) => {
      const specs = next(specsOf(await locked(tx, id)));
      if (Object.keys(specs).length > SPEC_MOST) throw badRequest(`There may be at most ${SPEC_MOST} extra specs.`);
      await volumeTypes.update(tx, id, { extra_specs: specs });
    });

  return [
    operation({
      method: 'GET',
      path,
      policy: administers('volume_extension:types_extra_specs:index'),
      status: 200,
      summary: 'List the extra specs of a volume type',
      handle: async ({ context, params }) => ({ extra_specs: specsOf(await seen(context, idOf(params))) }),
    }),
    operation<{ extra_specs: Record<string, string> }>({
      method: 'POST',
      path,
      policy: administers('volume_extension:types_extra_specs:create'),
      body: specsBody,
      status: 200,
      summary: 'Add extra specs to a volume type',
      handle: async ({ params, body }) => {
        await change(idOf(params), (before) => ({ ...before, ...body.extra_specs }));
        return { extra_specs: body.extra_specs };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:key`,
      policy: administers('volume_extension:types_extra_specs:show'),
      status: 200,
      summary: 'Show an extra spec of a volume type',
      handle: async ({ context, params }) => {
        const key = params.key as string;
        const specs = specsOf(await seen(context, idOf(params)));
        if (!Object.hasOwn(specs, key)) throw missing(idOf(params), key);
        return { [key]: specs[key] };
      },
    }),
    operation<Record<string, string>>({
      method: 'PUT',
      path: `${path}/:key`,
      policy: administers('volume_extension:types_extra_specs:update'),
      body: SPECS,
      status: 200,
      summary: 'Set an extra spec of a volume type',
      handle: async ({ params, body }) => {
        const key = params.key as string;
        if (!Object.hasOwn(body, key) || Object.keys(body).length !== 1)
          throw badRequest('Request body and URI mismatch');
        await change(idOf(params), (before) => ({ ...before, ...body }));
        return body;
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:key`,
      policy: administers('volume_extension:types_extra_specs:delete'),
      status: 202,
      summary: 'Delete an extra spec of a volume type',
      handle: async ({ params }) => {
        const key = params.key as string;
        await change(idOf(params), (before) => {
          if (!Object.hasOwn(before, key)) throw missing(idOf(params), key);
          return Object.fromEntries(Object.entries(before).filter(([name]) => name !== key));
        });
        return new Reply(202);
      },
    }),
  ];
}

function accessOperations(db: Db, locked: (tx: Tx, id: string) => Promise<VolumeType>): Operation[] {
  const idOf = (params: Readonly<Record<string, string>>): string => params.volume_type_id as string;
  const action = (
    name: 'addProjectAccess' | 'removeProjectAccess',
    summary: string,
    run: (tx: Tx, row: VolumeType, project: string) => Promise<void>,
  ) =>
    operation<{ project: string }>({
      method: 'POST',
      path: `${ITEM}/action`,
      action: name,
      policy: administers(`volume_extension:volume_type_access:${name}`),
      body: Type.Object({ [name]: Access }, { additionalProperties: false }),
      status: 202,
      summary,
      handle: async ({ params, body }) => {
        await db.transaction(async (tx) => {
          const row = await locked(tx, idOf(params));
          if (row.is_public) throw conflict('Type access modification is not applicable to public volume type.');
          await run(tx, row, body.project);
        });
        return new Reply(202);
      },
    });
  return [
    operation({
      method: 'GET',
      path: `${ITEM}/os-volume-type-access`,
      policy: administers('volume_extension:volume_type_access:get_all_for_type'),
      status: 200,
      summary: 'List the projects that may use a volume type',
      handle: async ({ params }) => {
        const row = await volumeTypes.find(db.query, idOf(params));
        if (row === undefined) throw typeMissing(idOf(params));
        if (row.is_public) throw notFound('Access list not available for public volume types.');
        const access = await db.query
          .selectFrom('volume_type_access')
          .select(['volume_type_id', 'project_id'])
          .where('volume_type_id', '=', row.id)
          .orderBy('project_id')
          .execute();
        return { volume_type_access: access };
      },
    }),
    action('addProjectAccess', 'Let a project use a volume type', async (tx, row, project_id) => {
      const added = await tx
        .insertInto('volume_type_access')
        .values({ volume_type_id: row.id, project_id })
        .onConflict((clash) => clash.doNothing())
        .returning('project_id')
        .execute();
      if (added.length === 0) {
        throw conflict(`Volume type access for ${row.id} / ${project_id} combination already exists.`);
      }
    }),
    action('removeProjectAccess', 'Take a volume type from a project', async (tx, row, project_id) => {
      const gone = await tx
        .deleteFrom('volume_type_access')
        .where('volume_type_id', '=', row.id)
        .where('project_id', '=', project_id)
        .returning('project_id')
        .execute();
      if (gone.length === 0) {
        throw notFound(`Volume type access not found for ${row.id} / ${project_id} combination.`);
      }
    }),
  ];
}
