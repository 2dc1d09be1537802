/** Finds and reads a standard `clouds.yaml`, where and as every OpenStack client does. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import type { CloudService } from './contract.ts';

export type CloudAuthType = 'password' | 'v3applicationcredential' | 'token';

/** The `auth` of a cloud, under the file's own key names. */
export interface CloudAuth {
  readonly auth_url: string;
  readonly username?: string;
  readonly user_id?: string;
  readonly password?: string;
  readonly user_domain_name?: string;
  readonly user_domain_id?: string;
  readonly project_name?: string;
  readonly project_id?: string;
  readonly project_domain_name?: string;
  readonly project_domain_id?: string;
  readonly domain_name?: string;
  readonly domain_id?: string;
  readonly system_scope?: string;
  readonly application_credential_id?: string;
  readonly application_credential_name?: string;
  readonly application_credential_secret?: string;
  readonly token?: string;
}

/** One cloud of a `clouds.yaml`: how to reach it and as whom. Holds secrets: never log it. */
export interface CloudEntry {
  readonly name: string;
  readonly auth_type: CloudAuthType;
  readonly auth: CloudAuth;
  readonly region_name?: string;
  /** `public`, `internal` or `admin`; public where not given. */
  readonly interface?: string;
  /** False: the server's certificate is not checked. */
  readonly verify?: boolean;
  /** Paths of PEM files: the authority to trust, and a client certificate with its key. */
  readonly cacert?: string;
  readonly cert?: string;
  readonly key?: string;
  /** From `<service>_endpoint_override`: used instead of the catalog's endpoint. */
  readonly endpoint_overrides?: Readonly<Partial<Record<CloudService, string>>>;
}

export interface LoadCloudOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly home?: string;
}

type Mapping = Record<string, unknown>;

const authTypes: Readonly<Record<string, CloudAuthType>> = {
  password: 'password',
  v3password: 'password',
  v3applicationcredential: 'v3applicationcredential',
  token: 'token',
  v3token: 'token',
};

const authKeys = [
  'auth_url',
  'username',
  'user_id',
  'password',
  'user_domain_name',
  'user_domain_id',
  'project_name',
  'project_id',
  'project_domain_name',
  'project_domain_id',
  'domain_name',
  'domain_id',
  'system_scope',
  'application_credential_id',
  'application_credential_name',
  'application_credential_secret',
  'token',
] as const satisfies readonly (keyof CloudAuth)[];

const overrideKeys: Readonly<Record<CloudService, readonly string[]>> = {
  identity: ['identity'],
  compute: ['compute'],
  network: ['network'],
  volume: ['block_storage', 'volumev3', 'volume'],
  image: ['image'],
  'load-balancer': ['load_balancer'],
};

/**
 * The cloud called `name`. Looks in OS_CLIENT_CONFIG_FILE, else in `./clouds.yaml`, `~/.config/openstack`,
 * `/etc/xdg/openstack` and `/etc/openstack` (first found wins), and merges `secure.yaml` into it. Reads files
 * synchronously: it is called at start. Throws an Error that names the file and key and says how to mend it.
 */
export function loadCloud(name: string, options: LoadCloudOptions = {}): CloudEntry {
  const env = options.env ?? process.env;
  const home = options.home ?? homedir();
  const folders = [
    options.cwd ?? process.cwd(),
    join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'openstack'),
    join(home, '.config', 'openstack'),
    '/etc/xdg/openstack',
    '/etc/openstack',
  ];
  const file = findClouds(env['OS_CLIENT_CONFIG_FILE'], folders);
  const clouds = mapping(readYaml(file), file, 'clouds');
  const given = clouds[name];
  if (given === undefined) {
    const known = Object.keys(clouds).join(', ') || 'none';
    throw new Error(
      `${file} has no cloud named '${name}' (it has: ${known}). Add it under 'clouds', or use one of these.`,
    );
  }
  if (!isMapping(given)) throw new Error(`${file}: clouds.${name} must be a mapping with an 'auth' in it.`);

  const secureFile = env['OS_CLIENT_SECURE_FILE'] || findFile('secure', [dirname(file), ...folders]);
  const secure = secureFile === undefined ? undefined : secretsOf(secureFile, name);
  const merged = merge(given, secure ?? {});
  return entryOf(name, merged, `${file}: clouds.${name}`, home);
}

function findClouds(override: string | undefined, folders: readonly string[]): string {
  if (override) {
    // A mistyped path must not silently end up at another cloud of the same name.
    if (existsSync(override)) return override;
    throw new Error(`OS_CLIENT_CONFIG_FILE names ${override}, which does not exist. Correct or unset it.`);
  }
  const found = findFile('clouds', folders);
  if (found !== undefined) return found;
  const looked = [...new Set(folders)].map((folder) => join(folder, 'clouds.yaml')).join(', ');
  throw new Error(
    `There is no clouds.yaml (looked for ${looked}). Make one there, or name one in OS_CLIENT_CONFIG_FILE.`,
  );
}

function findFile(stem: string, folders: readonly string[]): string | undefined {
  for (const folder of folders) {
    for (const ending of ['yaml', 'yml', 'json']) {
      const path = join(folder, `${stem}.${ending}`);
      if (existsSync(path)) return path;
    }
  }
  return undefined;
}

function readYaml(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`${file} cannot be read (${reasonOf(error)}). Make it readable for this user.`, { cause: error });
  }
  try {
    return parse(text, { prettyErrors: false });
  } catch (error) {
    // No cause and no excerpt: the offending line may well be the one with the password.
    const position = isMapping(error) && Array.isArray(error['pos']) ? Number(error['pos'][0]) : Number.NaN;
    const where = Number.isFinite(position) ? ` (line ${text.slice(0, position).split('\n').length})` : '';
    // oxlint-disable-next-line preserve-caught-error
    throw new Error(`${file} is not valid YAML${where}. Correct it; quote values that hold ':' or '#'.`);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason';
}

function secretsOf(file: string, name: string): Mapping | undefined {
  const content = readYaml(file);
  if (content === null || content === undefined) return undefined;
  const secrets = mapping(content, file, 'clouds')[name];
  if (secrets === undefined || secrets === null) return undefined;
  if (!isMapping(secrets)) throw new Error(`${file}: clouds.${name} must be a mapping.`);
  return secrets;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function mapping(content: unknown, file: string, key: string): Mapping {
  const value = isMapping(content) ? content[key] : undefined;
  if (!isMapping(value))
    throw new Error(`${file} has no mapping '${key}' at its top. Put your clouds under '${key}:'.`);
  return value;
}

function merge(base: Mapping, over: Mapping): Mapping {
  const merged: Mapping = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isMapping(old) && isMapping(value) ? merge(old, value) : value;
  }
  return merged;
}

function entryOf(name: string, cloud: Mapping, where: string, home: string): CloudEntry {
  const auth_type = authTypes[text(cloud['auth_type'], `${where}.auth_type`) ?? 'password'];
  if (auth_type === undefined) {
    throw new Error(`${where}.auth_type is not supported: use password, v3applicationcredential or token.`);
  }
  const profile = cloud['profile'] ?? cloud['cloud'];
  if (profile !== undefined && !(isMapping(cloud['auth']) && cloud['auth']['auth_url'])) {
    throw new Error(`${where} relies on a vendor profile, which is not read here: write auth.auth_url out.`);
  }
  if (!isMapping(cloud['auth']))
    throw new Error(`${where}.auth is missing: add it with auth_url and who to log in as.`);
  const auth = authOf(auth_type, cloud['auth'], `${where}.auth`);
  const path = (key: string): string | undefined => text(cloud[key], `${where}.${key}`)?.replace(/^~(?=\/|$)/, home);
  const entry = {
    name,
    auth_type,
    auth,
    region_name: regionOf(cloud, where),
    interface: interfaceOf(cloud, where),
    verify: verifyOf(cloud, where),
    cacert: path('cacert'),
    cert: path('cert'),
    key: path('key'),
    endpoint_overrides: overridesOf(cloud, where),
  };
  return defined(entry);
}

/** Drops the keys without a value, which `exactOptionalPropertyTypes` tells apart from absent ones. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const present = Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined));
  return present as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** Nothing is sent of an account in a URL, but URLs are printed and logged. */
const withoutAccount = (url: string): string => url.replace(/^(https?:\/\/)[^/?#]*@/i, '$1');

function authOf(auth_type: CloudAuthType, given: Mapping, where: string): CloudAuth {
  const auth: Partial<Record<keyof CloudAuth, string>> = {};
  for (const key of authKeys) {
    const value = text(given[key], `${where}.${key}`);
    if (value !== undefined) auth[key] = value;
  }
  const alias = (key: keyof CloudAuth, ...others: string[]): void => {
    for (const other of others) auth[key] ??= text(given[other], `${where}.${other}`) as string;
    if (auth[key] === undefined) delete auth[key];
  };
  alias('username', 'user_name');
  alias('project_id', 'tenant_id');
  alias('project_name', 'project', 'tenant_name');
  const need = (present: boolean, key: string, how: string): void => {
    if (!present) throw new Error(`${where}.${key} is missing: ${how}.`);
  };
  need(
    auth.auth_url !== undefined,
    'auth_url',
    "add the cloud's Keystone address, such as https://cloud.example:5000/v3",
  );
  if (!URL.canParse(auth.auth_url ?? '') || !/^https?:/i.test(auth.auth_url ?? '')) {
    throw new Error(`${where}.auth_url must be an http or https address, such as https://cloud.example:5000/v3.`);
  }
  auth.auth_url = withoutAccount(auth.auth_url ?? '');
  if (auth_type === 'token') need(auth.token !== undefined, 'token', 'add it, or use auth_type: password');
  if (auth_type === 'v3applicationcredential') {
    const named = auth.application_credential_name !== undefined && (auth.username ?? auth.user_id) !== undefined;
    const known = auth.application_credential_id !== undefined || named;
    need(known, 'application_credential_id', 'add it (or application_credential_name with username)');
    const secret = auth.application_credential_secret !== undefined;
    need(secret, 'application_credential_secret', 'add it here or in secure.yaml');
  }
  if (auth_type === 'password') {
    need((auth.username ?? auth.user_id) !== undefined, 'username', 'add username or user_id');
    need(auth.password !== undefined, 'password', 'add it here or in secure.yaml');
  }
  // The `openstack` command takes the domain with id `default` where none is named; so do we.
  const fallback = defaultDomain(given, where);
  if (auth.username !== undefined && auth.user_domain_name === undefined) auth.user_domain_id ??= fallback;
  if (auth.project_name !== undefined && auth.project_domain_name === undefined) auth.project_domain_id ??= fallback;
  return auth as CloudAuth;
}

function defaultDomain(given: Mapping, where: string): string {
  return text(given['default_domain_id'] ?? given['default_domain'], `${where}.default_domain_id`) ?? 'default';
}

function text(value: unknown, where: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value === '' ? undefined : value;
  // YAML reads an unquoted all-digits password as a number.
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new Error(`${where} must be a plain value: put it on one line, in quotes.`);
}

function regionOf(cloud: Mapping, where: string): string | undefined {
  const given = text(cloud['region_name'], `${where}.region_name`);
  const regions = cloud['regions'];
  if (given !== undefined || !Array.isArray(regions)) return given;
  const first: unknown = regions[0];
  return text(isMapping(first) ? first['name'] : first, `${where}.regions[0]`);
}

function interfaceOf(cloud: Mapping, where: string): string {
  const given = cloud['interface'] ?? cloud['endpoint_type'];
  const first = text(Array.isArray(given) ? given[0] : given, `${where}.interface`) ?? 'public';
  const name = first.replace(/URL$/, '');
  if (name === 'public' || name === 'internal' || name === 'admin') return name;
  throw new Error(`${where}.interface must be public, internal or admin.`);
}

function verifyOf(cloud: Mapping, where: string): boolean {
  const flag = (key: string): boolean | undefined => {
    const value = text(cloud[key], `${where}.${key}`)?.toLowerCase();
    if (value === undefined || value === 'true' || value === 'false')
      return value === undefined ? value : value === 'true';
    throw new Error(`${where}.${key} must be true or false; name an authority's file in 'cacert'.`);
  };
  return flag('insecure') === true ? false : (flag('verify') ?? true);
}

function overridesOf(cloud: Mapping, where: string): Partial<Record<CloudService, string>> | undefined {
  const overrides: Partial<Record<CloudService, string>> = {};
  for (const [service, stems] of Object.entries(overrideKeys) as [CloudService, readonly string[]][]) {
    for (const stem of stems) {
      const key = `${stem}_endpoint_override`;
      const value = text(cloud[key], `${where}.${key}`);
      if (value === undefined || overrides[service] !== undefined) continue;
      if (!URL.canParse(value)) throw new Error(`${where}.${key} must be an http or https address.`);
      overrides[service] = value;
    }
  }
  return Object.keys(overrides).length === 0 ? undefined : overrides;
}
