/**
 * Security groups follow the member, not the site: a rule that admits a group admits its members in the other cloud, as
 * soon as they are there and no longer than that.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { endParent, parentServes, spawnParent } from '../harness/parent.ts';
import { api, list } from '../harness/rest.ts';
import { stage } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import { address6, hasAddress6, type Machine, openScene, type Port, SERVICE, type Zone, ZONES } from './scene.ts';

const CIDRS = { east: '10.95.0.0/24', west: '10.96.0.0/24' } as const;
const CIDRS6 = { east: 'fd95::/64', west: 'fd96::/64' } as const;

const scene = openScene();
const networks = {} as Record<Zone, string>;
/** A service in west, and two in east who would talk to it: one of the group that it admits, one of another. */
let service: Machine;
let friend: Machine;
let stranger: Machine;
const groups = { services: '', friends: '', strangers: '' };

beforeAll(async () => {
  const subnets: string[] = [];
  for (const zone of ZONES) {
    const { id } = await scene.make('network', { name: `packets-${zone}`, availability_zone_hints: [zone] });
    networks[zone] = id;
    const auto = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
    const v4 = await scene.make('subnet', { network_id: id, ip_version: 4, cidr: CIDRS[zone] });
    const v6 = await scene.make('subnet', { network_id: id, ip_version: 6, cidr: CIDRS6[zone], ...auto });
    subnets.push(v4.id, v6.id);
  }
  await scene.router('packets-groups', subnets);
  for (const name of Object.keys(groups) as (keyof typeof groups)[]) {
    groups[name] = (await scene.make('security_group', { name })).id;
  }
  const boot = (name: string, zone: Zone, group: string) =>
    scene.boot(name, zone, { network_id: networks[zone], security_groups: [group] });
  [service, friend, stranger] = await Promise.all([
    boot('packets-service', 'west', groups.services),
    boot('packets-friend', 'east', groups.friends),
    boot('packets-stranger', 'east', groups.strangers),
  ]);
  for (const machine of [service, friend, stranger]) {
    await machine.lease();
    await hasAddress6(machine);
    await machine.listen(SERVICE);
  }
});

const [ALL, NOTHING] = [['ping', 'TCP', 'ping with IPv6', 'TCP with IPv6'], []] as const;

/** What of one server reaches another. */
async function through(from: Machine, to: Machine = service): Promise<string[]> {
  const found: string[] = [];
  for (const [address, words] of [
    [to.address, ''],
    [address6(to), ' with IPv6'],
  ] as const) {
    if ((await from.ping(address, { count: 1, wait_ms: 500 })).received > 0) found.push(`ping${words}`);
    if ('seen_as' in (await from.talk(address, SERVICE, { wait_ms: 1000 }))) found.push(`TCP${words}`);
  }
  return found;
}

/** Waits until just this reaches; children are told of changes one after the other. */
async function eventually(from: Machine, to: Machine, wanted: readonly string[]): Promise<void> {
  const isSo = async () => {
    const found = await through(from, to);
    if (found.join() !== wanted.join()) throw new Error(`what reaches: ${found.join(', ') || 'nothing'}`);
    return true;
  };
  await until(`what reaches ${to.address} from ${from.address} is ${wanted.join(', ') || 'nothing'}`, isSo, {
    timeout_ms: 60_000,
  });
}

/** Has the service admit the members of this group, with both IP versions. Gives the rules. */
async function admit(remote_group_id: string): Promise<string[]> {
  const rules: string[] = [];
  for (const ethertype of ['IPv4', 'IPv6']) {
    const rule = { security_group_id: groups.services, direction: 'ingress', ethertype, remote_group_id };
    rules.push((await scene.make('security_group_rule', rule)).id);
  }
  return rules;
}

const call = (method: 'PUT' | 'DELETE', path: string, body?: object) =>
  api('tenant').call({ service: 'network', method, path, ...(body === undefined ? {} : { body }) });

const become = ({ port }: Machine, security_groups: string[]) =>
  call('PUT', `/ports/${port.id}`, { port: { security_groups } });

/** Does this without the parent, which serves again afterwards. */
async function withoutParent(work: () => Promise<void>): Promise<void> {
  await endParent(stage, 'SIGKILL');
  try {
    await work();
  } finally {
    spawnParent(stage);
    await parentServes(stage);
  }
}

describe('a service that admits a group', () => {
  let rules: string[] = [];

  it('is reached by nobody before', async () => {
    expect(await through(friend)).toEqual(NOTHING);
    expect(await through(stranger)).toEqual(NOTHING);
  });

  it('is reached by its members in the other cloud, and by no others', async () => {
    rules = await admit(groups.friends);
    await eventually(friend, service, ALL);
    expect(await through(stranger)).toEqual(NOTHING);
    await withoutParent(async () => {
      expect(await through(friend)).toEqual(ALL);
      expect(await through(stranger)).toEqual(NOTHING);
    });
  });

  it('is reached by who comes to be a member, for as long as it is one', async () => {
    await become(stranger, [groups.strangers, groups.friends]);
    await eventually(stranger, service, ALL);
    await become(stranger, [groups.strangers]);
    await eventually(stranger, service, NOTHING);
    expect(await through(friend)).toEqual(ALL);
  });

  it('is not reached by who has the address of a member that is gone', async () => {
    await scene.end(friend);
    await call('DELETE', `/ports/${friend.port.id}`);
    const fixed_ips = friend.port.fixed_ips.filter(({ ip_address }) => ip_address === friend.address);
    const wish = { network_id: networks.east, fixed_ips, security_groups: [groups.strangers] };
    const port = await until('the address is free', () => scene.make<Port>('port', wish));
    const heir = await scene.boot('packets-heir', 'east', port);
    expect(await heir.lease()).toMatchObject({ address: friend.address });
    await heir.listen(SERVICE);
    await eventually(heir, service, NOTHING);
    // It is a member when it is made one.
    await become(heir, [groups.friends]);
    await eventually(heir, service, ALL);
    friend = heir;
  });

  it('is reached by nobody when the rules are gone', async () => {
    for (const id of rules) await call('DELETE', `/security-group-rules/${id}`);
    await eventually(friend, service, NOTHING);
    await withoutParent(async () => expect(await through(friend)).toEqual(NOTHING));
  });
});

describe('the default group', () => {
  it('admits its members in the other cloud, both ways, and nobody else', async () => {
    const [group] = await list(api('tenant'), 'network', '/security-groups', 'security_groups', { name: 'default' });
    for (const machine of [service, friend]) await become(machine, [group?.id ?? '']);
    await eventually(friend, service, ALL);
    await eventually(service, friend, ALL);
    expect(await through(stranger)).toEqual(NOTHING);
    await withoutParent(async () => {
      expect(await through(friend, service)).toEqual(ALL);
      expect(await through(service, friend)).toEqual(ALL);
      expect(await through(stranger)).toEqual(NOTHING);
    });
  });
});
