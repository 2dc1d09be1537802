/** What the rest of Cinder's API shows: its services (one cinder-volume a child), zones, pools, extensions, messages. */
import { Type } from 'typebox';
import type { Cascade, ChildState, ProxyService } from '../cascade/contract.ts';
import type { Db } from '../db/database.ts';
import { badRequest, notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { nullable } from '../resource/resource.ts';
import { administers, everyone, reads } from './rules.ts';
import { isTrue } from './shapes.ts';
import { snapshot } from './snapshot/snapshot.ts';
import { hostOf, volume } from './volume/volume.ts';
import { isStored, type Resource } from '../resource/resource.ts';

const BINARY = 'cinder-volume';

const Change = Type.Object(
  {
    host: Type.String({ minLength: 1, maxLength: 255 }),
    binary: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    service: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    disabled_reason: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 255 }))),
  },
  { additionalProperties: false },
);

const EXTENSIONS = [
  ['AdminActions', 'os-admin-actions', 'Enable admin actions.', '2012-08-25T00:00:00+00:00'],
  ['AvailabilityZones', 'os-availability-zone', 'Describe Availability Zones.', '2013-06-27T00:00:00+00:00'],
  [
    'ExtendedSnapshotAttributes',
    'os-extended-snapshot-attributes',
    'Extended SnapshotAttributes support.',
    '2012-06-19T00:00:00+00:00',
  ],
  ['QuotaClasses', 'os-quota-class-sets', 'Quota classes management support.', '2012-03-12T00:00:00+00:00'],
  ['Quotas', 'os-quota-sets', 'Quota management support.', '2011-08-08T00:00:00+00:00'],
  ['SchedulerStats', 'scheduler-stats', 'Scheduler stats support.', '2014-09-07T00:00:00+00:00'],
  ['Services', 'os-services', 'Services support.', '2012-10-28T00:00:00-00:00'],
  ['TypesExtraSpecs', 'os-types-extra-specs', 'Type extra specs support.', '2011-08-24T00:00:00+00:00'],
  ['TypesManage', 'os-types-manage', 'Types manage support.', '2011-08-24T00:00:00+00:00'],
  [
    'UsedLimits',
    'os-used-limits',
    'Provide data on limited resources that are being used.',
    '2013-10-03T00:00:00+00:00',
  ],
  ['VolumeActions', 'os-volume-actions', 'Enable volume actions.', '2012-05-31T00:00:00+00:00'],
  ['VolumeHostAttribute', 'os-vol-host-attr', 'Expose host as an attribute of a volume.', '2011-11-03T00:00:00+00:00'],
  [
    'VolumeImageMetadata',
    'os-vol-image-meta',
    'Show image metadata associated with the volume.',
    '2012-12-07T00:00:00+00:00',
  ],
  [
    'VolumeTenantAttribute',
    'os-vol-tenant-attr',
    'Expose the internal project_id as an attribute of a volume.',
    '2011-11-03T00:00:00+00:00',
  ],
  ['VolumeTypeAccess', 'os-volume-type-access', 'Volume type access support.', '2014-06-26T00:00:00Z'],
].map(([name, alias, description, updated]) => ({ name, alias, description, updated, links: [] }));

interface AdminCore {
  readonly db: Db;
  readonly cascade: Cascade;
}

export function adminOperations(core: AdminCore): Operation[] {
  const { db, cascade } = core;
  return [
    ...serviceOperations(core),
    ...attachmentOperations(db),
    operation({
      method: 'GET',
      path: '/os-availability-zone',
      policy: everyone('volume:availability_zone_list'),
      status: 200,
      summary: 'List availability zones',
      handle: async () => {
        const zones = await cascade.zones(db.query);
        return {
          availabilityZoneInfo: zones.map(({ name, available }) => ({ zoneName: name, zoneState: { available } })),
        };
      },
    }),
    operation({
      method: 'GET',
      path: '/scheduler-stats/get_pools',
      policy: administers('scheduler_extension:scheduler_stats:get_pools'),
      status: 200,
      summary: 'List the pools that volumes are placed in: one for each child',
      handle: async ({ query }) => {
        const children = await cascade.children(db.query);
        const isDetailed = isTrue([query.detail ?? ''].flat()[0]);
        const pools = children.map((child) => ({
          name: hostOf(child.name),
          ...(isDetailed ? { capabilities: capabilities(child) } : {}),
        }));
        return { pools };
      },
    }),
    operation({
      method: 'GET',
      path: '/extensions',
      policy: everyone('volume:extensions'),
      status: 200,
      summary: 'List extensions',
      handle: async () => ({ extensions: EXTENSIONS }),
    }),
    operation({
      method: 'GET',
      path: '/extensions/:alias',
      policy: everyone('volume:extensions'),
      status: 200,
      summary: 'Show an extension',
      handle: async ({ params }) => {
        const extension = EXTENSIONS.find(({ alias }) => alias === params.alias);
        if (extension === undefined) throw notFound(`No extension is known as ${params.alias ?? ''}.`);
        return { extension };
      },
    }),
    operation({
      method: 'GET',
      path: '/messages',
      policy: reads('message:get_all'),
      status: 200,
      since: 3,
      summary: 'List messages: there are none',
      handle: async () => ({ messages: [] }),
    }),
    operation({
      method: 'GET',
      path: '/resource_filters',
      policy: everyone('volume:resource_filters'),
      status: 200,
      since: 33,
      summary: 'List what lists can be filtered by',
      handle: async ({ query }) => {
        const asked = [query.resource ?? ''].flat()[0] ?? '';
        const described: Resource[] = [volume, snapshot];
        const filters = described.map((resource) => ({ resource: resource.name, filters: filtersOf(resource) }));
        return { resource_filters: filters.filter(({ resource }) => asked === '' || resource === asked) };
      },
    }),
  ];
}

function filtersOf(resource: Resource): string[] {
  const fields = Object.entries(resource.fields).filter(([, one]) => isStored(one) && one.filter !== undefined);
  return [...fields.map(([key]) => key), ...Object.keys(resource.filters).filter((name) => !name.endsWith('~'))];
}

/** How full a child's storage is, it does not tell; the words are those Cinder has for that. */
function capabilities(child: ChildState): Record<string, unknown> {
  return {
    pool_name: 'headwater',
    volume_backend_name: child.name,
    total_capacity_gb: 'unknown',
    free_capacity_gb: 'unknown',
    reserved_percentage: 0,
    thin_provisioning_support: true,
    thick_provisioning_support: false,
    multiattach: false,
    QoS_support: false,
    storage_protocol: 'unknown',
    vendor_name: 'Headwater',
    driver_version: '1.0',
    backend_state: child.up ? 'up' : 'down',
    timestamp: (child.seen_at ?? child.created_at).slice(0, 26),
  };
}

function serviceOperations({ db, cascade }: AdminCore): Operation[] {
  const change = (path: string, summary: string, enabled: boolean, withReason: boolean) =>
    operation<{ host: string; binary?: string; service?: string; disabled_reason?: string | null }>({
      method: 'PUT',
      path: `/os-services/${path}`,
      policy: administers('volume_extension:services:update'),
      body: Change,
      status: 200,
      summary,
      handle: async ({ body }) => {
        const binary = body.binary ?? body.service ?? '';
        const reason = body.disabled_reason ?? null;
        if (withReason && (reason === null || reason.trim() === '')) {
          throw badRequest('Missing required element disabled_reason in request body.');
        }
        const child = body.host.split('@')[0] as string;
        await db.transaction(async (tx) => {
          const known = await cascade.children(tx);
          if (binary !== BINARY || !known.some(({ name }) => name === child)) {
            throw notFound(`Service ${binary} could not be found on host ${body.host}.`);
          }
          await cascade.setProxy(tx, child, BINARY, { enabled, disabled_reason: withReason ? reason : null });
        });
        return {
          host: body.host,
          service: binary,
          binary,
          disabled: !enabled,
          status: enabled ? 'enabled' : 'disabled',
          ...(withReason ? { disabled_reason: reason } : {}),
        };
      },
    });

  return [
    operation({
      method: 'GET',
      path: '/os-services',
      policy: administers('volume_extension:services:index'),
      status: 200,
      summary: 'List services: a cinder-volume for each child, and the scheduler',
      handle: async ({ context, query }) => {
        const [children, proxies] = await Promise.all([cascade.children(db.query), cascade.proxies(db.query, BINARY)]);
        const shown = [
          ...children.map((child) =>
            proxyView(
              child,
              proxies.find((proxy) => proxy.child === child.name),
              context.version,
            ),
          ),
          schedulerView(context.version),
        ];
        const binary = [query.binary ?? query.service ?? ''].flat()[0] ?? '';
        const host = [query.host ?? ''].flat()[0] ?? '';
        return {
          services: shown.filter(
            (one) => (binary === '' || one.binary === binary) && (host === '' || one.host === host),
          ),
        };
      },
    }),
    change('enable', 'Place volumes in a child again', true, false),
    change('disable', 'Place no more volumes in a child', false, false),
    change('disable-log-reason', 'Place no more volumes in a child, and say why', false, true),
    operation({
      method: 'PUT',
      path: '/os-services/:service_action',
      policy: administers('volume_extension:services:update'),
      status: 200,
      summary: 'Refused: no other change of a service is served',
      handle: async () => {
        throw notFound('Unknown action');
      },
    }),
  ];
}

function proxyView(child: ChildState, proxy: ProxyService | undefined, version: number) {
  const isUp = child.up && proxy?.forced_down !== true;
  return {
    binary: BINARY,
    host: child.name,
    zone: Object.keys(child.zones)[0] ?? '',
    status: proxy?.enabled === false ? 'disabled' : 'enabled',
    state: isUp ? 'up' : 'down',
    updated_at: (child.seen_at ?? child.created_at).slice(0, 26),
    ...(version >= 49 ? { backend_state: isUp ? 'up' : 'down' } : {}),
    ...(version >= 7 ? { cluster: null } : {}),
    disabled_reason: proxy?.disabled_reason ?? null,
    replication_status: 'disabled',
    active_backend_id: null,
    frozen: false,
  };
}

function schedulerView(version: number) {
  return {
    binary: 'cinder-scheduler',
    host: 'headwater',
    zone: 'internal',
    status: 'enabled',
    state: 'up',
    updated_at: new Date().toISOString().replace('Z', '000'),
    ...(version >= 7 ? { cluster: null } : {}),
    disabled_reason: null,
  };
}

/** Attachments are made through servers; here they are only shown. */
function attachmentOperations(db: Db): Operation[] {
  const SINCE = 27;
  const MOST = 1000;
  const columns = ['id', 'volume_id', 'server_id', 'status', 'attached_at'] as const;
  interface Shown {
    readonly id: string;
    readonly volume_id: string;
    readonly server_id: string;
    readonly status: string;
    readonly attached_at: string | null;
  }
  const brief = ({ id, volume_id, server_id, status }: Shown) => ({ id, status, instance: server_id, volume_id });
  const detail = (row: Shown) => ({
    ...brief(row),
    attached_at: row.attached_at?.slice(0, 26) ?? '',
    detached_at: '',
    attach_mode: row.attached_at === null ? 'null' : 'rw',
    connection_info: {},
  });
  const listing = (path: string, view: (row: Shown) => unknown) =>
    operation({
      method: 'GET',
      path,
      policy: reads('volume:attachment_list'),
      status: 200,
      since: SINCE,
      summary: 'List attachments of volumes',
      handle: async ({ context, query }) => {
        const one = (name: string): string => [query[name] ?? ''].flat()[0] ?? '';
        const isAll = context.identity.isAdmin && isTrue(one('all_tenants'));
        let rows = db.query
          .selectFrom('volume_attachments')
          .select([...columns])
          .orderBy('created_at', 'desc')
          .orderBy('id', 'desc');
        if (!isAll) rows = rows.where('project_id', '=', context.identity.project?.id ?? '-');
        if (one('volume_id') !== '') rows = rows.where('volume_id', '=', one('volume_id'));
        if (one('instance_id') !== '') rows = rows.where('server_id', '=', one('instance_id'));
        if (one('status') !== '') rows = rows.where('status', '=', one('status'));
        const limit = one('limit');
        if (limit !== '' && !/^\d{1,9}$/.test(limit)) throw badRequest('limit param must be an integer');
        const marker = one('marker');
        if (marker !== '') {
          const at = await db.query
            .selectFrom('volume_attachments')
            .select(['created_at', 'id'])
            .where('id', '=', marker)
            .executeTakeFirst();
          if (at === undefined)
            throw notFound(`Volume attachment could not be found with filter: attachment_id = ${marker}.`);
          rows = rows.where((eb) => eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(at.created_at, at.id)));
        }
        const found = await rows.limit(Math.min(limit === '' ? MOST : Number(limit), MOST)).execute();
        return { attachments: found.map(view) };
      },
    });

  return [
    listing('/attachments', brief),
    listing('/attachments/detail', detail),
    operation({
      method: 'GET',
      path: '/attachments/:attachment_id',
      policy: reads('volume:attachment_show'),
      status: 200,
      since: SINCE,
      summary: 'Show an attachment of a volume',
      handle: async ({ context, params }) => {
        const id = params.attachment_id as string;
        let found = db.query
          .selectFrom('volume_attachments')
          .select([...columns])
          .where('id', '=', id);
        if (!context.identity.isAdmin) found = found.where('project_id', '=', context.identity.project?.id ?? '-');
        const row = await found.executeTakeFirst();
        if (row === undefined)
          throw notFound(`Volume attachment could not be found with filter: attachment_id = ${id}.`);
        return { attachment: detail(row) };
      },
    }),
    operation({
      method: 'POST',
      path: '/attachments',
      policy: administers('volume:attachment_create'),
      status: 200,
      since: SINCE,
      summary: 'Refused: servers attach volumes through the compute API',
      handle: async () => {
        throw badRequest('Attachments are not made here: attach volumes to servers through the compute API.');
      },
    }),
  ];
}
