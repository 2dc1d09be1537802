import { Type } from 'typebox';
import { afterAll, describe, expect, it } from 'vitest';
import { testApi } from '../testing/api.ts';
import { compute, identity, image, network, volume } from './conventions.ts';
import { conflict } from './fault.ts';
import { operation, type Operation, Reply } from './service.ts';

const rule = { name: 'test:any', check: 'role:reader or role:admin' };
const echo = (more: Partial<Operation>): Operation =>
  operation({
    method: 'GET',
    path: '/echo',
    policy: rule,
    status: 200,
    summary: '',
    handle: async (call) => ({ version: call.context.version }),
    ...more,
  });

const operations: Operation[] = [
  echo({}),
  echo({ path: '/late', since: 20, until: 30 }),
  echo({
    method: 'POST',
    path: '/things/:thing_id/action',
    action: 'start',
    body: Type.Object({ start: Type.Null() }, { additionalProperties: false }),
    status: 202,
    handle: async () => undefined,
  }),
  echo({
    method: 'POST',
    path: '/things/:thing_id/action',
    action: 'grow',
    since: 5,
    body: Type.Object({ grow: Type.Object({ size: Type.Integer({ minimum: 1 }) }) }),
    handle: async (call) => call.body,
  }),
  echo({
    path: '/broken',
    handle: async () => {
      throw new Error('a secret: hunter2');
    },
  }),
  echo({
    path: '/busy',
    handle: async () => {
      throw conflict('It is busy.', 'Busy');
    },
  }),
  echo({ path: '/open', policy: 'none', handle: async () => new Reply(203, { open: true }, { 'x-extra': '1' }) }),
];
const api = testApi([compute, network, identity, image, volume].map((convention) => ({ convention, operations })));
afterAll(() => api.close());

const at = (version: string) => ({ 'openstack-api-version': version });

describe('the pipeline', () => {
  it('negotiates the microversion by either header and says which one it was', async () => {
    const usual = await api.call('alice', 'GET', '/compute/v2.1/echo');
    expect(usual.body.version).toBe(1);
    expect(usual.headers).toMatchObject({
      'openstack-api-version': 'compute 2.1',
      'x-openstack-nova-api-version': '2.1',
      vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
    });
    expect((await api.call('alice', 'GET', '/compute/v2.1/echo', undefined, at('compute 2.53'))).body.version).toBe(53);
    expect(
      (await api.call('alice', 'GET', '/compute/v2.1/echo', undefined, at('volume 3.5, compute latest'))).body.version,
    ).toBe(96);
    expect(
      (await api.call('alice', 'GET', '/compute/v2.1/echo', undefined, { 'x-openstack-nova-api-version': '2.9' })).body
        .version,
    ).toBe(9);
    expect((await api.call('alice', 'GET', '/compute/v2.1/echo', undefined, at('compute 2.999'))).status).toBe(406);
    expect((await api.call('alice', 'GET', '/compute/v2.1/echo', undefined, at('compute nonsense'))).status).toBe(400);
    expect((await api.call('alice', 'GET', '/compute/v2.1/late', undefined, at('compute 2.19'))).status).toBe(404);
    expect((await api.call('alice', 'GET', '/compute/v2.1/late', undefined, at('compute 2.30'))).status).toBe(200);
  });

  it('chooses an action by the only key of the body', async () => {
    const act = (body: unknown, headers = {}) =>
      api.call('alice', 'POST', '/compute/v2.1/things/1/action', body, headers);
    expect((await act({ start: null })).status).toBe(202);
    expect((await act({ start: 1 })).status).toBe(400);
    expect((await act({ grow: { size: 2 } })).status).toBe(400);
    expect((await act({ grow: { size: 2 } }, at('compute 2.5'))).body).toEqual({ size: 2 });
    expect((await act({ shrink: null })).body.badRequest.message).toBe('There is no such action: shrink');
    expect((await act([])).status).toBe(400);
    expect((await act('nonsense')).body.badRequest.message).toBe('Malformed request body');
  });

  it('words faults as each service does, and never tells what went wrong inside', async () => {
    const busy = async (url: string) => (await api.call('alice', 'GET', url)).body;
    expect(await busy('/compute/v2.1/busy')).toEqual({ conflictingRequest: { code: 409, message: 'It is busy.' } });
    expect(await busy('/volume/v3/busy')).toEqual({ conflictingRequest: { code: 409, message: 'It is busy.' } });
    expect(await busy('/volume/v3/p1/busy')).toEqual({ conflictingRequest: { code: 409, message: 'It is busy.' } });
    expect(await busy('/network/v2.0/busy')).toEqual({
      NeutronError: { type: 'Busy', message: 'It is busy.', detail: '' },
    });
    expect(await busy('/identity/v3/busy')).toEqual({
      error: { code: 409, message: 'It is busy.', title: 'Conflict' },
    });
    expect(await busy('/image/v2/busy')).toMatchObject({ code: '409 Conflict', title: 'Conflict' });
    const html = await api.call('alice', 'GET', '/image/v2/busy', undefined, { accept: '*/*' });
    expect(html.headers['content-type']).toContain('text/html');
    expect(html.text).toContain('<h1>409 Conflict</h1>');
    const broken = await api.call('alice', 'GET', '/compute/v2.1/broken');
    expect(broken.status).toBe(500);
    expect(broken.text).not.toContain('hunter2');
  });

  it('asks for a token first, names every request, and refuses another project in a URL', async () => {
    const none = await api.call('', 'GET', '/compute/v2.1/echo');
    expect(none.status).toBe(401);
    expect(none.headers['www-authenticate']).toBe('Keystone uri="http://parent/identity/v3"');
    expect((await api.call('nobody', 'GET', '/compute/v2.1/no/such/path')).status).toBe(401);
    const unknown = await api.call('alice', 'GET', '/compute/v2.1/no/such/path');
    expect(unknown.status).toBe(404);
    expect(unknown.headers['x-openstack-request-id']).toMatch(/^req-[0-9a-f-]{36}$/);
    expect(unknown.headers['x-compute-request-id']).toBe(unknown.headers['x-openstack-request-id']);
    expect((await api.call('alice', 'GET', '/volume/v3/p2/echo')).status).toBe(400);
    expect((await api.call('', 'GET', '/compute/v2.1/open')).headers['x-extra']).toBe('1');
    // Nova's and Cinder's routers know whole routes only.
    expect((await api.call('alice', 'DELETE', '/compute/v2.1/echo')).status).toBe(404);
    expect((await api.call('alice', 'GET', '/compute/v2.1/echo/')).status).toBe(404);
  });

  it('serves the lowest microversion below the legacy root, without its headers and strictness', async () => {
    expect((await api.call('', 'GET', '/compute/')).body.versions[0]).toMatchObject({ id: 'v2.0', version: '' });
    expect((await api.call('', 'GET', '/compute/v2/')).body.version).toMatchObject({ id: 'v2.0', status: 'SUPPORTED' });
    const echoed = await api.call('alice', 'GET', '/compute/v2/echo', undefined, at('compute 2.90'));
    expect([echoed.status, echoed.body]).toEqual([200, { version: 1 }]);
    expect(echoed.headers).not.toHaveProperty('openstack-api-version');
    expect(echoed.headers).not.toHaveProperty('vary');
    expect((await api.call('', 'GET', '/compute/v2/echo')).status).toBe(401);
    expect((await api.call('alice', 'GET', '/compute/v2/late')).status).toBe(404);
    const start = (root: string) =>
      api.call('alice', 'POST', `/compute/${root}/things/1/action`, { start: null, unknown: 1 });
    expect((await start('v2')).status).toBe(202);
    expect((await start('v2.1')).status).toBe(400);
    expect((await api.call('alice', 'GET', '/volume/v2/echo')).status).toBe(404);
  });

  it('serves version documents without a token', async () => {
    expect((await api.call('', 'GET', '/compute/')).body.versions[1]).toMatchObject({
      id: 'v2.1',
      version: '2.96',
      min_version: '2.1',
    });
    expect((await api.call('', 'GET', '/compute/v2.1/')).body.version.id).toBe('v2.1');
    expect((await api.call('', 'GET', '/identity/v3')).body.version.id).toBe('v3.14');
    expect((await api.call('', 'GET', '/identity')).status).toBe(300);
    expect((await api.call('', 'GET', '/volume/')).status).toBe(300);
    expect((await api.call('', 'GET', '/network/')).body.versions[0].id).toBe('v2.0');
    expect((await api.call('', 'GET', '/image/')).body.versions[0].id).toBe('v2.15');
    expect((await api.call('', 'GET', '/healthcheck')).body).toEqual({ status: 'ok' });
    expect((await api.call('', 'GET', '/metrics')).text).toContain('headwater_request_duration_seconds');
  });
});
