/** A flavor's extra specs, which children hold as their own. */
import { type TSchema, Type } from 'typebox';
import type { Tx } from '../../db/database.ts';
import { badRequest, notFound } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { type Flavor, flavorNotFound, flavorStore, visibleFlavor } from './flavor.ts';
import { extraSpecPolicies } from './policies.ts';

type Given = Readonly<Record<string, string | number>>;

const specs = (options: object): TSchema =>
  Type.Unsafe({
    type: 'object',
    patternProperties: { '^[a-zA-Z0-9\\-_:. ]{1,255}$': { type: ['string', 'number'], maxLength: 255 } },
    additionalProperties: false,
    ...options,
  });
const CREATE = Type.Object({ extra_specs: specs({}) }, { additionalProperties: false });
const UPDATE = specs({ minProperties: 1, maxProperties: 1 });
const COUNT_MAX = 512;

const PATH = '/flavors/:flavor_id/os-extra_specs';

/** Everything below `/flavors/{flavor_id}/os-extra_specs`. */
export function extraSpecOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const change = async (id: string, requestId: string, edit: (now: Flavor['extra_specs']) => Flavor['extra_specs']) => {
    await db.transaction(async (tx: Tx) => {
      const flavor = await flavorStore.lock(tx, id);
      if (flavor === undefined) throw flavorNotFound(id);
      const extra_specs = edit(flavor.extra_specs);
      if (Object.keys(extra_specs).length > COUNT_MAX) {
        throw badRequest(`A flavor may have at most ${COUNT_MAX} extra specs.`);
      }
      await flavorStore.update(tx, id, { extra_specs });
      await cascade.revise(tx, 'flavor', id, { requestId });
    });
    cascade.poke();
  };
  return [
    operation({
      method: 'GET',
      path: PATH,
      policy: extraSpecPolicies.index,
      status: 200,
      summary: "List a flavor's extra specs",
      handle: async ({ context, params }) => ({
        extra_specs: (await visibleFlavor(db.query, context, params.flavor_id as string)).extra_specs,
      }),
    }),
    operation<{ extra_specs: Given }>({
      method: 'POST',
      path: PATH,
      policy: extraSpecPolicies.create,
      body: CREATE,
      status: 200,
      summary: "Add to a flavor's extra specs",
      handle: async ({ context, params, body }) => {
        await change(params.flavor_id as string, context.requestId, (now) => ({ ...now, ...texts(body.extra_specs) }));
        return body;
      },
    }),
    operation({
      method: 'GET',
      path: `${PATH}/:key`,
      policy: extraSpecPolicies.show,
      status: 200,
      summary: 'Show an extra spec',
      handle: async ({ context, params }) => {
        const flavor = await visibleFlavor(db.query, context, params.flavor_id as string);
        const key = params.key as string;
        if (!Object.hasOwn(flavor.extra_specs, key)) throw noSpec(flavor.id, key);
        return { [key]: flavor.extra_specs[key] };
      },
    }),
    operation<Given>({
      method: 'PUT',
      path: `${PATH}/:key`,
      policy: extraSpecPolicies.update,
      body: UPDATE,
      status: 200,
      summary: 'Set an extra spec',
      handle: async ({ context, params, body }) => {
        if (!Object.hasOwn(body, params.key as string)) throw badRequest('Request body and URI mismatch');
        await change(params.flavor_id as string, context.requestId, (now) => ({ ...now, ...texts(body) }));
        return body;
      },
    }),
    operation({
      method: 'DELETE',
      path: `${PATH}/:key`,
      policy: extraSpecPolicies.remove,
      status: 200,
      summary: 'Remove an extra spec',
      handle: async ({ context, params }) => {
        const key = params.key as string;
        await change(params.flavor_id as string, context.requestId, (now) => {
          if (!Object.hasOwn(now, key)) throw noSpec(params.flavor_id as string, key);
          const { [key]: _gone, ...rest } = now;
          return rest;
        });
      },
    }),
  ];
}

const noSpec = (id: string, key: string) => notFound(`Flavor ${id} has no extra specs with key ${key}.`);

const texts = (given: Given): Record<string, string> =>
  Object.fromEntries(Object.entries(given).map(([key, value]) => [key, String(value)]));
