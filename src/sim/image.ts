/** Simulated Glance: images with their data in memory, members, json-patch updates. */
import { createHash } from 'node:crypto';
import { type Call, type Reply, route, type Service } from './http.ts';
import {
  isRow,
  listOf,
  newId,
  nowInSeconds_ms,
  type Row,
  rowOf,
  seconds,
  SimFault,
  textOf,
  textsOf,
  type World,
} from './world.ts';

export interface Image {
  readonly id: string;
  /** All shown fields, custom properties among them; links are added when shown. */
  readonly fields: Row;
  data: Buffer | undefined;
  readonly members: Map<string, { status: string; at_ms: number }>;
}

const page_limit = 25;
const page_maximum = 1000;
const fixed_fields = new Set([
  'id',
  'status',
  'size',
  'virtual_size',
  'checksum',
  'os_hash_algo',
  'os_hash_value',
  'owner',
  'created_at',
  'updated_at',
  'self',
  'file',
  'schema',
  'direct_url',
  'locations',
  'stores',
]);
const plain_fields = new Set([
  'name',
  'visibility',
  'protected',
  'os_hidden',
  'min_disk',
  'min_ram',
  'disk_format',
  'container_format',
  'tags',
]);
const titles: Record<number, string> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Request Entity Too Large',
  415: 'Unsupported Media Type',
};

const imageMissing = (id: string): SimFault => new SimFault(404, `No image found with ID ${id}`);
const view = (image: Image): Row => ({
  ...image.fields,
  self: `/v2/images/${image.id}`,
  file: `/v2/images/${image.id}/file`,
  schema: '/v2/schemas/image',
});

const touch = (image: Image): void => {
  image.fields['updated_at'] = seconds(Date.now());
};

/** Makes and stores a queued image. */
export function makeImage(world: World, owner: string, given: Row): Image {
  const id = textOf(given['id']) || newId();
  if (world.state.images.has(id)) throw new SimFault(409, `Image ID ${id} already exists!`);
  const custom = Object.fromEntries(Object.entries(given).filter(([key]) => !plain_fields.has(key) && key !== 'id'));
  const at = seconds(nowInSeconds_ms());
  const fields: Row = {
    ...custom,
    name: given['name'] ?? null,
    disk_format: given['disk_format'] ?? null,
    container_format: given['container_format'] ?? null,
    visibility: given['visibility'] ?? 'shared',
    size: null,
    virtual_size: null,
    status: 'queued',
    checksum: null,
    protected: given['protected'] ?? false,
    min_ram: given['min_ram'] ?? 0,
    min_disk: given['min_disk'] ?? 0,
    owner,
    os_hidden: given['os_hidden'] ?? false,
    os_hash_algo: null,
    os_hash_value: null,
    id,
    created_at: at,
    updated_at: at,
    tags: given['tags'] ?? [],
  };
  const image: Image = { id, fields, data: undefined, members: new Map() };
  world.state.images.set(id, image);
  return image;
}

/** Gives a queued or saving image its bytes: it becomes active, with size and hashes. */
export function fillImage(image: Image, data: Buffer): void {
  image.data = data;
  Object.assign(image.fields, {
    status: 'active',
    size: data.length,
    virtual_size: data.length,
    checksum: createHash('md5').update(data).digest('hex'),
    os_hash_algo: 'sha512',
    os_hash_value: createHash('sha512').update(data).digest('hex'),
  });
  touch(image);
}

/** True where the project may see the image: its own, public, community, or shared with it. */
export function mayUseImage(image: Image, projectId: string, isAdmin: boolean): boolean {
  const { visibility, owner } = image.fields;
  return (
    isAdmin ||
    owner === projectId ||
    visibility === 'public' ||
    visibility === 'community' ||
    (visibility === 'shared' && image.members.has(projectId))
  );
}

function checkBody(given: Row): void {
  const refuse = (why: string): never => {
    throw new SimFault(400, `Provided object does not match schema 'image': ${why}`);
  };
  for (const [key, value] of Object.entries(given)) {
    if (fixed_fields.has(key) && key !== 'id' && key !== 'owner')
      throw new SimFault(403, `Attribute '${key}' is read-only.`);
    if (!plain_fields.has(key) && typeof value !== 'string') refuse(`${JSON.stringify(value)} is not of type 'string'`);
  }
  if (given['id'] !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(textOf(given['id']))) {
    refuse(`'${textOf(given['id'])}' does not match the pattern of an id`);
  }
  const visibility = given['visibility'];
  if (visibility !== undefined && !['community', 'public', 'private', 'shared'].includes(textOf(visibility))) {
    refuse(`'${textOf(visibility)}' is not one of ['community', 'public', 'private', 'shared']`);
  }
}

function patch(image: Image, call: Call): Row {
  if (!/^application\/openstack-images-v2\.[01]-json-patch/.test(String(call.headers['content-type']))) {
    throw new SimFault(415, 'Unsupported Content-Type; use application/openstack-images-v2.1-json-patch');
  }
  const fields: Row = { ...image.fields };
  for (const operation of listOf(call.body).map(rowOf)) {
    const op = textOf(operation['op']);
    const key = textOf(operation['path']).slice(1).replaceAll('~1', '/').replaceAll('~0', '~');
    if (fixed_fields.has(key)) throw new SimFault(403, `Attribute '${key}' is read-only.`);
    if (op === 'remove' && plain_fields.has(key)) throw new SimFault(403, `Property ${key} may not be removed.`);
    if (op !== 'add' && !(key in fields)) {
      throw new SimFault(
        409,
        `There was a conflict when trying to complete your request.\n\n Property ${key} does not exist.`,
      );
    }
    if (op === 'remove') delete fields[key];
    else if (op === 'add' || op === 'replace') {
      checkBody({ [key]: operation['value'] ?? null });
      fields[key] = operation['value'] ?? null;
    } else throw new SimFault(400, `Operations must be one of add, replace, remove; not '${op}'.`);
  }
  for (const key of Object.keys(image.fields)) if (!(key in fields)) delete image.fields[key];
  Object.assign(image.fields, fields);
  touch(image);
  return view(image);
}

async function upload(image: Image, call: Call): Promise<Reply> {
  const status = textOf(image.fields['status']);
  if (status !== 'queued') throw new SimFault(409, `Image status transition from ${status} to saving is not allowed`);
  if (!String(call.headers['content-type']).startsWith('application/octet-stream')) {
    throw new SimFault(415, 'The request body must be application/octet-stream.');
  }
  image.fields['status'] = 'saving';
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of call.raw as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch {
    // A client that went away half-way leaves the image to be uploaded anew, as Glance does.
    image.fields['status'] = 'queued';
    throw new SimFault(400, 'Client disconnected before sending all data to backend');
  }
  fillImage(image, Buffer.concat(chunks));
  return { status: 204 };
}

function list(world: World, call: Call): Reply {
  const { query } = call;
  const visibility = query.get('visibility');
  const controls = new Set([
    'limit',
    'marker',
    'sort',
    'sort_key',
    'sort_dir',
    'visibility',
    'member_status',
    'tag',
    'os_hidden',
  ]);
  const filters = [...query.entries()].filter(([key]) => !controls.has(key));
  const [sortKey = 'created_at', sortDir = 'desc'] = query.get('sort')?.split(':') ?? [
    query.get('sort_key') ?? undefined,
    query.get('sort_dir') ?? undefined,
  ];
  const rows = [...world.state.images.values()]
    .filter((image) => {
      const { fields } = image;
      // Another project's community images show only when asked for.
      const isListed = fields['visibility'] !== 'community' || fields['owner'] === call.projectId;
      if (visibility === null && !isListed) return false;
      if (visibility !== null && visibility !== 'all' && fields['visibility'] !== visibility) return false;
      return (
        mayUseImage(image, call.projectId, call.isAdmin) &&
        (fields['os_hidden'] === true) === (query.get('os_hidden') === 'true') &&
        query.getAll('tag').every((tag) => textsOf(fields['tags']).includes(tag)) &&
        filters.every(([key, value]) =>
          value.startsWith('in:')
            ? value.slice(3).split(',').includes(String(fields[key]))
            : String(fields[key]) === value,
        )
      );
    })
    .map(view)
    .sort((left, right) => {
      const [one, other] = [
        `${String(left[sortKey])} ${textOf(left['id'])}`,
        `${String(right[sortKey])} ${textOf(right['id'])}`,
      ];
      return (one < other ? -1 : one > other ? 1 : 0) * (sortDir === 'desc' ? -1 : 1);
    });
  const limit = Math.min(Number(query.get('limit') ?? page_limit), page_maximum);
  if (!Number.isInteger(limit) || limit < 0) throw new SimFault(400, 'limit param must be an integer');
  const marker = query.get('marker');
  const at = marker === null ? -1 : rows.findIndex((row) => row['id'] === marker);
  if (marker !== null && at < 0) throw new SimFault(400, `Invalid marker. Image could not be found.`);
  const page = rows.slice(at + 1, at + 1 + limit);
  const first = new URLSearchParams(query);
  first.delete('marker');
  const body: Row = {
    images: page,
    first: `/v2/images${first.size > 0 ? `?${first}` : ''}`,
    schema: '/v2/schemas/images',
  };
  if (rows.length > at + 1 + limit && page.length > 0) {
    first.set('marker', textOf(page.at(-1)?.['id']));
    body['next'] = `/v2/images?${first}`;
  }
  return { status: 200, body };
}

function addMembers(service: Service, get: (call: Call) => Image): void {
  const member = (image: Image, id: string): Row => {
    const found = image.members.get(id);
    if (found === undefined) throw new SimFault(404, `${id} not found in the member list of the image ${image.id}.`);
    const at = seconds(found.at_ms);
    return {
      member_id: id,
      image_id: image.id,
      status: found.status,
      created_at: at,
      updated_at: at,
      schema: '/v2/schemas/member',
    };
  };
  route(service, 'GET', '/images/:id/members', (call) => {
    const image = get(call);
    const members = [...image.members.keys()].map((id) => member(image, id));
    return { status: 200, body: { members, schema: '/v2/schemas/members' } };
  });
  route(service, 'GET', '/images/:id/members/:member', (call) => ({
    status: 200,
    body: member(get(call), call.params['member'] ?? ''),
  }));
  route(service, 'POST', '/images/:id/members', (call) => {
    const image = get(call);
    const id = textOf(rowOf(call.body)['member']);
    if (image.fields['visibility'] !== 'shared') throw new SimFault(403, 'Only shared images have members.');
    if (image.members.has(id)) throw new SimFault(409, `Member ${id} is duplicated for image ${image.id}`);
    image.members.set(id, { status: 'pending', at_ms: Date.now() });
    return { status: 200, body: member(image, id) };
  });
  route(service, 'PUT', '/images/:id/members/:member', (call) => {
    const image = get(call);
    const id = call.params['member'] ?? '';
    member(image, id);
    image.members.set(id, { status: textOf(rowOf(call.body)['status']), at_ms: Date.now() });
    return { status: 200, body: member(image, id) };
  });
  route(service, 'DELETE', '/images/:id/members/:member', (call) => {
    const image = get(call);
    member(image, call.params['member'] ?? '');
    image.members.delete(call.params['member'] ?? '');
    return { status: 204 };
  });
}

/** The image service, mounted on `/image/v2`. */
export function imageService(world: World): Service {
  const service: Service = {
    name: 'image',
    mount: '/image/v2',
    routes: [],
    renderFault: ({ status, message }) => ({
      status,
      text: `${status} ${titles[status] ?? (status === 401 ? 'Unauthorized' : 'Error')}\n\n${message}\n\n   `,
    }),
    unknownPath: { status: 404, text: '404 Not Found\n\nThe resource could not be found.\n\n   ' },
    forbidden: () => new SimFault(403, 'You are not authorized to complete this action.'),
  };
  const get = (call: Call): Image => {
    const image = world.state.images.get(call.params['id'] ?? '');
    if (image === undefined || !mayUseImage(image, call.projectId, call.isAdmin))
      throw imageMissing(call.params['id'] ?? '');
    return image;
  };
  const mine = (call: Call): Image => {
    const image = get(call);
    if (!call.isAdmin && image.fields['owner'] !== call.projectId) throw service.forbidden('');
    return image;
  };
  route(service, 'GET', '/images', (call) => list(world, call));
  route(service, 'POST', '/images', (call) => {
    const given = isRow(call.body) ? call.body : {};
    checkBody(given);
    const image = makeImage(world, (call.isAdmin && textOf(given['owner'])) || call.projectId, given);
    const location = `${world.root()}/image/v2/images/${image.id}`;
    return {
      status: 201,
      body: view(image),
      headers: { location, 'openstack-image-import-methods': 'glance-direct,web-download,copy-image' },
    };
  });
  route(service, 'GET', '/images/:id', (call) => ({ status: 200, body: view(get(call)) }));
  route(service, 'PATCH', '/images/:id', (call) => ({ status: 200, body: patch(mine(call), call) }));
  route(service, 'DELETE', '/images/:id', (call) => {
    const image = mine(call);
    if (image.fields['protected'] === true)
      throw new SimFault(403, `Image ${image.id} is protected and cannot be deleted.`);
    world.state.images.delete(image.id);
    return { status: 204 };
  });
  route(service, 'PUT', '/images/:id/file', (call) => upload(mine(call), call), { stream: true });
  route(service, 'GET', '/images/:id/file', (call) => {
    const image = get(call);
    if (image.data === undefined) return { status: 204 };
    const headers = { 'content-type': 'application/octet-stream', 'content-md5': textOf(image.fields['checksum']) };
    return { status: 200, bytes: image.data, headers };
  });
  route(service, 'GET', '/info/stores', () => {
    throw new SimFault(404, 'Multi backend is not supported at this site.');
  });
  route(service, 'GET', '/info/import', () => ({
    status: 200,
    body: {
      'import-methods': {
        description: 'Import methods available.',
        type: 'array',
        value: ['glance-direct', 'web-download', 'copy-image'],
      },
    },
  }));
  for (const isAdding of [true, false]) {
    route(service, isAdding ? 'PUT' : 'DELETE', '/images/:id/tags/:tag', (call) => {
      const image = mine(call);
      const others = textsOf(image.fields['tags']).filter((one) => one !== call.params['tag']);
      image.fields['tags'] = isAdding ? [...others, call.params['tag'] ?? ''] : others;
      touch(image);
      return { status: 204 };
    });
  }
  addMembers(service, mine);
  return service;
}
