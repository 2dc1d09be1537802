/** The server: its fields, and how each shows at which microversion. */
import { sql } from 'kysely';
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { Type } from 'typebox';
import { compute } from '../../http/conventions.ts';
import type { RequestContext } from '../../http/service.ts';
import {
  computed,
  field,
  nullable,
  resource,
  type BaseRow,
  type Resource,
  type RowOf,
  Timestamp,
} from '../../resource/resource.ts';
import { createRenderings } from '../../resource/rendered.ts';
import { createStore, type Store } from '../../resource/store.ts';
import type { KeptImage } from '../../image/server-images.ts';

/** The flavor as it was when the server got it: later changes and its deletion do not reach the server. */
export interface ServerFlavor {
  readonly id: string;
  readonly name: string;
  readonly vcpus: number;
  readonly ram: number;
  readonly disk: number;
  readonly ephemeral: number;
  readonly swap: number;
  readonly extra_specs: Readonly<Record<string, string>>;
}

export interface ServerFault {
  readonly code: number;
  readonly created: string;
  readonly message: string;
}

/** One address under its network's name, in Nova's own form. */
export interface ServerAddress {
  readonly version: 4 | 6;
  readonly addr: string;
  readonly 'OS-EXT-IPS:type': 'fixed' | 'floating';
  readonly 'OS-EXT-IPS-MAC:mac_addr': string;
}

/** A file that is put into a server, its contents in Base64. */
export interface InjectedFile {
  readonly path?: string;
  readonly contents?: string;
}

/** What is only needed to make the server in its child; gone once that is done. */
export interface BootRequest {
  readonly admin_pass: string | null;
  readonly block_devices: readonly BootDevice[];
  readonly personality: readonly InjectedFile[];
}

/** A block device of the boot in Nova's v2 form, with the parent's ids. */
export interface BootDevice {
  readonly source_type: 'volume' | 'image' | 'snapshot' | 'blank';
  readonly destination_type: 'volume' | 'local';
  readonly uuid: string | null;
  readonly boot_index: number | null;
  readonly volume_size: number | null;
  readonly delete_on_termination: boolean;
  readonly rest: Readonly<Record<string, unknown>>;
}

/** Something asked of the child, kept until it was carried out there. */
export interface PendingAction {
  readonly key: string;
  /** The body's key in Nova's action, or one of `attach_volume`, `detach_volume`, `attach_interface`, `detach_interface`. */
  readonly action: string;
  /** In Nova's form, with the parent's ids. */
  readonly body: unknown;
  readonly request_id: string;
  /** The record in `server_actions`. */
  readonly record_id: number;
  /** Whether it moves the server's states, so that a child's states read before do not count. */
  readonly stateful: boolean;
  /** Set, in a committed change, before it is sent: sent already once, its answer may have been lost. */
  readonly sent_at: string | null;
}

/** Where a server is shelved that is coming up in another child: there it goes on waiting if it cannot. */
export interface ServerOrigin {
  readonly child: string;
  readonly child_id: string;
  readonly zone: string;
  readonly pinned_zone: string | null;
  readonly facts_pushed: number;
  /** Whether the image that it waits in is brought to the new child for it alone. */
  readonly brings_image: boolean;
}

export interface ResizeState {
  readonly from: ServerFlavor;
  readonly to: ServerFlavor;
}

const hidden = { show: 'never' } as const;
const hiddenColumn = { show: 'never', column: true } as const;
/** Sorted by as MySQL sorts: what is not known comes first. */
const textInBody = (key: string) => sql`coalesce(body->>${sql.lit(key)}, '')`;
const numberInBody = (key: string) => sql`coalesce((body->>${sql.lit(key)})::integer, 0)`;
const moment = (column: string) => sql`coalesce(${sql.ref(column)}, '-infinity'::timestamptz)`;
const text = Type.String();
const textOrNull = nullable(Type.String());
const momentColumn = { show: 'never', column: true } as const;

const stored = {
  id: field(text, { show: 'always' }),
  name: field(text, { show: 'always', column: true, sort: true }),
  project_id: field(text, { name: 'tenant_id', show: 'detail', sort: true }),
  user_id: field(text, { column: true, sort: true }),
  status: field(text, hiddenColumn),
  vm_state: field(text, { name: 'OS-EXT-STS:vm_state', column: true, sort: true }),
  task_state: field(textOrNull, {
    name: 'OS-EXT-STS:task_state',
    column: true,
    sort: sql`coalesce(task_state, '')`,
  }),
  power_state: field(Type.Integer(), { name: 'OS-EXT-STS:power_state', column: true, sort: true }),
  zone: field(text, { name: 'OS-EXT-AZ:availability_zone', column: true, sort: true }),
  created_at: field(Timestamp, { name: 'created' }),
  updated_at: field(Timestamp, { name: 'updated' }),
  metadata: field(Type.Unsafe<Record<string, string>>({ type: 'object' }), { default: {} }),
  access_ip_v4: field(text, { name: 'accessIPv4', default: '', sort: textInBody('access_ip_v4') }),
  access_ip_v6: field(text, { name: 'accessIPv6', default: '', sort: textInBody('access_ip_v6') }),
  disk_config: field(text, {
    name: 'OS-DCF:diskConfig',
    default: 'MANUAL',
    sort: sql`(${textInBody('disk_config')} = 'AUTO')`,
  }),
  config_drive: field(text, { default: '', sort: textInBody('config_drive') }),
  volumes: field(Type.Unsafe<{ id: string; delete_on_termination: boolean }[]>({ type: 'array' }), {
    ...hidden,
    default: [],
  }),
  locked: field(Type.Boolean(), { since: 9, column: true, sort: true }),
  locked_reason: field(textOrNull, { since: 73, default: null }),
  /** `owner` or `admin`: whoever locked it unlocks it. */
  locked_by: field(textOrNull, { ...hidden, default: null, sort: textInBody('locked_by') }),
  description: field(textOrNull, { since: 19, default: null, sort: textInBody('description') }),
  tags: field(Type.Array(text), { since: 26, column: true }),
  trusted_image_certificates: field(nullable(Type.Array(text)), { since: 63, default: null }),
  pinned_zone: field(textOrNull, { name: 'pinned_availability_zone', since: 96, default: null }),
  key_name: field(text, { ...hiddenColumn, sort: true }),
  key_id: field(textOrNull, { ...hidden, default: null }),
  hostname: field(text, { ...hiddenColumn, sort: true }),
  child: field(textOrNull, {
    ...hiddenColumn,
    sort: sql`case when vm_state = 'shelved_offloaded' then '' else coalesce(child, '') end`,
  }),
  child_id: field(textOrNull, hiddenColumn),
  flavor_id: field(text, { ...hiddenColumn, sort: true }),
  image_id: field(text, { ...hiddenColumn, sort: true }),
  /** The image that was named for a server which boots from a volume all the same; shown, and nothing more. */
  image_ref: field(text, { ...hidden, default: '' }),
  /** The volume that the server boots from, where it does. */
  root_volume: field(textOrNull, { ...hidden, default: null }),
  /** Properties that images of the server are given: those of the image it was made of, and who made it. */
  inherited: field(Type.Unsafe<Record<string, string>>({ type: 'object' }), { ...hidden, default: {} }),
  reservation_id: field(text, hiddenColumn),
  launch_index: field(Type.Integer(), { ...hidden, default: 0, sort: numberInBody('launch_index') }),
  root_device_name: field(textOrNull, { ...hidden, default: null, sort: textInBody('root_device_name') }),
  user_data: field(textOrNull, { ...hidden, default: null }),
  flavor_copy: field(Type.Unsafe<ServerFlavor>({ type: 'object' }), hidden),
  address_list: field(Type.Unsafe<Record<string, ServerAddress[]>>({ type: 'object' }), { ...hidden, default: {} }),
  groups: field(Type.Array(text), { ...hidden, default: [] }),
  ips: field(Type.Array(text), hiddenColumn),
  fault_record: field(Type.Unsafe<ServerFault | null>({ type: 'object' }), { ...hidden, default: null }),
  percent: field(Type.Integer(), { ...hidden, default: 0, sort: numberInBody('percent') }),
  launched_at: field(nullable(Timestamp), { ...momentColumn, sort: moment('launched_at') }),
  terminated_at: field(nullable(Timestamp), { ...momentColumn, sort: moment('terminated_at') }),
  deleted_at: field(nullable(Timestamp), momentColumn),
  attention: field(Type.Boolean(), hiddenColumn),
  create_sent_at: field(nullable(Timestamp), momentColumn),
  delete_sent_at: field(nullable(Timestamp), momentColumn),
  acted_at: field(nullable(Timestamp), momentColumn),
  boot: field(Type.Unsafe<BootRequest | null>({ type: 'object' }), { ...hidden, default: null }),
  pending: field(Type.Unsafe<PendingAction[]>({ type: 'array' }), { ...hidden, default: [] }),
  resize: field(Type.Unsafe<ResizeState | null>({ type: 'object' }), { ...hidden, default: null }),
  /** The image that a shelved server waits in. */
  shelved_image: field(textOrNull, { ...hidden, default: null }),
  /** The image's copy that a server which moved here was made of: its child makes it of that again where a host fails. */
  kept_image: field(Type.Unsafe<KeptImage | null>({ type: 'object' }), { ...hidden, default: null }),
  /** Set while the server moves: `child` is where it goes, this is where it comes from. */
  origin: field(Type.Unsafe<ServerOrigin | null>({ type: 'object' }), { ...hidden, default: null }),
  /** The disks that were asked for beside volumes, for when the server is made anew in another child. */
  disks: field(Type.Unsafe<BootDevice[]>({ type: 'array' }), { ...hidden, default: [] }),
  /** Counts changes of name, description, hostname, metadata and tags; `facts_pushed` is the count the child has. */
  facts: field(Type.Integer(), { ...hidden, default: 0 }),
  facts_pushed: field(Type.Integer(), { ...hidden, default: 0 }),
} as const;

export type ServerRow = BaseRow & RowOf<typeof stored>;

export const EXTENDED_RULE = {
  name: 'os_compute_api:os-extended-server-attributes',
  check: 'rule:admin',
  description: 'See where a server is and what the operator knows of it',
};
const EXTENDED = `rule:${EXTENDED_RULE.name}`;
export const EXTRA_SPECS_RULE = {
  name: 'os_compute_api:servers:show:flavor-extra-specs',
  check: 'rule:project_reader_or_admin',
  description: "See the extra specs of a server's flavor",
};

const WITH_PROGRESS = new Set(['ACTIVE', 'BUILD', 'REBUILD', 'RESIZE', 'VERIFY_RESIZE', 'MIGRATING']);
const deletedOr = (row: ServerRow): string => (row.deleted_at === null ? row.status : 'DELETED');

/** Where a server is, so that its own tenant can tell two hosts apart and nobody else learns anything. */
export function hostIdOf(projectId: string, child: string | null): string {
  return child === null ? '' : createHash('sha224').update(`${projectId}${child}`).digest('hex');
}

/** The host that a server is on: one that waits in an image is on none. */
const hostOf = (row: ServerRow): string | null => (row.vm_state === 'shelved_offloaded' ? null : row.child);

/** The first host-name a server's name makes, as Nova sanitises it. */
export function hostnameOf(name: string, fallback: string): string {
  const clean = name
    .normalize('NFKD')
    .replace(/[^\x20-\x7e]/g, '')
    .replaceAll(/[ _.]/g, '-')
    .replaceAll(/[^\w-]+/g, '')
    .toLowerCase()
    .replace(/^[.-]+|[.-]+$/g, '')
    .slice(0, 63)
    .replace(/[.-]+$/, '');
  return clean === '' ? fallback : clean;
}

/** An IPv6 address as RFC 5952 writes it, which is how Nova keeps those that tenants give; anything else as it is. */
export function canonicalIp(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}

/** The volume that a server boots from, where it does. */
export const rootVolumeOf = (row: ServerRow): string | undefined =>
  row.image_id === '' ? (row.root_volume ?? row.volumes[0]?.id) : undefined;

/** What names other objects or holds for one image alone, and is not handed on to images of its servers. */
const NOT_INHERITED =
  /^(mappings|block_device_mapping|img_mappings|img_block_device_mapping|bdm_v2|root_device_name|cache_in_nova|bittorrent|cinder_encryption_key_id|cinder_encryption_key_deletion_policy|img_signature|img_signature_hash_method|img_signature_key_type|img_signature_certificate_uuid|os_glance.*)$/;
/** Attributes of an image that Cinder keeps among its properties. */
const IMAGE_ATTRIBUTES = new Set(
  'image_id image_name size checksum container_format disk_format min_ram min_disk'.split(' '),
);
const PROPERTY_MAX = 255;

/** What a server keeps of the properties of what it boots from. */
export const keptProperties = (properties: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(properties).flatMap(([name, value]) =>
      NOT_INHERITED.test(name) || IMAGE_ATTRIBUTES.has(name) ? [] : [[name, value.slice(0, PROPERTY_MAX)]],
    ),
  );

/** Properties that every image of the server gets. */
export const inheritedProperties = (row: ServerRow): Record<string, string> => ({
  base_image_ref: row.image_id || row.image_ref,
  ...row.inherited,
});

/** Links to a server, below the versioned and the unversioned root. */
export function linksOf(context: RequestContext, collection: string, id: string): { rel: string; href: string }[] {
  return [{ rel: 'self', href: `${context.baseUrl}/${collection}/${id}` }, bookmark(context, collection, id)];
}

function bookmark(context: RequestContext, collection: string, id: string): { rel: string; href: string } {
  return { rel: 'bookmark', href: `${context.publicUrl}/compute/${collection}/${id}` };
}

const instanceName = (row: ServerRow): string => `instance-${row.id.slice(0, 8)}`;
/** Nova writes these two with microseconds and no zone. */
const withMicroseconds = (iso: string | null): string | null => (iso === null ? null : iso.replace(/Z$/, ''));

export const server: Resource = resource({
  name: 'server',
  table: 'servers',
  asks: [EXTRA_SPECS_RULE.name],
  fields: {
    ...stored,
    shown_status: computed<ServerRow>(deletedOr, { name: 'status' }),
    links: computed<ServerRow>((row, context) => linksOf(context, 'servers', row.id), { show: 'always' }),
    hostId: computed<ServerRow>((row) => hostIdOf(row.project_id, hostOf(row))),
    image: computed<ServerRow>((row, context) => {
      const id = row.image_id || row.image_ref;
      return id === '' ? '' : { id, links: [bookmark(context, 'images', id)] };
    }),
    flavor: computed<ServerRow>(
      (row, context) => ({ id: row.flavor_id, links: [bookmark(context, 'flavors', row.flavor_id)] }),
      { until: 46 },
    ),
    flavor_embedded: computed<ServerRow>(
      ({ flavor_copy: { vcpus, ram, disk, ephemeral, swap, name, extra_specs } }, context) => ({
        vcpus,
        ram,
        disk,
        ephemeral,
        swap,
        original_name: name,
        ...(context.allowed(EXTRA_SPECS_RULE.name) ? { extra_specs } : {}),
      }),
      { name: 'flavor', since: 47 },
    ),
    addresses: computed<ServerRow>((row) => (row.vm_state === 'building' ? {} : row.address_list)),
    security_groups: computed<ServerRow>((row) =>
      row.groups.length === 0 ? undefined : row.groups.map((name) => ({ name })),
    ),
    key: computed<ServerRow>((row) => (row.key_name === '' ? null : row.key_name), { name: 'key_name' }),
    fault: computed<ServerRow>((row) =>
      ['ERROR', 'DELETED'].includes(deletedOr(row)) ? (row.fault_record ?? undefined) : undefined,
    ),
    progress: computed<ServerRow>((row) => (WITH_PROGRESS.has(deletedOr(row)) ? row.percent : undefined)),
    launched: computed<ServerRow>((row) => withMicroseconds(row.launched_at), { name: 'OS-SRV-USG:launched_at' }),
    terminated: computed<ServerRow>((row) => withMicroseconds(row.terminated_at), { name: 'OS-SRV-USG:terminated_at' }),
    volumes_attached_2_1: computed<ServerRow>((row) => row.volumes.map(({ id }) => ({ id })), {
      name: 'os-extended-volumes:volumes_attached',
      until: 2,
    }),
    volumes_attached: computed<ServerRow>((row) => row.volumes, {
      name: 'os-extended-volumes:volumes_attached',
      since: 3,
    }),
    ext_host: computed<ServerRow>(hostOf, { name: 'OS-EXT-SRV-ATTR:host', visibleTo: EXTENDED }),
    ext_node: computed<ServerRow>(hostOf, {
      name: 'OS-EXT-SRV-ATTR:hypervisor_hostname',
      visibleTo: EXTENDED,
    }),
    ext_name: computed<ServerRow>(instanceName, { name: 'OS-EXT-SRV-ATTR:instance_name', visibleTo: EXTENDED }),
    ext_reservation: computed<ServerRow>((row) => row.reservation_id, {
      name: 'OS-EXT-SRV-ATTR:reservation_id',
      since: 3,
      visibleTo: EXTENDED,
    }),
    ext_index: computed<ServerRow>((row) => row.launch_index, {
      name: 'OS-EXT-SRV-ATTR:launch_index',
      since: 3,
      visibleTo: EXTENDED,
    }),
    ext_hostname: computed<ServerRow>((row) => row.hostname, {
      name: 'OS-EXT-SRV-ATTR:hostname',
      since: 3,
      until: 89,
      visibleTo: EXTENDED,
    }),
    shown_hostname: computed<ServerRow>((row) => row.hostname, { name: 'OS-EXT-SRV-ATTR:hostname', since: 90 }),
    ext_kernel: computed<ServerRow>(() => '', {
      name: 'OS-EXT-SRV-ATTR:kernel_id',
      since: 3,
      visibleTo: EXTENDED,
    }),
    ext_ramdisk: computed<ServerRow>(() => '', {
      name: 'OS-EXT-SRV-ATTR:ramdisk_id',
      since: 3,
      visibleTo: EXTENDED,
    }),
    ext_root: computed<ServerRow>((row) => row.root_device_name, {
      name: 'OS-EXT-SRV-ATTR:root_device_name',
      since: 3,
      visibleTo: EXTENDED,
    }),
    ext_user_data: computed<ServerRow>((row) => row.user_data, {
      name: 'OS-EXT-SRV-ATTR:user_data',
      since: 3,
      visibleTo: EXTENDED,
    }),
  },
});

declare module '../../db/tables.ts' {
  interface Tables {
    servers: ServerRow & { body: Record<string, unknown> };
  }
}

export const serverStore: Store<ServerRow> = createStore<typeof server, ServerRow>(server);
export const serverRenderings = createRenderings(serverStore, compute);
