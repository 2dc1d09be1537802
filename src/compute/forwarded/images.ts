/** `/images` and their metadata: Glance's, as Nova shows them, until 2.35 and 2.38. */
import { type TSchema, Type } from 'typebox';
import { badRequest, forbidden, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { compute } from '../../http/conventions.ts';
import { resourceLinks } from '../links.ts';
import { computeRule, MEMBER, READER } from '../rules.ts';
import { type Forwarding, pathOf, projectOf, PROXIES_UNTIL, reworded } from './services.ts';

type Shown = Readonly<Record<string, unknown>>;

const METADATA_UNTIL = 38;
const METADATA_ITEMS = 128;
const GLANCE_PATCH = 'application/openstack-images-v2.1-json-patch';

const rules = {
  index: computeRule('images:index', READER),
  detail: computeRule('images:detail', READER),
  show: computeRule('images:show', READER),
  remove: computeRule('images:delete', MEMBER),
  metadataRead: computeRule('image-metadata:show', READER),
  metadataWrite: computeRule('image-metadata:update', MEMBER),
};

/** Attributes of Glance's own; all others are what Nova calls an image's metadata. */
const OWN = new Set(
  `id name status visibility size virtual_size checksum protected min_ram min_disk owner os_hidden os_hash_algo
   os_hash_value created_at updated_at tags disk_format container_format self file schema stores locations direct_url`.split(
    /\s+/,
  ),
);
const STATUSES: Readonly<Record<string, string>> = {
  active: 'ACTIVE',
  queued: 'SAVING',
  saving: 'SAVING',
  deleted: 'DELETED',
  pending_delete: 'DELETED',
  killed: 'ERROR',
};
const PROGRESS: Readonly<Record<string, number>> = { queued: 25, saving: 50, active: 100 };
/** Properties that hold JSON, which Nova shows as what it says. */
const AS_JSON = new Set(['block_device_mapping', 'mappings']);

const FILTERS: Readonly<Record<string, string>> = {
  name: 'name',
  status: 'status',
  server: 'instance_uuid',
  type: 'image_type',
  minRam: 'min_ram',
  minDisk: 'min_disk',
};

const TEXT = { type: 'string', maxLength: 255 };
const METADATA = {
  type: 'object',
  patternProperties: { '^[a-zA-Z0-9-_:. ]{1,255}$': TEXT },
  additionalProperties: false,
};
const schemaOf = (key: string, inner: object): TSchema =>
  Type.Unsafe({ type: 'object', properties: { [key]: inner }, required: [key], additionalProperties: false });
const METADATA_BODY = schemaOf('metadata', METADATA);
const META_BODY = schemaOf('meta', { ...METADATA, minProperties: 1, maxProperties: 1 });

function propertiesOf(image: Shown): Record<string, unknown> {
  const own = Object.entries(image).filter(([name]) => !OWN.has(name));
  return Object.fromEntries(own.map(([name, value]) => [name, AS_JSON.has(name) ? parsed(value) : value]));
}

function parsed(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function linksOf(context: RequestContext, id: string) {
  return [
    ...resourceLinks(context, `/images/${id}`),
    { rel: 'alternate', type: 'application/vnd.openstack.image', href: `${context.publicUrl}/image/images/${id}` },
  ];
}

function summary(context: RequestContext, image: Shown): Shown {
  return { id: image.id, name: image.name ?? null, links: linksOf(context, String(image.id)) };
}

function detail(context: RequestContext, image: Shown): Shown {
  const metadata = propertiesOf(image);
  const server = metadata.instance_uuid;
  const disk = metadata.auto_disk_config;
  const status = String(image.status);
  return {
    ...summary(context, image),
    minRam: image.min_ram ?? 0,
    minDisk: image.min_disk ?? 0,
    metadata,
    created: image.created_at,
    updated: image.updated_at,
    status: STATUSES[status] ?? 'UNKNOWN',
    progress: PROGRESS[status] ?? 0,
    'OS-EXT-IMG-SIZE:size': image.size ?? 0,
    ...(server === undefined
      ? {}
      : { server: { id: server, links: resourceLinks(context, `/servers/${String(server)}`) } }),
    ...(disk === undefined
      ? {}
      : { 'OS-DCF:diskConfig': /^(true|1|t|y|yes|on)$/i.test(String(disk)) ? 'AUTO' : 'MANUAL' }),
  };
}

/** Nova's filters in Glance's names. @throws Fault 400 for a limit that is none */
function queryOf({ query }: Call): Record<string, string> {
  const asked: Record<string, string> = {};
  for (const [name, given] of Object.entries(query)) {
    const value = [given].flat().at(-1) ?? '';
    const own = Object.hasOwn(FILTERS, name) ? FILTERS[name] : undefined;
    if (name === 'changes-since') asked.updated_at = `gte:${value}`;
    else if (name.startsWith('property-')) asked[name.slice('property-'.length)] = value;
    else if (own !== undefined) asked[own] = value;
  }
  // A server may be named by its address.
  if (asked.instance_uuid !== undefined) asked.instance_uuid = asked.instance_uuid.split('/').at(-1) ?? '';
  if (asked.status !== undefined) asked.status = asked.status.toLowerCase();
  const marker = [query.marker ?? []].flat()[0];
  if (marker !== undefined) asked.marker = marker;
  return { ...asked, limit: String(limitOf([query.limit ?? []].flat()[0])) };
}

function limitOf(text: string | undefined): number {
  const { maximum } = compute.paging;
  if (text === undefined) return maximum;
  if (!/^-?\d{1,10}$/.test(text)) throw badRequest('limit param must be an integer');
  if (text.startsWith('-')) throw badRequest('limit param must be positive');
  return Number(text) === 0 ? maximum : Math.min(Number(text), maximum);
}

/** The operations of both. */
export function imageOperations(forwarding: Forwarding): Operation[] {
  const { image: glance } = forwarding;
  const find = async (call: Call): Promise<Shown> => {
    const path = `/images/${pathOf(call, 'image_id')}`;
    const missing = () => notFound('Image not found.');
    return (await reworded(glance(call.context, { method: 'GET', path }), { 404: missing, 400: missing })) as Shown;
  };
  const list = async (call: Call, view: typeof summary, path: string) => {
    const query = queryOf(call);
    const { images } = (await glance(call.context, { method: 'GET', path: '/images', query })) as { images: Shown[] };
    const asked = [call.query.limit ?? []].flat()[0];
    const last = images.at(-1);
    const isFull = asked !== undefined && last !== undefined && images.length === Number(query.limit);
    const href = `${call.context.baseUrl}${path}?limit=${asked}&marker=${String(last?.id)}`;
    return {
      images: images.map((image) => view(call.context, image)),
      ...(isFull ? { images_links: [{ rel: 'next', href }] } : {}),
    };
  };
  const read = (method: 'GET' | 'DELETE', path: string, policy: Operation['policy'], more: Partial<Operation>) =>
    operation({
      method,
      path,
      policy,
      until: PROXIES_UNTIL,
      status: method === 'GET' ? 200 : 204,
      ...more,
    } as Operation);
  return [
    read('GET', '/images', rules.index, {
      summary: 'List images',
      handle: (call) => list(call, summary, '/images'),
    }),
    read('GET', '/images/detail', rules.detail, {
      summary: 'List images with details',
      handle: (call) => list(call, detail, '/images/detail'),
    }),
    read('GET', '/images/:image_id', rules.show, {
      summary: 'Show an image',
      handle: async (call) => ({ image: detail(call.context, await find(call)) }),
    }),
    read('DELETE', '/images/:image_id', rules.remove, {
      summary: 'Delete an image',
      handle: async (call) => {
        const path = `/images/${pathOf(call, 'image_id')}`;
        await reworded(glance(call.context, { method: 'DELETE', path }), {
          404: () => notFound('Image not found.'),
          403: () => forbidden('You are not allowed to delete the image.'),
        });
      },
    }),
    ...metadataOperations(forwarding, find),
  ];
}

function metadataOperations(
  { image: glance, db, quotas }: Forwarding,
  find: (call: Call) => Promise<Shown>,
): Operation[] {
  const path = '/images/:image_id/metadata';
  /** Brings the image's properties from what they were to what they are to be. */
  const replace = async (call: Call, before: Shown, after: Shown): Promise<void> => {
    const { context } = call;
    const limit = (await quotas.usage(db.query, projectOf(context))).metadata_items?.limit ?? METADATA_ITEMS;
    if (limit >= 0 && Object.keys(after).length > limit) throw forbidden('Image metadata limit exceeded');
    const at = (name: string): string => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const body = [
      ...Object.keys(before).flatMap((name) => (name in after ? [] : [{ op: 'remove', path: at(name) }])),
      ...Object.entries(after).flatMap(([name, value]) =>
        before[name] === value ? [] : [{ op: name in before ? 'replace' : 'add', path: at(name), value }],
      ),
    ];
    if (body.length === 0) return;
    const image = `/images/${pathOf(call, 'image_id')}`;
    await glance(context, { method: 'PATCH', path: image, body, contentType: GLANCE_PATCH });
  };
  const shared = { until: METADATA_UNTIL, status: 200 };
  const keyOf = (call: Call): string => call.params.key as string;
  return [
    operation({
      ...shared,
      method: 'GET',
      path,
      policy: rules.metadataRead,
      summary: 'List metadata of an image',
      handle: async (call) => ({ metadata: propertiesOf(await find(call)) }),
    }),
    operation({
      ...shared,
      method: 'GET',
      path: `${path}/:key`,
      policy: rules.metadataRead,
      summary: 'Show a metadata item of an image',
      handle: async (call) => {
        const properties = propertiesOf(await find(call));
        if (!Object.hasOwn(properties, keyOf(call))) throw notFound('The resource could not be found.');
        return { meta: { [keyOf(call)]: properties[keyOf(call)] } };
      },
    }),
    operation<{ metadata: Shown }>({
      ...shared,
      method: 'POST',
      path,
      policy: rules.metadataWrite,
      body: METADATA_BODY,
      summary: 'Add metadata to an image',
      handle: async (call) => {
        const before = propertiesOf(await find(call));
        const metadata = { ...before, ...call.body.metadata };
        await replace(call, before, metadata);
        return { metadata };
      },
    }),
    operation<{ metadata: Shown }>({
      ...shared,
      method: 'PUT',
      path,
      policy: rules.metadataWrite,
      body: METADATA_BODY,
      summary: 'Replace metadata of an image',
      handle: async (call) => {
        await replace(call, propertiesOf(await find(call)), call.body.metadata);
        return { metadata: call.body.metadata };
      },
    }),
    operation<{ meta: Shown }>({
      ...shared,
      method: 'PUT',
      path: `${path}/:key`,
      policy: rules.metadataWrite,
      body: META_BODY,
      summary: 'Set a metadata item of an image',
      handle: async (call) => {
        const { meta } = call.body;
        if (!Object.hasOwn(meta, keyOf(call))) throw badRequest('Request body and URI mismatch');
        const before = propertiesOf(await find(call));
        await replace(call, before, { ...before, [keyOf(call)]: meta[keyOf(call)] });
        return { meta };
      },
    }),
    operation({
      ...shared,
      status: 204,
      method: 'DELETE',
      path: `${path}/:key`,
      policy: rules.metadataWrite,
      summary: 'Delete a metadata item of an image',
      handle: async (call) => {
        const before = propertiesOf(await find(call));
        if (!Object.hasOwn(before, keyOf(call))) throw notFound('Invalid metadata key');
        await replace(
          call,
          before,
          Object.fromEntries(Object.entries(before).filter(([name]) => name !== keyOf(call))),
        );
      },
    }),
  ];
}
