/** For the simulator's own tests: a plain client of one simulated cloud, and waiting. */
import type { SimCloud } from './cloud.ts';
import type { SimServiceName } from './http.ts';
import { type Json, type Row, rowOf, textOf } from './world.ts';

const mounts: Record<SimServiceName, string> = {
  identity: '/identity/v3',
  compute: '/compute/v2.1',
  network: '/network/v2.0',
  volume: '/volume/v3',
  image: '/image/v2',
};

export interface SimAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Row;
  readonly text: string;
}

export interface SimClient {
  readonly projectId: string;
  readonly token: string;
  ask(
    service: SimServiceName,
    method: string,
    path: string,
    body?: Json,
    headers?: Record<string, string>,
  ): Promise<SimAnswer>;
}

/** Logs in as the cloud's administrator or another account, into the given project or its own. */
export async function login(
  cloud: SimCloud,
  projectId?: string,
  account: SimCloud['cloudsYamlEntry']['auth'] = cloud.cloudsYamlEntry.auth,
): Promise<SimClient> {
  const root = cloud.authUrl.replace('/identity/v3', '');
  const { username, password } = account;
  const project =
    projectId === undefined ? { name: account.project_name, domain: { name: 'Default' } } : { id: projectId };
  const identity = {
    methods: ['password'],
    password: { user: { name: username, domain: { name: 'Default' }, password } },
  };
  const answer = await fetch(`${cloud.authUrl}/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity, scope: { project } } }),
  });
  const token = answer.headers.get('x-subject-token') ?? '';
  const given = rowOf(((await answer.json()) as Row)['token']);
  const id = textOf(rowOf(given['project'])['id']);
  return {
    projectId: id,
    token,
    ask: async (service, method, path, body, headers = {}) => {
      const prefix = service === 'volume' ? `${mounts.volume}/${id}` : mounts[service];
      const reply = await fetch(root + prefix + path, {
        method,
        headers: {
          'x-auth-token': token,
          'openstack-api-version': service === 'volume' ? 'volume 3.70' : 'compute 2.93',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await reply.text();
      const isJson = reply.headers.get('content-type')?.startsWith('application/json') ?? false;
      return { status: reply.status, headers: reply.headers, body: isJson ? (JSON.parse(text) as Row) : {}, text };
    },
  };
}

/** Asks until the answer is truthy; fails after two seconds. */
export async function eventually<Found>(look: () => Promise<Found | undefined | false>): Promise<Found> {
  const until_ms = Date.now() + 2000;
  while (Date.now() < until_ms) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('it did not come to be within two seconds');
}
