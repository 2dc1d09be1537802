/** `/os-server-external-events`: what a Neutron or Cinder tells Nova of, carried on to the Novas of the servers' children. */
import { type TSchema, Type } from 'typebox';
import { sql } from 'kysely';
import { mayAdminister } from '../../cascade/rights.ts';
import { type Operation, operation, Reply } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf } from './lookup.ts';
import { enqueue, refreshAddresses } from './records.ts';
import { rules } from './rules.ts';
import { serverStore } from './resource.ts';

interface GivenEvent {
  readonly server_uuid: string;
  readonly name: string;
  readonly status?: string;
  readonly tag?: string;
}

/** Events, and the microversion that brought each. */
const NAMES: readonly (readonly [string, number])[] = [
  ['network-changed', 1],
  ['network-vif-plugged', 1],
  ['network-vif-unplugged', 1],
  ['network-vif-deleted', 1],
  ['volume-extended', 51],
  ['power-update', 76],
  ['accelerator-request-bound', 82],
  ['volume-reimaged', 93],
];
const TAG_REQUIRED = new Set(['volume-extended', 'power-update', 'accelerator-request-bound']);
const EVENTS_MAX = 1000;

const schemas = new Map<number, TSchema>();
function schemaAt(version: number): TSchema {
  const names = NAMES.flatMap(([name, since]) => (version >= since ? [name] : []));
  const known = schemas.get(names.length);
  if (known !== undefined) return known;
  const event = {
    type: 'object',
    properties: {
      server_uuid: { type: 'string', format: 'uuid' },
      name: { type: 'string', enum: names },
      status: { type: 'string', enum: ['failed', 'completed', 'in-progress'] },
      tag: { type: 'string', maxLength: 255 },
    },
    required: ['server_uuid', 'name'],
    additionalProperties: false,
  };
  const schema: TSchema = Type.Unsafe({
    type: 'object',
    properties: { events: { type: 'array', minItems: 1, maxItems: EVENTS_MAX, items: event } },
    required: ['events'],
    additionalProperties: false,
  });
  schemas.set(names.length, schema);
  return schema;
}

/** The one operation. */
export function externalEventOperations(dependencies: ServerDependencies): Operation[] {
  const { db, cascade } = dependencies;
  return [
    operation<{ events: readonly GivenEvent[] }>({
      method: 'POST',
      path: '/os-server-external-events',
      policy: rules.externalEvents,
      body: schemaAt,
      status: 200,
      summary: 'Tell of events that concern servers',
      handle: async ({ context, body }) => {
        const children = new Set<string>();
        const events = await db.transaction(async (tx) => {
          const answers: (GivenEvent & { code: number })[] = [];
          // In one order for all, so that two requests about the same servers never wait for each other.
          const ids = [...new Set(body.events.map(({ server_uuid }) => server_uuid))].sort();
          await sql`select id from servers where id = any(${ids}) order by id for update`.execute(tx);
          for (const event of body.events) {
            const { name, tag, status = 'completed', server_uuid } = event;
            const row = await serverStore.find(tx, server_uuid, [sql`deleted_at is null`]);
            if (row === undefined) {
              answers.push({ ...event, status: 'failed', code: 404 });
            } else if (TAG_REQUIRED.has(name) && tag === undefined) {
              answers.push({ ...event, status: 'failed', code: 400 });
            } else if (row.child === null || !(await mayAdminister(tx, row.child))) {
              answers.push({ ...event, status: 'failed', code: 422 });
            } else {
              if (name === 'network-changed') await refreshAddresses(tx, dependencies, [row.id]);
              await enqueue(tx, dependencies, row, askerOf(context), {
                action: 'external_event',
                record: null,
                body: { name, status, ...(tag === undefined ? {} : { tag }) },
                stateful: false,
              });
              children.add(row.child);
              answers.push({ ...event, status: 'completed', code: 200 });
            }
          }
          return answers;
        });
        for (const child of children) cascade.poke(child);
        return new Reply(events.every(({ code }) => code === 200) ? 200 : 207, { events });
      },
    }),
  ];
}
