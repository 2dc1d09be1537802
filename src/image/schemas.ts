/** The schema documents that clients fetch, and the schema that bodies are held against: the same ones. */
import { type TSchema, Type } from 'typebox';
import { type Operation, operation } from '../http/service.ts';
import { CONTAINER_FORMATS, DISK_FORMATS, rules, STATUSES, VISIBILITIES } from './resource.ts';

const UUID = '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$';
const INTEGER_MAX = 2_147_483_647;
const PROPERTY_MAX_CHARACTERS = 65_535;

const text = (description: string, more: object = {}) => ({ type: 'string', description, ...more });
const shown = (description: string, more: object = {}) => text(description, { readOnly: true, ...more });
const orNull = (description: string, more: object = {}) => ({ type: ['null', 'string'], description, ...more });
const extra = (description: string, more: object = {}) => text(description, { is_base: false, ...more });

/** Attributes of every image. */
const BASE = {
  id: text('The id of the image', { pattern: UUID }),
  name: orNull('A name for people', { maxLength: 255 }),
  status: shown('How far the image is', { enum: STATUSES }),
  visibility: text('Who may use the image', { enum: VISIBILITIES }),
  protected: { type: 'boolean', description: 'Whether the image is safe from deletion.' },
  os_hidden: { type: 'boolean', description: 'Whether lists leave the image out unless asked for it.' },
  checksum: orNull('MD5 of the data.', { readOnly: true, maxLength: 32 }),
  os_hash_algo: orNull('The algorithm of os_hash_value', { readOnly: true, maxLength: 64 }),
  os_hash_value: orNull('Hash of the data, in hexadecimal.', { readOnly: true, maxLength: 128 }),
  owner: orNull('The project that owns the image', { maxLength: 255 }),
  size: { type: ['null', 'integer'], readOnly: true, description: 'Size of the data in bytes' },
  virtual_size: { type: ['null', 'integer'], readOnly: true, description: 'Size of the disk within in bytes' },
  container_format: orNull('What the data is wrapped in', { enum: [null, ...CONTAINER_FORMATS] }),
  disk_format: orNull('The format of the disk', { enum: [null, ...DISK_FORMATS] }),
  created_at: shown('When the image was registered'),
  updated_at: shown('When the image was last changed'),
  tags: { type: 'array', description: 'Words to find the image by', items: { type: 'string', maxLength: 255 } },
  direct_url: shown('Where a store keeps the data'),
  min_ram: { type: 'integer', description: 'Memory (MiB) that a server needs for it.', maximum: INTEGER_MAX },
  min_disk: { type: 'integer', description: 'Disk (GiB) that a server needs for it.', maximum: INTEGER_MAX },
  self: shown('URL of the image'),
  file: shown('URL of its data'),
  stores: shown('The stores that have the data, separated by commas.'),
  schema: shown('URL of this schema'),
};

const WELL_KNOWN = {
  kernel_id: { ...orNull('Image with the kernel of an AMI', { pattern: UUID }), is_base: false },
  ramdisk_id: { ...orNull('Image with the RAM disk of an AMI', { pattern: UUID }), is_base: false },
  instance_uuid: extra('The server that the image was made from'),
  architecture: extra('Processor architecture of the operating system'),
  os_distro: extra('Common name of the operating system'),
  os_version: extra('Version of the operating system'),
  description: extra('What the image is, for people'),
};

const IMAGE = {
  name: 'image',
  properties: { ...BASE, ...WELL_KNOWN },
  additionalProperties: { type: 'string' },
  links: [
    { rel: 'self', href: '{self}' },
    { rel: 'enclosure', href: '{file}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};

const MEMBER = {
  name: 'member',
  properties: {
    member_id: text('The project that the image is shared with'),
    image_id: text('The id of the image', { pattern: UUID }),
    created_at: text('When it was shared'),
    updated_at: text('When the project answered'),
    status: text('What the project answered', { enum: ['pending', 'accepted', 'rejected'] }),
    schema: shown('URL of this schema'),
  },
};

const TASK = {
  name: 'task',
  properties: {
    id: text('The id of the task', { pattern: UUID }),
    type: text('What it does', { enum: ['import', 'api_image_import'] }),
    status: text('How far it is', { enum: ['pending', 'processing', 'success', 'failure'] }),
    owner: text('The project of the task'),
  },
};

const listOf = (name: string, item: object, paged: boolean) => ({
  name,
  properties: {
    [name]: { type: 'array', items: item },
    ...(paged ? { first: { type: 'string' }, next: { type: 'string' } } : {}),
    schema: { type: 'string' },
  },
  links: [
    ...(paged
      ? [
          { rel: 'first', href: '{first}' },
          { rel: 'next', href: '{next}' },
        ]
      : []),
    { rel: 'describedby', href: '{schema}' },
  ],
});

const DOCUMENTS: Readonly<Record<string, object>> = {
  image: IMAGE,
  images: listOf('images', IMAGE, true),
  member: MEMBER,
  members: listOf('members', MEMBER, false),
  task: TASK,
  tasks: listOf('tasks', TASK, false),
};

/** What a body that creates an image, or one changed attribute of it, must fit. */
export const imageBody: TSchema = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  properties: { ...BASE, ...WELL_KNOWN },
  additionalProperties: { type: 'string', maxLength: PROPERTY_MAX_CHARACTERS },
});

/** `GET /v2/schemas/...`, one operation a document. */
export const schemaOperations = (): Operation[] =>
  Object.entries(DOCUMENTS).map(([name, document]) =>
    operation({
      method: 'GET',
      path: `/schemas/${name}`,
      policy: rules.anyone,
      status: 200,
      summary: `Show the schema of ${name}`,
      handle: async () => document,
    }),
  );
