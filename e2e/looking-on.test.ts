/** What an operator looks with, over real clouds: `headwater check`, and `headwater network trace` before and after a fault. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChildReport } from '../src/cli/check/finding.ts';
import type { Trace } from '../src/network/trace/contract.ts';
import { clear, furnish } from './harness/furnish.ts';
import { runHeadwater } from './harness/headwater.ts';
import { parentServes } from './harness/parent.ts';
import { api, list } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { changeRouter, have, noneLeft, patiently, remove } from './harness/wiring.ts';

const NAME = 'e2e-looking-on';

beforeAll(async () => {
  await furnish();
});
afterAll(async () => {
  await parentServes(stage);
  await clear();
});

const headwater = (...args: string[]) => runHeadwater(stage.configFile, [...args, '--json']);

async function trace(kind: string, id: string): Promise<Trace & { readonly exit: number | null }> {
  const { status, stdout } = await headwater('network', 'trace', kind, id);
  return { ...(JSON.parse(stdout) as Trace), exit: status };
}

describe('headwater check', () => {
  it('finds both children whole, and has them take a network on each range', async () => {
    const { status, stdout } = await headwater('check', '--try');
    const { whole, children } = JSON.parse(stdout) as { whole: boolean; children: ChildReport[] };
    expect({ status, whole, names: children.map(({ child }) => child) }).toEqual({
      status: 0,
      whole: true,
      names: CHILDREN.map(({ name }) => name),
    });
    for (const { findings } of children) {
      const took = findings.filter(({ says }) => says.includes('the child took a network on VLAN'));
      expect(took).toHaveLength(2);
    }
    for (const { cloud } of CHILDREN) {
      expect(await list(api(cloud), 'network', '/networks', 'networks', { name: 'headwater-check' })).toEqual([]);
    }
  });
});

describe('headwater network trace', () => {
  const networks: string[] = [];
  const subnets: string[] = [];
  let router = '';

  it('shows that parent and children agree on a router over both', async () => {
    router = await have('tenant', 'routers', 'router', { name: NAME });
    for (const [at, { zone }] of CHILDREN.entries()) {
      const name = `${NAME}-${zone}`;
      const network_id = await have('tenant', 'networks', 'network', { name, availability_zone_hints: [zone] });
      const cidr = `10.87.${at}.0/24`;
      const subnet = await have('tenant', 'subnets', 'subnet', { name, network_id, ip_version: 4, cidr });
      await changeRouter(router, 'add', subnet);
      networks.push(network_id);
      subnets.push(subnet);
    }
    const agreed = await patiently('parent and children agree', async () => {
      const found = await trace('router', router);
      return found.differences === 0 && found.exit === 0 && found;
    });
    expect(agreed.children).toEqual(CHILDREN.map(({ name }) => ({ name, unreachable: null })));
    const [own] = agreed.sections;
    expect(own?.rows.filter(({ name }) => name.startsWith('route 10.87.'))).toHaveLength(2);
  });

  it('marks what somebody changed in a child, until the router is next changed', async () => {
    const [copy] = await list(api('child2'), 'network', '/routers', 'routers', { name: router });
    const path = `/routers/${copy?.id}`;
    await api('child2').call({ service: 'network', method: 'PUT', path, body: { router: { routes: [] } } });
    const broken = await trace('router', router);
    expect([broken.differences, broken.exit]).toEqual([1, 1]);
    const marked = broken.sections[0]?.rows.find(({ name }) => name === 'route 10.87.0.0/24');
    expect(marked?.children.west).toMatchObject({
      shown: null,
      wanted: expect.stringMatching(/^by 100\./),
      differs: true,
    });
    const body = { router: { description: 'again' } };
    await api('tenant').call({ service: 'network', method: 'PUT', path: `/routers/${router}`, body });
    await patiently('it is brought right', async () => (await trace('router', router)).differences === 0);
  });

  it('shows nothing of what is gone', async () => {
    for (const subnet of subnets) await changeRouter(router, 'remove', subnet);
    await remove('network', `/routers/${router}`);
    for (const id of networks) await remove('network', `/networks/${id}`);
    await noneLeft(networks);
    expect((await headwater('network', 'trace', 'router', router)).status).toBe(1);
  });
});
