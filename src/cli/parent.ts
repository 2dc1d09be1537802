/** The whole parent in one process: database, services, cascade and server, put together in the order of the house. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import type { Logger } from 'pino';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import type { ChildConfig } from '../cascade/contract.ts';
import { PROJECT } from '../cascade/project.ts';
import { createCompute } from '../compute/index.ts';
import { type Db, openDatabase } from '../db/database.ts';
import { type Embedded, startEmbedded } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';
import { conventions } from '../http/conventions.ts';
import { createMetrics, type Metrics } from '../http/metrics.ts';
import { createPolicy, type Policy } from '../http/policy.ts';
import { createServer } from '../http/server.ts';
import { rulesOf, type Service } from '../http/service.ts';
import { type CallerIdentity, createIdentity, type IdentityService } from '../identity/identity.ts';
import { createOuterIdentity } from '../identity/outer/outer-identity.ts';
import { createImage } from '../image/image.ts';
import { createNetwork } from '../network/index.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../network/topology.ts';
import { createCloudClient } from '../openstack/client.ts';
import { type CloudEntry, loadCloud } from '../openstack/clouds-yaml.ts';
import type { CloudApi } from '../openstack/contract.ts';
import { createVolume } from '../volume/service.ts';
import { type Config, ConfigError, type IdentityConfig } from './config.ts';
import { forOperator } from './config-error.ts';
import { makeDataDir } from './database.ts';

export interface Parent {
  readonly url: string;
  readonly db: Db;
  readonly cascade: RunningCascade;
  readonly services: readonly Service[];
  readonly identity: CallerIdentity;
  /** Takes no new requests, ends what is under way, closes the database. */
  stop(): Promise<void>;
}

export interface ParentOptions {
  readonly log: Logger;
  /** Clouds by name, instead of those of the clouds.yaml. */
  readonly clouds?: Readonly<Record<string, CloudEntry>>;
  readonly adminPassword?: string | undefined;
  /** Told the administrator's password where none was given and one had to be made up. */
  readonly generated?: (password: string) => void;
  /** False: serves the API alone, and leaves the children to other processes. */
  readonly proxies?: boolean;
}

const HEAL_EVERY_MS = 5 * 60_000;
/** Tenants wait for it at their first request. */
const KEYSTONE_TIMEOUT_MS = 10_000;
const KEYSTONE_CONCURRENCY = 32;

/** The built-in Keystone. */
export const builtInIdentity = (deps: {
  db: Db;
  log: Logger;
  data_dir: string;
  publicUrl: string;
  identity?: IdentityConfig | undefined;
}): IdentityService =>
  createIdentity({
    db: deps.db,
    publicUrl: deps.publicUrl,
    conventions,
    log: deps.log,
    credentialKeyFile: join(deps.data_dir, 'credential-keys'),
    ...identityOptions(deps.identity ?? {}),
  });

/** The services of a parent over a database and a cascade; nothing is read or written yet. */
export function createServices<Who extends CallerIdentity>(deps: {
  db: Db;
  identity: Who;
  cascade: RunningCascade;
  log: Logger;
  data_dir: string;
  topology: NetworkTopology;
}) {
  const { db, cascade, log, data_dir, topology, identity } = deps;
  const image = createImage({ db, cascade, data_dir, log });
  const network = createNetwork({ db, cascade, topology, log });
  const volume = createVolume({ db, cascade, images: image.serverImages, log });
  const compute = createCompute({
    db,
    cascade,
    network: network.serverNetworks,
    volumes: volume.serverVolumes,
    images: image.serverImages,
    others: { network: network.service, volume: volume.service, image: image.service },
    projectExists: identity.projects.exists,
    log,
  });
  return { identity, image, network, volume, compute };
}

function identityOptions({ token_validity_s, ...passwordRules }: IdentityConfig) {
  return { passwordRules, ...(token_validity_s === undefined ? {} : { tokenValidity_s: token_validity_s }) };
}

export interface Assembly {
  readonly cascade: RunningCascade;
  readonly services: readonly Service[];
  readonly identity: CallerIdentity;
  /** Answers at once by `inject`; listens where the caller says so. */
  readonly server: FastifyInstance;
  /** Takes no new requests and ends what is under way; the database stays open. */
  stop(): Promise<void>;
}

export interface AssemblyOptions {
  readonly db: Db;
  readonly children: readonly { readonly config: ChildConfig; readonly api: CloudApi }[];
  readonly publicUrl: string;
  readonly data_dir: string;
  /** What joins the children's networks; absent: nothing does. */
  readonly topology?: NetworkTopology;
  /** The zone of what names none. */
  readonly default_zone?: string | undefined;
  readonly identity?: IdentityConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly adminPassword?: string | undefined;
  /** Told the administrator's password where none was given and one had to be made up. */
  readonly generated?: ((password: string) => void) | undefined;
  /** Rules of an operator's policy.yaml, in place of the defaults. */
  readonly policy?: Readonly<Record<string, string>>;
  /** An existing Keystone, by an account there, in place of the built-in one. */
  readonly keystone?: { readonly url: string; readonly api: CloudApi; readonly cache_s: number } | undefined;
}

/** Puts a parent together over a migrated database: all of it but the port, and the work in children (`cascade.start`). */
export async function assemble(options: AssemblyOptions): Promise<Assembly> {
  const { db, children, publicUrl, data_dir, log, metrics } = options;
  const ends = atTheEnd(log);
  try {
    const cascade = await createCascade({
      db,
      log,
      children,
      default_zone: options.default_zone,
      observe: (child, state) => metrics.child(child, state),
    });
    const { keystone } = options;
    const identity =
      keystone === undefined
        ? builtInIdentity({ db, log, data_dir, publicUrl, identity: options.identity })
        : createOuterIdentity({ db, log, api: keystone.api, cache_s: keystone.cache_s });
    const parts = createServices({ db, cascade, log, data_dir, identity, topology: options.topology ?? NO_TOPOLOGY });
    ends.add(() => parts.identity.close());
    const adminPassword = options.adminPassword ?? randomBytes(15).toString('base64url');
    const isNew = await parts.identity.bootstrap({ adminPassword });
    if (isNew && options.adminPassword === undefined) options.generated?.(adminPassword);
    await parts.image.heal();
    const healing = setInterval(
      () => void parts.image.heal().catch((err: unknown) => log.error({ err }, 'healing failed')),
      HEAL_EVERY_MS,
    );
    ends.add(async () => clearInterval(healing));
    parts.identity.onUserDeleted(parts.compute.userDeleted);
    parts.identity.onProjectDeleted(async (tx, projectId) => {
      await parts.network.forgetProject(tx, projectId);
      await sql`delete from quotas where project_id = ${projectId}`.execute(tx);
      await cascade.retire(tx, PROJECT, projectId);
    });
    const services = [parts.identity, parts.compute, parts.network, parts.volume, parts.image].flatMap(
      (part) => part.service ?? [],
    );
    const server = createServer({
      services,
      authenticate: parts.identity.authenticate,
      policy: policyOf(services, options.policy ?? {}, log),
      publicUrl,
      authUrl: keystone?.url,
      log,
      metrics,
      healthy: async () => void (await sql`select 1`.execute(db.query)),
    });
    parts.compute.attach(server);
    ends.add(() => server.close());
    ends.add(() => cascade.stop());
    return { cascade, services, identity: parts.identity, server, stop: ends.run };
  } catch (error) {
    await ends.run();
    throw error;
  }
}

/**
 * Starts a parent.
 * @throws ConfigError for what the operator can mend (a cloud that is not in the clouds.yaml, a taken port)
 */
export async function startParent(config: Config, options: ParentOptions): Promise<Parent> {
  const { log } = options;
  const metrics = createMetrics();
  const entries = config.children.map((child) => ({ child, entry: entryOf(child.cloud, options.clouds) }));
  makeDataDir(config);
  const embedded =
    config.database.url === undefined
      ? await startEmbedded({ data_dir: join(config.data_dir, 'postgres'), log }).catch(forOperator)
      : undefined;
  const ends = atTheEnd(log);
  if (embedded !== undefined) ends.add(() => embedded.stop());
  try {
    const db = await openMigrated(config, embedded, log);
    ends.add(() => db.close());
    const { server, cascade, services, identity, stop } = await assemble({
      db,
      children: entries.map(({ child, entry }) => ({ config: child, api: client(child, entry, metrics, log) })),
      publicUrl: config.public_url,
      data_dir: config.data_dir,
      topology: config.topology,
      default_zone: config.default_zone,
      policy: config.policy,
      identity: config.identity,
      keystone: config.keystone === undefined ? undefined : keystoneOf(config.keystone, options, metrics, log),
      log,
      metrics,
      adminPassword: options.adminPassword,
      generated: options.generated,
    });
    ends.add(stop);
    await listen(server, config);
    if (options.proxies !== false) await cascade.start();
    return { url: config.public_url, db, cascade, services, identity, stop: ends.run };
  } catch (error) {
    await ends.run();
    throw error;
  }
}

/** What has to be ended, last begun first; one that fails does not keep the others from it. */
function atTheEnd(log: Logger) {
  const steps: (() => Promise<unknown>)[] = [];
  return {
    add: (step: () => Promise<unknown>): void => void steps.push(step),
    async run(): Promise<void> {
      for (const step of steps.splice(0).toReversed())
        await step().catch((err: unknown) => log.error({ err }, 'not ended cleanly'));
    },
  };
}

/**
 * The rules of all services, the operator's in place of the defaults. A name that no service asks for is worth a word:
 * it may be a helper of other rules, or a misspelt one that an operator believes to hold.
 * @throws ConfigError where rules refer to each other in a circle
 */
function policyOf(services: readonly Service[], overrides: Readonly<Record<string, string>>, log: Logger): Policy {
  const defaults = [...rulesOf(services)];
  const known = new Set(defaults.map(({ name }) => name));
  const others = Object.keys(overrides).filter((name) => !known.has(name));
  if (others.length > 0) log.warn({ rules: others }, 'the policy file has rules that no operation asks for by itself');
  try {
    return createPolicy({ defaults, overrides });
  } catch (error) {
    return forOperator(error);
  }
}

/**
 * How a cloud is reached: as given, else as the clouds.yaml says.
 * @throws ConfigError where neither knows it
 */
export function entryOf(cloud: string, clouds: ParentOptions['clouds']): CloudEntry {
  const given = clouds?.[cloud];
  if (given !== undefined) return given;
  try {
    return loadCloud(cloud);
  } catch (error) {
    return forOperator(error);
  }
}

async function openMigrated(config: Config, embedded: Embedded | undefined, log: Logger): Promise<Db> {
  const url = config.database.url ?? embedded?.url ?? '';
  await migrate({ url, log }).catch(forOperator);
  return openDatabase({ url, max_connections: config.database.max_connections, application_name: 'headwater', log });
}

/** The existing Keystone that the configuration names, by the account that it names. */
function keystoneOf(
  identity: NonNullable<Config['keystone']>,
  { clouds }: ParentOptions,
  metrics: Metrics,
  log: Logger,
): NonNullable<AssemblyOptions['keystone']> {
  const api = createCloudClient({
    entry: keystoneEntry(identity, clouds),
    name: 'keystone',
    concurrency: KEYSTONE_CONCURRENCY,
    timeout_ms: KEYSTONE_TIMEOUT_MS,
    log,
    onCall: (call) => metrics.childCall('keystone', call.service, call.status, call.duration_ms),
  });
  return { url: identity.url, api, cache_s: identity.cache_s };
}

/** The account of an existing Keystone, whatever address its cloud gives for itself. */
export function keystoneEntry(identity: NonNullable<Config['keystone']>, clouds?: ParentOptions['clouds']): CloudEntry {
  const entry = entryOf(identity.cloud, clouds);
  return { ...entry, auth: { ...entry.auth, auth_url: identity.url }, endpoint_overrides: { identity: identity.url } };
}

function client(child: Config['children'][number], entry: CloudEntry, metrics: Metrics, log: Logger) {
  return createCloudClient({
    entry,
    name: child.name,
    concurrency: child.concurrency,
    timeout_ms: child.timeout_ms,
    log,
    onCall: (call) => metrics.childCall(child.name, call.service, call.status, call.duration_ms),
  });
}

async function listen(server: FastifyInstance, config: Config): Promise<void> {
  const { host, port } = config.listen;
  try {
    await server.listen({ host, port });
  } catch (error) {
    await server.close();
    const { code } = error as { code?: string };
    if (code === 'EADDRINUSE') {
      throw new ConfigError(
        `${host}:${port} is taken by another program; stop it, or choose another address with \`listen\``,
      );
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      throw new ConfigError(`cannot listen on ${host}:${port} (${code}); choose another address with \`listen\``);
    }
    throw error;
  }
}
