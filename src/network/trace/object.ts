/** The tables of networks, subnets, ports, security groups and floating IPs. */
import { sql, type SqlBool } from 'kysely';
import type { Queryable } from '../../db/database.ts';
import { floatingIps } from '../floating-ip-resource.ts';
import type { NetworkRow } from '../network-resource.ts';
import { TENANT_MTU } from '../networks.ts';
import type { PortRow } from '../port-resource.ts';
import { isKeptAsRules } from '../address-group/kept.ts';
import { addressesElsewhere, REMOTE_MEMBERS } from '../remote-member/members.ts';
import { type SecurityGroupRow, securityGroupStore } from '../security-group-resource.ts';
import { isStretched, physicalOf } from '../stretched/place.ts';
import type { SubnetRow } from '../subnet-resource.ts';
import type { NetworkTopology } from '../topology.ts';
import { addressesOf, gatewaysOf } from './address.ts';
import type { Shown } from './ask.ts';
import type { TraceSection } from './contract.ts';
import { parentIds } from './copies.ts';
import {
  type Attribute,
  askCopies,
  few,
  listIn,
  section,
  set,
  tableOf,
  text,
  type TraceParts,
  yes,
} from './section.ts';

const named = (what: string, name: string): string => (name === '' ? what : `${what} "${name}"`);

const adminStateUp = (up: boolean): Attribute => ({
  name: 'admin_state_up',
  parent: yes(up),
  wanted: () => yes(up),
  shown: (body) => yes(body.admin_state_up),
});

const status = (parent: string): Attribute => ({ name: 'status', parent, shown: (body) => text(body.status) });

/** A network of one child, or a stretched one, for which the segment must be the same in all. */
export function networkSection(
  parts: TraceParts,
  topology: NetworkTopology,
  row: NetworkRow,
  expected: readonly string[] = [],
): Promise<TraceSection> {
  const physical = physicalOf(topology, row);
  const stretched = isStretched(row);
  const segment = (type: unknown, name: unknown, id: unknown): string =>
    [type, id, name == null || name === '' ? null : `on ${String(name)}`].filter((part) => part != null).join(' ');
  const own = segment(row.provider_network_type, row.provider_physical_network, row.provider_segmentation_id);
  return section(parts, {
    kind: 'network',
    id: row.id,
    title: named(row.external ? 'external network' : stretched ? 'stretched network' : 'network', row.name),
    revision: row.revision,
    path: '/networks',
    key: 'network',
    expected,
    attributes: [
      status(row.status),
      adminStateUp(row.admin_state_up),
      {
        name: 'segment',
        parent: own,
        wanted: (child) =>
          stretched
            ? segment(row.provider_network_type, physical?.children[child], row.provider_segmentation_id)
            : undefined,
        shown: (body) =>
          segment(body['provider:network_type'], body['provider:physical_network'], body['provider:segmentation_id']),
      },
      {
        name: 'mtu',
        parent: String(row.mtu),
        // What the child chooses by itself fits its own wires.
        wanted: () => (stretched || row.mtu !== TENANT_MTU ? String(row.mtu) : undefined),
        shown: (body) => text(body.mtu),
      },
      {
        name: 'port_security',
        parent: yes(row.port_security_enabled),
        wanted: () => yes(row.port_security_enabled),
        shown: (body) => yes(body.port_security_enabled),
      },
    ],
  });
}

export async function subnetSection(parts: TraceParts, row: SubnetRow): Promise<TraceSection> {
  const gateway = await gatewaysOf(parts.query, row);
  return section(parts, {
    kind: 'subnet',
    id: row.id,
    title: named(`subnet ${row.cidr}`, row.name),
    revision: row.revision,
    path: '/subnets',
    key: 'subnet',
    attributes: [
      { name: 'cidr', parent: row.cidr, wanted: () => row.cidr, shown: (body) => text(body.cidr) },
      { name: 'gateway_ip', parent: row.gateway_ip, wanted: gateway, shown: (body) => text(body.gateway_ip) },
      {
        name: 'enable_dhcp',
        parent: yes(row.enable_dhcp),
        wanted: () => yes(row.enable_dhcp),
        shown: (body) => yes(body.enable_dhcp),
      },
      {
        name: "child's own addresses",
        parent: null,
        shown: (body) => set(listIn(body, 'allocation_pools').map(({ start, end }) => rangeOf(start, end))),
      },
    ],
  });
}

const rangeOf = (start: unknown, end: unknown): string =>
  start === end ? String(start) : `${String(start)}-${String(end)}`;

export async function portSection(parts: TraceParts, row: PortRow): Promise<TraceSection> {
  const { query } = parts;
  const traced = { kind: 'port', id: row.id, path: '/ports', key: 'port' } as const;
  const { known, copies } = await askCopies(parts, traced);
  const addresses = await Promise.all(row.fixed_ips.map(({ subnet_id }) => addressesOf(query, row, subnet_id)));
  const groups = new Map<string, ReadonlyMap<string, string>>();
  for (const [child, { asked }] of copies) {
    const ids = asked.answered && asked.body !== undefined ? (asked.body.security_groups as string[]) : [];
    groups.set(child, await parentIds(query, 'security_group', child, ids ?? []));
  }
  const isOwn = (child: string): boolean =>
    row.fixed_ips.every(({ ip_address }, at) => addresses[at]?.(child) === ip_address);
  const attributes: Attribute[] = [
    status(row.status),
    adminStateUp(row.admin_state_up),
    {
      name: 'mac_address',
      parent: row.mac_address,
      // Further copies of a router's interface have one of their own.
      wanted: (child) => (isOwn(child) ? row.mac_address : undefined),
      shown: (body) => text(body.mac_address),
    },
    {
      name: 'addresses',
      parent: set(row.fixed_ips.map(({ ip_address }) => ip_address)),
      wanted: (child) => set(addresses.flatMap((address) => address(child) ?? [])),
      shown: (body) => set(listIn(body, 'fixed_ips').map(({ ip_address }) => String(ip_address))),
    },
    {
      name: 'device',
      parent: set([row.device_owner, row.device_id].filter((part) => part !== '')),
      shown: (body) => set([body.device_owner, body.device_id].flatMap((part) => text(part) ?? [])),
    },
    {
      name: 'bound',
      parent: text(row.host_id),
      wanted: (child) => (isBindingBroken(copies.get(child)?.asked) ? 'a binding' : undefined),
      shown: (body) => set([body['binding:vif_type'], body['binding:host_id']].flatMap((part) => text(part) ?? [])),
    },
    {
      name: 'security_groups',
      parent: set(row.security_groups),
      wanted: () => set(row.security_groups),
      shown: (body, child) =>
        set(((body.security_groups as string[]) ?? []).map((id) => groups.get(child)?.get(id) ?? `${id} (not ours)`)),
    },
    {
      name: 'port_security',
      parent: yes(row.port_security_enabled),
      wanted: () => yes(row.port_security_enabled),
      shown: (body) => yes(body.port_security_enabled),
    },
  ];
  const title = named('port', row.name);
  return tableOf({ ...traced, title, revision: row.revision, attributes }, known, copies);
}

/** A port that no mechanism of the child could bind carries nothing. */
const isBindingBroken = (asked: { answered: boolean; body?: Shown | undefined } | undefined): boolean =>
  asked?.body?.['binding:vif_type'] === 'binding_failed';

export async function securityGroupSections(parts: TraceParts, ids: readonly string[]): Promise<TraceSection[]> {
  const rows: SecurityGroupRow[] = await securityGroupStore.findMany(parts.query, ids);
  return Promise.all(
    rows.map(async (row) => {
      const rules = await countRules(parts.query, row.id);
      return section(parts, {
        kind: 'security_group',
        id: row.id,
        title: named('security group', row.name),
        revision: row.revision,
        path: '/security-groups',
        key: 'security_group',
        attributes: [
          {
            name: 'rules',
            parent: String(rules),
            // A rule may stand for several in a child: of those that name a group, members elsewhere are added.
            shown: (body) => String(listIn(body, 'security_group_rules').length),
          },
        ],
      });
    }),
  );
}

/** Members that groups have in other children, as each child with a rule that names the group keeps them. */
export async function remoteMemberSections(parts: TraceParts, groupIds: readonly string[]): Promise<TraceSection[]> {
  const { query } = parts;
  const found = await sql<{ id: string; name: string; revision: number; children: string[] }>`
    select m.id, g.name, m.revision, array_agg(r.child) as children
    from security_group_members m join security_groups g on g.id = m.id
    join replicas r on r.kind = ${REMOTE_MEMBERS} and r.resource_id = m.id
    where m.id = any(${[...groupIds]}::text[]) or m.id in (
      select remote_group_id from security_group_rules where security_group_id = any(${[...groupIds]}::text[]))
    group by m.id, g.name, m.revision order by m.id`.execute(query);
  return Promise.all(
    found.rows.map(async ({ id, name, revision, children }) => {
      const elsewhere = new Map<string, readonly string[]>();
      for (const child of children) elsewhere.set(child, await addressesElsewhere(query, id, child));
      const wanted = (child: string): readonly string[] => elsewhere.get(child) ?? [];
      // Kept as rules, they are shown with the groups that have these.
      const shown = (body: Shown, child: string): readonly string[] =>
        Array.isArray(body.addresses) ? body.addresses.map(String) : wanted(child);
      const without = (all: readonly string[], others: readonly string[]): string | null =>
        few(all.filter((one) => !others.includes(one)));
      return section(parts, {
        kind: REMOTE_MEMBERS,
        id,
        title: named('members in other children of security group', name),
        revision,
        path: '/address-groups',
        key: 'address_group',
        isObject: (childId) => !isKeptAsRules(childId),
        attributes: [
          {
            name: 'addresses',
            parent: null,
            wanted: (child) => String(wanted(child).length),
            shown: (body, child) => String(shown(body, child).length),
          },
          {
            name: 'missing',
            parent: null,
            wanted: () => null,
            shown: (body, child) => without(wanted(child), shown(body, child)),
          },
          {
            name: 'too many',
            parent: null,
            wanted: () => null,
            shown: (body, child) => without(shown(body, child), wanted(child)),
          },
        ],
      });
    }),
  );
}

async function countRules(query: Queryable, groupId: string): Promise<number> {
  const found = await sql<{ count: number }>`select count(*)::int as count from security_group_rules
    where security_group_id = ${groupId}`.execute(query);
  return found.rows[0]?.count ?? 0;
}

/** The floating IPs that lead to a port. */
export async function floatingIpSections(parts: TraceParts, portId: string): Promise<TraceSection[]> {
  const rows = await floatingIps.select(parts.query, [sql<SqlBool>`port_id = ${portId}`]);
  return Promise.all(
    rows.map((row) =>
      section(parts, {
        kind: 'floating_ip',
        id: row.id,
        title: `floating IP ${row.floating_ip_address}`,
        revision: row.revision,
        path: '/floatingips',
        key: 'floatingip',
        expected: [row.child],
        attributes: [
          status(row.status),
          {
            name: 'address',
            parent: row.floating_ip_address,
            wanted: () => row.floating_ip_address,
            shown: (body) => text(body.floating_ip_address),
          },
          {
            name: 'fixed_ip_address',
            parent: row.fixed_ip_address,
            wanted: () => row.fixed_ip_address,
            shown: (body) => text(body.fixed_ip_address),
          },
        ],
      }),
    ),
  );
}
