/** A whole parent in one process, put together as an operator's is: every service, cascading, simulated children. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { expect } from 'vitest';
import { assemble, type Assembly } from '../cli/parent.ts';
import { createMetrics } from '../http/metrics.ts';
import { createCloudClient } from '../openstack/client.ts';
import { makeMember } from '../sim/account.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { callsTo, silent, type TestAnswer, type TestApi } from './api.ts';
import { testDatabase } from './database.ts';
import { inDefault, password } from './identity.ts';

export const PARENT_URL = 'http://parent.test';

export interface TestParentOptions {
  /** Names of the children, each serving a zone of its name; `east` and `west`. */
  readonly children?: readonly string[];
  /** False: nothing is done in the children until the test calls `cascade.start()`. */
  readonly begin?: boolean;
  readonly log?: Logger;
  /** Rules in place of the defaults, as of an operator's policy.yaml. */
  readonly policy?: Readonly<Record<string, string>>;
  /** Children in whose one project all tenants are, by an account that is no administrator there. */
  readonly shared?: readonly string[];
}

/** A user with one role in one project, and how they log in. */
export interface Tenant {
  readonly user_id: string;
  readonly project_id: string;
  readonly password: string;
}

export interface TestParent {
  /** The usual callers `admin`, `alice` (member of one), `rita` (reader of one), `bob` (member of two), by real tokens. */
  readonly api: { readonly call: TestApi['call'] };
  readonly tenants: Readonly<Record<'admin' | 'alice' | 'rita' | 'bob', Tenant>>;
  readonly tokens: Readonly<Record<string, string>>;
  readonly roles: Readonly<Record<string, string>>;
  readonly sims: Readonly<Record<string, SimCloud>>;
  readonly cascade: Assembly['cascade'];
  /** For what needs a port. */
  readonly server: Assembly['server'];
  readonly services: Assembly['services'];
  readonly db: Awaited<ReturnType<typeof testDatabase>>;
  /** Logs the user in again: after what makes tokens void. */
  login(who: keyof TestParent['tenants']): Promise<void>;
  /** Asks until the answer is neither undefined nor false; fails after `patience_ms`, by default 10 s. */
  eventually<Found>(look: () => Promise<Found | undefined | false>, patience_ms?: number): Promise<Found>;
  stop(): Promise<void>;
}

/** Call it once at the top of a test file, and `stop` in `afterAll`. */
export async function testParent(options: TestParentOptions = {}): Promise<TestParent> {
  const { children = ['east', 'west'], begin = true, log = silent, policy = {}, shared = [] } = options;
  const db = await testDatabase();
  const data_dir = await mkdtemp(join(tmpdir(), 'headwater-test-parent-'));
  const sims: Record<string, SimCloud> = {};
  const configured = [];
  for (const name of children) {
    const sim = await createSimCloud({ name });
    sims[name] = sim;
    const tenancy = shared.includes(name) ? ('shared' as const) : ('mirrored' as const);
    const account = tenancy === 'shared' ? (await makeMember(sim, 'everybody')).entry : sim.cloudsYamlEntry;
    const entry = { name, auth_type: 'password' as const, ...account };
    const api = createCloudClient({ entry, name, backoff_ms: 5, log });
    configured.push({ config: { name, zones: { [name]: 'nova' }, tenancy }, api });
  }
  const adminPassword = 'admin-password-0451';
  const parent = await assemble({
    db,
    children: configured,
    publicUrl: PARENT_URL,
    data_dir,
    log,
    metrics: createMetrics({ process: false }),
    adminPassword,
    policy,
  });
  const tokens: Record<string, string> = {};
  const call = callsTo(parent.server, (who) => tokens[who] ?? who);
  tokens.admin = await issue(call, 'admin', adminPassword, { name: 'admin', domain: { id: 'default' } });
  const { tenants, roles } = await settle(call, adminPassword);
  const login: TestParent['login'] = async (who) => {
    const { password: secret, project_id } = tenants[who];
    tokens[who] = await issue(call, who, secret, { id: project_id });
  };
  for (const who of ['alice', 'rita', 'bob'] as const) await login(who);
  if (begin) await parent.cascade.start();
  return {
    api: { call },
    tenants,
    tokens,
    roles,
    sims,
    cascade: parent.cascade,
    server: parent.server,
    services: parent.services,
    db,
    login,
    eventually,
    async stop() {
      await parent.stop();
      await Promise.all(Object.values(sims).map((sim) => sim.close()));
      await rm(data_dir, { recursive: true, force: true });
    },
  };
}

async function issue(call: TestApi['call'], name: string, secret: string, project: object): Promise<string> {
  const body = password(inDefault(name, secret), { project });
  const answer = await call('', 'POST', '/identity/v3/auth/tokens', body);
  expect(answer.status, answer.text).toBe(201);
  return String(answer.headers['x-subject-token']);
}

/** Two projects and their users, made as an administrator makes them. */
async function settle(
  call: TestApi['call'],
  adminPassword: string,
): Promise<{ tenants: TestParent['tenants']; roles: TestParent['roles'] }> {
  const ask = async (method: string, path: string, body?: unknown): Promise<TestAnswer['body']> => {
    const answer = await call('admin', method, `/identity/v3${path}`, body);
    expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
    return answer.body;
  };
  const roles: Record<string, string> = {};
  for (const { id, name } of (await ask('GET', '/roles')).roles) roles[name] = id;
  const projects: Record<string, string> = {};
  for (const name of ['one', 'two']) {
    projects[name] = (await ask('POST', '/projects', { project: { name, domain_id: 'default' } })).project.id;
  }
  const tenant = async (name: string, project: 'one' | 'two', role: string): Promise<Tenant> => {
    const secret = `${name}-password-0451`;
    const project_id = projects[project] as string;
    const user = { name, password: secret, domain_id: 'default' };
    const { id: user_id } = (await ask('POST', '/users', { user })).user;
    await ask('PUT', `/projects/${project_id}/users/${user_id}/roles/${roles[role]}`);
    return { user_id, project_id, password: secret };
  };
  const [admin] = (await ask('GET', '/users?name=admin')).users;
  const [adminProject] = (await ask('GET', '/projects?name=admin')).projects;
  return {
    roles,
    tenants: {
      admin: { user_id: admin.id, project_id: adminProject.id, password: adminPassword },
      alice: await tenant('alice', 'one', 'member'),
      rita: await tenant('rita', 'one', 'reader'),
      bob: await tenant('bob', 'two', 'member'),
    },
  };
}

async function eventually<Found>(look: () => Promise<Found | undefined | false>, patience_ms = 30_000): Promise<Found> {
  const until_ms = Date.now() + patience_ms;
  while (Date.now() < until_ms) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`it did not come to be within ${patience_ms} ms`);
}
