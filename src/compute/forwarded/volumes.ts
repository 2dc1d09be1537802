/** `/os-volumes` and `/os-snapshots`: Cinder's, as Nova shows them, until 2.35. */
import { type TSchema, Type } from 'typebox';
import { forbidden } from '../../http/fault.ts';
import { type Call, type Operation, operation, Reply, type RequestContext } from '../../http/service.ts';
import { queryParameters } from '../links.ts';
import { BOOLEAN, booleanOf } from '../parameters.ts';
import { computeRule, MEMBER, READER } from '../rules.ts';
import { type Forwarding, LIMITED_PARAMETERS, pathOf, PROXIES_UNTIL, reworded, window } from './services.ts';

type Shown = Readonly<Record<string, unknown>>;

const rule = (name: string, check: string) => computeRule(`os-volumes:${name}`, check);
const QUERY = queryParameters(LIMITED_PARAMETERS, Number.MAX_SAFE_INTEGER);
const TEXT = { type: 'string' };
const bodyOf = (key: string, properties: object, required: readonly string[]): TSchema =>
  Type.Unsafe({
    type: 'object',
    properties: { [key]: { type: 'object', properties, required, additionalProperties: false } },
    required: [key],
    additionalProperties: false,
  });
const VOLUME_BODY = bodyOf(
  'volume',
  {
    volume_type: TEXT,
    metadata: { type: 'object' },
    snapshot_id: TEXT,
    size: { type: ['integer', 'string'], pattern: '^[0-9]+$', minimum: 1 },
    availability_zone: TEXT,
    display_name: TEXT,
    display_description: TEXT,
  },
  ['size'],
);
const SNAPSHOT_BODY = bodyOf(
  'snapshot',
  { volume_id: TEXT, force: BOOLEAN, display_name: TEXT, display_description: TEXT },
  ['volume_id'],
);

interface VolumeBody {
  readonly volume: {
    readonly volume_type?: string;
    readonly metadata?: object;
    readonly snapshot_id?: string;
    readonly size: number | string;
    readonly availability_zone?: string;
    readonly display_name?: string;
    readonly display_description?: string;
  };
}

interface SnapshotBody {
  readonly snapshot: {
    readonly volume_id: string;
    readonly force?: unknown;
    readonly display_name?: string;
    readonly display_description?: string;
  };
}

function volumeView(volume: Shown): Shown {
  const [attachment] = (volume.attachments ?? []) as { server_id: string; device?: string | null }[];
  const attached = attachment !== undefined && {
    id: volume.id,
    volumeId: volume.id,
    serverId: attachment.server_id,
    ...(attachment.device ? { device: attachment.device } : {}),
  };
  return {
    id: volume.id,
    status: volume.status,
    size: volume.size,
    availabilityZone: volume.availability_zone,
    createdAt: volume.created_at,
    // An empty one says that there is none.
    attachments: [attached === false ? {} : attached],
    displayName: volume.name,
    displayDescription: volume.description,
    volumeType: volume.volume_type,
    snapshotId: volume.snapshot_id,
    metadata: volume.metadata ?? {},
  };
}

const snapshotView = (snapshot: Shown): Shown => ({
  id: snapshot.id,
  volumeId: snapshot.volume_id,
  status: snapshot.status,
  size: snapshot.size,
  createdAt: snapshot.created_at,
  displayName: snapshot.name,
  displayDescription: snapshot.description,
});

const OVER_QUOTA = { 413: ({ message }: Error) => forbidden(message) };

/** Everything below both. */
export function volumeOperations({ volume: cinder }: Forwarding): Operation[] {
  /** A part of a list: as many of Cinder's pages as it takes. */
  const listed = async ({ context, query }: Call, collection: 'volumes' | 'snapshots'): Promise<Shown[]> => {
    const { offset, limit } = window(query);
    const all: Shown[] = [];
    for (;;) {
      const last = all.at(-1);
      const page = (
        (await cinder(context, {
          method: 'GET',
          path: `/${collection}/detail`,
          query: { limit: '1000', ...(last === undefined ? {} : { marker: String(last.id) }) },
        })) as Record<string, Shown[]>
      )[collection] as Shown[];
      all.push(...page);
      if (page.length < 1000 || all.length >= offset + limit) return all.slice(offset, offset + limit);
    }
  };
  const one = async (context: RequestContext, path: string, key: string): Promise<Shown> =>
    ((await cinder(context, { method: 'GET', path })) as Record<string, Shown>)[key] as Shown;
  const both = [
    {
      key: 'volume',
      collection: 'volumes',
      path: '/os-volumes',
      rules: '',
      view: volumeView,
      id: 'volume_id',
    },
    {
      key: 'snapshot',
      collection: 'snapshots',
      path: '/os-snapshots',
      rules: 'snapshots:',
      view: snapshotView,
      id: 'snapshot_id',
    },
  ] as const;
  const shared = both.flatMap(({ key, collection, path, rules, view, id }) => {
    const at = (call: Call): string => `/${collection}/${pathOf(call, id)}`;
    return [
      ...(['', '/detail'] as const).map((more) =>
        operation({
          method: 'GET',
          path: `${path}${more}`,
          until: PROXIES_UNTIL,
          policy: rule(`${rules}${more === '' ? 'list' : 'detail'}`, READER),
          query: QUERY,
          status: 200,
          summary: more === '' ? `List ${collection}` : `List ${collection} with details`,
          handle: async (call) => ({ [collection]: (await listed(call, collection)).map(view) }),
        }),
      ),
      operation({
        method: 'GET',
        path: `${path}/:${id}`,
        until: PROXIES_UNTIL,
        policy: rule(`${rules}show`, READER),
        status: 200,
        summary: `Show a ${key}`,
        handle: async (call) => ({ [key]: view(await one(call.context, at(call), key)) }),
      }),
      operation({
        method: 'DELETE',
        path: `${path}/:${id}`,
        until: PROXIES_UNTIL,
        policy: rule(`${rules}delete`, MEMBER),
        status: 202,
        summary: `Delete a ${key}`,
        handle: async (call) => void (await cinder(call.context, { method: 'DELETE', path: at(call) })),
      }),
    ];
  });
  return [
    ...shared,
    operation<VolumeBody>({
      method: 'POST',
      path: '/os-volumes',
      until: PROXIES_UNTIL,
      policy: rule('create', MEMBER),
      body: VOLUME_BODY,
      status: 200,
      summary: 'Create a volume',
      handle: async ({ context, body }) => {
        const { display_name, display_description, size, ...rest } = body.volume;
        const volume = {
          ...rest,
          size: Number(size),
          ...(display_name === undefined ? {} : { name: display_name }),
          ...(display_description === undefined ? {} : { description: display_description }),
        };
        const answer = cinder(context, { method: 'POST', path: '/volumes', body: { volume } });
        const made = ((await reworded(answer, OVER_QUOTA)) as { volume: Shown }).volume;
        const location = `${context.baseUrl}/os-volumes/${String(made.id)}`;
        return new Reply(200, { volume: volumeView(made) }, { location });
      },
    }),
    operation<SnapshotBody>({
      method: 'POST',
      path: '/os-snapshots',
      until: PROXIES_UNTIL,
      policy: rule('snapshots:create', MEMBER),
      body: SNAPSHOT_BODY,
      status: 200,
      summary: 'Create a snapshot of a volume',
      handle: async ({ context, body }) => {
        const { volume_id, force = false, display_name, display_description } = body.snapshot;
        const snapshot = {
          volume_id,
          force: booleanOf(force),
          ...(display_name === undefined ? {} : { name: display_name }),
          ...(display_description === undefined ? {} : { description: display_description }),
        };
        const answer = cinder(context, { method: 'POST', path: '/snapshots', body: { snapshot } });
        return { snapshot: snapshotView(((await reworded(answer, OVER_QUOTA)) as { snapshot: Shown }).snapshot) };
      },
    }),
  ];
}
