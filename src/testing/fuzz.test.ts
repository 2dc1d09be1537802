/**
 * Whatever a client sends to whatever route, as a member and as an administrator: an answer in the service's own form, in
 * time, and never a failure of ours. `FUZZ_RUNS` says how many requests each operation gets from each (8),
 * `FUZZ_SEED` repeats a run.
 */
import { sample as drawn } from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TestAnswer } from './api.ts';
import { objectsOf, parametersOf, urlOf } from './objects.ts';
import { everyOperation, hintsOf, isFault, mayOnOwn, prepare, type Prepared, schemaOf, send } from './operations.ts';
import { type Mutant, mutants } from './mutations.ts';
import { testParent } from './parent.ts';
import { sample } from './sample.ts';

const RUNS = Number(process.env.FUZZ_RUNS ?? 8);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const MEMBER = ['member', 'reader'];
const PATIENCE_MS = 10_000;
/** For all of it: every operation gets one request from each, the further ones while there is time. */
const BUDGET_MS = Number(process.env.FUZZ_BUDGET_MS ?? 60_000);

/** Filters and the like that lists may know. */
const FILTERS = `
  limit marker sort_key sort_dir sort fields page_reverse offset all_tenants deleted changes-since changes-before
  name status id project_id tenant_id user_id tags not-tags metadata ip ip6 host image flavor fixed_ips
  router:external shared bootable size_min size_max visibility member_status created_at updated_at binary start
  end detailed minRam minDisk is_public reboot_status locked with_count with_servers description ip_version
  domain_id parent_id enabled is_domain group.id role.id scope.project.id effective include_names
`
  .trim()
  .split(/\s+/);

let gone = 0;
const parent = await testParent();
const objects = objectsOf(parent);
const every = everyOperation(parent.services).toSorted((one, other) => hash(one.name) - hash(other.name));

afterAll(() => parent.stop());

beforeAll(async () => {
  await unlimit();
  for (const parameter of ['server_id', 'floatingip_id', 'snapshot_id']) await objects.id(parameter);
}, 60_000);

describe.each(['alice', 'admin'] as const)('as %s', (who) => {
  test(
    `no request breaks anything (FUZZ_SEED=${SEED} FUZZ_RUNS=${RUNS})`,
    async () => {
      const broken: string[] = [];
      const stop_ms = Date.now() + BUDGET_MS / 3;
      const statuses: Record<string, number> = {};
      const asked = every.filter(({ operation }) => who === 'admin' || mayOnOwn(parent.services, operation, MEMBER));
      for (let round = 0; round < RUNS; round++) {
        for (const each of asked) {
          if (round > 0 && Date.now() > stop_ms) break;
          const call = await prepared(each);
          const parameters = parametersOf(each.operation.path);
          const arbitrary = mutants(samplesOf(call), parameters.length, FILTERS);
          const seed = SEED ^ hash(`${who} ${each.name} ${round}`);
          const [mutant] = drawn(arbitrary, { numRuns: 1, seed }) as [Mutant];
          const problem = await trial(who, call, parameters, mutant, statuses);
          if (problem !== undefined) broken.push(problem);
        }
      }
      console.info(
        `fuzz as ${who}: ${JSON.stringify(statuses)} answers by status, ${gone} without objects, FUZZ_SEED=${SEED}`,
      );
      expect(broken).toEqual([]);
    },
    BUDGET_MS + 120_000,
  );
});

test(
  'two at once break nothing either',
  async () => {
    const broken: string[] = [];
    const changes = every.filter(({ operation: { method, path } }) => /^P|^D/.test(method) && !isSuicide(method, path));
    const deletesLast = changes.toSorted((one, other) => Number(isDelete(one)) - Number(isDelete(other)));
    for (const each of deletesLast) {
      const who = mayOnOwn(parent.services, each.operation, MEMBER) ? 'alice' : 'admin';
      const call = await prepared(each);
      for (const answer of await Promise.all([send(parent, who, call), send(parent, who, call)])) {
        const problem = wrongIn(call.service.convention.name, each.operation.method, answer, `${call.name} as ${who}`);
        if (problem !== undefined) broken.push(problem);
      }
      if (isDelete(each)) forget(call);
    }
    expect(broken).toEqual([]);
  },
  BUDGET_MS + 120_000,
);

test('a server still boots in the end', async () => {
  const bobs = objectsOf(parent, 'bob');
  expect(await bobs.id('server_id')).toHaveLength(36);
}, 60_000);

/** Lets the tenants have as much as they like: a run leaves more behind than any quota. */
async function unlimit(): Promise<void> {
  for (const { project_id } of [parent.tenants.alice, parent.tenants.bob]) {
    const compute = { quota_set: { instances: -1, cores: -1, ram: -1, server_groups: -1, key_pairs: -1 } };
    const volume = { quota_set: { volumes: -1, snapshots: -1, gigabytes: -1 } };
    const quota = { network: -1, subnet: -1, port: -1, router: -1, floatingip: -1, security_group: -1 };
    await objects.ask('admin', 'PUT', `/compute/v2.1/os-quota-sets/${project_id}`, compute);
    await objects.ask('admin', 'PUT', `/volume/v3/os-quota-sets/${project_id}`, volume);
    await objects.ask('admin', 'PUT', `/network/v2.0/quotas/${project_id}`, {
      quota: { ...quota, security_group_rule: -1 },
    });
  }
}

/** An operation's call on what there is; objects that other requests have deleted are made again, if they can be. */
async function prepared(each: Pick<Prepared, 'service' | 'operation' | 'name'>): Promise<Prepared> {
  try {
    return await prepare(objects, each);
  } catch {
    await unlimit();
    objects.forgetAll();
  }
  try {
    return await prepare(objects, each);
  } catch {
    gone++;
    const ids = Object.fromEntries(parametersOf(each.operation.path).map((parameter) => [parameter, 'gone']));
    return prepare(objects, each, { ids });
  }
}

function samplesOf({ service, operation, body }: Prepared): unknown[] {
  const schema = schemaOf(service, operation);
  if (schema === undefined) return body === undefined || Buffer.isBuffer(body) ? [] : [body];
  return [body, sample(schema, { optional: 'all' }), sample(schema, { optional: 'all', hint: hintsOf(objects) })];
}

/** Sends one request; gives what is wrong with the answer. */
async function trial(
  who: string,
  call: Prepared,
  parameters: readonly string[],
  mutant: Mutant,
  statuses: Record<string, number>,
): Promise<string | undefined> {
  const { operation, service } = call;
  if (isSuicide(operation.method, operation.path)) return undefined;
  const ids = Object.fromEntries(parameters.map((name, at) => [name, mutant.ids[at]]));
  const url = `${filled(call, ids)}${mutant.query}`;
  const body = operation.method === 'GET' || operation.method === 'HEAD' ? undefined : mutant.body;
  const headers = { ...call.headers, ...mutant.headers };
  const said = `${call.name}\n  ${who} ${operation.method} ${url.slice(0, 300)} ${JSON.stringify(mutant.headers)} ${String(body).slice(0, 600)}`;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), PATIENCE_MS);
  });
  try {
    const answer = await Promise.race([send(parent, who, { ...call, url, body, headers }), late]);
    if (answer === undefined) return `${said}\n  no answer in ${PATIENCE_MS} ms`;
    statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    if (answer.status < 300 && operation.method === 'DELETE') forget(call);
    return wrongIn(service.convention.name, operation.method, answer, said);
  } catch (error) {
    return `${said}\n  threw ${String(error)}`;
  } finally {
    clearTimeout(timer);
  }
}

function wrongIn(service: string, method: string, answer: TestAnswer, said: string): string | undefined {
  const { status, text } = answer;
  if (status >= 500 && status !== 501 && status !== 503) return `${said}\n  ${status} ${text.slice(0, 300)}`;
  if (status === 503) return `${said}\n  ${status} ${text.slice(0, 300)}`;
  if (status >= 400 && method !== 'HEAD' && !isFault(service, answer)) {
    return `${said}\n  not a fault of ${service}: ${status} ${text.slice(0, 300)}`;
  }
  if (answer.headers['x-injected'] !== undefined) return `${said}\n  a header was injected`;
  return undefined;
}

function filled({ service, operation, url }: Prepared, ids: Readonly<Record<string, string | undefined>>): string {
  if (Object.values(ids).every((id) => id === undefined)) return url;
  // The URL as prepared, with some of its parts as the mutant has them: raw, since half of the oddness is in the escapes.
  const parts = url.split('/');
  const names = urlOf(service.convention, operation.path, {}).split('/');
  const pattern = `/${service.convention.name}${operation.path.startsWith('//') ? operation.path.slice(1) : service.convention.root + operation.path}`;
  return names
    .map((_, at) => {
      const segment = pattern.split('/')[at] ?? '';
      const id = segment.startsWith(':') ? ids[segment.slice(1)] : undefined;
      return id ?? parts[at] ?? '';
    })
    .join('/');
}

const isDelete = ({ operation }: Pick<Prepared, 'operation'>): boolean => operation.method === 'DELETE';

/** What the path names has been deleted. */
function forget({ operation, service }: Prepared): void {
  for (const name of parametersOf(operation.path)) objects.forget(name, service.convention.name);
}

/** What would leave the callers without a token, for the rest of the run to be about nothing. */
function isSuicide(method: string, path: string): boolean {
  return method === 'DELETE' && path === '/auth/tokens';
}

function hash(text: string): number {
  let value = SEED;
  for (const character of text) value = (Math.imul(value, 31) + (character.codePointAt(0) ?? 0)) | 0;
  return value;
}
