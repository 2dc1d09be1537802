/** The operator's file: what it may say, what holds where it does not, and errors that name the key and the mend. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Static, Type } from 'typebox';
import { parseDocument } from 'yaml';
import { check } from '../http/validation.ts';
import type { PasswordRules } from '../identity/password-rules.ts';
import { NO_TOPOLOGY, type NetworkTopology, type VlanRange } from '../network/topology.ts';
import { ConfigError } from './config-error.ts';
import { readPolicyFile } from './policy-file.ts';

export { ConfigError } from './config-error.ts';

const Child = Type.Object(
  {
    cloud: Type.String({ minLength: 1 }),
    zones: Type.Record(Type.String({ pattern: '^[^:,\\s]{1,255}$' }), Type.String({ minLength: 1 }), {
      minProperties: 1,
      additionalProperties: false,
    }),
    tenancy: Type.Optional(Type.Union([Type.Literal('mirrored'), Type.Literal('shared'), Type.Literal('federated')])),
    external_networks: Type.Optional(Type.Record(Type.String(), Type.String())),
    max_routes: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
    enforces_address_groups: Type.Optional(Type.Boolean()),
    concurrency: Type.Optional(Type.Integer({ minimum: 1, maximum: 256 })),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1000, maximum: 600_000 })),
  },
  { additionalProperties: false },
);

const VlanRangeText = Type.String({ pattern: '^\\d{1,4}-\\d{1,4}$' });
const PhysicalNetworkEntry = Type.Object(
  {
    children: Type.Record(Type.String(), Type.String({ minLength: 1, maxLength: 64 }), { minProperties: 1 }),
    vlans: Type.Optional(VlanRangeText),
    transit_vlans: Type.Optional(VlanRangeText),
    flat: Type.Optional(Type.Boolean()),
    mtu: Type.Optional(Type.Integer({ minimum: 1280, maximum: 65_535 })),
  },
  { additionalProperties: false },
);

const File = Type.Object(
  {
    listen: Type.Optional(Type.String({ pattern: '^(\\[[0-9a-fA-F:]+\\]|[^:]+):\\d{1,5}$' })),
    public_url: Type.Optional(Type.String({ pattern: '^https?://[^/\\s@]+$' })),
    database: Type.Optional(
      Type.Object(
        {
          url: Type.Optional(Type.String({ pattern: '^postgres(ql)?://' })),
          max_connections: Type.Optional(Type.Integer({ minimum: 2, maximum: 500 })),
        },
        { additionalProperties: false },
      ),
    ),
    data_dir: Type.Optional(Type.String({ minLength: 1 })),
    admin_password_env: Type.Optional(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' })),
    policy_file: Type.Optional(Type.String({ minLength: 1 })),
    log_level: Type.Optional(
      Type.Union(['trace', 'debug', 'info', 'warn', 'error', 'silent'].map((level) => Type.Literal(level))),
    ),
    physical_networks: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$' }), PhysicalNetworkEntry, {
        additionalProperties: false,
      }),
    ),
    identity: Type.Optional(
      Type.Object(
        {
          url: Type.Optional(Type.String({ pattern: '^https?://[^\\s?#@]+$' })),
          cloud: Type.Optional(Type.String({ minLength: 1 })),
          region: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$' })),
          cache_s: Type.Optional(Type.Integer({ minimum: 0, maximum: 300 })),
          token_validity_s: Type.Optional(Type.Integer({ minimum: 300, maximum: 31_536_000 })),
          lockout_failure_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
          lockout_duration_s: Type.Optional(Type.Integer({ minimum: 1, maximum: 31_536_000 })),
          password_expires_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 36_500 })),
          unique_last_password_count: Type.Optional(Type.Integer({ minimum: 0, maximum: 24 })),
          minimum_password_age_days: Type.Optional(Type.Integer({ minimum: 0, maximum: 36_500 })),
          password_regex: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, format: 'regex' })),
          password_regex_description: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
          change_password_upon_first_use: Type.Optional(Type.Boolean()),
          disable_user_account_days_inactive: Type.Optional(Type.Integer({ minimum: 1, maximum: 36_500 })),
        },
        { additionalProperties: false },
      ),
    ),
    network: Type.Optional(
      Type.Object(
        {
          transit_cidr: Type.Optional(Type.String({ pattern: '^(\\d{1,3}\\.){3}\\d{1,3}/\\d{1,2}$' })),
          tenant_network_type: Type.Optional(Type.Union([Type.Literal('local'), Type.Literal('vlan')])),
        },
        { additionalProperties: false },
      ),
    ),
    default_zone: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    children: Type.Record(Type.String({ pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' }), Child, {
      minProperties: 1,
      additionalProperties: false,
    }),
  },
  { additionalProperties: false },
);

export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly public_url: string;
  readonly database: { readonly url: string | undefined; readonly max_connections: number };
  readonly data_dir: string;
  readonly admin_password_env: string | undefined;
  /** An existing Keystone in place of the built-in one. */
  readonly keystone: OuterKeystone | undefined;
  /** Rules that hold in place of the defaults, by name; empty where no `policy_file` is named. */
  readonly policy: Readonly<Record<string, string>>;
  readonly log_level: string;
  readonly children: readonly ConfiguredChild[];
  /** Where servers and volumes go that name no zone; undefined: wherever there is room. */
  readonly default_zone: string | undefined;
  readonly topology: NetworkTopology;
  readonly identity: IdentityConfig;
}

/** How long tokens hold, and what is asked of passwords. */
export type IdentityConfig = PasswordRules & { readonly token_validity_s?: number | undefined };

export interface OuterKeystone {
  /** With its version: `https://keystone.example.org:5000/v3`. */
  readonly url: string;
  /** The clouds.yaml entry of the account that validates tokens and registers endpoints there. */
  readonly cloud: string;
  /** The region that the parent's endpoints are registered in. */
  readonly region: string;
  /** For how long what Keystone says of a token is believed, in seconds. */
  readonly cache_s: number;
}

export interface ConfiguredChild {
  readonly name: string;
  readonly cloud: string;
  readonly zones: Readonly<Record<string, string>>;
  readonly tenancy: 'mirrored' | 'shared' | 'federated';
  readonly external_networks?: Readonly<Record<string, string>>;
  readonly max_routes?: number;
  readonly enforces_address_groups?: boolean;
  readonly concurrency: number;
  readonly timeout_ms: number;
}

const MENDS: Readonly<Record<string, string>> = {
  listen: 'write an address and a port, as in `listen: 127.0.0.1:8080`',
  public_url: 'write the URL that clients use, without a path, as in `public_url: https://cloud.example.org`',
  database: 'write `database: { url: "postgres://user:password@host/name" }`, or leave it out for the embedded server',
  children:
    'write one entry a child, as in `east: { cloud: child1, zones: { east: nova } }`; names are lower-case letters, digits and dashes',
  cloud: 'name an entry of your clouds.yaml, as in `cloud: child1`',
  zones: "write the parent's zones and the child's own, as in `zones: { east: nova }`",
  default_zone: 'name a zone of `children`, as in `default_zone: east`, or leave it out',
  physical_networks:
    'write one entry a physical network that children share, as in `wan: { children: { east: physnet1, west: physnet1 }, vlans: 100-149, transit_vlans: 150-199 }`',
  vlans: 'write the first and the last VLAN, as in `vlans: 100-149`',
  transit_vlans: 'write the first and the last VLAN, as in `transit_vlans: 150-199`',
  transit_cidr: 'write the IPv4 range of the transit networks, as in `transit_cidr: 100.64.0.0/10`',
  tenant_network_type: 'write one of local, vlan',
  password_regex:
    'write a regular expression that good passwords match from their beginning, as in `password_regex: "(?=.*[0-9]).{12,}$"`',
  identity:
    'write numbers as docs/operators/configuration.md lists them, as in `identity: { lockout_failure_attempts: 6 }`',
  tenancy: 'write one of mirrored, shared, federated',
  log_level: 'write one of trace, debug, info, warn, error, silent',
  admin_password_env: 'name an environment variable, as in `admin_password_env: HEADWATER_ADMIN_PASSWORD`',
};

const KEYSTONE_MEND =
  'name the Keystone and an account there, as in `identity: { url: "https://keystone.example.org:5000/v3", cloud: keystone }`, with an entry of your clouds.yaml';

/**
 * Reads and checks a configuration file.
 * @throws ConfigError naming the file, the key and how to mend it
 */
export function readConfig(path: string): Config {
  if (!existsSync(path)) throw new ConfigError(`${path}: there is no such file; name one with --config`);
  const document = parseDocument(readFileSync(path, 'utf8'), { prettyErrors: true });
  const broken = document.errors[0];
  if (broken !== undefined) throw new ConfigError(`${path}: this is not YAML: ${broken.message.split('\n')[0]}`);
  const value: unknown = document.toJS({ maxAliasCount: 100 }) ?? {};
  const problem = check(File, value);
  if (problem !== undefined)
    throw new ConfigError(`${path}: ${explain(problem.path, problem.property, problem.message, problem.keyword)}`);
  return complete(value as Static<typeof File>, path);
}

function explain(pointer: string, property: string | undefined, message: string, keyword: string): string {
  const parts = pointer.split('/').filter((part) => part !== '');
  const where = parts.length === 0 ? 'the file' : `\`${parts.join('.')}\``;
  if (keyword === 'required') return `${where} lacks \`${property}\`: ${mend([property ?? '', ...parts])}`;
  if (keyword === 'additionalProperties' && (parts.at(-1) === 'children' || parts.at(-1) === 'zones')) {
    return `${where}: \`${property}\` is no good name: ${mend(parts.toReversed())}`;
  }
  if (keyword === 'additionalProperties') {
    return `${where} has a key that nobody knows: \`${property}\`; mend its spelling or take it out`;
  }
  // A URL may hold a password, and what a start fails with ends up in logs.
  return `${where}: ${message.includes('://') ? 'this is none' : message}: ${mend(parts.toReversed())}`;
}

function mend(parts: readonly string[]): string {
  for (const part of parts) {
    const known = MENDS[part];
    if (known !== undefined) return known;
  }
  return MENDS.children ?? '';
}

function complete(file: Static<typeof File>, path: string): Config {
  const listen = file.listen ?? '127.0.0.1:8080';
  const at = listen.lastIndexOf(':');
  const port = Number(listen.slice(at + 1));
  if (port > 65_535) throw new ConfigError(`${path}: \`listen\`: there is no port ${port}: ${MENDS.listen}`);
  return {
    listen: { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port },
    public_url: file.public_url ?? `http://${listen}`,
    database: { url: file.database?.url, max_connections: file.database?.max_connections ?? 20 },
    data_dir: resolve(file.data_dir ?? '/var/lib/headwater'),
    admin_password_env: file.admin_password_env,
    policy: file.policy_file === undefined ? {} : readPolicyFile(resolve(dirname(path), file.policy_file)),
    log_level: file.log_level ?? 'info',
    children: Object.entries(file.children).map(([name, child]) => ({
      name,
      cloud: child.cloud,
      zones: child.zones,
      tenancy: child.tenancy ?? 'mirrored',
      concurrency: child.concurrency ?? 16,
      timeout_ms: child.timeout_ms ?? 60_000,
      ...(child.external_networks === undefined ? {} : { external_networks: child.external_networks }),
      ...(child.max_routes === undefined ? {} : { max_routes: child.max_routes }),
      ...(child.enforces_address_groups === undefined
        ? {}
        : { enforces_address_groups: child.enforces_address_groups }),
    })),
    default_zone: defaultZoneOf(file, path),
    topology: topologyOf(file, path),
    ...identityOf(file, path),
  };
}

/** @throws ConfigError for a zone that no child serves */
function defaultZoneOf({ default_zone, children }: Static<typeof File>, path: string): string | undefined {
  if (default_zone === undefined) return undefined;
  if (Object.values(children).some(({ zones }) => default_zone in zones)) return default_zone;
  throw new ConfigError(`${path}: \`default_zone\`: no child serves ${default_zone}; ${MENDS.default_zone}`);
}

/** @throws ConfigError for a federated child without a Keystone that it could share */
function identityOf(file: Static<typeof File>, path: string): Pick<Config, 'identity' | 'keystone'> {
  const { url, cloud, region, cache_s, ...identity } = file.identity ?? {};
  if (url === undefined) {
    const [stray] = Object.entries({ cloud, region, cache_s }).find(([, value]) => value !== undefined) ?? [];
    if (stray !== undefined) {
      throw new ConfigError(`${path}: \`identity.${stray}\` means nothing without \`identity.url\`: ${KEYSTONE_MEND}`);
    }
    const federated = Object.entries(file.children).find(([, { tenancy }]) => tenancy === 'federated');
    if (federated === undefined) return { identity, keystone: undefined };
    throw new ConfigError(
      `${path}: \`children.${federated[0]}.tenancy\`: federated, but there is no Keystone to share: ${KEYSTONE_MEND}`,
    );
  }
  if (cloud === undefined) throw new ConfigError(`${path}: \`identity\` lacks \`cloud\`: ${KEYSTONE_MEND}`);
  const [rule] = Object.keys(identity);
  if (rule !== undefined) {
    throw new ConfigError(`${path}: \`identity.${rule}\` is for Keystone itself to say; take it out beside \`url\``);
  }
  const trimmed = url.replace(/\/+$/, '');
  const versioned = trimmed.endsWith('/v3') ? trimmed : `${trimmed}/v3`;
  return { identity, keystone: { url: versioned, cloud, region: region ?? 'Headwater', cache_s: cache_s ?? 60 } };
}

/** @throws ConfigError for a child that is not there, a VLAN that cannot be, and ranges that overlap */
function topologyOf(file: Static<typeof File>, path: string): NetworkTopology {
  const physical_networks = Object.entries(file.physical_networks ?? {}).map(([name, entry]) => {
    const where = `${path}: \`physical_networks.${name}\``;
    for (const child of Object.keys(entry.children)) {
      if (file.children[child] === undefined)
        throw new ConfigError(`${where}: there is no child ${child}; add it to \`children\`, or mend its name here`);
    }
    const vlans = vlanRange(entry.vlans, `${where}: \`vlans\``);
    const transit_vlans = vlanRange(entry.transit_vlans, `${where}: \`transit_vlans\``);
    if (vlans !== undefined && transit_vlans !== undefined) {
      if (vlans.first <= transit_vlans.last && transit_vlans.first <= vlans.last)
        throw new ConfigError(`${where}: \`vlans\` and \`transit_vlans\` overlap; give each VLANs of its own`);
    }
    return { name, children: entry.children, vlans, transit_vlans, flat: entry.flat ?? false, mtu: entry.mtu ?? 1500 };
  });
  return {
    physical_networks,
    transit_cidr: file.network?.transit_cidr ?? NO_TOPOLOGY.transit_cidr,
    tenant_network_type: file.network?.tenant_network_type ?? NO_TOPOLOGY.tenant_network_type,
  };
}

function vlanRange(text: string | undefined, where: string): VlanRange | undefined {
  if (text === undefined) return undefined;
  const [first = 0, last = 0] = text.split('-').map(Number);
  if (first >= 1 && last <= 4094 && first <= last) return { first, last };
  throw new ConfigError(`${where}: VLANs go from 1 to 4094, the first one first: ${MENDS.vlans}`);
}
