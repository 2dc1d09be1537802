/** Remote consoles: a tenant's address leads through the parent to the child, and says nothing of where that is. */
import { connect, type AddressInfo, type Socket } from 'node:net';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { objectsOf } from '../../testing/objects.ts';
import { PARENT_URL, testParent } from '../../testing/parent.ts';
import { assetUrl, socketUrl, tenantUrl } from './address.ts';
import { createPlaces } from './places.ts';

const parent = await testParent();
const objects = objectsOf(parent);
let server = '';
let port = 0;
beforeAll(async () => {
  server = await objects.id('server_id');
  await parent.server.listen({ host: '127.0.0.1', port: 0 });
  port = (parent.server.server.address() as AddressInfo).port;
}, 60_000);
afterAll(() => parent.stop());

const ask = (who: string, body: object, minor = 93) =>
  parent.api.call(who, 'POST', `/compute/v2.1/servers/${server}/remote-consoles`, body, {
    'openstack-api-version': `compute 2.${minor}`,
  });
const NOVNC = { remote_console: { protocol: 'vnc', type: 'novnc' } };

/** Sends a WebSocket's handshake for the path; gives the head of the answer and the connection. */
async function open(path: string): Promise<{ head: string; socket: Socket }> {
  const socket = connect(port, '127.0.0.1');
  socket.write(
    [
      `GET ${path} HTTP/1.1`,
      'Host: parent.test',
      'Origin: http://parent.test',
      'Cookie: secret=1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Protocol: binary',
      '',
      '',
    ].join('\r\n'),
  );
  return { head: (await heard(socket)).toString(), socket };
}

const heard = (socket: Socket): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('close', () => reject(new Error('closed')));
  });
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));
const pathIn = (url: string): string => `/${new URL(url).searchParams.get('path')}`;

test('a console is reached through the parent, byte for byte', async () => {
  const { status, body } = await ask('alice', NOVNC);
  expect(status).toBe(200);
  expect(body.remote_console).toMatchObject({ protocol: 'vnc', type: 'novnc' });
  const { url } = body.remote_console;
  expect(url).toMatch(
    /^http:\/\/parent\.test\/console\/[0-9a-f-]{36}\/vnc_auto\.html\?path=console%2F[0-9a-f-]{36}%2F%3Ftoken%3D[\w-]{32}$/,
  );
  for (const token of parent.sims.east?.state.consoles ?? []) expect(url).not.toContain(token);
  const { head, socket } = await open(pathIn(url));
  expect(head).toMatch(/^HTTP\/1\.1 101 /);
  expect(head).toContain('sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  expect(head).toContain('sec-websocket-protocol: binary');
  const bytes = Buffer.from([0x82, 0x03, 0x00, 0xff, 0x10]);
  socket.write(bytes);
  expect(await heard(socket)).toEqual(bytes);
  // The child's end is the tenant's.
  const end = closed(socket);
  await parent.sims.east?.stop();
  await end;
  await parent.sims.east?.start();
});

test('the page around it comes from the child too, and nothing else does', async () => {
  const { url } = (await ask('alice', NOVNC)).body.remote_console;
  const { pathname } = new URL(url);
  const page = await parent.api.call('', 'GET', pathname);
  expect([page.status, page.text]).toEqual([200, '<html><body>noVNC</body></html>']);
  expect(page.headers['content-type']).toMatch(/^text\/html/);
  const beside = (path: string) => parent.api.call('', 'GET', pathname.replace('vnc_auto.html', path));
  expect((await beside('none.js')).status).toBe(404);
  expect((await beside('..%2fcompute')).status).toBe(404);
  expect((await parent.api.call('', 'GET', `/console/${objects.known().get('server_id')}/vnc_auto.html`)).status).toBe(
    404,
  );
});

test('no console without its token, after its time or after its server', async () => {
  const { url } = (await ask('alice', NOVNC)).body.remote_console;
  const path = pathIn(url);
  expect((await open(path.replace(/token=.*/, 'token=other'))).head).toMatch(/^HTTP\/1\.1 403 /);
  expect((await open('/console/nothing')).head).toMatch(/^HTTP\/1\.1 404 /);
  expect((await open('/compute/v2.1/servers')).head).toMatch(/^HTTP\/1\.1 404 /);
  await sql`update console_sessions set expires_at = clock_timestamp()`.execute(parent.db.query);
  expect((await open(path)).head).toMatch(/^HTTP\/1\.1 403 /);
  expect((await parent.api.call('', 'GET', new URL(url).pathname)).status).toBe(404);
  await ask('alice', NOVNC);
  const { rows } = await sql`select 1 from console_sessions where expires_at < clock_timestamp()`.execute(
    parent.db.query,
  );
  expect(rows).toEqual([]);
});

test('a serial console is a WebSocket itself, and one that the child has not is refused in its words', async () => {
  const { url } = (await ask('alice', { remote_console: { protocol: 'serial', type: 'serial' } })).body.remote_console;
  expect(url).toMatch(/^ws:\/\/parent\.test\/console\/[0-9a-f-]{36}\/\?token=[\w-]{32}$/);
  const { pathname, search } = new URL(url);
  const { head, socket } = await open(`${pathname}${search}`);
  expect(head).toMatch(/^HTTP\/1\.1 101 /);
  socket.destroy();
  const spice = await ask('alice', { remote_console: { protocol: 'spice', type: 'spice-html5' } });
  expect(spice.body.badRequest.message).toBe('Unavailable console type.');
  expect((await ask('alice', { remote_console: { protocol: 'mks', type: 'webmks' } }, 7)).status).toBe(400);
  expect((await ask('bob', NOVNC)).status).toBe(404);
  expect((await ask('rita', NOVNC)).status).toBe(403);
  expect((await ask('alice', NOVNC, 5)).status).toBe(404);
  const old = await parent.api.call('alice', 'POST', `/compute/v2.1/servers/${server}/action`, {
    'os-getVNCConsole': { type: 'novnc' },
  });
  expect(old.body.console.type).toBe('novnc');
  expect(old.body.console.url.startsWith(`${PARENT_URL}/console/`)).toBe(true);
});

test('who is refused is not let sit on the connection', async () => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.write('GET /console/nothing HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  expect((await heard(socket)).toString()).toMatch(/^HTTP\/1\.1 404 /);
  // The other end is gone: what is still sent there is answered with a reset.
  const failed = new Promise((resolve) => socket.once('error', resolve));
  const sending = setInterval(() => socket.write('still here'), 20);
  await failed;
  clearInterval(sending);
});

test('a project has but its share of the consoles', () => {
  const { take } = createPlaces(3, 2);
  const first = take('one');
  expect([first, take('one')].every((leave) => leave !== undefined)).toBe(true);
  expect(take('one')).toBeUndefined();
  expect(take('two')).toBeDefined();
  expect(take('two')).toBeUndefined();
  first?.();
  first?.();
  expect([take('one'), take('two')].map((leave) => leave === undefined)).toEqual([false, true]);
});

test('addresses of all kinds that children give are understood', () => {
  const session = { id: 'i', token: 't' };
  const spice = 'https://child:6082/spice_auto.html?token=abc&title=x';
  expect(socketUrl(spice).href).toBe('https://child:6082/websockify?token=abc');
  expect(tenantUrl('https://parent', spice, session)).toBe(
    'https://parent/console/i/spice_auto.html?path=console%2Fi%2F%3Ftoken%3Dt',
  );
  expect(socketUrl('http://child:6080/vnc_lite.html?path=%3Ftoken%3Dabc').href).toBe('http://child:6080/?token=abc');
  expect(socketUrl('wss://child:6083/?token=abc').href).toBe('https://child:6083/?token=abc');
  expect(tenantUrl('https://parent', 'ws://child:6083/?token=abc', session)).toBe('wss://parent/console/i/?token=t');
  expect(assetUrl(spice, 'app/ui.js')?.href).toBe('https://child:6082/app/ui.js');
  expect(assetUrl(spice, '/other.example/x')?.href).toBe('https://child:6082/other.example/x');
  expect(assetUrl(spice, '../x')).toBeUndefined();
  expect(assetUrl('ws://child:6083/?token=abc', 'x.js')).toBeUndefined();
});
