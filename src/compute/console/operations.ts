/** Remote consoles: the child makes one, and the tenant gets an address of the parent's that is relayed to it. */
import { type TSchema, Type } from 'typebox';
import { conflict } from '../../http/fault.ts';
import { type Call, type Operation, operation } from '../../http/service.ts';
import { computeRule, MEMBER } from '../rules.ts';
import { act, askChild, findServer, type ServerDependencies } from '../server/index.ts';
import { tenantUrl } from './address.ts';
import { openSession } from './session.ts';

const RULE = computeRule('os-remote-consoles', MEMBER);
/** Since when consoles have an operation of their own, and since when there are those of VMware. */
const SINCE = 6;
const MKS_SINCE = 8;

const bodyOf = (key: string, properties: object, required: readonly string[]): TSchema =>
  Type.Unsafe({
    type: 'object',
    properties: { [key]: { type: 'object', properties, required, additionalProperties: false } },
    required: [key],
    additionalProperties: false,
  });
const oneOf = (names: readonly string[]) => ({ type: 'string', enum: names });

const PROTOCOLS = ['vnc', 'spice', 'rdp', 'serial'];
const TYPES = ['novnc', 'xvpvnc', 'rdp-html5', 'spice-html5', 'serial'];
const BODY = bodyOf('remote_console', { protocol: oneOf(PROTOCOLS), type: oneOf(TYPES) }, ['protocol', 'type']);
const BODY_WITH_MKS = bodyOf(
  'remote_console',
  { protocol: oneOf([...PROTOCOLS, 'mks']), type: oneOf([...TYPES, 'webmks']) },
  ['protocol', 'type'],
);

/** The actions before 2.6, the protocol that each asks for, and its types. */
const ACTIONS: readonly (readonly [string, string, readonly string[]])[] = [
  ['os-getVNCConsole', 'vnc', ['novnc', 'xvpvnc']],
  ['os-getSPICEConsole', 'spice', ['spice-html5']],
  ['os-getRDPConsole', 'rdp', ['rdp-html5']],
  ['os-getSerialConsole', 'serial', ['serial']],
];

interface Wanted {
  readonly protocol: string;
  readonly type: string;
}

/** All of them. */
export function consoleOperations(dependencies: ServerDependencies): Operation[] {
  /** @throws Fault 400 for a kind that the child has none of, 409 for a server that is not ready or on the move */
  const urlOf = async (call: Call<unknown>, wanted: Wanted): Promise<string> => {
    const { context } = call;
    const row = await findServer(dependencies, call as Call);
    if (row.task_state === 'deleting' || row.task_state === 'migrating') {
      throw conflict(
        `Cannot 'get_${wanted.protocol}_console' instance ${row.id} while it is in task_state ${row.task_state}`,
      );
    }
    const answer = await askChild<{ remote_console: { url: string } }>(dependencies, context, row, {
      method: 'POST',
      path: '/remote-consoles',
      body: { remote_console: wanted },
      version: MKS_SINCE,
      since: wanted.protocol === 'mks' ? MKS_SINCE : SINCE,
    });
    const { url } = answer.remote_console;
    return tenantUrl(context.publicUrl, url, await openSession(dependencies.db, row.id, url));
  };
  return [
    operation<{ remote_console: Wanted }>({
      method: 'POST',
      path: '/servers/:server_id/remote-consoles',
      policy: RULE,
      since: SINCE,
      body: (version) => (version >= MKS_SINCE ? BODY_WITH_MKS : BODY),
      status: 200,
      summary: 'Create a remote console',
      handle: async (call) => {
        const { protocol, type } = call.body.remote_console;
        return { remote_console: { protocol, type, url: await urlOf(call, { protocol, type }) } };
      },
    }),
    ...ACTIONS.map(([action, protocol, types]) =>
      act<{ type: string }>({
        action,
        until: SINCE - 1,
        policy: RULE,
        body: bodyOf(action, { type: oneOf(types) }, ['type']),
        status: 200,
        summary: 'Create a remote console',
        handle: async (call) => {
          const { type } = call.body;
          return { console: { type, url: await urlOf(call, { protocol, type }) } };
        },
      }),
    ),
  ];
}
