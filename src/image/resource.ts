/** The image: its fields, its rules, and its rows. */
import { Type } from 'typebox';
import type { PolicyRule } from '../http/service.ts';
import { computed, field, nullable, resource, type Row, Timestamp } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';

export const VISIBILITIES = ['community', 'public', 'private', 'shared'] as const;
export const STATUSES = [
  'queued',
  'saving',
  'active',
  'killed',
  'deleted',
  'uploading',
  'importing',
  'pending_delete',
  'deactivated',
] as const;
export const DISK_FORMATS = 'ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop'.split(' ');
export const CONTAINER_FORMATS = 'ami ari aki bare ovf ova docker compressed'.split(' ');

/** The parent's own store, beside one for each child. */
export const LOCAL_STORE = 'local';

type Shown = Readonly<Record<string, unknown>>;

/** Columns that sort hold '' for what Glance shows as null. */
const blankAsNull = (key: string) =>
  computed<Shown>((row) => (row[key] === '' ? null : row[key]), { name: key, show: 'always' });
const hidden = { column: true, show: 'never' } as const;
const listed = (key: string, name: string) =>
  computed<Shown>((row) => ((row[key] as string[]).length === 0 ? undefined : (row[key] as string[]).join(',')), {
    name,
    show: 'always',
  });

export const image = resource({
  name: 'image',
  table: 'images',
  unknownAttributes: 'keep',
  fields: {
    name: field(Type.String(), { ...hidden, sort: true, default: '' }),
    shown_name: blankAsNull('name'),
    disk_format: field(Type.String(), { ...hidden, sort: true, default: '' }),
    shown_disk_format: blankAsNull('disk_format'),
    container_format: field(Type.String(), { ...hidden, sort: true, default: '' }),
    shown_container_format: blankAsNull('container_format'),
    visibility: field(Type.Enum(VISIBILITIES), { column: true, show: 'always', default: 'shared' }),
    size: field(Type.Integer(), { ...hidden, sort: true, default: -1 }),
    shown_size: computed<Shown>((row) => (row.size === -1 ? null : row.size), { name: 'size', show: 'always' }),
    virtual_size: field(nullable(Type.Integer()), { show: 'always', default: null }),
    status: field(Type.Enum(STATUSES), { column: true, sort: true, show: 'always', default: 'queued' }),
    checksum: field(nullable(Type.String()), { column: true, show: 'always' }),
    protected: field(Type.Boolean(), { column: true, show: 'always', default: false }),
    min_ram: field(Type.Integer(), { column: true, show: 'always', default: 0, description: 'MiB' }),
    min_disk: field(Type.Integer(), { column: true, show: 'always', default: 0, description: 'GiB' }),
    project_id: field(Type.String(), { name: 'owner', show: 'always' }),
    os_hidden: field(Type.Boolean(), { column: true, show: 'always', default: false }),
    os_hash_algo: field(nullable(Type.String()), { show: 'always', default: null }),
    os_hash_value: field(nullable(Type.String()), { column: true, show: 'always' }),
    id: field(Type.String(), { sort: true, show: 'always' }),
    created_at: field(Timestamp, { sort: true, show: 'always' }),
    updated_at: field(Timestamp, { sort: true, show: 'always' }),
    tags: field(Type.Array(Type.String()), { column: true, show: 'always', default: [] }),
    self: computed<Shown>((row) => `/v2/images/${String(row.id)}`, { show: 'always' }),
    file: computed<Shown>((row) => `/v2/images/${String(row.id)}/file`, { show: 'always' }),
    schema: computed(() => '/v2/schemas/image', { show: 'always' }),
    stores: field(Type.Array(Type.String()), { ...hidden, default: [] }),
    shown_stores: listed('stores', 'stores'),
    importing: field(Type.Array(Type.String()), { ...hidden, default: [] }),
    shown_importing: listed('importing', 'os_glance_importing_to_stores'),
    failed_import: field(Type.Array(Type.String()), { ...hidden, default: [] }),
    shown_failed_import: listed('failed_import', 'os_glance_failed_import'),
    extra: field(Type.Record(Type.String(), Type.String()), {
      ...hidden,
      default: {},
      description: 'Custom properties',
    }),
    local_file: field(Type.String(), { ...hidden, default: '' }),
    upload_claim: field(Type.String(), { ...hidden, default: '' }),
    origin_child: field(Type.String(), { ...hidden, default: '' }),
  },
});

export type ImageRow = Row<typeof image>;
export const images = createStore<typeof image, ImageRow>(image);

const mine = 'project_id:%(project_id)s';
const visible = `${mine} or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s`;
const member = `role:admin or (role:member and ${mine})`;
const reader = `role:admin or (role:reader and ${mine})`;
const memberReader = `role:admin or (role:reader and (${mine} or project_id:%(member_id)s))`;
const rule = (name: string, check: string, description: string): PolicyRule => ({ name, check, description });

/** Glance's rules, under its names. */
export const rules = {
  add: rule('add_image', `role:admin or (role:member and ${mine} and project_id:%(owner)s)`, 'Create an image'),
  remove: rule('delete_image', member, 'Delete an image'),
  show: rule('get_image', `role:admin or (role:reader and (${visible}))`, 'Show an image'),
  list: rule('get_images', reader, 'List images'),
  modify: rule('modify_image', member, 'Change an image'),
  publicize: rule('publicize_image', 'role:admin', 'Make an image public'),
  communitize: rule('communitize_image', member, 'Make an image a community image'),
  download: rule('download_image', `role:admin or (role:member and (${visible}))`, 'Download the data of an image'),
  upload: rule('upload_image', member, 'Upload the data of an image'),
  addMember: rule('add_member', member, 'Share an image'),
  removeMember: rule('delete_member', member, 'Stop sharing an image'),
  showMember: rule('get_member', memberReader, 'Show a member of an image'),
  listMembers: rule('get_members', memberReader, 'List the members of an image'),
  modifyMember: rule(
    'modify_member',
    'role:admin or (role:member and project_id:%(member_id)s)',
    'Accept or reject an image that is shared',
  ),
  deactivate: rule('deactivate', member, 'Deactivate an image'),
  reactivate: rule('reactivate', member, 'Reactivate an image'),
  copy: rule('copy_image', 'role:admin', 'Copy an image to more stores'),
  tasks: rule('tasks_api_access', 'role:admin', 'Use the task API'),
  anyone: rule('public', '@', 'Everybody'),
} as const;
