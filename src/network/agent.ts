/**
 * The network agents that admin lists show: for each child one l2-proxy and one l3-proxy, on a host named after the
 * child. They are no rows of their own: a child's state and its proxies say all that there is.
 */
import { createHash } from 'node:crypto';
import { type Static, Type } from 'typebox';
import type { Cascade, ChildState, ProxyService } from '../cascade/contract.ts';
import type { Queryable } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { badRequest, notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { chooseFields, chooseItems } from './edge-list.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const agentExtensions: readonly Extension[] = [
  {
    alias: 'agent',
    name: 'agent',
    description: 'Network agents; here, the proxies of the children.',
    updated: '2013-02-03T10:00:00-00:00',
  },
];

/** Binaries of the network proxies, as `cascade.proxies` knows them, with the agent type that Neutron lists show. */
const networkProxies = { 'l2-proxy': 'L2 proxy', 'l3-proxy': 'L3 proxy' } as const;

type Binary = keyof typeof networkProxies;
type Agent = ReturnType<typeof agentOf>;

const FILTERS = [
  'id',
  'agent_type',
  'binary',
  'host',
  'topic',
  'alive',
  'admin_state_up',
  'availability_zone',
  'description',
];

const AgentUpdate = Type.Object(
  {
    agent: Type.Object(
      {
        admin_state_up: Type.Optional(Type.Boolean()),
        description: Type.Optional(Type.String({ maxLength: 255 })),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

const policy = (verb: 'get' | 'update' | 'delete', description: string) => ({
  name: `${verb}_agent`,
  check: 'rule:admin_only',
  description,
});

/** Neutron does not tell those who may not read agents that there are any. */
const unknown = (): never => {
  throw convention.unknownPath();
};

/** `GET /agents`; `GET`, `PUT` and `DELETE /agents/:agent_id`. */
export function agentOperations(cascade: Cascade): Operation[] {
  const find = async (query: Queryable, id: string): Promise<Agent> => {
    const found = (await agents(cascade, query)).find((agent) => agent.id === id);
    if (found === undefined) throw notFound(`Agent ${id} could not be found.`, 'AgentNotFound');
    return found;
  };
  return [
    operation({
      method: 'GET',
      path: '/agents',
      policy: policy('get', 'List agents'),
      status: 200,
      summary: 'List network agents: one l2-proxy and one l3-proxy for each child',
      refused: () => ({ agents: [] }),
      handle: async (call) => ({
        agents: chooseItems(await agents(cascade, cascade.db.query), call.query, FILTERS),
      }),
    }),
    operation({
      method: 'GET',
      path: '/agents/:agent_id',
      policy: policy('get', 'Show an agent'),
      status: 200,
      summary: 'Show a network agent',
      refused: unknown,
      handle: async (call) => ({
        agent: chooseFields(await find(cascade.db.query, call.params.agent_id ?? ''), call.query),
      }),
    }),
    operation({
      method: 'DELETE',
      path: '/agents/:agent_id',
      policy: policy('delete', 'Delete an agent'),
      status: 204,
      summary: 'Refused: a proxy goes with its child',
      refused: unknown,
      handle: async (call) => {
        const { id, host } = await find(cascade.db.query, call.params.agent_id ?? '');
        throw badRequest(
          `Bad agent request: Agent ${id} is a proxy of ${host}, and goes when that is taken out of the configuration.`,
          'BadRequest',
        );
      },
    }),
    operation<Static<typeof AgentUpdate>>({
      method: 'PUT',
      path: '/agents/:agent_id',
      policy: policy('update', 'Enable, disable or describe an agent'),
      body: AgentUpdate,
      status: 200,
      summary: 'Enable, disable or describe a network agent',
      refused: unknown,
      handle: async (call) => {
        const { admin_state_up, description } = call.body.agent;
        const agent = await cascade.db.transaction(async (tx) => {
          const { id, host, binary } = await find(tx, call.params.agent_id ?? '');
          await cascade.setProxy(tx, host, binary, {
            ...(admin_state_up === undefined ? {} : { enabled: admin_state_up }),
            ...(description === undefined ? {} : { disabled_reason: description === '' ? null : description }),
          });
          return find(tx, id);
        });
        return { agent };
      },
    }),
  ];
}

async function agents(cascade: Cascade, query: Queryable): Promise<Agent[]> {
  const children = await cascade.children(query);
  const lists = await Promise.all(
    (Object.keys(networkProxies) as Binary[]).map(async (binary) => {
      const proxies = await cascade.proxies(query, binary);
      return children.map((child) =>
        agentOf(
          binary,
          child,
          proxies.find((proxy) => proxy.child === child.name),
        ),
      );
    }),
  );
  return lists.flat().sort((one, other) => (one.id < other.id ? -1 : 1));
}

function agentOf(binary: Binary, child: ChildState, proxy: ProxyService | undefined) {
  return {
    id: agentId(child.name, binary),
    agent_type: networkProxies[binary],
    binary,
    host: child.name,
    topic: 'n/a',
    availability_zone: Object.keys(child.zones)[0] ?? '',
    alive: child.up && proxy?.forced_down !== true,
    admin_state_up: proxy?.enabled ?? true,
    description: proxy?.disabled_reason ?? '',
    created_at: moment(child.created_at),
    started_at: moment(child.created_at),
    heartbeat_timestamp: child.seen_at === null ? null : moment(child.seen_at),
    configurations: {},
    resources_synced: null,
  };
}

/** The same id for the same proxy in every process and after every start, without a row that remembers it. */
function agentId(child: string, binary: string): string {
  const hex = createHash('sha256').update(`agent/${binary}/${child}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** Neutron shows agents' times as Python prints them: `2026-11-22 13:22:40`. */
const moment = (iso: string): string => iso.slice(0, 19).replace('T', ' ');
