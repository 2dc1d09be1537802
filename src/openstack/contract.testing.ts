/**
 * What any cloud driven must do, as a vitest suite: run against the simulator in the fast tests and against a real
 * child end to end, so that the simulator cannot flatter. It takes away all that it makes.
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CloudApi, CloudCall, CloudService } from './contract.ts';
import { CloudError } from './contract.ts';

type Named = { readonly id: string; readonly name: string };

/**
 * Declares the suite. `makeClient` gives a client of an admin account of a cloud with compute, network and image;
 * volume is looked at where offered. The suite closes the client.
 */
export function southboundContract(name: string, makeClient: () => Promise<CloudApi>): void {
  describe(`southbound contract: ${name}`, () => {
    let cloud: CloudApi;
    const undo: CloudCall[] = [];
    const mark = `contract-${randomUUID()}`;

    beforeAll(async () => {
      cloud = await makeClient();
    });
    afterAll(async () => {
      for (const call of undo.reverse()) await cloud.call({ ...call, accept: [404] });
      await cloud.close();
    });

    const get = <Body>(service: CloudService, path: string, more: Partial<CloudCall> = {}) =>
      cloud.call<Body>({ service, method: 'GET', path, ...more });
    const failure = async (work: Promise<unknown>): Promise<CloudError> => {
      const error: unknown = await work.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(CloudError);
      return error as CloudError;
    };
    const create = async (service: CloudService, path: string, kind: string, body: object): Promise<Named> => {
      const call: CloudCall = { service, method: 'POST', path, body: { [kind]: body } };
      const made = (await cloud.call<Record<string, Named>>(call)).body[kind];
      if (made === undefined) throw new Error(`no '${kind}' in the answer`);
      undo.push({ service, method: 'DELETE', path: `${path}/${made.id ?? made.name}` });
      return made;
    };

    it('tells who the account is', async () => {
      const account = await cloud.account();
      expect(account.projectId).not.toBe('');
      expect(account.userId).not.toBe('');
      expect(account.domainId).not.toBe('');
      expect(account.roles).toContain('admin');
    });

    it('offers what a child must offer', async () => {
      for (const service of ['identity', 'compute', 'network', 'image'] as const) {
        expect(await cloud.offers(service), service).toBe(true);
      }
    });

    it('answers an unauthenticated probe', async () => {
      expect(await cloud.probe()).toBe(true);
      expect(cloud.breaker).toBe('closed');
    });

    it('acts in another project by its id there', async () => {
      const { userId, domainId } = await cloud.account();
      const project = await create('identity', '/projects', 'project', { name: mark, domain_id: domainId });
      const roles = await get<{ roles: Named[] }>('identity', '/roles');
      const role = roles.body.roles.find((one) => one.name === 'admin');
      const path = `/projects/${project.id}/users/${userId}/roles/${role?.id}`;
      expect((await cloud.call({ service: 'identity', method: 'PUT', path })).status).toBe(204);
      const scope = { projectId: project.id };
      const body = { network: { name: mark } };
      const call: CloudCall = { service: 'network', method: 'POST', path: '/networks', body, scope };
      const made = await cloud.call<{ network: Named & { project_id: string } }>(call);
      undo.push({ service: 'network', method: 'DELETE', path: `/networks/${made.body.network.id}` });
      expect(made.body.network.project_id).toBe(project.id);
    });

    it('tells its highest compute microversion, and has a higher wish lowered to it', async () => {
      const maximum = await cloud.maximumMicroversion('compute');
      expect(maximum).toMatch(/^2\.\d+$/);
      const answer = await get('compute', '/servers', { microversion: '2.9999', atMost: true });
      expect(answer.headers['openstack-api-version']).toBe(`compute ${maximum}`);
      const error = await failure(get('compute', '/servers', { microversion: '2.9999' }));
      expect([error.status, error.failure, error.transient]).toEqual([406, 'refused', false]);
      expect((await get('compute', '/servers', { microversion: '2.10' })).headers['openstack-api-version']).toBe(
        'compute 2.10',
      );
    });

    it('tells its highest volume microversion where it offers volumes', async () => {
      if (!(await cloud.offers('volume'))) return;
      const maximum = await cloud.maximumMicroversion('volume');
      expect(maximum).toMatch(/^3\.\d+$/);
      const answer = await get('volume', '/volumes', { microversion: '3.9999', atMost: true });
      expect(answer.headers['openstack-api-version']).toBe(`volume ${maximum}`);
    });

    it('answers 404 with a text that a tenant may read, in every service', async () => {
      const id = randomUUID();
      const missing: [CloudService, string, RegExp][] = [
        ['compute', `/servers/${id}`, /^Instance .* could not be found\.$/],
        ['network', `/networks/${id}`, /^Network .* could not be found\.$/],
        ['network', `/ports/${id}`, /^Port .* could not be found\.$/],
        ['image', `/images/${id}`, /^No image found with ID .*$/],
        ['identity', `/users/${id.replaceAll('-', '')}`, /^Could not find user: .*\.$/],
      ];
      if (await cloud.offers('volume')) missing.push(['volume', `/volumes/${id}`, /^Volume .* could not be found\.$/]);
      for (const [service, path, words] of missing) {
        const error = await failure(get(service, path));
        expect([error.status, error.failure, error.transient, error.uncertain]).toEqual([404, 'refused', false, false]);
        expect(error.tenantMessage).toMatch(words);
        expect((await get(service, path, { accept: [404] })).status).toBe(404);
      }
    });

    it('answers 400 to a body that is wrong', async () => {
      const wrong: CloudCall[] = [
        { service: 'compute', method: 'POST', path: '/os-keypairs', body: { keypair: { nam: 'x' } } },
        { service: 'network', method: 'POST', path: '/networks', body: { network: { nonsense: 1 } } },
      ];
      for (const call of wrong) {
        const error = await failure(cloud.call(call));
        expect([error.status, error.failure, error.uncertain]).toEqual([400, 'refused', false]);
        expect(error.tenantMessage).not.toBe('');
      }
    });

    it('lists page by page, each item once', async () => {
      const name = `${mark}-page`;
      const made = new Set<string>();
      for (let n = 0; n < 3; n += 1) made.add((await create('network', '/networks', 'network', { name })).id);
      const seen: string[] = [];
      const call: CloudCall = { service: 'network', method: 'GET', path: '/networks', query: { name, limit: 1 } };
      for await (const page of cloud.pages<Named>(call, 'networks')) {
        expect(page).toHaveLength(1);
        seen.push(...page.map(({ id }) => id));
      }
      expect(new Set(seen)).toEqual(made);
      expect(seen).toHaveLength(3);
    });

    it('lists flavors and images alike in small pages and large', async () => {
      const lists: [CloudService, string, string][] = [
        ['compute', '/flavors/detail', 'flavors'],
        ['image', '/images', 'images'],
      ];
      for (const [service, path, collection] of lists) {
        const ids = async (query: CloudCall['query']): Promise<string[]> => {
          const found: string[] = [];
          const call: CloudCall = { service, method: 'GET', path, ...(query === undefined ? {} : { query }) };
          for await (const page of cloud.pages<Named>(call, collection)) found.push(...page.map(({ id }) => id));
          return found.sort();
        };
        expect(await ids({ limit: 2 }), collection).toEqual(await ids(undefined));
      }
    });

    it('makes, shows and takes away a keypair', async () => {
      const type: Partial<CloudCall> = { microversion: '2.2' };
      const made = await create('compute', '/os-keypairs', 'keypair', { name: mark });
      expect(made.name).toBe(mark);
      const again = await failure(
        cloud.call({ service: 'compute', method: 'POST', path: '/os-keypairs', body: { keypair: { name: mark } } }),
      );
      expect(again.status).toBe(409);
      const shown = await get<{ keypair: Named & { type: string } }>('compute', `/os-keypairs/${mark}`, type);
      expect(shown.body.keypair.type).toBe('ssh');
      const path = `/os-keypairs/${mark}`;
      expect((await cloud.call({ service: 'compute', method: 'DELETE', path })).status).toBe(202);
      expect((await get('compute', path, { accept: [404] })).status).toBe(404);
    });

    it('makes, shows, changes and takes away a network with a subnet and a port', async () => {
      const network = await create('network', '/networks', 'network', { name: mark });
      const subnet = await create('network', '/subnets', 'subnet', {
        network_id: network.id,
        ip_version: 4,
        cidr: '10.199.0.0/24',
      });
      const address = { subnet_id: subnet.id, ip_address: '10.199.0.77' };
      const given = { network_id: network.id, fixed_ips: [address], mac_address: 'fa:16:3e:aa:bb:cc' };
      const port = await create('network', '/ports', 'port', given);
      const shown = await get<{ port: { fixed_ips: unknown; mac_address: string } }>('network', `/ports/${port.id}`);
      expect(shown.body.port).toMatchObject({ fixed_ips: [address], mac_address: 'fa:16:3e:aa:bb:cc' });
      const taken = await failure(
        cloud.call({ service: 'network', method: 'POST', path: '/ports', body: { port: given } }),
      );
      expect([taken.status, taken.failure]).toEqual([409, 'refused']);
      const path = `/networks/${network.id}`;
      const body = { network: { description: mark } };
      const changed = await cloud.call<{ network: { description: string } }>({
        service: 'network',
        method: 'PUT',
        path,
        body,
      });
      expect(changed.body.network.description).toBe(mark);
      expect((await cloud.call({ service: 'network', method: 'DELETE', path, accept: [409] })).status).toBe(409);
      expect((await cloud.call({ service: 'network', method: 'DELETE', path: `/ports/${port.id}` })).status).toBe(204);
      expect((await cloud.call({ service: 'network', method: 'DELETE', path })).status).toBe(204);
    });

    it('makes, shows and takes away a volume where it offers volumes', { timeout: 120_000 }, async () => {
      if (!(await cloud.offers('volume'))) return;
      const volume = await create('volume', '/volumes', 'volume', { name: mark, size: 1, metadata: { mark } });
      const path = `/volumes/${volume.id}`;
      const status = async (): Promise<string> => {
        const shown = await get<{ volume?: { status: string } }>('volume', path, { accept: [404] });
        return shown.body.volume?.status ?? 'gone';
      };
      const until = async (wanted: string): Promise<void> => {
        for (let tries = 0; tries < 200; tries += 1) {
          if ((await status()) === wanted) return;
          await sleep(250);
        }
        expect(await status()).toBe(wanted);
      };
      await until('available');
      const shown = await get<{ volume: { metadata: object } }>('volume', path);
      expect(shown.body.volume.metadata).toEqual({ mark });
      expect((await cloud.call({ service: 'volume', method: 'DELETE', path })).status).toBe(202);
      await until('gone');
    });

    it('takes an image as a stream and gives it back the same', async () => {
      const data = Buffer.alloc(300_000, 'headwater');
      const given = { name: mark, disk_format: 'raw', container_format: 'bare' };
      const made = await cloud.call<Named>({ service: 'image', method: 'POST', path: '/images', body: given });
      const path = `/images/${made.body.id}`;
      undo.push({ service: 'image', method: 'DELETE', path });
      const stream = Readable.from([data.subarray(0, 100_000), data.subarray(100_000)], { objectMode: false });
      const contentType = 'application/octet-stream';
      const put = await cloud.call({ service: 'image', method: 'PUT', path: `${path}/file`, stream, contentType });
      expect(put.status).toBe(204);
      const download = await cloud.download({ service: 'image', method: 'GET', path: `${path}/file` });
      const chunks: Buffer[] = [];
      for await (const chunk of download.body as AsyncIterable<Buffer>) chunks.push(chunk);
      expect(Buffer.concat(chunks).equals(data)).toBe(true);
    });
  });
}
