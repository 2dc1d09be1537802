/** Times calls as a client sees them: whole answers, read to the end, over kept-alive connections. */
import { performance } from 'node:perf_hooks';
import { Agent, request } from 'undici';

export interface Target {
  readonly base: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Timed {
  readonly median_ms: number;
  readonly least_ms: number;
  readonly most_ms: number;
  readonly count: number;
}

const agent = new Agent({ connections: 64, keepAliveTimeout: 30_000, headersTimeout: 120_000, bodyTimeout: 120_000 });

/** One call; the answer's JSON. Throws for a status that is not expected. */
export async function ask<Body = unknown>(
  target: Target,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
  expected: readonly number[] = [200, 201, 202, 204],
): Promise<{ body: Body; headers: Record<string, string>; status: number }> {
  const answer = await request(`${target.base}${path}`, {
    method,
    headers: { accept: 'application/json', 'content-type': 'application/json', ...target.headers },
    body: body === undefined ? null : JSON.stringify(body),
    dispatcher: agent,
  });
  const text = await answer.body.text();
  if (!expected.includes(answer.statusCode)) {
    throw new Error(`${method} ${target.base}${path}: ${answer.statusCode} ${text.slice(0, 300)}`);
  }
  return {
    status: answer.statusCode,
    body: (text === '' ? undefined : JSON.parse(text)) as Body,
    headers: answer.headers as Record<string, string>,
  };
}

/** Runs a call one after another; the first few warm up and do not count. */
export async function sequential(
  count: number,
  warmUp: number,
  call: (at: number) => Promise<unknown>,
): Promise<Timed> {
  const times: number[] = [];
  for (let at = 0; at < count + warmUp; at++) {
    const started = performance.now();
    await call(at);
    if (at >= warmUp) times.push(performance.now() - started);
  }
  return summary(times);
}

/** How many calls a second `clients` clients get answered, each sending its next when the last is answered. */
export async function throughput(
  clients: number,
  duration_ms: number,
  call: (at: number) => Promise<unknown>,
): Promise<number> {
  let answered = 0;
  const started = performance.now();
  const until = started + duration_ms;
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let at = client; performance.now() < until; at += clients) {
        await call(at);
        answered += 1;
      }
    }),
  );
  return (answered * 1000) / (performance.now() - started);
}

export function summary(times: readonly number[]): Timed {
  const sorted = times.toSorted((one, other) => one - other);
  return {
    median_ms: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN,
    least_ms: sorted[0] ?? Number.NaN,
    most_ms: sorted.at(-1) ?? Number.NaN,
    count: sorted.length,
  };
}

/** A token of a clouds.yaml entry's account, and where its catalog says the services are. */
export async function login(
  auth: Readonly<Record<string, string>>,
): Promise<{ token: string; service(type: string): string; projectId: string }> {
  const domain = { name: auth.user_domain_name ?? 'Default' };
  const body = {
    auth: {
      identity: {
        methods: ['password'],
        password: { user: { name: auth.username, password: auth.password, domain } },
      },
      scope: { project: { name: auth.project_name, domain: { name: auth.project_domain_name ?? 'Default' } } },
    },
  };
  interface Token {
    token: { project: { id: string }; catalog: { type: string; endpoints: { interface: string; url: string }[] }[] };
  }
  const answer = await ask<Token>({ base: auth.auth_url ?? '', headers: {} }, 'POST', '/auth/tokens', body);
  return {
    token: answer.headers['x-subject-token'] ?? '',
    projectId: answer.body.token.project.id,
    service: (type) =>
      answer.body.token.catalog
        .find((entry) => entry.type === type)
        ?.endpoints.find((endpoint) => endpoint.interface === 'public')
        ?.url.replace(/\/$/, '') ?? '',
  };
}

export const pause = (duration_ms: number): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, duration_ms));
export const closeConnections = (): Promise<void> => agent.close();
