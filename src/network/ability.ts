/**
 * What each child's networking can do, as it was last asked (`ability-feed.ts`). Processes that serve the API alone
 * refuse by it as well, in one query and without a call to the child. What is not known of a child is no reason to
 * refuse: it may only be that nobody has reached it yet.
 */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';

/** What a child must be able to do for a thing of the parent's. */
export type Capability =
  | 'transit'
  | 'stretched'
  | 'address_groups'
  | 'tags'
  | 'trunks'
  | 'qos'
  | 'port_forwarding'
  | 'extra_dhcp_options'
  | 'floating_ips'
  | 'gateways_without_snat'
  | 'external_networks';

/** What a child's networking says of itself. */
export interface AbilityFacts {
  /** Aliases of its API extensions. */
  readonly extensions: readonly string[];
  /**
   * Whether the account may say which addresses floating IPs and gateways get on an external network that is not its
   * own; absent: it may.
   */
  readonly chooses_addresses?: boolean;
  /** Whether all tenants share one project there. */
  readonly shares_project?: boolean;
  /** Whether the account may say on which physical network and VLAN a network lies. */
  readonly provider_networks: boolean;
  /** The child's own names of the physical networks that its agents are wired to; null where they do not tell. */
  readonly physical_networks: readonly string[] | null;
  /** Types of its agents, which tell what switches its packets (`OVN Controller Gateway agent`, `Open vSwitch agent`). */
  readonly agent_types: readonly string[];
  /** Extra routes that one of its routers may have. It cannot be asked: the operator says it. */
  readonly max_routes: number;
  /** Whether rules with an address group let nobody else pass. It cannot be asked: the operator says it. */
  readonly enforces_address_groups?: boolean;
}

/** Why a child cannot take part in something. */
export interface Refusal {
  /** A sentence that a tenant may read: it names availability zones, and nothing of the child's own. */
  readonly tenant: string;
  /** The same for operators, with what would mend it. */
  readonly operator: string;
}

/** What is known of one child's networking. */
export interface ChildAbility {
  readonly child: string;
  readonly zones: readonly string[];
  /** When it was last asked; null where it never answered. */
  readonly asked_at: string | null;
  readonly facts: AbilityFacts | undefined;
  readonly max_routes: number;
  /** True where routers are distributed unless they are made with `distributed: false`: those cannot end a transit. */
  readonly has_distributed_routers: boolean;
  /**
   * Why the child cannot do it, or undefined where it can or nothing is known.
   * @param physicalNetwork the child's own name of the physical network that `transit` or `stretched` would lie on
   */
  refusal(capability: Capability, physicalNetwork?: string): Refusal | undefined;
}

/** Neutron's own default. */
export const MAX_ROUTES = 30;

/** The most prefixes for which a child that is not known to keep to address groups gets a rule each, for one group. */
export const PREFIXES_MAX = 500;

interface Requirement {
  /** What the child cannot take part in, said to tenants. */
  readonly what: string;
  readonly extensions: readonly string[];
  /** Whether it lies on a provider network. */
  readonly on_provider_network?: boolean;
  /** What else may be against it. */
  readonly refused?: (facts: AbilityFacts) => Refusal | undefined;
}

const REQUIREMENTS: Readonly<Record<Capability, Requirement>> = {
  transit: {
    what: 'routers that span availability zones',
    extensions: ['router', 'extraroute', 'provider'],
    on_provider_network: true,
  },
  stretched: {
    what: 'networks that stretch over availability zones',
    extensions: ['provider'],
    on_provider_network: true,
  },
  address_groups: {
    what: 'address groups',
    extensions: ['address-group', 'security-groups-remote-address-group'],
    refused: ({ enforces_address_groups }) =>
      enforces_address_groups === true
        ? undefined
        : {
            tenant: 'the cloud below is not known to keep to them',
            operator: `not every Neutron keeps to them: some drivers (OVN's in Zed, older iptables ones) take a rule that names one and let everybody pass. Until \`enforces_address_groups: true\` is said of it, each prefix gets a rule of its own, at most ${PREFIXES_MAX} for a group`,
          },
  },
  tags: { what: 'tags', extensions: ['standard-attr-tag'] },
  trunks: { what: 'trunks', extensions: ['trunk'] },
  qos: {
    what: 'quality of service',
    extensions: ['qos'],
    refused: ({ chooses_addresses }) => (chooses_addresses === false ? adminOnly('QoS policies be made') : undefined),
  },
  port_forwarding: { what: 'port forwarding', extensions: ['floating-ip-port-forwarding'] },
  floating_ips: {
    what: 'floating IPs',
    extensions: ['router'],
    refused: ({ chooses_addresses }) => (chooses_addresses === false ? adminOnly('addresses be chosen') : undefined),
  },
  gateways_without_snat: {
    what: 'gateways without SNAT',
    extensions: ['router'],
    refused: ({ chooses_addresses }) => (chooses_addresses === false ? adminOnly('SNAT be turned off') : undefined),
  },
  external_networks: {
    what: 'external networks that are made here',
    extensions: ['external-net'],
    refused: ({ chooses_addresses }) =>
      chooses_addresses === false ? adminOnly('external networks be made') : undefined,
  },
  extra_dhcp_options: { what: 'extra DHCP options', extensions: ['extra_dhcp_opt'] },
};

/** What Neutron leaves to administrators. */
function adminOnly(what: string): Refusal {
  return {
    tenant: `the cloud below does not let ${what}`,
    operator: `its Neutron does not let the account's role have ${what}; give it the role admin there`,
  };
}

interface AbilityRow {
  readonly name: string;
  readonly zones: Readonly<Record<string, string>>;
  readonly asked_at: string | null;
  readonly facts: AbilityFacts | null;
}

/** What is known of the networking of one child; a child that nobody configured is one of which nothing is known. */
export async function abilityOf(query: Queryable, child: string): Promise<ChildAbility> {
  const found = (await abilitiesOf(query, [child])).get(child);
  return found ?? ability({ name: child, zones: {}, asked_at: null, facts: null });
}

/** What is known of several children's networking, by the child's name; one query. */
export async function abilitiesOf(
  query: Queryable,
  children: readonly string[],
): Promise<ReadonlyMap<string, ChildAbility>> {
  const found = await sql<AbilityRow>`
    select c.name, coalesce(c.zones_override, c.zones) as zones, a.asked_at, a.facts
    from children c left join child_abilities a on a.child = c.name
    where c.name = any(${[...children]}::text[]) order by c.name`.execute(query);
  return new Map(found.rows.map((row) => [row.name, ability(row)]));
}

/** What the facts of a child mean. Exported for `headwater check`, which asks a child that no database knows. */
export function ability(row: AbilityRow): ChildAbility {
  const facts = row.facts ?? undefined;
  const zones = Object.keys(row.zones);
  return {
    child: row.name,
    zones,
    asked_at: row.asked_at,
    facts,
    max_routes: facts?.max_routes ?? MAX_ROUTES,
    has_distributed_routers: facts?.extensions.includes('dvr') === true,
    refusal(capability, physicalNetwork) {
      if (facts === undefined) return undefined;
      const requirement = REQUIREMENTS[capability];
      const reason = reasonAgainst(facts, requirement, physicalNetwork);
      if (reason === undefined) return undefined;
      return {
        tenant: `${zonesInWords(zones)} cannot take part in ${requirement.what}: ${reason.tenant}`,
        operator: `${row.name} cannot take part in ${requirement.what}: ${reason.operator}`,
      };
    },
  };
}

function reasonAgainst(facts: AbilityFacts, requirement: Requirement, physicalNetwork?: string): Refusal | undefined {
  const lacking = requirement.extensions.filter((alias) => !facts.extensions.includes(alias));
  if (lacking.length > 0) {
    return {
      tenant: `the cloud below does not have the network extension ${lacking.join(', ')}`,
      operator: `its Neutron lacks the extension ${lacking.join(', ')}`,
    };
  }
  if (requirement.on_provider_network !== true) return requirement.refused?.(facts);
  if (facts.shares_project === true) {
    return {
      tenant: 'the cloud below does not let networks be made that reach other clouds',
      operator: 'all tenants share one project there; choose `tenancy: mirrored`, which needs the role admin there',
    };
  }
  if (!facts.provider_networks) {
    return {
      tenant: 'the cloud below does not let networks be made that reach other clouds',
      operator: 'its account may not make provider networks; give it the role admin there',
    };
  }
  const { physical_networks } = facts;
  if (physicalNetwork === undefined || physical_networks === null || physical_networks.includes(physicalNetwork)) {
    return undefined;
  }
  const there = physical_networks.length === 0 ? 'none' : physical_networks.join(', ');
  return {
    tenant: 'the cloud below is not wired to the network between the availability zones',
    operator: `no agent there is wired to the physical network ${physicalNetwork} (they are to: ${there}); mend the agents' bridge mappings, or \`physical_networks\` in the configuration`,
  };
}

function zonesInWords(zones: readonly string[]): string {
  if (zones.length === 0) return 'an availability zone';
  if (zones.length === 1) return `the availability zone ${zones[0]}`;
  return `the availability zones ${zones.slice(0, -1).join(', ')} and ${zones.at(-1)}`;
}

declare module '../db/tables.ts' {
  interface Tables {
    child_abilities: { child: string; asked_at: string; facts: AbilityFacts };
  }
}
