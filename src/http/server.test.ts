/** What a client on a real connection may do while its request is still coming. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { identities, silent } from '../testing/api.ts';
import { compute } from './conventions.ts';
import { createMetrics } from './metrics.ts';
import { createPolicy } from './policy.ts';
import { createServer } from './server.ts';
import { operation, rulesOf } from './service.ts';

const echo = operation<unknown>({
  method: 'POST',
  path: '/echo',
  policy: { name: 'test:any', check: 'role:reader' },
  status: 200,
  summary: '',
  handle: async ({ body }) => ({ given: body }),
});
const services = [{ convention: compute, operations: [echo] }];
const server = createServer({
  services,
  authenticate: async (token) => identities[token],
  policy: createPolicy({ defaults: rulesOf(services) }),
  publicUrl: 'http://parent',
  log: silent,
  metrics: createMetrics({ process: false }),
  healthy: async () => undefined,
  bodyPatience_ms: 300,
});
let port = 0;

beforeAll(async () => {
  await server.listen({ host: '127.0.0.1', port: 0 });
  port = (server.server.address() as AddressInfo).port;
});
afterAll(() => server.close());

/** Begins a request with a body of so many bytes, and sends the beginning of it. */
function begin(length: number, beginning: string): Socket {
  const socket = connect(port, '127.0.0.1');
  const head = [
    'POST /compute/v2.1/echo HTTP/1.1',
    'Host: parent',
    'X-Auth-Token: alice',
    'Content-Type: application/json',
    `Content-Length: ${length}`,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${beginning}`);
  return socket;
}

/** All that comes until the server ends the connection. */
async function answer(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (part: Buffer) => {
    text += part.toString();
  });
  await once(socket, 'close');
  return text;
}

it('ends a request whose body does not come', async () => {
  const text = await answer(begin(20, '{"a":'));
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(text).toContain('did not come in time');
});

it('ends one that is too large, without hearing it out', async () => {
  const text = await answer(begin(1e9, ' '.repeat(1024 * 1024 + 1)));
  expect(text).toMatch(/^HTTP\/1\.1 413 /);
  expect(text).toContain('"overLimit"');
});

it('takes one that comes in pieces', async () => {
  const socket = begin(10, '{"a":');
  const [first] = await Promise.all([once(socket, 'data'), new Promise((resolve) => socket.write('"é"}', resolve))]);
  expect(String(first[0])).toContain('{"given":{"a":"é"}}');
  socket.destroy();
});
