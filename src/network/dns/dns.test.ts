import { expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make } = await networkTest(['east']);
const message = (answer: Awaited<ReturnType<typeof call>>) => answer.body.NeutronError.message as string;

async function subnetted(): Promise<string> {
  const network = await make('alice', 'network', { dns_domain: 'example.org.' });
  expect(network.dns_domain).toBe('example.org.');
  await make('alice', 'subnet', { network_id: network.id, ip_version: 4, cidr: '10.41.0.0/24' });
  return network.id;
}

it('ports have names and show what they resolve to', async () => {
  const network_id = await subnetted();
  const fixed_ips = [{ ip_address: '10.41.0.9' }];
  const plain = await make('alice', 'port', { network_id, fixed_ips });
  expect(plain).toMatchObject({
    dns_name: '',
    dns_domain: '',
    dns_assignment: [{ ip_address: '10.41.0.9', hostname: 'host-10-41-0-9', fqdn: 'host-10-41-0-9.openstacklocal.' }],
  });
  const change = (port: object) => call('alice', 'PUT', `/ports/${plain.id}`, { port });
  const named = await change({ dns_name: 'My-Port', dns_domain: 'p.example.org.' });
  expect(named.body.port).toMatchObject({
    dns_name: 'my-port',
    dns_domain: 'p.example.org.',
    dns_assignment: [{ hostname: 'my-port', fqdn: 'my-port.openstacklocal.' }],
  });
  expect(message(await change({ dns_name: 'a_b' }))).toBe(
    "Invalid input for dns_name. Reason: 'a_b' not a valid PQDN or FQDN. Reason: Name 'a_b' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen.",
  );
  expect(message(await change({ dns_name: 'a.example.org.' }))).toContain('The dns_name passed is a FQDN');
  expect(message(await change({ dns_domain: 'example.org' }))).toContain("'example.org' is not a FQDN");
  for (const dns_name of ['-a', 'a..b', 'a'.repeat(64), 'a.1']) expect((await change({ dns_name })).status).toBe(400);
  expect((await change({ dns_name: null })).body.port.dns_name).toBe('');
  expect((await call('alice', 'GET', '/ports?dns_name=x')).status).toBe(400);
});

it('networks have domains', async () => {
  const made = (dns_domain: unknown) => call('alice', 'POST', '/networks', { network: { dns_domain } });
  expect(message(await made('example.org'))).toBe("Invalid input for dns_domain. Reason: 'example.org' is not a FQDN.");
  expect((await made('exa mple.org.')).status).toBe(400);
  expect((await made(null)).body.network.dns_domain).toBe('');
});

it('a port gets another MAC where it asks for none, and keeps a NUMA policy', async () => {
  const port = await make('admin', 'port', { network_id: await subnetted(), numa_affinity_policy: 'preferred' });
  expect(port.numa_affinity_policy).toBe('preferred');
  const changed = await call('admin', 'PUT', `/ports/${port.id}`, { port: { mac_address: null } });
  expect(changed.status).toBe(200);
  expect(changed.body.port.mac_address).toMatch(/^fa:16:3e:/);
  expect(changed.body.port.mac_address).not.toBe(port.mac_address);
  const refused = await call('admin', 'PUT', `/ports/${port.id}`, { port: { numa_affinity_policy: 'x' } });
  expect(refused.status).toBe(400);
});
