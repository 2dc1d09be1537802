/** The version documents that clients read before they know anything else; none needs a token. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ServerOptions } from './server.ts';
import type { Convention } from './service.ts';
import { format } from './microversion.ts';

interface Document {
  /** What `GET /<service>/` answers, and with which status. */
  readonly list: (url: string) => {
    readonly status: number;
    readonly body: unknown;
    readonly headers?: Readonly<Record<string, string>>;
  };
  /** What `GET /<service>/<version>` answers, where the service has such a page. */
  readonly one?: (url: string) => unknown;
  /** The same for the service's legacy root. */
  readonly legacy?: (url: string) => unknown;
}

/** Adds `/`, `/healthcheck`, `/metrics` and every service's version pages. */
export function discoveryRoutes(server: FastifyInstance, options: ServerOptions): void {
  server.get('/', async () => ({
    headwater: options.services.map(({ convention }) => ({
      type: convention.catalogType,
      href: `${options.publicUrl}/${convention.name}`,
    })),
  }));
  server.get('/healthcheck', async (_request, reply) => {
    try {
      await options.healthy();
      return { status: 'ok' };
    } catch (error) {
      options.log.error({ err: error }, 'the health check failed');
      return reply.code(503).send({ status: 'unavailable' });
    }
  });
  server.get('/metrics', async (_request, reply) =>
    reply.header('content-type', options.metrics.registry.contentType).send(await options.metrics.registry.metrics()),
  );
  for (const { convention, home } of options.services) {
    const document = documents[convention.name]?.(convention);
    if (document === undefined) continue;
    const url = `${options.publicUrl}/${convention.name}`;
    server.get(`/${convention.name}`, async (request, reply) => {
      if (home !== undefined && wantsHome(request))
        return reply.header('content-type', JSON_HOME).send(home(convention.root));
      const { status, body, headers = {} } = document.list(url);
      return reply.code(status).headers(headers).send(body);
    });
    const { one } = document;
    if (one !== undefined) {
      server.get(`/${convention.name}${convention.root}`, async (request, reply) =>
        home !== undefined && wantsHome(request) ? reply.header('content-type', JSON_HOME).send(home('')) : one(url),
      );
    }
    const { legacy } = document;
    if (legacy !== undefined) server.get(`/${convention.name}${convention.legacyRoot}`, async () => legacy(url));
  }
}

const JSON_HOME = 'application/json-home';

/** Whether a client would rather have JSON Home than plain JSON: of two that it likes as much it gets the latter. */
function wantsHome({ headers }: FastifyRequest): boolean {
  const liked = new Map(
    (headers.accept ?? '').split(',').map((range) => {
      const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
      const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
      return [type.toLowerCase(), quality === undefined ? 1 : Number(quality) || 0] as const;
    }),
  );
  const likes = (type: string): number => liked.get(type) ?? liked.get('application/*') ?? liked.get('*/*') ?? 0;
  return likes(JSON_HOME) > likes('application/json');
}

const mediaType = (service: string, version: string) => [
  { base: 'application/json', type: `application/vnd.openstack.${service}+json;version=${version}` },
];

/** Nova's and Cinder's entry: id, status and the microversions. */
function microversioned(convention: Convention, url: string, id: string, updated: string) {
  const range = convention.microversions;
  return {
    id,
    status: 'CURRENT',
    version: range === undefined ? '' : format(range, range.maximum),
    min_version: range === undefined ? '' : format(range, range.minimum),
    updated,
    links: [{ rel: 'self', href: `${url}${convention.root}/` }],
  };
}

const documents: Readonly<Record<string, (convention: Convention) => Document>> = {
  identity: () => {
    const version = (url: string) => ({
      id: 'v3.14',
      status: 'stable',
      updated: '2020-04-07T00:00:00Z',
      links: [{ rel: 'self', href: `${url}/v3/` }],
      'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
    });
    return {
      list: (url) => ({
        status: 300,
        body: { versions: { values: [version(url)] } },
        headers: { location: `${url}/v3/` },
      }),
      one: (url) => ({ version: version(url) }),
    };
  },
  compute: (convention) => {
    const current = (url: string) => microversioned(convention, url, 'v2.1', '2013-07-23T11:33:21Z');
    const old = (url: string) => ({
      id: 'v2.0',
      status: 'SUPPORTED',
      version: '',
      min_version: '',
      updated: '2011-01-21T11:33:21Z',
      links: [{ rel: 'self', href: `${url}${convention.legacyRoot}/` }],
    });
    const described = (entry: ReturnType<typeof old>, version: string) => ({
      version: {
        ...entry,
        links: [...entry.links, { rel: 'describedby', type: 'text/html', href: 'http://docs.openstack.org/' }],
        'media-types': mediaType('compute', version),
      },
    });
    return {
      list: (url) => ({ status: 200, body: { versions: [old(url), current(url)] } }),
      one: (url) => described(current(url), '2.1'),
      legacy: (url) => described(old(url), '2'),
    };
  },
  volume: (convention) => {
    const entry = (url: string) => ({
      ...microversioned(convention, url, 'v3.0', '2022-08-31T00:00:00Z'),
      links: [
        { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
        { rel: 'self', href: `${url}/v3/` },
      ],
      'media-types': mediaType('volume', '3'),
    });
    return {
      list: (url) => ({ status: 300, body: { versions: [entry(url)] } }),
      one: (url) => ({ versions: [entry(url)] }),
    };
  },
  network: () => ({
    list: (url) => ({
      status: 200,
      body: { versions: [{ id: 'v2.0', status: 'CURRENT', links: [{ rel: 'self', href: `${url}/v2.0/` }] }] },
    }),
  }),
  image: () => ({
    list: (url) => ({
      status: 300,
      body: {
        versions: [15, 9, 7, 6, 5, 4, 3, 2, 1, 0].map((minor, at) => ({
          id: `v2.${minor}`,
          status: at === 0 ? 'CURRENT' : 'SUPPORTED',
          links: [{ rel: 'self', href: `${url}/v2/` }],
        })),
      },
    }),
  }),
};
