/** Request schemas of servers that are no plain field list: create, rebuild, and the bodies of actions. */
import { type TSchema, Type } from 'typebox';
import { PRINTABLE } from '../parameters.ts';

type Json = Readonly<Record<string, unknown>>;

const schemaOf = (json: Json): TSchema => Type.Unsafe<unknown>(json) as TSchema;
const object = (properties: Json, required: readonly string[] = []): Json => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

const NAME = { type: 'string', minLength: 1, maxLength: 255, format: 'name' };
const DESCRIPTION = { type: ['string', 'null'], minLength: 0, maxLength: 255, pattern: PRINTABLE };
const UUID = { type: 'string', format: 'uuid' };
const IP = { type: 'string', oneOf: [{ format: 'ipv4' }, { format: 'ipv6' }] };
const TAG = { type: 'string', minLength: 1, maxLength: 60, pattern: '^[^,/]*$' };
const HOSTNAME = { type: 'string', minLength: 2, maxLength: 63, pattern: '^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$' };
const HOST = { type: 'string', minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9\\-._]*$' };
const FLAVOR = { type: ['string', 'integer'], minLength: 1, maxLength: 1024 };
/** Longer than any password; Nova sets no limit. */
const PASSWORD = { type: 'string', maxLength: 65_535 };
const USER_DATA = { type: 'string', format: 'base64', maxLength: 65_535 };
const SIZE = { type: ['integer', 'string'], pattern: '^[0-9]+$', minimum: 1, maximum: 0x7fffffff };
const COUNT = { type: ['integer', 'string'], pattern: '^[0-9]*$', minimum: 1, minLength: 1 };
const DISK_CONFIG = { type: 'string', enum: ['AUTO', 'MANUAL'] };
const TRUSTED = {
  type: ['array', 'null'],
  minItems: 1,
  maxItems: 50,
  uniqueItems: true,
  items: { type: 'string', minLength: 1, maxLength: 65_535 },
};
const BOOLEAN = {
  type: ['boolean', 'string'],
  enum: [
    true,
    'True',
    'TRUE',
    'true',
    '1',
    'ON',
    'On',
    'on',
    'YES',
    'Yes',
    'yes',
    false,
    'False',
    'FALSE',
    'false',
    '0',
    'OFF',
    'Off',
    'off',
    'NO',
    'No',
    'no',
  ],
};
const METADATA = {
  type: 'object',
  maxProperties: 1024,
  patternProperties: { '^[a-zA-Z0-9\\-_:. ]{1,255}$': { type: 'string', maxLength: 255 } },
  additionalProperties: false,
};
const PERSONALITY = {
  type: 'array',
  maxItems: 64,
  items: object({
    path: { type: 'string', maxLength: 65_535 },
    contents: { type: 'string', format: 'base64', maxLength: 1_048_576 },
  }),
};

/** Whether one of Nova's many ways of saying so says true. */
export const isTrue = (value: unknown): boolean =>
  value === true || (typeof value === 'string' && /^(true|1|on|yes)$/i.test(value));

function device(version: number): Json {
  return object({
    virtual_name: { type: 'string', maxLength: 255 },
    volume_id: UUID,
    snapshot_id: UUID,
    image_id: UUID,
    volume_size: SIZE,
    device_name: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._r/]*$' },
    delete_on_termination: BOOLEAN,
    no_device: {},
    connection_info: { type: 'string', maxLength: 65_535 },
    source_type: { type: 'string', enum: ['volume', 'image', 'snapshot', 'blank'] },
    uuid: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._-]*$' },
    destination_type: { type: 'string', enum: ['local', 'volume'] },
    guest_format: { type: 'string', maxLength: 255 },
    device_type: { type: 'string', maxLength: 255 },
    disk_bus: { type: 'string', maxLength: 255 },
    boot_index: { type: ['integer', 'string', 'null'], pattern: '^-?[0-9]+$' },
    ...(version === 32 || version >= 42 ? { tag: TAG } : {}),
    ...(version >= 67 ? { volume_type: { type: ['string', 'null'], maxLength: 255 } } : {}),
  });
}

function networks(version: number): Json {
  const one = object({
    fixed_ip: IP,
    port: { type: ['string', 'null'], format: 'uuid' },
    uuid: version >= 37 ? UUID : { type: 'string', maxLength: 255 },
    ...((version >= 32 && version <= 36) || version >= 42 ? { tag: TAG } : {}),
  });
  const list = { type: 'array', maxItems: 64, items: one };
  return version < 37 ? list : { if: { type: 'string' }, then: { enum: ['none', 'auto'] }, else: list };
}

const HINTS = {
  type: 'object',
  maxProperties: 64,
  properties: {
    group: UUID,
    different_host: { oneOf: [UUID, { type: 'array', items: UUID }] },
    same_host: { type: ['string', 'array'], items: UUID },
    query: { type: ['string', 'object'] },
    target_cell: NAME,
    different_cell: { type: ['string', 'array'], items: { type: 'string' } },
    build_near_host_ip: IP,
    cidr: { type: 'string', pattern: '^/[0-9a-f.:]+$' },
  },
  additionalProperties: true,
};

function createJson(version: number): Json {
  const server = object(
    {
      name: NAME,
      imageRef: { type: 'string', if: { minLength: 1 }, then: { format: 'uuid' } },
      flavorRef: FLAVOR,
      adminPass: PASSWORD,
      metadata: METADATA,
      networks: networks(version),
      'OS-DCF:diskConfig': DISK_CONFIG,
      accessIPv4: { type: 'string', format: 'ipv4' },
      accessIPv6: { type: 'string', format: 'ipv6' },
      availability_zone: NAME,
      block_device_mapping: { type: 'array', maxItems: 64, items: device(1) },
      block_device_mapping_v2: { type: 'array', maxItems: 64, items: device(version) },
      config_drive: BOOLEAN,
      key_name: NAME,
      min_count: COUNT,
      max_count: COUNT,
      return_reservation_id: BOOLEAN,
      security_groups: { type: 'array', maxItems: 64, items: object({ name: NAME }) },
      user_data: USER_DATA,
      ...(version <= 56 ? { personality: PERSONALITY } : {}),
      ...(version >= 19 ? { description: DESCRIPTION } : {}),
      ...(version >= 52 ? { tags: { type: 'array', maxItems: 50, items: TAG } } : {}),
      ...(version >= 63 ? { trusted_image_certificates: TRUSTED } : {}),
      ...(version >= 74 ? { host: HOST, hypervisor_hostname: HOST } : {}),
      ...(version >= 90 ? { hostname: version >= 94 ? { ...HOST, minLength: 2 } : HOSTNAME } : {}),
    },
    version >= 37 ? ['name', 'flavorRef', 'networks'] : ['name', 'flavorRef'],
  );
  return object({ server, 'os:scheduler_hints': HINTS, 'OS-SCH-HNT:scheduler_hints': HINTS }, ['server']);
}

const rebuildJson = (version: number): Json =>
  object(
    {
      rebuild: object(
        {
          name: NAME,
          imageRef: UUID,
          adminPass: PASSWORD,
          metadata: METADATA,
          preserve_ephemeral: BOOLEAN,
          'OS-DCF:diskConfig': DISK_CONFIG,
          accessIPv4: { type: 'string', format: 'ipv4' },
          accessIPv6: { type: 'string', format: 'ipv6' },
          ...(version <= 56 ? { personality: PERSONALITY } : {}),
          ...(version >= 19 ? { description: DESCRIPTION } : {}),
          ...(version >= 54 ? { key_name: { type: ['string', 'null'], minLength: 1, maxLength: 255 } } : {}),
          ...(version >= 57 ? { user_data: { ...USER_DATA, type: ['string', 'null'] } } : {}),
          ...(version >= 63 ? { trusted_image_certificates: TRUSTED } : {}),
          ...(version >= 90 ? { hostname: HOSTNAME } : {}),
        },
        ['imageRef'],
      ),
    },
    ['rebuild'],
  );

const updateJson = (version: number): Json =>
  object(
    {
      server: object({
        name: NAME,
        'OS-DCF:diskConfig': DISK_CONFIG,
        accessIPv4: { type: 'string', format: 'ipv4' },
        accessIPv6: { type: 'string', format: 'ipv6' },
        ...(version >= 19 ? { description: DESCRIPTION } : {}),
        ...(version >= 90 ? { hostname: HOSTNAME } : {}),
      }),
    },
    ['server'],
  );

/** One schema a microversion, made at first use: compiled schemas are known by their identity. */
function perVersion(make: (version: number) => Json): (version: number) => TSchema {
  const made = new Map<number, TSchema>();
  return (version) => {
    let schema = made.get(version);
    if (schema === undefined) {
      schema = schemaOf(make(version));
      made.set(version, schema);
    }
    return schema;
  };
}

export const createSchema = perVersion(createJson);
export const rebuildSchema = perVersion(rebuildJson);
export const updateSchema = perVersion(updateJson);

/** An action whose body says nothing; Nova takes whatever stands there. */
export const emptyActionSchema = (action: string): TSchema =>
  schemaOf({ type: 'object', properties: { [action]: {} }, required: [action], additionalProperties: false });

/** An action whose body says nothing, and which takes nothing else. */
export const nullActionSchema = (name: string): TSchema => schemaOf(object({ [name]: { type: 'null' } }, [name]));

const action = (name: string, properties: Json, required: readonly string[] = []): TSchema =>
  schemaOf(object({ [name]: object(properties, required) }, [name]));

export const rebootSchema = action(
  'reboot',
  { type: { type: 'string', enum: ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft'] } },
  ['type'],
);
export const resizeSchema = action('resize', { flavorRef: FLAVOR, 'OS-DCF:diskConfig': DISK_CONFIG }, ['flavorRef']);
export const createImageSchema = action('createImage', { name: NAME, metadata: METADATA }, ['name']);
export const createBackupSchema = action(
  'createBackup',
  {
    name: NAME,
    backup_type: { type: 'string', maxLength: 65_535 },
    rotation: { type: ['integer', 'string'], pattern: '^[0-9]*$', minimum: 0, minLength: 1 },
    metadata: METADATA,
  },
  ['name', 'backup_type', 'rotation'],
);

const HOST_OR_NULL = { if: { type: 'null' }, else: HOST };
const MIGRATE = [
  emptyActionSchema('migrate'),
  schemaOf(object({ migrate: { if: { type: 'null' }, else: object({ host: HOST_OR_NULL }) } }, ['migrate'])),
] as const;
export const migrateSchema = (version: number): TSchema => (version >= 56 ? MIGRATE[1] : MIGRATE[0]);

const MIGRATE_LIVE = ([from, force]: readonly [number, boolean]): TSchema =>
  action(
    'os-migrateLive',
    {
      host: HOST_OR_NULL,
      block_migration: from >= 25 ? { ...BOOLEAN, enum: [...BOOLEAN.enum, 'auto'] } : BOOLEAN,
      ...(from < 25 ? { disk_over_commit: BOOLEAN } : {}),
      ...(force ? { force: BOOLEAN } : {}),
    },
    ['block_migration', 'host', ...(from < 25 ? ['disk_over_commit'] : [])],
  );
const LIVE = { first: MIGRATE_LIVE([1, false]), auto: MIGRATE_LIVE([25, false]), forced: MIGRATE_LIVE([30, true]) };
export const migrateLiveSchema = (version: number): TSchema =>
  version < 25 ? LIVE.first : version >= 30 && version < 68 ? LIVE.forced : LIVE.auto;

const EVACUATE = {
  first: action('evacuate', { host: HOST, onSharedStorage: BOOLEAN, adminPass: PASSWORD }, ['onSharedStorage']),
  plain: action('evacuate', { host: HOST, adminPass: PASSWORD }),
  forced: action('evacuate', { host: HOST, adminPass: PASSWORD, force: BOOLEAN }),
};
export const evacuateSchema = (version: number): TSchema =>
  version < 14 ? EVACUATE.first : version >= 29 && version < 68 ? EVACUATE.forced : EVACUATE.plain;

export const changePasswordSchema = action('changePassword', { adminPass: PASSWORD }, ['adminPass']);
export const resetStateSchema = action('os-resetState', { state: { type: 'string', enum: ['active', 'error'] } }, [
  'state',
]);
export const addSecurityGroupSchema = action('addSecurityGroup', { name: NAME }, ['name']);
export const removeSecurityGroupSchema = action('removeSecurityGroup', { name: NAME }, ['name']);
export const consoleOutputSchema = action('os-getConsoleOutput', {
  length: { type: ['integer', 'string', 'null'], minimum: -1, pattern: '^-?[0-9]+$' },
});
export const rescueSchema = schemaOf(
  object({ rescue: { if: { type: 'null' }, else: object({ adminPass: PASSWORD, rescue_image_ref: UUID }) } }, [
    'rescue',
  ]),
);
export const lockSchema = (version: number): TSchema => (version >= 73 ? lockWithReason : lockPlain);
const lockPlain = emptyActionSchema('lock');
const lockWithReason = schemaOf(
  object(
    {
      lock: {
        if: { type: 'null' },
        else: object({ locked_reason: { type: 'string', minLength: 1, maxLength: 255 } }, []),
      },
    },
    ['lock'],
  ),
);
export const unshelveSchema = (version: number): TSchema =>
  version >= 91 ? unshelveToHost : version >= 77 ? unshelveToZone : unshelvePlain;
const unshelvePlain = emptyActionSchema('unshelve');
const unshelveToZone = schemaOf(
  object({ unshelve: { if: { type: 'null' }, else: object({ availability_zone: NAME }, ['availability_zone']) } }, [
    'unshelve',
  ]),
);
const unshelveToHost = schemaOf(
  object(
    {
      unshelve: {
        if: { type: 'null' },
        else: object({
          availability_zone: { type: ['string', 'null'], maxLength: 255 },
          host: { type: 'string', maxLength: 255 },
        }),
      },
    },
    ['unshelve'],
  ),
);

export const metadataSchema = schemaOf(object({ metadata: METADATA }, ['metadata']));
export const metaSchema = schemaOf(object({ meta: { ...METADATA, minProperties: 1, maxProperties: 1 } }, ['meta']));
export const tagsSchema = schemaOf(object({ tags: { type: 'array', maxItems: 50, items: TAG } }, ['tags']));
export const tagSchema = schemaOf(TAG);

const ATTACHMENT = {
  volumeId: UUID,
  device: { type: ['string', 'null'], maxLength: 255, pattern: '(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$' },
};
const ATTACH_VOLUME = [
  schemaOf(object({ volumeAttachment: object(ATTACHMENT, ['volumeId']) }, ['volumeAttachment'])),
  schemaOf(object({ volumeAttachment: object({ ...ATTACHMENT, tag: TAG }, ['volumeId']) }, ['volumeAttachment'])),
  schemaOf(
    object({ volumeAttachment: object({ ...ATTACHMENT, tag: TAG, delete_on_termination: BOOLEAN }, ['volumeId']) }, [
      'volumeAttachment',
    ]),
  ),
] as const;
export const attachVolumeSchema = (version: number): TSchema =>
  version >= 79 ? ATTACH_VOLUME[2] : version >= 49 ? ATTACH_VOLUME[1] : ATTACH_VOLUME[0];
export const swapVolumeSchema = ATTACH_VOLUME[0];
export const updateVolumeSchema = schemaOf(
  object(
    {
      volumeAttachment: object({ ...ATTACHMENT, tag: TAG, delete_on_termination: BOOLEAN, serverId: UUID, id: UUID }, [
        'volumeId',
      ]),
    },
    ['volumeAttachment'],
  ),
);

const INTERFACE = {
  net_id: UUID,
  port_id: UUID,
  fixed_ips: { type: 'array', minItems: 1, maxItems: 1, items: object({ ip_address: IP }, ['ip_address']) },
};
const ATTACH_INTERFACE = [
  schemaOf(object({ interfaceAttachment: object(INTERFACE) })),
  schemaOf(object({ interfaceAttachment: object({ ...INTERFACE, tag: TAG }) })),
] as const;
export const attachInterfaceSchema = (version: number): TSchema =>
  version >= 49 ? ATTACH_INTERFACE[1] : ATTACH_INTERFACE[0];
