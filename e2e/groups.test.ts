/**
 * Security groups whose members live in both children: a rule that names a group admits its members in the other child
 * as soon as they are there, and no longer once they are gone. Looked at where it counts: in what the child's own Neutron
 * tells its switch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { servers } from './client/names.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { letIn } from './harness/ovn.ts';
import { parentServes } from './harness/parent.ts';
import { api, list } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';
import { boot, have, killAgainAndAgain, PATIENCE, patiently, type Port, remove } from './harness/wiring.ts';

const NAME = 'e2e-groups';
const CIDRS: Readonly<Record<string, readonly [string, string]>> = {
  east: ['10.85.0.0/24', '2001:db8:85::/64'],
  west: ['10.86.0.0/24', '2001:db8:86::/64'],
};
const KILLS = 4;
const MEMBERS = 6;

type Cloud = 'child1' | 'child2';

let furniture: Furnished;
const networks: Record<string, string> = {};
const groups: Record<'web' | 'db' | 'default', string> = { web: '', db: '', default: '' };

beforeAll(async () => {
  furniture = await furnish();
  for (const { zone } of CHILDREN) {
    const name = `${NAME}-${zone}`;
    const network_id = await have('tenant', 'networks', 'network', { name });
    networks[zone] = network_id;
    for (const [at, cidr] of (CIDRS[zone] ?? []).entries()) {
      const ip_version = at === 0 ? 4 : 6;
      await have('tenant', 'subnets', 'subnet', { name: `${name}-${ip_version}`, network_id, ip_version, cidr });
    }
  }
  for (const name of ['web', 'db'] as const) groups[name] = await newGroup(`${NAME}-${name}`);
  const [own] = await list(api('tenant'), 'network', '/security-groups', 'security_groups', { name: 'default' });
  groups.default = own?.id ?? '';
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
});

async function post(path: string, key: string, values: object): Promise<string> {
  const call = { service: 'network', method: 'POST', path, body: { [key]: values } } as const;
  return (await api('tenant').call<Record<string, { id: string }>>(call)).body[key]?.id ?? '';
}

const newGroup = (name: string) => post('/security-groups', 'security_group', { name });
const newRule = (security_group_id: string, values: object) =>
  post('/security-group-rules', 'security_group_rule', { security_group_id, direction: 'ingress', ...values });

/** A server with ports of this group, up in its child. */
async function member(name: string, zone: string, group: string) {
  const more = { security_groups: [{ name: group }] };
  const id = await boot(furniture, `${NAME}-${name}`, zone, networks[zone] ?? '', more);
  const [port] = await list<Port>(api('tenant'), 'network', '/ports', 'ports', { device_id: id });
  const addresses = port?.fixed_ips.map(({ ip_address }) => ip_address) ?? [];
  const at = (version: 4 | 6) => addresses.find((address) => address.includes(':') === (version === 6)) ?? '';
  return { id, port: port?.id ?? '', v4: at(4), v6: at(6) };
}

async function active(): Promise<void> {
  await until('all servers are ACTIVE', async () => {
    const found = (await servers('tenant')).filter(({ name }) => name.startsWith(NAME));
    const failed = found.filter(({ status }) => status === 'ERROR');
    if (failed.length > 0) throw new Error(JSON.stringify(failed.map(({ fault }) => fault)));
    return found.every(({ status }) => status === 'ACTIVE');
  });
}

/** What a child's copy of a group lets in from single addresses, and from anywhere. */
async function admitted(cloud: Cloud, id: string) {
  const [copy] = await list(api(cloud), 'network', '/security-groups', 'security_groups', { name: id });
  if (copy === undefined) throw new Error(`${cloud} has no copy of the group`);
  const matches = await letIn(cloud, copy.id);
  return {
    addresses: matches.filter((match) => /src == [0-9a-f]/.test(match)),
    anyone: matches.filter((match) => !match.includes('src ==')),
  };
}

const from = (address: string, what = ''): string =>
  address.includes(':') ? `ip6 && ip6.src == ${address}/128${what}` : `ip4 && ip4.src == ${address}/32${what}`;

/** Waits until the switch lets in exactly these, and gives how long that took. */
async function lets(cloud: Cloud, group: string, wanted: readonly string[], patience = {}): Promise<number> {
  const started_ms = performance.now();
  await until(
    `${cloud} lets in ${wanted.length}`,
    async () => {
      const found = await admitted(cloud, group);
      expect(found).toEqual({ addresses: [...wanted].sort(), anyone: [] });
      return true;
    },
    { timeout_ms: 120_000, every_ms: 100, ...patience },
  );
  return Math.round(performance.now() - started_ms);
}

describe('a rule that names a group', () => {
  const SQL = ' && tcp && tcp.dst == 5432';
  const took: Record<string, number> = {};

  it('admits members in the other child, of both versions, as soon as they are there', async () => {
    for (const ethertype of ['IPv4', 'IPv6']) {
      const port = { protocol: 'tcp', port_range_min: 5432, port_range_max: 5432, ethertype };
      await newRule(groups.db, { ...port, remote_group_id: groups.web });
    }
    await member('db', 'east', groups.db);
    const web = await member('web', 'west', groups.web);
    await active();
    await lets('child1', groups.db, [from(web.v4, SQL), from(web.v6, SQL)]);

    const more = await member('more', 'west', groups.web);
    const both = [web, more].flatMap(({ v4, v6 }) => [from(v4, SQL), from(v6, SQL)]);
    took.joined = await lets('child1', groups.db, both);
    await active();

    await remove('compute', `/servers/${web.id}`);
    took.left = await lets('child1', groups.db, [from(more.v4, SQL), from(more.v6, SQL)]);

    const update = (port: object) =>
      api('tenant').call({ service: 'network', method: 'PUT', path: `/ports/${more.port}`, body: { port } });
    await update({ allowed_address_pairs: [{ ip_address: '10.86.0.200' }] });
    took.paired = await lets('child1', groups.db, [
      ...[more.v4, '10.86.0.200'].map((address) => from(address, SQL)),
      from(more.v6, SQL),
    ]);
    await update({ security_groups: [groups.default], allowed_address_pairs: [] });
    took.regrouped = await lets('child1', groups.db, []);
    console.log('until the switch of the other child knew, in ms:', took);
  });

  it('shows the tenant nothing of how', async () => {
    const shown = await list<{ id: string; security_group_rules: object[] }>(
      api('tenant'),
      'network',
      '/security-groups',
      'security_groups',
      { id: groups.db },
    );
    // Two for what goes out, and the two above.
    expect(shown[0]?.security_group_rules).toHaveLength(4);
    expect(await list(api('tenant'), 'network', '/address-groups', 'address_groups')).toEqual([]);
  });
});

describe('the default group', () => {
  it('is one group in both children', async () => {
    const east = await member('one', 'east', groups.default);
    const others = await servers('tenant', { name: `^${NAME}-more$` });
    const [more] = await list<Port>(api('tenant'), 'network', '/ports', 'ports', { device_id: others[0]?.id ?? '' });
    await active();
    await lets('child2', groups.default, [from(east.v4), from(east.v6)]);
    await lets('child1', groups.default, more?.fixed_ips.map(({ ip_address }) => from(ip_address)) ?? []);
  });
});

describe(`a parent that is killed ${KILLS} times while members come and go`, () => {
  it('leaves each child with the members that there are', { timeout: 600_000 }, async () => {
    const killing = killAgainAndAgain(KILLS);
    const zones = CHILDREN.map(({ zone }) => zone);
    await Promise.all(
      Array.from({ length: MEMBERS }, async (_, at) => {
        const zone = zones[at % zones.length] ?? '';
        const more = { security_groups: [{ name: groups.default }] };
        const id = await boot(furniture, `${NAME}-kill-${at}`, zone, networks[zone] ?? '', more);
        if (at % 3 === 0) await remove('compute', `/servers/${id}`);
      }),
    );
    await killing;
    await patiently('all is settled', async () => {
      const found = (await servers('tenant')).filter(({ name }) => name.startsWith(`${NAME}-kill`));
      return found.length === MEMBERS - 2 && found.every(({ status }) => status === 'ACTIVE');
    });
    const ports = await list<Port & { security_groups: string[]; device_id: string }>(
      api('tenant'),
      'network',
      '/ports',
      'ports',
    );
    for (const { cloud, zone } of CHILDREN) {
      const elsewhere = ports.filter(
        ({ network_id, device_id, security_groups }) =>
          device_id !== '' && network_id !== networks[zone] && security_groups.includes(groups.default),
      );
      const wanted = elsewhere.flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => from(ip_address)));
      await lets(cloud, groups.default, wanted, PATIENCE);
    }
  });

  it('leaves nothing of groups that are deleted', async () => {
    for (const { id, name } of await servers('tenant')) {
      if (name.startsWith(NAME)) await remove('compute', `/servers/${id}`);
    }
    await patiently('the servers are gone', async () => (await servers('tenant')).length === 0);
    for (const id of [groups.db, groups.web]) await remove('network', `/security-groups/${id}`);
    for (const { cloud } of CHILDREN) {
      await patiently(`${cloud} has no copy of them`, async () => {
        for (const name of [groups.db, groups.web]) {
          const left = await list(api(cloud), 'network', '/security-groups', 'security_groups', { name });
          if (left.length > 0) return false;
        }
        return true;
      });
    }
  });
});
