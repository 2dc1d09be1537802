/**
 * For tests of members across children: three simulated clouds, one of them without address groups, and what each must
 * hold by the parent's ports and rules alone, worked out in another way than the product does.
 */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { expect, vi } from 'vitest';
import type { RequestContext } from '../../http/service.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { identities, silent } from '../../testing/api.ts';
import type { NetworkRequest } from '../server-networks.ts';
import { networkTest } from '../testing.ts';
import { NO_TOPOLOGY } from '../topology.ts';

export const CHILDREN = ['east', 'west', 'old'] as const;
export type ChildName = (typeof CHILDREN)[number];
const WITHOUT = ['address-group', 'security-groups-remote-address-group'];

export const { call, make, db, cascade, sims, serverNetworks } = await networkTest(CHILDREN, NO_TOPOLOGY, {
  old: { without: WITHOUT },
});
export const sim = (name: string) => sims[name] as SimCloud;
export const context = { requestId: 'req-1', identity: identities.alice, log: silent } as unknown as RequestContext;

export const eventually = (check: () => void | Promise<void>, timeout_ms = 20_000) =>
  vi.waitFor(check, { timeout: timeout_ms, interval: 50 });

type Row = Record<string, unknown>;
interface Rule {
  readonly security_group_id: string;
  readonly direction: string;
  readonly ethertype: string;
  readonly protocol: string | null;
  readonly port_range_min: number | null;
  readonly port_range_max: number | null;
  readonly remote_ip_prefix: string | null;
  readonly remote_group_id: string | null;
  readonly remote_address_group_id: string | null;
}

/** A network of alice's in each child, of both versions. */
export const networks: Readonly<Record<ChildName, string>> = {
  east: await dual('10.1.0.0/24', '2001:db8:1::/64'),
  west: await dual('10.2.0.0/24', '2001:db8:2::/64'),
  old: await dual('10.3.0.0/24', '2001:db8:3::/64'),
};

async function dual(cidr4: string, cidr6: string): Promise<string> {
  const { id } = await make('alice', 'network', {});
  await make('alice', 'subnet', { network_id: id, ip_version: 4, cidr: cidr4 });
  await make('alice', 'subnet', { network_id: id, ip_version: 6, cidr: cidr6 });
  return id;
}

export interface Booted {
  readonly server_id: string;
  readonly port_id: string;
  readonly addresses: readonly string[];
}

/** A boot as far as networks go; the ports come to the child as a server's work brings them. */
export const boot = (child: ChildName, groups?: readonly string[]): Promise<Booted> =>
  bootWith(child, { network_id: networks[child] }, groups);

/** The same with a port that is there already. */
export async function bootWith(child: ChildName, wanted: NetworkRequest, groups?: readonly string[]): Promise<Booted> {
  const server_id = randomUUID();
  const resolved = await serverNetworks.resolve(db.query, context, [wanted]);
  const [port] = await db.transaction((tx) =>
    serverNetworks.attach(tx, context, resolved, { server_id, child, zone: child, security_groups: groups }),
  );
  if (port === undefined) throw new Error('no port was made');
  await db.transaction((tx) => cascade.wantReplica(tx, child, 'port', port.id));
  cascade.poke();
  return { server_id, port_id: port.id, addresses: port.fixed_ips.map(({ ip_address }) => ip_address) };
}

export async function end({ server_id }: Pick<Booted, 'server_id'>): Promise<void> {
  await db.transaction((tx) => serverNetworks.detach(tx, server_id));
  cascade.poke();
}

export const newGroup = async (name = 'g'): Promise<string> => (await make('alice', 'security_group', { name })).id;
export const newRule = (security_group_id: string, remote_group_id: string, more: object = {}) =>
  make('alice', 'security_group_rule', { security_group_id, remote_group_id, direction: 'ingress', ...more });
export const defaultGroup = async (): Promise<string> =>
  (await call('alice', 'GET', '/security-groups?name=default')).body.security_groups[0].id;

const whole = (address: string): string =>
  address.includes('/') ? address : `${address}/${address.includes(':') ? 128 : 32}`;
const saying = (rule: Rule, from: string): string =>
  [rule.direction, rule.ethertype, rule.protocol, rule.port_range_min, rule.port_range_max, from].join(' ');
const isOf = (ethertype: string, prefix: string): boolean => prefix.includes(':') === (ethertype === 'IPv6');

/** The copy of a group in a child. */
export const copyOf = (child: string, id: string): Row | undefined =>
  [...sim(child).state.securityGroups.values()].find(({ name }) => name === id);
const rulesIn = (child: string, copy: Row): Rule[] =>
  [...sim(child).state.securityGroupRules.values()].filter(
    (rule) => rule.security_group_id === copy.id,
  ) as unknown as Rule[];

/** What a child's copy of a group lets pass by address, from address groups or from rules' own prefixes; each once. */
export function admitted(child: string, id: string): string[] {
  const copy = copyOf(child, id);
  if (copy === undefined) return [];
  const said = rulesIn(child, copy).flatMap((rule) => {
    if (rule.remote_ip_prefix !== null) return [saying(rule, rule.remote_ip_prefix)];
    if (rule.remote_address_group_id === null) return [];
    const group = sim(child).state.addressGroups.get(rule.remote_address_group_id) as Row;
    return (group.addresses as string[])
      .filter((prefix) => isOf(rule.ethertype, prefix))
      .map((prefix) => saying(rule, prefix));
  });
  return [...new Set(said)].sort();
}

/** Addresses alone, of those that a copy admits. */
export const addressesAdmitted = (child: string, id: string): string[] =>
  [...new Set(admitted(child, id).map((said) => (said.split(' ').at(-1) ?? '').replace(/\/(32|128)$/, '')))].sort();

/** What each child with a copy of a group must let pass by address, from the parent's ports and rules. */
async function expected(): Promise<Map<string, string[]>> {
  const ports = (
    await sql<{ child: string; groups: string[]; addresses: string[] }>`
      select p.child, p.security_groups as groups,
        array(select x ->> 'ip_address' from jsonb_array_elements(p.body -> 'fixed_ips') x
          union select x ->> 'ip_address' from jsonb_array_elements(p.body -> 'allowed_address_pairs') x) as addresses
      from ports p where p.child is not null`.execute(db.query)
  ).rows;
  const rules = (await sql<Rule>`select * from security_group_rules`.execute(db.query)).rows;
  const copies = await sql<{ id: string; child: string }>`select resource_id as id, child from replicas
    where kind = 'security_group'`.execute(db.query);
  const all = new Map<string, string[]>();
  for (const { id, child } of copies.rows) {
    const said = new Set<string>();
    for (const rule of rules.filter(({ security_group_id }) => security_group_id === id)) {
      for (const port of ports) {
        if (port.child === child || !port.groups.includes(rule.remote_group_id ?? '')) continue;
        for (const address of port.addresses.map(whole).filter((one) => isOf(rule.ethertype, one))) {
          said.add(saying(rule, address));
        }
      }
    }
    all.set(`${child} ${id}`, [...said].sort());
  }
  return all;
}

/** Every child has what it must have, and no address group beside. */
export async function agreed(): Promise<void> {
  const model = await expected();
  const shown = new Map([...model.keys()].map((key) => [key, admitted(...(key.split(' ') as [string, string]))]));
  expect(shown).toEqual(model);
  for (const child of CHILDREN) {
    const { addressGroups, securityGroupRules } = sim(child).state;
    const named = new Set([...securityGroupRules.values()].map((rule) => rule.remote_address_group_id));
    expect([...addressGroups.values()].filter(({ id }) => !named.has(id as string))).toEqual([]);
    expect([...addressGroups.values()].filter(({ addresses }) => (addresses as string[]).length === 0)).toEqual([]);
    // Every rule of the group itself is there as well, where the group that it names has a copy.
    for (const key of model.keys()) {
      const [where, id = ''] = key.split(' ');
      if (where === child) await sameOwnRules(child, id);
    }
  }
}

async function sameOwnRules(child: string, id: string): Promise<void> {
  const copy = copyOf(child, id) as Row;
  const own = await sql<Rule>`select * from security_group_rules where security_group_id = ${id}`.execute(db.query);
  const names = new Map([...sim(child).state.securityGroups.values()].map((group) => [group.id, group.name]));
  const said = (rule: Rule, remote: unknown): string => saying(rule, String(remote));
  expect(
    rulesIn(child, copy)
      .filter((rule) => rule.remote_address_group_id === null && rule.remote_ip_prefix === null)
      .map((rule) => said(rule, names.get(rule.remote_group_id) ?? null))
      .sort(),
  ).toEqual(own.rows.map((rule) => said(rule, rule.remote_group_id)).sort());
}
