/** Servers that are machines: booted through the parent, each in its child, and logged in to from outside. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CloudService } from '../src/openstack/contract.ts';
import { type Server, settles } from './client/names.ts';
import { furnish } from './harness/furnish.ts';
import { api, list, microversion } from './harness/rest.ts';
import { CHILDREN } from './harness/stage.ts';
import { GUESTS, imageContent } from './harness/testbed.ts';
import { until } from './harness/until.ts';
import { openScene } from './packets/scene.ts';

const NAME = 'e2e-guest';
/** An emulated machine boots in seconds, and several beside each other on few processors in more. */
const BOOT = { timeout_ms: 180_000, every_ms: 1000 };
const run = promisify(execFile);

describe.skipIf(!GUESTS)('a server that boots', () => {
  const scene = openScene();
  const folder = mkdtempSync(join(tmpdir(), 'headwater-guest-'));
  const key = join(folder, 'key');
  const made: [CloudService, string, 'admin' | 'tenant'][] = [];
  let image = '';
  let flavor = '';

  beforeAll(async () => {
    ({ flavor } = await furnish());
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', NAME, '-f', key]);
    const public_key = readFileSync(`${key}.pub`, 'utf8');
    const keypair = { name: NAME, type: 'ssh', public_key };
    await post('compute', '/os-keypairs', { keypair });
    made.push(['compute', `/os-keypairs/${NAME}`, 'tenant']);
    const { disk_format, content } = imageContent(NAME);
    const body = { name: NAME, disk_format, container_format: 'bare' };
    ({ id: image } = await post<{ id: string }>('image', '/images', body));
    made.push(['image', `/images/${image}`, 'tenant']);
    const path = `/images/${image}/file`;
    const contentType = 'application/octet-stream';
    await api('tenant').call({ service: 'image', method: 'PUT', path, body: content, contentType });
  });

  afterAll(async () => {
    for (const [service, path, account] of made.reverse()) {
      const call = { service, path, accept: [404], ...microversion(service) };
      await api(account).call({ ...call, method: 'DELETE' });
      if (path.startsWith('/servers/')) {
        await until(
          `${path} is gone`,
          async () => (await api(account).call({ ...call, method: 'GET' })).status === 404,
        );
      }
    }
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(CHILDREN)(
    'is reached by SSH in $zone, and has the name and the key that the parent was given',
    async ({ zone }) => {
      const name = `${NAME}-${zone}`;
      const network = await scene.make('network', { name });
      const subnet = await scene.make('subnet', { name, network_id: network.id, ip_version: 4, cidr: '10.88.0.0/24' });
      await scene.router(name, [subnet.id]);
      const group = await scene.openGroup();
      const port = await scene.make('port', { name, network_id: network.id, security_groups: [group] });

      const asked = { name, imageRef: image, flavorRef: flavor, key_name: NAME, availability_zone: zone };
      const body = { server: { ...asked, networks: [{ port: port.id }] } };
      const { server } = await post<{ server: Server }>('compute', '/servers', body);
      made.push(['compute', `/servers/${server.id}`, 'tenant']);
      await settles(name, 'ACTIVE');
      const [external] = await list(api('tenant'), 'network', '/networks', 'networks', { name: 'public' });
      const floating = { floating_network_id: external?.id, port_id: port.id };
      const { floating_ip_address } = await scene.make<{ floating_ip_address: string }>('floatingip', floating);

      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ConnectTimeout=5', 'BatchMode=yes'];
      const login = [...options.flatMap((option) => ['-o', option]), '-i', key, `root@${floating_ip_address}`];
      const ssh = async (command: string) => (await run('ssh', [...login, command], { timeout: 20_000 })).stdout.trim();
      expect(await until(`${name} lets us in at ${floating_ip_address}`, () => ssh('hostname'), BOOT)).toBe(name);
      expect(await ssh('cat /root/.ssh/authorized_keys')).toBe(readFileSync(`${key}.pub`, 'utf8').trim());

      await ssh(`echo ${name} was here > /dev/console`);
      const path = `/servers/${server.id}/action`;
      const { output } = await post<{ output: string }>('compute', path, { 'os-getConsoleOutput': {} });
      expect(output).toContain(`testbed guest ${name}`);
      expect(output).toContain(`${name} was here`);
    },
  );
});

async function post<Answer>(service: CloudService, path: string, body: object): Promise<Answer> {
  return (await api('tenant').call<Answer>({ service, method: 'POST', path, body, ...microversion(service) })).body;
}
