/** OAuth 1 consumers: programs that users may let do something in their name. */
import { sql } from 'kysely';
import { Type } from 'typebox';
import { badRequest, notFound } from '../http/fault.ts';
import type { Operation } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { type BaseRow, computed, field, resource, type RowOf, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import type { Core } from './core.ts';
import { Description, newId, selfLink } from './resources.ts';
import { noteRevoked } from './revocations.ts';
import { admin, systemReader } from './rules.ts';
import { seal } from './sealed.ts';

const consumer = resource({
  name: 'consumer',
  table: 'identity_oauth_consumers',
  unknownAttributes: 'keep',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    description: field(Description, { create: 'optional', update: true, default: null }),
    sealed: field(Type.String(), { show: 'never' }),
    key_id: field(Type.String(), { show: 'never' }),
    // There only in the answer that made it.
    secret: computed<{ fresh_secret?: string }>((row) => row.fresh_secret),
    links: selfLink('OS-OAUTH1/consumers'),
  },
});
type ConsumerRow = BaseRow & RowOf<(typeof consumer)['fields']>;
const consumers = createStore<typeof consumer, ConsumerRow>(consumer);

declare module '../db/tables.ts' {
  interface Tables {
    identity_oauth_consumers: TableOf<typeof consumer>;
  }
}

export function consumerOperations(core: Core): Operation[] {
  return crudOperations<ConsumerRow>({
    db: core.db,
    convention: core.convention,
    store: consumers,
    path: '/OS-OAUTH1/consumers',
    updateMethod: 'PATCH',
    policies: {
      list: systemReader('list_consumers'),
      show: systemReader('get_consumer'),
      create: admin('create_consumer'),
      update: admin('update_consumer'),
      remove: admin('delete_consumer'),
    },
    visible: () => [],
    missing: () => notFound('Consumer not found'),
    creating: async (given) => {
      const id = newId();
      const secret = newId();
      const { sealed, key_id } = await seal(core, secret, id);
      return { ...given, id, sealed, key_id } as ConsumerRow;
    },
    removing: async (row, _context, tx) => {
      const { rows } = await sql<{ id: string }>`
        select id from identity_oauth_access_tokens where consumer_id = ${row.id}`.execute(tx);
      for (const { id } of rows) await core.changes.announce(tx, `delegation ${id}`);
      await noteRevoked(core, tx, 'consumer_id', [row.id]);
    },
    committed: () => core.changes.apply('all'),
    created: async (row) => ({ ...row, fresh_secret: await core.cipher.open(row, row.id) }),
  }).map((op) => (op.method === 'PATCH' ? refusingSecrets(op) : op));
}

function refusingSecrets(update: Operation): Operation {
  return {
    ...update,
    handle: async (call) => {
      const { consumer: given } = call.body as { consumer: object };
      if (Object.hasOwn(given, 'secret')) throw badRequest('The secret of a consumer cannot be changed.');
      return update.handle(call);
    },
  };
}
