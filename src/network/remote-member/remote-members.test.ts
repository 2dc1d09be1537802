import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import { PREFIXES_MAX } from '../ability.ts';
import {
  addressesAdmitted,
  admitted,
  agreed,
  boot,
  bootWith,
  call,
  cascade,
  CHILDREN,
  context,
  copyOf,
  db,
  defaultGroup,
  end,
  eventually,
  make,
  networks,
  newGroup,
  newRule,
  serverNetworks,
  sim,
} from './remote-members-testing.ts';

await cascade.start();

const update = (id: string, port: object) => call('alice', 'PUT', `/ports/${id}`, { port });
const addressGroupCalls = (child: string) => sim(child).requests.count(/network \/address-groups/);
const nothingKept = () =>
  eventually(async () => {
    for (const child of CHILDREN) expect(sim(child).state.addressGroups.size).toBe(0);
    const kept = await sql`select 1 from replicas where kind = 'remote_members'`.execute(db.query);
    expect(kept.rows).toEqual([]);
  });

afterEach(async () => {
  for (const child of CHILDREN) {
    sim(child).faults.clear();
    await sim(child).start();
  }
});

describe('the default group', () => {
  it('costs a child nothing while its members are all there', async () => {
    const [one, other] = [await boot('east'), await boot('east')];
    const group = await defaultGroup();
    await eventually(() => expect(copyOf('east', group)).toBeDefined());
    await eventually(agreed);
    expect(addressGroupCalls('east')).toBe(0);
    for (const server of [one, other]) await end(server);
  });

  it('admits members of other children, of both versions, while they are there', async () => {
    const group = await defaultGroup();
    const east = await boot('east');
    const west = await boot('west');
    await eventually(agreed);
    expect(addressesAdmitted('east', group)).toEqual([...west.addresses].sort());
    expect(admitted('east', group)).toEqual(
      [`ingress IPv4    ${west.addresses[0]}/32`, `ingress IPv6    ${west.addresses[1]}/128`].sort(),
    );
    expect(addressesAdmitted('west', group)).toEqual([...east.addresses].sort());

    const second = await boot('west');
    await eventually(() =>
      expect(addressesAdmitted('east', group)).toEqual([...west.addresses, ...second.addresses].sort()),
    );
    await end(west);
    await eventually(() => expect(addressesAdmitted('east', group)).toEqual([...second.addresses].sort()));
    await end(second);
    await eventually(agreed);
    expect(addressesAdmitted('east', group)).toEqual([]);
    await end(east);
    await nothingKept();
  });

  it('is admitted by rules where a child has no address groups', async () => {
    const group = await defaultGroup();
    const old = await boot('old');
    const servers = [await boot('east'), await boot('west'), await boot('west')];
    await eventually(agreed);
    expect(addressesAdmitted('old', group)).toEqual(servers.flatMap(({ addresses }) => addresses).sort());
    expect(addressesAdmitted('east', group)).toContain(old.addresses[0]);
    for (const server of servers) await end(server);
    await eventually(() => expect(admitted('old', group)).toEqual([]));
    expect(addressGroupCalls('old')).toBe(0);
    await end(old);
    await nothingKept();
  });
});

describe('members', () => {
  it('follow their groups, addresses and allowed pairs', async () => {
    const [web, database] = [await newGroup('web'), await newGroup('db')];
    await newRule(database, web, { protocol: 'tcp', port_range_min: 5432, port_range_max: 5432 });
    const guarded = await boot('east', [database]);
    const member = await boot('west', [database]);
    await eventually(() => expect(copyOf('east', database)).toBeDefined());
    expect(addressesAdmitted('east', database)).toEqual([]);

    await update(member.port_id, { security_groups: [web] });
    await eventually(() =>
      expect(admitted('east', database)).toEqual([`ingress IPv4 tcp 5432 5432 ${member.addresses[0]}/32`]),
    );
    await update(member.port_id, {
      allowed_address_pairs: [{ ip_address: '192.168.7.0/28' }, { ip_address: '0.0.0.0/0' }, { ip_address: '::/0' }],
    });
    await eventually(() => expect(addressesAdmitted('east', database)).toContain('192.168.7.0/28'));
    // A pair for every address stands for a MAC, which is seen in its own child alone.
    expect(addressesAdmitted('east', database)).toHaveLength(2);

    const subnets = (await call('alice', 'GET', `/subnets?network_id=${networks.west}&ip_version=4`)).body.subnets;
    await update(member.port_id, {
      allowed_address_pairs: [],
      fixed_ips: [{ subnet_id: subnets[0].id, ip_address: '10.2.0.77' }],
    });
    await eventually(() => expect(addressesAdmitted('east', database)).toEqual(['10.2.0.77']));
    await db.transaction((tx) => serverNetworks.changeGroups(tx, context, member.server_id, { add: database }));
    await db.transaction((tx) => serverNetworks.changeGroups(tx, context, member.server_id, { remove: web }));
    await eventually(() => expect(addressesAdmitted('east', database)).toEqual([]));
    await eventually(agreed);
    for (const server of [guarded, member]) await end(server);
    for (const id of [database, web]) {
      expect((await call('alice', 'DELETE', `/security-groups/${id}`)).status).toBe(204);
    }
    await nothingKept();
  });

  it('are admitted by rules that come after them, and no longer once the rule or the group is gone', async () => {
    const [web, database] = [await newGroup('web'), await newGroup('db')];
    const guarded = await boot('east', [database]);
    const member = await boot('west', [web]);
    await eventually(() => expect(copyOf('east', database)).toBeDefined());
    const rule = await newRule(database, web, { ethertype: 'IPv6', direction: 'egress' });
    await eventually(() => expect(admitted('east', database)).toEqual([`egress IPv6    ${member.addresses[1]}/128`]));
    await newRule(database, web);
    await eventually(() => expect(addressesAdmitted('east', database)).toEqual([...member.addresses].sort()));
    await call('alice', 'DELETE', `/security-group-rules/${rule.id}`);
    await eventually(() => expect(addressesAdmitted('east', database)).toEqual([member.addresses[0]]));
    await end(member);
    await nothingKept();

    const again = await boot('west', [web]);
    await eventually(() => expect(addressesAdmitted('east', database)).toEqual([again.addresses[0]]));
    await update(again.port_id, { security_groups: [] });
    expect((await call('alice', 'DELETE', `/security-groups/${web}`)).status).toBe(204);
    await nothingKept();
    await eventually(agreed);
    for (const server of [guarded, again]) await end(server);
    await call('alice', 'DELETE', `/security-groups/${database}`);
  });

  it('of two groups that name each other are admitted in both directions', async () => {
    const [one, other] = [await newGroup('one'), await newGroup('other')];
    await newRule(one, other);
    await newRule(other, one, { ethertype: 'IPv6' });
    const servers = [await boot('east', [one]), await boot('west', [other]), await boot('old', [one, other])];
    await eventually(agreed);
    expect(addressesAdmitted('east', one)).toEqual([servers[1]?.addresses[0], servers[2]?.addresses[0]].sort());
    expect(addressesAdmitted('west', other)).toEqual([servers[0]?.addresses[1], servers[2]?.addresses[1]].sort());
    for (const server of servers) await end(server);
    for (const id of [one, other]) await call('alice', 'DELETE', `/security-groups/${id}`);
    await nothingKept();
  });

  it('are no objects of a tenant, and count for no quota', async () => {
    const before = (await call('alice', 'GET', '/quotas/p1/details.json')).body.quota;
    const servers = [await boot('east'), await boot('west')];
    await eventually(() => expect(sim('east').state.addressGroups.size).toBe(1));
    const group = (await call('alice', 'GET', `/security-groups/${await defaultGroup()}`)).body.security_group;
    expect(group.security_group_rules).toHaveLength(4);
    expect((await call('alice', 'GET', '/address-groups')).body.address_groups).toEqual([]);
    const after = (await call('alice', 'GET', '/quotas/p1/details.json')).body.quota;
    for (const name of ['security_group', 'security_group_rule']) expect(after[name].used).toBe(before[name].used);
    for (const server of servers) await end(server);
    await nothingKept();
  });
});

describe('a child that is away', () => {
  it('keeps nobody waiting, and has the right members when it is back', async () => {
    const group = await defaultGroup();
    const [east, west] = [await boot('east'), await boot('west')];
    await eventually(agreed);
    await sim('west').stop();
    const more = await boot('east');
    const old = await boot('old');
    await end(east);
    await eventually(() => expect(addressesAdmitted('old', group)).toContain(more.addresses[0]));
    expect(addressesAdmitted('west', group)).toEqual([...east.addresses].sort());
    await sim('west').start();
    await eventually(() =>
      expect(addressesAdmitted('west', group)).toEqual([...more.addresses, ...old.addresses].sort()),
    );
    for (const server of [more, old, west]) await end(server);
    await nothingKept();
  });

  it('whose address group is gone behind the parent, with the rules that named it, gets it anew', async () => {
    const group = await defaultGroup();
    const servers = [await boot('east'), await boot('west')];
    await eventually(agreed);
    const { addressGroups, securityGroupRules } = sim('east').state;
    for (const [id, rule] of securityGroupRules)
      if (rule.remote_address_group_id !== null) securityGroupRules.delete(id);
    addressGroups.clear();
    // A rule that changes finds it out.
    const rule = await newRule(group, group, { protocol: 'udp' });
    await eventually(agreed);
    expect(addressesAdmitted('east', group)).toEqual([...(servers[1]?.addresses ?? [])].sort());
    await call('alice', 'DELETE', `/security-group-rules/${rule.id}`);
    for (const server of servers) await end(server);
    await nothingKept();
  });

  it('makes one address group where the answer to its create is lost', async () => {
    sim('east').faults.inject({ match: { method: 'POST', path: /address-groups/ }, times: 1, drop: 'after' });
    const servers = [await boot('east'), await boot('west')];
    await eventually(agreed);
    expect(sim('east').state.addressGroups.size).toBe(1);
    for (const server of servers) await end(server);
    await nothingKept();
  });

  it('is asked a few times when a hundred members come at once', async () => {
    const guarded = await boot('east');
    const first = await boot('west');
    await eventually(agreed);
    sim('east').requests.reset();
    await call('admin', 'PUT', '/quotas/p1', { quota: { port: -1 } });
    const started_ms = Date.now();
    const many = await Promise.all(Array.from({ length: 100 }, () => boot('west')));
    const lasted_ms = Date.now() - started_ms;
    await eventually(agreed);
    const asked = addressGroupCalls('east');
    // Two calls each half second, however many members come.
    expect(asked).toBeLessThanOrEqual(2 * (Math.ceil(lasted_ms / 500) + 2));
    expect(asked).toBeLessThan(50);
    for (const server of [...many, first, guarded]) await end(server);
    await nothingKept();
  });

  it('without address groups admits as many as it may, and no more', async () => {
    const group = await newGroup('wide');
    for (const ethertype of ['IPv4', 'IPv6']) await newRule(group, group, { ethertype });
    const guarded = await boot('old', [group]);
    const servers = await Promise.all(
      Array.from({ length: 50 }, async (_, at) => {
        const allowed_address_pairs = Array.from({ length: 10 }, (_, pair) => ({
          ip_address: `192.168.${at}.${pair * 8}/29`,
        }));
        const given = { network_id: networks.east, security_groups: [group], allowed_address_pairs };
        return bootWith('east', { port_id: (await make('alice', 'port', given)).id });
      }),
    );
    await eventually(() => expect(addressesAdmitted('old', group)).toHaveLength(PREFIXES_MAX), 40_000);
    for (const server of servers) await end(server);
    await end(guarded);
    const ports = (await call('alice', 'GET', `/ports?security_groups=${group}`)).body.ports;
    for (const { id } of ports) await call('alice', 'DELETE', `/ports/${id}`);
    await eventually(() => expect(addressesAdmitted('old', group)).toEqual([]), 40_000);
    await call('alice', 'DELETE', `/security-groups/${group}`);
    await nothingKept();
  }, 120_000);
});

describe('a port without a server', () => {
  it('is a member where a trunk or a floating IP has it made', async () => {
    const group = await newGroup('waiting');
    await newRule(group, group);
    const guarded = await boot('west', [group]);
    const port = await make('alice', 'port', { network_id: networks.east, security_groups: [group] });
    await eventually(agreed);
    expect(addressesAdmitted('west', group)).toEqual([]);
    await db.transaction((tx) => cascade.wantReplica(tx, 'east', 'port', port.id));
    cascade.poke();
    await eventually(() => expect(addressesAdmitted('west', group)).toEqual([port.fixed_ips[0].ip_address]));
    expect((await call('alice', 'DELETE', `/ports/${port.id}`)).status).toBe(204);
    await eventually(() => expect(addressesAdmitted('west', group)).toEqual([]));
    await end(guarded);
    await call('alice', 'DELETE', `/security-groups/${group}`);
    await nothingKept();
  });
});
