import { sql } from 'kysely';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { createCascade } from '../cascade/cascade.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloudOptions } from '../sim/cloud.ts';
import { silent } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { abilitiesOf, abilityOf } from './ability.ts';
import { abilityFeed, askAbility } from './ability-feed.ts';

const db = await testDatabase();
const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) await end();
});

async function cloud(name: string, networking: SimCloudOptions['networking'] = {}) {
  const sim = await createSimCloud({ name, networking });
  const entry = { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry };
  const api = createCloudClient({ entry, name, backoff_ms: 1 });
  ends.push(() => sim.close());
  return { sim, api };
}

const east = await cloud('east', { physicalNetworks: ['physnet1', 'public'] });
const west = await cloud('west', { without: ['address-group', 'extraroute'], beside: ['dvr'] });
const gone = await cloud('gone');
await gone.sim.stop();
const cascade = await createCascade({
  db,
  log: silent,
  children: [
    {
      config: { name: 'east', zones: { one: 'nova', two: 'nova' }, tenancy: 'mirrored', enforces_address_groups: true },
      api: east.api,
    },
    { config: { name: 'west', zones: { west: 'nova' }, tenancy: 'mirrored', max_routes: 100 }, api: west.api },
    { config: { name: 'gone', zones: { gone: 'nova' }, tenancy: 'mirrored' }, api: gone.api },
  ],
});
ends.push(() => cascade.stop());
const feed = abilityFeed(cascade);
for (const child of ['east', 'west']) await feed.round(cascade.context(child), undefined);

describe('what a child can do', () => {
  it('is asked of it, and read again without it', async () => {
    await Promise.all([east.sim, west.sim].map((sim) => sim.stop()));
    const abilities = await abilitiesOf(db.query, ['east', 'west', 'gone']);
    await Promise.all([east.sim, west.sim].map((sim) => sim.start()));
    expect(abilities.get('east')).toMatchObject({
      zones: ['one', 'two'],
      max_routes: 30,
      has_distributed_routers: false,
      facts: {
        provider_networks: true,
        physical_networks: ['physnet1', 'public'],
        agent_types: ['OVN Controller Gateway agent'],
      },
    });
    expect(abilities.get('west')).toMatchObject({
      max_routes: 100,
      has_distributed_routers: true,
      facts: { physical_networks: null },
    });
    expect(abilities.get('gone')).toMatchObject({ asked_at: null, facts: undefined, max_routes: 30 });
  });

  it('is no reason to refuse where nobody knows it', async () => {
    for (const child of ['gone', 'nobody']) {
      expect((await abilityOf(db.query, child)).refusal('transit', 'physnet9')).toBeUndefined();
    }
  });

  it('names the zones to tenants, and what is to be mended to operators', async () => {
    const ability = await abilityOf(db.query, 'east');
    expect(ability.refusal('transit', 'physnet1')).toBeUndefined();
    expect(ability.refusal('address_groups')).toBeUndefined();
    const refusal = ability.refusal('stretched', 'physnet9');
    expect(refusal?.tenant).toBe(
      'the availability zones one and two cannot take part in networks that stretch over availability zones: the cloud below is not wired to the network between the availability zones',
    );
    expect(refusal?.operator).toContain('no agent there is wired to the physical network physnet9');
  });

  it('tells which extension is missing', async () => {
    const ability = await abilityOf(db.query, 'west');
    expect(ability.refusal('transit', 'anything')?.operator).toContain('lacks the extension extraroute');
    expect(ability.refusal('address_groups')?.tenant).toContain('the availability zone west');
    // Its agents do not tell what they are wired to.
    expect(ability.refusal('stretched', 'anything')).toBeUndefined();
  });

  it('tells of lost rights when it is asked again', async () => {
    const { state } = east.sim;
    const admin = [...state.roles].find(([, name]) => name === 'admin')?.[0] ?? '';
    for (const key of state.assignments) if (key.endsWith(`/${admin}`)) state.assignments.delete(key);
    state.tokens.clear();
    await feed.round(cascade.context('east'), undefined);
    const refusal = (await abilityOf(db.query, 'east')).refusal('transit', 'physnet1');
    expect(refusal?.operator).toContain('role admin');
    // Without a network to look at, the account's roles tell.
    state.networks.clear();
    expect(await askAbility(east.api)).toMatchObject({ provider_networks: false });
  });

  it('costs no more than three calls, and reaches the database by itself', async () => {
    cascade.register({ feed });
    await sql`delete from child_abilities`.execute(db.query);
    const before = [...west.api.counts.values()].reduce((sum, count) => sum + count, 0);
    expect(await feed.busy(db.query, 'west')).toBe(true);
    await feed.round(cascade.context('west'), undefined);
    expect(await feed.busy(db.query, 'west')).toBe(false);
    const after = [...west.api.counts.values()].reduce((sum, count) => sum + count, 0);
    expect(after - before).toBeLessThanOrEqual(3);
    await gone.sim.start();
    await cascade.start();
    await vi.waitFor(async () => expect((await abilityOf(db.query, 'gone')).facts).toBeDefined(), 10_000);
  });
});
