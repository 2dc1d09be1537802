import { setTimeout as sleep } from 'node:timers/promises';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCloudClient } from './client.ts';
import type { CloudClient, CloudClientOptions, CloudObservation } from './client.ts';
import type { CloudCall } from './contract.ts';
import { CloudError } from './error.ts';
import { json, startFakeCloud } from './fake-cloud.testing.ts';
import type { FakeCloud } from './fake-cloud.testing.ts';

const servers: CloudCall = { service: 'compute', method: 'GET', path: '/servers' };
const boot: CloudCall = { service: 'compute', method: 'POST', path: '/servers', body: { server: { name: 'a' } } };

let fake: FakeCloud;
let clients: CloudClient[];
let clock_ms: number;

beforeEach(async () => {
  fake = await startFakeCloud();
  clients = [];
  clock_ms = 0;
});
afterEach(async () => {
  for (const client of clients) await client.close();
  await fake.close();
});

function client(options: Partial<CloudClientOptions> = {}): CloudClient {
  const made = createCloudClient({ entry: fake.entry, name: 'fake', backoff_ms: 1, now: () => clock_ms, ...options });
  clients.push(made);
  return made;
}

async function errorOf(work: Promise<unknown>): Promise<CloudError> {
  const outcome: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (outcome instanceof CloudError) return outcome;
  throw new Error('expected a CloudError', { cause: outcome });
}

function tokensSent(): (string | string[] | undefined)[] {
  return fake.requests.filter(({ url }) => !url.includes('auth')).map(({ headers }) => headers['x-auth-token']);
}

describe('tokens', () => {
  it('asks once for all who wait, and keeps the token until shortly before its end', async () => {
    const cloud = client();
    await Promise.all([cloud.call(servers), cloud.call(servers), cloud.call(servers), cloud.account()]);
    expect(fake.auths).toHaveLength(1);
    clock_ms = 3_600_000 - 120_001;
    await cloud.call(servers);
    expect(fake.auths).toHaveLength(1);
    clock_ms += 2;
    await cloud.call(servers);
    expect(fake.auths).toHaveLength(2);
  });

  it('has a token for each project, and the own one for the own project', async () => {
    const cloud = client();
    const volumes: CloudCall = { service: 'volume', method: 'GET', path: '/volumes' };
    await cloud.call(volumes);
    await cloud.call({ ...volumes, scope: { projectId: 'other' } });
    await cloud.call({ ...volumes, scope: { projectId: 'other' } });
    await cloud.call({ ...volumes, scope: { projectId: 'own' } });
    expect(tokensSent()).toEqual(['token-own-1', 'token-other-2', 'token-other-2', 'token-own-1']);
    expect(fake.requests.at(-1)?.url).toBe('/volume/v3/own/volumes');
    expect(fake.requests.at(-2)?.url).toBe('/volume/v3/other/volumes');
    expect(fake.auths[1]?.auth.scope).toEqual({ project: { id: 'other' } });
  });

  it('renews a token that is refused, once, even for a POST', async () => {
    fake.handler = ({ headers }, response) =>
      json(response, headers['x-auth-token'] === 'token-own-1' ? 401 : 202, { server: { id: 'x' } });
    const cloud = client();
    expect((await cloud.call(boot)).status).toBe(202);
    expect(tokensSent()).toEqual(['token-own-1', 'token-own-2']);
    fake.handler = (_request, response) => json(response, 401, { error: { code: 401, message: 'no' } });
    const error = await errorOf(cloud.call(boot));
    expect([error.failure, error.status, error.uncertain]).toEqual(['unauthorized', 401, false]);
    expect(tokensSent()).toHaveLength(4);
  });

  it('says so when Keystone refuses, without the password', async () => {
    fake.auth = (_request, response) => json(response, 401, { error: { code: 401, message: 'No such account.' } });
    const error = await errorOf(client().call(servers));
    expect([error.failure, error.status, error.transient]).toEqual(['unauthorized', 401, false]);
    expect(error.message).toContain('No such account.');
    expect(error.message).not.toContain('secret');
    expect(error.tenantMessage).not.toContain('127.0.0.1');
  });

  it('sends no scope with an application credential, and refuses another project', async () => {
    const auth = { auth_url: fake.origin, application_credential_id: 'id', application_credential_secret: 's' };
    const cloud = client({ entry: { name: 'fake', auth_type: 'v3applicationcredential', auth } });
    await cloud.call(servers);
    expect(fake.auths[0]).toEqual({
      auth: { identity: { methods: ['application_credential'], application_credential: { id: 'id', secret: 's' } } },
    });
    const error = await errorOf(cloud.call({ ...servers, scope: { projectId: 'other' } }));
    expect(error.failure).toBe('unauthorized');
  });
});

describe('requests', () => {
  it('go to the versioned root with ids, microversions, queries and request id, and are counted by template', async () => {
    const seen: CloudObservation[] = [];
    const cloud = client({ onCall: (observation) => seen.push(observation) });
    const uuid = '8c8f7c1e-3a35-4b0c-9f4e-0d6d4c2b7a10';
    const path = `/servers/${uuid}/os-interface/${uuid}`;
    const query = { tags: ['a', 'b'], name: 'x y', absent: undefined };
    await cloud.call({ ...servers, path, query, microversion: '2.60', requestId: 'req-1' });
    await cloud.call({ service: 'network', method: 'GET', path: '/ports' });
    await cloud.call({ service: 'image', method: 'GET', path: '/images' });
    const [, compute, network, image] = fake.requests;
    expect(compute?.url).toBe(`/compute/v2.1${path}?tags=a&tags=b&name=x%20y`);
    expect(compute?.headers).toMatchObject({
      'openstack-api-version': 'compute 2.60',
      'x-openstack-nova-api-version': '2.60',
      'x-openstack-request-id': 'req-1',
    });
    expect([network?.url, image?.url]).toEqual(['/network/v2.0/ports', '/image/v2/images']);
    expect([...cloud.counts.keys()]).toContain('GET compute /servers/*/os-interface/*');
    expect(seen.map(({ template, status }) => [template, status])).toContainEqual(['/servers/*/os-interface/*', 200]);
    cloud.resetCounts();
    expect(cloud.counts.size).toBe(0);
  });

  it('lower the microversion to the maximum of the cloud, which is looked up once', async () => {
    const versions = [
      { id: 'v2.0', version: '' },
      { id: 'v2.1', version: '2.79', min_version: '2.1' },
    ];
    fake.handler = ({ url }, response) =>
      url === '/compute/v2.1/' ? json(response, 404, {}) : json(response, 200, url === '/compute/' ? { versions } : {});
    const cloud = client();
    await Promise.all([1, 2, 3].map(() => cloud.call({ ...servers, microversion: '2.90', atMost: true })));
    expect(await cloud.maximumMicroversion('compute')).toBe('2.79');
    expect(await cloud.maximumMicroversion('network')).toBeUndefined();
    expect(cloud.counts.get('GET compute /')).toBe(2);
    expect(fake.requests.at(-1)?.headers['openstack-api-version']).toBe('compute 2.79');
    await cloud.call({ ...servers, microversion: '2.9', atMost: true });
    expect(fake.requests.at(-1)?.headers['openstack-api-version']).toBe('compute 2.9');
  });

  it('refuse a service that is not in the catalog, and a path with a step up in it', async () => {
    const cloud = client();
    expect(await cloud.offers('load-balancer')).toBe(false);
    expect(await cloud.offers('compute')).toBe(true);
    const error = await errorOf(cloud.call({ service: 'load-balancer', method: 'GET', path: '/lbaas/loadbalancers' }));
    expect([error.failure, error.status, error.transient]).toEqual(['refused', 0, false]);
    await expect(cloud.call({ ...servers, path: '/servers/../images' })).rejects.toThrow(TypeError);
  });

  it('never run more at once than allowed, and the line is bounded', async () => {
    let running = 0;
    let most = 0;
    fake.handler = async (_request, response) => {
      running += 1;
      most = Math.max(most, running);
      await sleep(20);
      running -= 1;
      json(response, 200, {});
    };
    const cloud = client({ concurrency: 2, line_max: 3 });
    const outcomes = await Promise.allSettled([1, 2, 3, 4, 5, 6].map(() => cloud.call(servers)));
    expect(most).toBe(2);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    const error = await errorOf(Promise.reject((outcomes[5] as PromiseRejectedResult).reason));
    expect([error.failure, error.stage, error.uncertain]).toEqual(['down', 'not-tried', false]);
  });
});

describe('repetition', () => {
  it('is for reads: thrice, then the failure', async () => {
    fake.handler = (_request, response) => json(response, 502, {});
    const error = await errorOf(client().call(servers));
    expect([error.failure, error.status, error.transient, error.uncertain]).toEqual(['down', 502, true, false]);
    expect(tokensSent()).toHaveLength(3);
  });

  it('never happens to a POST that was sent, which is uncertain then', async () => {
    fake.handler = (_request, response) => response.destroy();
    const cloud = client();
    const broken = await errorOf(cloud.call(boot));
    expect([broken.failure, broken.stage, broken.uncertain]).toEqual(['down', 'no-answer', true]);
    expect(tokensSent()).toHaveLength(1);
    fake.handler = (_request, response) => json(response, 504, {});
    expect((await errorOf(cloud.call(boot))).uncertain).toBe(true);
    expect(tokensSent()).toHaveLength(2);
  });

  it('happens to a POST whose connection was refused, since nothing was sent', async () => {
    const cloud = client({ backoff_ms: 100 });
    await cloud.account();
    const port = Number(new URL(fake.origin).port);
    await fake.close();
    const call = cloud.call(boot);
    await sleep(10);
    fake = await startFakeCloud(port);
    expect((await call).status).toBe(200);
    expect(cloud.counts.get('POST compute /servers')).toBeGreaterThan(1);
    expect(tokensSent()).toHaveLength(1);
  });

  it('waits as long as Retry-After says, if that is not too long', async () => {
    let answers = 0;
    fake.handler = (_request, response) => {
      answers += 1;
      json(response, answers === 1 ? 429 : 200, {}, { 'retry-after': '1' });
    };
    const cloud = client();
    const started = performance.now();
    await cloud.call(servers);
    expect(performance.now() - started).toBeGreaterThan(900);
    fake.handler = (_request, response) =>
      json(response, 429, { overLimit: { message: 'slow' } }, { 'retry-after': '60' });
    const error = await errorOf(cloud.call(servers));
    expect([error.failure, error.transient, error.retryAfter_ms]).toEqual(['refused', true, 60_000]);
    expect(tokensSent()).toHaveLength(3);
  });

  it('does not happen after the time limit', async () => {
    fake.handler = () => {};
    const cloud = client({ timeout_ms: 50 });
    await cloud.account();
    const error = await errorOf(cloud.call(servers));
    expect([error.failure, error.stage, error.uncertain]).toEqual(['down', 'time-out', false]);
    expect((await errorOf(cloud.call(boot))).uncertain).toBe(true);
    expect(tokensSent()).toHaveLength(2);
  });

  it('never happens to an upload', async () => {
    fake.handler = (_request, response) => json(response, 401, {});
    const upload = (): CloudCall => ({
      service: 'image',
      method: 'PUT',
      path: '/images/x/file',
      stream: Readable.from([Buffer.from('data')], { objectMode: false }),
      contentType: 'application/octet-stream',
    });
    const cloud = client();
    const error = await errorOf(cloud.call(upload()));
    expect([error.failure, error.status]).toEqual(['unauthorized', 401]);
    expect(tokensSent()).toHaveLength(1);
    fake.handler = (_request, response) => response.writeHead(204).end();
    expect((await cloud.call(upload())).status).toBe(204);
    expect(fake.requests.at(-1)).toMatchObject({ body: 'data', url: '/image/v2/images/x/file' });
    expect(tokensSent()).toEqual(['token-own-1', 'token-own-2']);
  });
});

describe('the breaker', () => {
  const options = { breaker: { failures: 2, reset_ms: 1_000 } };

  it('opens after failures in a row, lets one call through after a while, and closes when that succeeds', async () => {
    fake.handler = (_request, response) => json(response, 503, {});
    const cloud = client(options);
    await errorOf(cloud.call(boot));
    expect(cloud.breaker).toBe('closed');
    await errorOf(cloud.call(boot));
    expect(cloud.breaker).toBe('open');
    const sent = fake.requests.length;
    const held = await errorOf(cloud.call(boot));
    expect([held.failure, held.stage, held.transient, held.uncertain]).toEqual(['down', 'not-tried', true, false]);
    expect(held.retryAfter_ms).toBe(1_000);
    expect(fake.requests).toHaveLength(sent);
    clock_ms += 1_000;
    expect(cloud.breaker).toBe('half-open');
    const both = await Promise.all([errorOf(cloud.call(boot)), errorOf(cloud.call(boot))]);
    expect(both.map(({ status }) => status).sort()).toEqual([0, 503]);
    expect(cloud.breaker).toBe('open');
    clock_ms += 1_999;
    expect(cloud.breaker).toBe('open');
    clock_ms += 1;
    fake.handler = (_request, response) => json(response, 404, {});
    expect((await errorOf(cloud.call(boot))).status).toBe(404);
    expect(cloud.breaker).toBe('closed');
  });

  it('opens on refused connections, turns away those in line, and closes by a probe', async () => {
    const cloud = client({ ...options, concurrency: 1 });
    await cloud.account();
    const port = Number(new URL(fake.origin).port);
    await fake.close();
    const errors = await Promise.all([1, 2, 3, 4, 5].map(() => errorOf(cloud.call(boot))));
    expect(errors.every(({ failure, uncertain }) => failure === 'down' && !uncertain)).toBe(true);
    expect(cloud.breaker).toBe('open');
    expect(await cloud.probe()).toBe(false);
    expect(cloud.breaker).toBe('open');
    fake = await startFakeCloud(port);
    expect(await cloud.probe()).toBe(true);
    expect(cloud.breaker).toBe('closed');
    expect((await cloud.call(boot)).status).toBe(200);
  });

  it("does not count faults, nor Neutron's 503 of an exhausted pool", async () => {
    const NeutronError = { type: 'NoNetworkAvailable', message: 'No networks available.', detail: '' };
    fake.handler = (_request, response) => json(response, 503, { NeutronError });
    const cloud = client(options);
    for (let n = 0; n < 4; n += 1) {
      const error = await errorOf(cloud.call({ service: 'network', method: 'POST', path: '/networks', body: {} }));
      expect([error.failure, error.tenantMessage]).toEqual(['refused', 'No networks available.']);
    }
    expect(cloud.breaker).toBe('closed');
  });
});

describe('pages', () => {
  it('follow next links of every form by their query alone', async () => {
    const forms: [CloudCall, string, (next: string) => object][] = [
      [
        servers,
        'servers',
        (href) => ({ servers_links: [{ rel: 'next', href: `http://wrong:1/v2.1/servers${href}` }] }),
      ],
      [{ ...servers, service: 'image', path: '/images' }, 'images', (next) => ({ next: `/v2/images${next}` })],
      [
        { ...servers, service: 'network', path: '/ports' },
        'ports',
        (href) => ({
          ports_links: [
            { rel: 'previous', href: 'x?y' },
            { rel: 'next', href: `http://n:9696/p${href}` },
          ],
        }),
      ],
    ];
    for (const [call, collection, links] of forms) {
      fake.handler = ({ url }, response) => {
        const marker = new URL(url, fake.origin).searchParams.get('marker') ?? '0';
        const more = Number(marker) < 2 ? links(`?limit=1000&marker=${Number(marker) + 1}`) : {};
        json(response, 200, { [collection]: marker === '1' ? [] : [{ id: marker }], ...more });
      };
      const seen: { id: string }[] = [];
      for await (const page of client().pages<{ id: string }>(call, collection)) seen.push(...page);
      expect(seen.map(({ id }) => id)).toEqual(['0', '2']);
      expect(fake.requests.at(-3)?.url).toContain('limit=1000');
    }
  });

  it('stop at a page that names itself as the next', async () => {
    fake.handler = (_request, response) => json(response, 200, { images: [{}], next: '/v2/images?limit=1000' });
    const cloud = client();
    const all = (async () => {
      for await (const page of cloud.pages({ ...servers, service: 'image', path: '/images' }, 'images')) void page;
    })();
    expect((await errorOf(all)).failure).toBe('protocol');
  });
});

describe('answers', () => {
  it('that are not JSON are a protocol failure, uncertain for a POST', async () => {
    fake.handler = (_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Log in</p>');
    const cloud = client();
    expect((await errorOf(cloud.call(servers))).failure).toBe('protocol');
    const error = await errorOf(cloud.call(boot));
    expect([error.failure, error.uncertain]).toEqual(['protocol', true]);
  });

  it('without a body, accepted faults and downloads are given as they are', async () => {
    fake.handler = (_request, response) => response.writeHead(204).end();
    const cloud = client();
    expect(await cloud.call({ ...servers, method: 'DELETE' })).toMatchObject({ status: 204, body: undefined });
    fake.handler = (_request, response) => json(response, 409, { conflict: 1 });
    expect(await cloud.call({ ...servers, accept: [409] })).toMatchObject({ status: 409, body: { conflict: 1 } });
    fake.handler = (_request, response) => response.writeHead(200).end('bytes');
    const download = await cloud.download({ service: 'image', method: 'GET', path: '/images/x/file' });
    expect((await download.body.toArray()).join('')).toBe('bytes');
    fake.handler = (_request, response) => json(response, 404, { message: 'gone' });
    const error = await errorOf(cloud.download({ service: 'image', method: 'GET', path: '/images/x/file' }));
    expect([error.status, error.tenantMessage]).toEqual([404, 'gone']);
  });
});
