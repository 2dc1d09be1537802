/** Images brought to the hosts of an aggregate ahead of need: to the children, where they then are as after a boot. */
import { type TSchema, Type } from 'typebox';
import { badRequest } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ADMIN } from '../rules.ts';
import { readAggregate } from './aggregate.ts';
import { aggregateIdOf } from './operations.ts';

const SINCE = 81;
const IMAGES_MAX = 1000;
const strict = { additionalProperties: false };
const BODY: TSchema = Type.Object(
  {
    cache: Type.Array(Type.Object({ id: Type.String({ format: 'uuid' }) }, strict), {
      minItems: 1,
      maxItems: IMAGES_MAX,
    }),
  },
  strict,
);

/** `POST /os-aggregates/{id}/images`. */
export function aggregateImageOperations({ db, cascade, images }: ComputeDependencies): Operation[] {
  return [
    operation<{ cache: readonly { readonly id: string }[] }>({
      method: 'POST',
      path: '/os-aggregates/:aggregate_id/images',
      since: SINCE,
      policy: { name: 'compute:aggregates:images', check: ADMIN },
      body: BODY,
      status: 202,
      summary: 'Bring images to the hosts of an aggregate',
      handle: async ({ context, params, body }) => {
        const id = aggregateIdOf(params);
        const wanted = body.cache.map((image) => image.id);
        if (new Set(wanted).size < wanted.length) throw badRequest('Duplicate images in request');
        const { hosts } = await readAggregate(db.query, id);
        const found = await Promise.all(wanted.map((image) => images(db.query, context, image)));
        await db.transaction(async (tx) => {
          for (const child of hosts) {
            for (const image of found) {
              // One without data has none to bring; whoever boots from it later finds it.
              if (image.status !== 'active' || image.children.includes(child)) continue;
              await cascade.wantReplica(tx, child, 'image', image.id, { requestId: context.requestId });
            }
          }
        });
        for (const child of hosts) cascade.poke(child);
      },
    }),
  ];
}
