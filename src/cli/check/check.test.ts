import { afterAll, describe, expect, it } from 'vitest';
import type { NetworkTopology } from '../../network/topology.ts';
import { NO_TOPOLOGY } from '../../network/topology.ts';
import { createSimCloud, type SimCloud, type SimCloudOptions } from '../../sim/cloud.ts';
import type { Config, ConfiguredChild } from '../config.ts';
import { checkChildren } from './check.ts';
import { type ChildReport, isWhole, type State } from './finding.ts';
import { printReports } from './print.ts';

const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) await end();
});

const sims: Record<string, SimCloud> = {};
async function cloud(name: string, options: Omit<SimCloudOptions, 'name'> = {}): Promise<SimCloud> {
  const sim = await createSimCloud({ name, ...options });
  ends.push(() => sim.close());
  sims[name] = sim;
  return sim;
}

const child = (name: string, more: Partial<ConfiguredChild> = {}): ConfiguredChild => ({
  name,
  cloud: name,
  zones: { [name]: 'nova' },
  tenancy: 'mirrored',
  concurrency: 16,
  timeout_ms: 2000,
  enforces_address_groups: true,
  ...more,
});

const wan: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'physnet1' },
      vlans: { first: 100, last: 101 },
      transit_vlans: { first: 150, last: 159 },
      flat: false,
      mtu: 1500,
    },
  ],
};

async function check(
  children: readonly ConfiguredChild[],
  topology = NO_TOPOLOGY,
  tries = false,
  keystone?: { readonly url: string },
) {
  const clouds = Object.fromEntries(
    Object.entries(sims).map(([name, sim]) => [name, { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry }]),
  );
  return checkChildren({ children, topology, keystone } as unknown as Config, [], { tries, clouds });
}

/** `topic: state` of whatever does not simply hold. */
const faults = ({ findings }: ChildReport): string[] =>
  findings.filter(({ state }) => state !== 'holds').map(({ topic, state }) => `${topic}: ${state}`);

const said = (report: ChildReport | undefined, topic: string, state: State) =>
  report?.findings.find((finding) => finding.topic === topic && finding.state === state);

await cloud('east', { networking: { physicalNetworks: ['physnet1', 'public'] } });
await cloud('west', { networking: { physicalNetworks: ['public'], without: ['address-group', 'trunk'] } });

describe('headwater check', () => {
  it('finds a child whole that is, and changes nothing in it', async () => {
    const [report] = await check([child('east')]);
    expect(report === undefined ? [] : faults(report)).toEqual(['quotas: unknown']);
    expect(report === undefined ? false : isWhole([report])).toBe(true);
    expect(said(report, 'Nova', 'holds')?.says).toBe('answers; microversions up to 2.93 (Zed)');
    expect(said(report, 'clock', 'holds')?.says).toBe('agrees with ours');
    const calls = [...(sims.east?.requests.counts.keys() ?? [])];
    expect(calls.filter((call) => !call.startsWith('GET '))).toEqual(['POST identity /auth/tokens']);
  });

  it('says what a child is not wired to, and what it lacks', async () => {
    const [east, west] = await check([child('east'), child('west')], wan);
    expect(said(east, 'physical network wan', 'holds')?.says).toBe('there physnet1; joins it with west');
    expect(east === undefined ? true : isWhole([east])).toBe(true);
    const wires = said(west, 'physical network wan', 'essential');
    expect(wires?.says).toContain('no agent there is wired to the physical network physnet1 (they are to: public)');
    expect(wires?.lost).toBe('routers and networks over this child and east: refused');
    expect(said(west, 'address groups', 'missing')?.says).toContain('lacks the extension address-group');
    expect(said(west, 'trunks', 'missing')?.lost).toContain('trunks');
    expect(west === undefined ? true : isWhole([west])).toBe(false);
  });

  it('says that nothing joins children', async () => {
    const [east] = await check([child('east'), child('west')]);
    expect(said(east, 'transit', 'missing')?.lost).toBe(
      'routers with networks here and in west: refused when the interface is added',
    );
  });

  it('finds VLANs that others use there, and those that the child does not take', async () => {
    const { state } = sims.east as SimCloud;
    const network = [...state.networks.values()][0] as object;
    for (const id of [100, 101, 150]) {
      const vlan = { 'provider:network_type': 'vlan', 'provider:physical_network': 'physnet1' };
      state.networks.set(`vlan-${id}`, {
        ...network,
        ...vlan,
        id: `vlan-${id}`,
        name: `other-${id}`,
        'router:external': false,
        'provider:segmentation_id': id,
        mtu: 1400,
      });
    }
    const [report] = await check([child('east'), child('west')], wan, true);
    expect(said(report, 'physical network wan', 'essential')?.says).toBe(
      'vlans 100-101: used by others in the child: 100 by other-100, 101 by other-101',
    );
    const some = report?.findings.filter(({ topic, state: found }) => topic.endsWith('wan') && found === 'missing');
    expect(some?.map(({ says }) => says)).toEqual([
      'transit_vlans 150-159: used by others in the child: 150 by other-150',
      'mtu 1500, but other-100 on it has 1400',
    ]);
    expect(report?.findings.map(({ says }) => says)).toContain('transit_vlans: the child took a network on VLAN 159');
    for (const id of [100, 101, 150]) state.networks.delete(`vlan-${id}`);
    expect([...state.networks.values()].map(({ name }) => name)).not.toContain('headwater-check');
  });

  it('says what an account without the role admin costs', async () => {
    const sim = await cloud('poor', {
      networking: { physicalNetworks: ['physnet1', 'public'], beside: ['dvr'] },
      isFurnished: true,
    });
    const admin = [...sim.state.roles].find(([, name]) => name === 'admin')?.[0] ?? '';
    for (const key of sim.state.assignments) if (key.endsWith(`/${admin}`)) sim.state.assignments.delete(key);
    const topology = {
      ...wan,
      physical_networks: wan.physical_networks.map((one) => ({
        ...one,
        children: { poor: 'physnet1', east: 'physnet1' },
      })),
    };
    const [poor] = await check([child('poor'), child('east')], topology);
    expect(said(poor, 'tenancy', 'essential')?.says).toBe('mirrored, but the account has the roles member, reader');
    expect(said(poor, 'physical network wan', 'essential')?.says).toContain('may not make provider networks');
    expect(said(poor, 'DVR', 'missing')?.lost).toContain('routers that span');
    const [shared] = await check([child('poor', { tenancy: 'shared' })]);
    expect(said(shared, 'tenancy', 'missing')?.says).toContain("shared: all tenants are in the account's one project");
    expect(said(shared, 'flavors', 'holds')?.says).toContain('m1.tiny (1 vCPUs, 512 MB');
    expect(said(shared, 'floating ips', 'missing')?.lost).toContain('refused');
    expect(shared === undefined ? false : isWhole([shared])).toBe(true);
  });

  it('says that an account which may only read makes nothing', async () => {
    const sim = await cloud('reading', { isFurnished: true });
    const roles = [...sim.state.roles].filter(([, name]) => name !== 'reader').map(([id]) => id);
    for (const key of sim.state.assignments)
      if (roles.some((id) => key.endsWith(`/${id}`))) sim.state.assignments.delete(key);
    for (const row of [...sim.state.networks.values(), ...sim.state.subnets.values()]) row.project_id = 'another';
    const [report] = await check([child('reading', { tenancy: 'shared' })]);
    expect(said(report, 'tenancy', 'essential')?.says).toContain('the account has the roles reader');
    // Neutron keeps the subnets of an external network that is not shared to administrators.
    expect(said(report, 'external networks', 'unknown')?.says).toContain('does not see the subnets of public');
  });

  it('tells the Keystone of a federated child from another one', async () => {
    const federated = child('east', { tenancy: 'federated' });
    const own = await check([federated], NO_TOPOLOGY, false, { url: sims.east?.authUrl ?? '' });
    expect(said(own[0], 'shared Keystone', 'holds')?.says).toContain('takes tokens of');
    expect(isWhole(own)).toBe(true);
    const other = await check([federated], NO_TOPOLOGY, false, { url: sims.west?.authUrl ?? '' });
    expect(said(other[0], 'shared Keystone', 'essential')?.says).toContain('they are two Keystones');
    expect(said(other[0], 'shared Keystone', 'essential')?.mend).toContain('`identity.url`');
    const nowhere = await check([federated], NO_TOPOLOGY, false, { url: 'http://127.0.0.1:1/identity/v3' });
    expect(said(nowhere[0], 'shared Keystone', 'unknown')?.says).toContain('could not be looked at');
    // Children of other tenancies need no Keystone in common with the parent.
    const [mirrored] = await check([child('east')], NO_TOPOLOGY, false, { url: sims.west?.authUrl ?? '' });
    expect(mirrored?.findings.some(({ topic }) => topic === 'shared Keystone')).toBe(false);
  });

  it('holds zones and external networks against the configuration', async () => {
    const [report] = await check([
      child('east', { zones: { a: 'nova', b: 'nvme' }, external_networks: { public: 'public', dmz: 'nowhere' } }),
    ]);
    expect(said(report, 'zones', 'holds')?.says).toBe("a is the child's nova");
    expect(said(report, 'zones', 'essential')?.says).toContain(
      "b is to be the child's nvme, which it does not have (it has: nova",
    );
    expect(said(report, 'external networks', 'essential')?.says).toContain('(it has: public)');
  });

  it('sees quotas that are not lifted in the projects of tenants', async () => {
    const sim = await cloud('limited');
    const project = { id: 'p-1', name: 'tenant-1', domain_id: 'default', description: 'Headwater: one', enabled: true };
    sim.state.projects.set('p-1', project);
    const [report] = await check([child('limited')]);
    const found = said(report, 'quotas', 'missing')?.says;
    expect(found).toContain('not lifted in 1 of the 1 of 1 projects of tenants that were read: tenant-1:');
    expect(found).toContain('network port 500');
  });

  it('says of a child that does not answer, or lets nobody in, only that', async () => {
    const gone = await cloud('gone');
    await gone.stop();
    const [east, report] = await check([child('east'), child('gone')]);
    expect(east === undefined ? [] : faults(east)).toEqual(['quotas: unknown', 'transit: missing']);
    expect(report === undefined ? [] : faults(report)).toEqual(['reachability: essential']);
    await gone.start();
    const user = [...gone.state.users.values()].find(({ name }) => name === 'admin');
    if (user !== undefined) user.password = 'changed';
    const [locked] = await check([child('gone')]);
    expect(locked === undefined ? [] : faults(locked)).toEqual(['reachability: essential']);
    expect(said(locked, 'reachability', 'essential')?.mend).toBe('the account of gone in clouds.yaml');
  });

  it('believes that a child keeps to address groups only where it is told so', async () => {
    const [report] = await check([child('east', { enforces_address_groups: false })]);
    expect(said(report, 'address groups', 'unknown')?.says).toContain('let everybody pass');
  });

  it('prints all of it, with what is lost and how to mend it', async () => {
    const reports = await check([child('east'), child('west')], wan);
    const text = printReports(reports, 120);
    expect(text).toContain('west  (cloud west; zones west)');
    expect(text).toMatch(/physical network wan {2}MISSING {3}west cannot take part in routers that span/);
    expect(text).toContain('tenants lose: routers and networks over this child and east: refused');
    expect(text).toMatch(/2 essential things are MISSING \(\d+ missing, \d+ not told, \d+ hold\)\.\n$/);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  });

  it('refuses a name that the configuration does not have', async () => {
    const config = { children: [child('east')], topology: NO_TOPOLOGY } as unknown as Config;
    await expect(checkChildren(config, ['nowhere'])).rejects.toThrow('no child nowhere (it has: east)');
  });
});
