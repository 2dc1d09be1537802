/** Stands between the parent and a child's network service, and counts what passes: the calls as the child sees them. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, request } from 'undici';

export interface CountingProxy {
  /** To be used in place of the service's own address. */
  readonly url: string;
  /** Calls since the last reset, as `METHOD collection`; reading that goes on by itself (feeds) is apart, as `feeds`. */
  readonly counts: ReadonlyMap<string, number>;
  reset(): void;
  close(): Promise<void>;
}

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host', 'content-length']);

/** Starts one before the service at `target`. */
export async function startCountingProxy(target: string): Promise<CountingProxy> {
  const { origin, pathname } = new URL(target);
  const agent = new Agent({ connections: 64, headersTimeout: 120_000, bodyTimeout: 120_000 });
  const counts = new Map<string, number>();
  async function pass(
    call: { method: string; path: string; headers: Record<string, string | string[]>; body: Buffer | null },
    outgoing: ServerResponse,
  ): Promise<void> {
    try {
      const { path, ...rest } = call;
      const answer = await request(origin + path, { ...rest, method: rest.method as 'GET', dispatcher: agent });
      const bytes = Buffer.from(await answer.body.arrayBuffer());
      const headers = Object.entries(answer.headers).filter(([name]) => !HOP_BY_HOP.has(name));
      outgoing.writeHead(answer.statusCode, Object.fromEntries(headers));
      outgoing.end(bytes);
    } catch {
      outgoing.destroy();
    }
  }

  const server = createServer((incoming, outgoing) => {
    const url = new URL(incoming.url ?? '/', origin);
    const kind = kindOf(incoming.method ?? 'GET', url);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const headers = Object.fromEntries(
      Object.entries(incoming.headers).flatMap(([name, value]) =>
        HOP_BY_HOP.has(name) || value === undefined ? [] : [[name, value]],
      ),
    );
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = chunks.length === 0 ? null : Buffer.concat(chunks);
      void pass({ method: incoming.method ?? 'GET', path: incoming.url ?? '/', headers, body }, outgoing);
    });
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${pathname}`,
    counts,
    reset: () => counts.clear(),
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await agent.close();
    },
  };
}

/** A list that asks for one object by its mark is of that object; a list of everything is a feed's. */
function kindOf(method: string, url: URL): string {
  const [collection = '', id] = url.pathname.replace(/^.*\/v2\.0\/?/, '').split('/');
  const isOfOne =
    id !== undefined || ['name', 'description', 'device_id'].some((filter) => url.searchParams.has(filter));
  return method === 'GET' && !isOfOne ? 'feeds' : `${method} ${collection}`;
}
