/** Networks, subnets, routers, security groups and ports. */
import { expect, it } from 'vitest';
import { api, list } from '../harness/rest.ts';
import { admin, tenant } from '../harness/openstack.ts';
import { CHILDREN } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import { CIDR, GROUP, network, PORT, router, subnet } from './names.ts';

export function networks(): void {
  it('makes networks, subnets and routers, and joins them', async () => {
    for (const { zone } of CHILDREN) {
      await tenant('network', 'create', network(zone));
      await tenant('subnet', 'create', subnet(zone), '--network', network(zone), '--subnet-range', CIDR[zone] ?? '');
      await tenant('router', 'create', router(zone));
      await tenant('router', 'add', 'subnet', router(zone), subnet(zone));
    }
    const listed = await tenant.json<{ Name: string }[]>('network', 'list', '--internal');
    expect(listed.map((one) => one.Name).sort()).toEqual(CHILDREN.map(({ zone }) => network(zone)));
    expect(await tenant.json('subnet', 'show', subnet('east'))).toMatchObject({
      cidr: CIDR.east,
      gateway_ip: '10.77.0.1',
    });
    const shown = await tenant.json<{ interfaces_info: { ip_address: string }[] }>('router', 'show', router('east'));
    expect(shown.interfaces_info.map((one) => one.ip_address)).toEqual(['10.77.0.1']);
  });

  it("has the children's external networks as its own", async () => {
    const subnets = await until('a subnet of each child', async () => {
      const found = await tenant.json<{ Name: string; Subnets: string[] }[]>('network', 'list', '--external');
      const external = found.find((one) => one.Name === 'public');
      return external?.Subnets.length === CHILDREN.length && external.Subnets;
    });
    const cidrs = await Promise.all(subnets.map((id) => admin.value('cidr', 'subnet', 'show', id)));
    expect(cidrs.sort()).toEqual(await externalCidrs());
  });

  it('makes security groups with rules', async () => {
    await tenant('security', 'group', 'create', GROUP);
    const rule = ['--protocol', 'tcp', '--dst-port', '22', '--remote-ip', '0.0.0.0/0'];
    await tenant('security', 'group', 'rule', 'create', GROUP, ...rule);
    const rules = await tenant.json<Record<string, unknown>[]>('security', 'group', 'rule', 'list', GROUP);
    expect(rules).toContainEqual(
      expect.objectContaining({ 'IP Protocol': 'tcp', 'Port Range': '22:22', 'IP Range': '0.0.0.0/0' }),
    );
    expect(rules).toHaveLength(3);
  });

  it('makes and lists ports', async () => {
    await tenant('port', 'create', PORT, '--network', network('east'), '--security-group', GROUP);
    const ports = await tenant.json<{ Name: string; 'Fixed IP Addresses': { ip_address: string }[] }[]>('port', 'list');
    const made = ports.find((port) => port.Name === PORT);
    expect(made?.['Fixed IP Addresses'][0]?.ip_address).toMatch(/^10\.77\.0\.\d+$/);
  });
}

async function externalCidrs(): Promise<string[]> {
  const found = await Promise.all(
    CHILDREN.map(({ cloud }) =>
      list<{ cidr: string; name: string }>(api(cloud), 'network', '/subnets', 'subnets', { name: 'public-subnet' }),
    ),
  );
  return found
    .flat()
    .map((one) => one.cidr)
    .sort();
}
