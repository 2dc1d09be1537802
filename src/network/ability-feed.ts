/** Asks each child now and then what its networking can do, and keeps the answer for `ability.ts`. Changes nothing there. */
import { sql } from 'kysely';
import type { Cascade, ChildConfig, ChildContext, Feed } from '../cascade/contract.ts';
import { json } from '../db/database.ts';
import { isCloudAdmin } from '../cascade/rights.ts';
import type { CloudApi } from '../openstack/contract.ts';
import { type AbilityFacts, MAX_ROUTES } from './ability.ts';

/** Children are upgraded and rewired rarely; one that never answered is asked again sooner. */
const IDLE_MS = 10 * 60_000;
const BUSY_MS = 15_000;

interface ChildAgent {
  readonly agent_type?: string;
  readonly configurations?: Readonly<Record<string, unknown>>;
}

/** Under these names agents say to which physical networks they are wired: OVN's, Open vSwitch's, the bridge's, SR-IOV's. */
const MAPPINGS = ['bridge-mappings', 'bridge_mappings', 'interface_mappings', 'device_mappings'];

/** The feed `network-abilities`. */
export function abilityFeed(cascade: Pick<Cascade, 'children'>): Feed {
  return {
    name: 'network-abilities',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    async busy(query, child) {
      const found = await sql`select 1 from child_abilities where child = ${child}`.execute(query);
      return found.rows.length === 0;
    },
    async round(context, cursor) {
      await record(cascade, context);
      return cursor;
    },
  };
}

async function record(cascade: Pick<Cascade, 'children'>, { api, child, db }: ChildContext): Promise<void> {
  const config = (await cascade.children(db.query)).find(({ name }) => name === child);
  const facts = await askAbility(api, config);
  await sql`insert into child_abilities (child, facts) values (${child}, ${json(facts)})
    on conflict (child) do update set facts = excluded.facts, asked_at = clock_timestamp()`.execute(db.query);
}

/**
 * Asks a cloud what its networking can do. Changes nothing there.
 * @param said what no API tells, as the operator says it
 * @throws CloudError where it does not answer
 */
export async function askAbility(
  api: CloudApi,
  said: Partial<Pick<ChildConfig, 'max_routes' | 'enforces_address_groups' | 'tenancy'>> = {},
): Promise<AbilityFacts> {
  const shares_project = said.tenancy === 'shared';
  const isAdmin = await isCloudAdmin(api);
  const [extensions, provider_networks, agents] = await Promise.all([
    askExtensions(api),
    shares_project ? false : mayMakeProviderNetworks(api),
    shares_project && !isAdmin ? undefined : askAgents(api),
  ]);
  const wired = (agents ?? []).flatMap(({ configurations }) => physicalNetworksOf(configurations ?? {}));
  return {
    extensions,
    provider_networks,
    chooses_addresses: isAdmin,
    shares_project,
    physical_networks: wired.length === 0 ? null : [...new Set(wired)].sort(),
    agent_types: [...new Set((agents ?? []).map(({ agent_type }) => agent_type ?? 'unknown'))].sort(),
    max_routes: said.max_routes ?? MAX_ROUTES,
    enforces_address_groups: said.enforces_address_groups === true,
  };
}

async function askExtensions(api: CloudApi): Promise<string[]> {
  const { body } = await api.call<{ extensions: { alias: string }[] }>({
    service: 'network',
    method: 'GET',
    path: '/extensions',
  });
  return body.extensions.map(({ alias }) => alias).sort();
}

/** Who may say where a network lies may also see it, by Neutron's own rules; without a network to look at the role tells. */
async function mayMakeProviderNetworks(api: CloudApi): Promise<boolean> {
  const { body } = await api.call<{ networks: Record<string, unknown>[] }>({
    service: 'network',
    method: 'GET',
    path: '/networks',
    query: { limit: 1 },
  });
  const [network] = body.networks;
  if (network === undefined) return isCloudAdmin(api);
  // A network of several segments shows them in a list.
  return 'provider:network_type' in network || 'segments' in network;
}

/** Undefined where the account may not see agents, or the child has none to show. */
async function askAgents(api: CloudApi): Promise<readonly ChildAgent[] | undefined> {
  const { status, body } = await api.call<{ agents?: ChildAgent[] }>({
    service: 'network',
    method: 'GET',
    path: '/agents',
    accept: [403, 404],
  });
  return status === 200 ? body.agents : undefined;
}

/** OVN says `physnet1:br-one,public:br-ex`, or the same as an object; the other agents say objects. */
function physicalNetworksOf(configurations: Readonly<Record<string, unknown>>): string[] {
  return MAPPINGS.flatMap((key) => {
    const value = configurations[key];
    if (typeof value === 'string') {
      const names = value.split(',').map((mapping) => mapping.split(':')[0]?.trim() ?? '');
      return names.filter((name) => name !== '');
    }
    return typeof value === 'object' && value !== null ? Object.keys(value) : [];
  });
}
