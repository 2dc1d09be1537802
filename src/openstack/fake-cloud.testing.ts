/** A cloud of one's own making for the client's tests: real sockets, Keystone tokens, and answers as the test says. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CloudEntry } from './clouds-yaml.ts';

export interface FakeRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export type FakeHandler = (request: FakeRequest, response: ServerResponse) => void;

export interface FakeCloud {
  readonly entry: CloudEntry;
  readonly origin: string;
  /** Answers all that is not a token request; the test sets it. */
  handler: FakeHandler;
  /** Answers token requests in place of the built-in one, if set. */
  auth: FakeHandler | undefined;
  readonly requests: FakeRequest[];
  /** Bodies of the token requests. */
  readonly auths: { auth: { identity: { methods: string[] }; scope?: unknown } }[];
  /** Life of the tokens issued. */
  life_ms: number;
  close(): Promise<void>;
}

/** Answers with JSON. */
export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Starts one on a free port (or the one given, to bring a dead cloud back). */
export async function startFakeCloud(port = 0): Promise<FakeCloud> {
  const requests: FakeRequest[] = [];
  const auths: FakeCloud['auths'] = [];
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const { method = '', url = '', headers } = incoming;
      const request = { method, url, headers, body: Buffer.concat(chunks).toString() };
      requests.push(request);
      if (url === '/v3/auth/tokens') (cloud.auth ?? issue)(request, response);
      else cloud.handler(request, response);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const issue: FakeHandler = ({ body }, response) => {
    const asked = JSON.parse(body) as FakeCloud['auths'][number] & { auth: { scope?: { project?: { id?: string } } } };
    auths.push(asked);
    const id = asked.auth.scope?.project?.id ?? 'own';
    const endpoint = (url: string) => [{ interface: 'public', region_id: 'RegionOne', url: `${origin}${url}` }];
    const token = {
      // A clock a year behind ours, which must not matter.
      issued_at: new Date(0).toISOString(),
      expires_at: new Date(cloud.life_ms).toISOString(),
      user: { id: 'user', domain: { id: 'default' } },
      project: { id, domain: { id: 'default' } },
      roles: [{ name: 'admin' }],
      catalog: [
        { type: 'compute', endpoints: endpoint('/compute/v2.1') },
        { type: 'volumev3', endpoints: endpoint(`/volume/v3/${id}`) },
        { type: 'network', endpoints: endpoint('/network') },
        { type: 'image', endpoints: endpoint('/image/') },
      ],
    };
    json(response, 201, { token }, { 'x-subject-token': `token-${id}-${auths.length}` });
  };

  const cloud: FakeCloud = {
    entry: {
      name: 'fake',
      auth_type: 'password',
      auth: { auth_url: origin, username: 'admin', password: 'secret', project_name: 'admin' },
      region_name: 'RegionOne',
    },
    origin,
    handler: (_request, response) => json(response, 200, {}),
    auth: undefined,
    requests,
    auths,
    life_ms: 3_600_000,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
  return cloud;
}
