/** What holds for every operation that there is, whoever adds one: who is let in, who is kept out, and what no answer says. */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describedServices } from '../cli/docs.ts';
import { parseRule, referencesOf } from '../http/policy-syntax.ts';
import { rulesOf } from '../http/service.ts';
import { check } from '../http/validation.ts';
import type { TestAnswer } from './api.ts';
import { childSecrets } from './child-secrets.ts';
import { kindOf, objectsOf, parametersOf, TAG } from './objects.ts';
import {
  alicesOwn,
  everyOperation,
  isFault,
  isOwned,
  mayOnOwn,
  prepare,
  type Prepared,
  schemaOf,
  send,
  unknownAttributes,
} from './operations.ts';
import { testParent } from './parent.ts';
import { propertiesOf, sample } from './sample.ts';

const services = describedServices();
const operations = everyOperation(services);
const MEMBER = ['member', 'reader'];
const READER = ['reader'];

/** What a reader may do although it is no reading, and why. */
const READERS_MAY: Readonly<Record<string, string>> = {
  'compute DELETE /os-keypairs/:keypair_name': 'keys are of a user, not of a project',
  'compute POST /os-keypairs': 'keys are of a user, not of a project',
  'identity DELETE /auth/tokens': 'their own',
  'identity DELETE /OS-TRUST/trusts/:trust_id': 'their own',
  'identity POST /OS-TRUST/trusts': 'of their own, with the roles that they have',
  'identity DELETE /credentials/:credential_id': 'their own',
  'identity DELETE /users/:user_id/credentials/OS-EC2/:access': 'their own',
  'identity PATCH /credentials/:credential_id': 'their own',
  'identity POST /credentials': 'their own',
  'identity DELETE /users/:user_id/access_rules/:access_rule_id': 'their own',
  'identity DELETE /users/:user_id/application_credentials/:application_credential_id': 'their own',
  'identity POST /users/:user_id/application_credentials': 'their own, with the roles that they have',
  'identity POST /auth/tokens': 'a login',
  'identity POST /OS-OAUTH1/access_token': 'by the signature of a consumer, without a token',
  'identity POST /OS-OAUTH1/request_token': 'by the signature of a consumer, without a token',
  'identity POST /OS-OAUTH2/token': 'a login, by an application credential',
  'identity POST /users/:user_id/password': 'by the old password, without a token',
  'image POST /images/:image_id/import': "Glance's own rule for it is that of reading; what is then done has another",
  'volume POST /volumes/:volume_id/action os-show_image_metadata': 'a reading, in the dress of an action',
};

/** Where OpenStack tells another project's member something else than that there is no such thing, and why. */
const ASKED_BY_PROJECT = { status: 403, why: 'the project is named, not found: the rule is asked about it' };
const ASKED_BY_RULE = { status: 403, why: 'Keystone asks the rule about the target before it looks' };
const FOREIGN: Readonly<Record<string, { readonly status: number; readonly why: string }>> = {
  'compute GET /os-quota-sets/:project_id': ASKED_BY_PROJECT,
  'compute GET /os-quota-sets/:project_id/detail': ASKED_BY_PROJECT,
  'compute GET /os-quota-sets/:project_id/defaults': { status: 200, why: 'the defaults are the same for all' },
  'compute GET /os-simple-tenant-usage/:project_id': ASKED_BY_PROJECT,
  'network DELETE /auto-allocated-topology/:project_id': ASKED_BY_PROJECT,
  'network GET /auto-allocated-topology/:project_id': ASKED_BY_PROJECT,
  'network GET /quotas/:project_id': ASKED_BY_PROJECT,
  'network GET /quotas/:project_id/default': ASKED_BY_PROJECT,
  'network GET /quotas/:project_id/details': ASKED_BY_PROJECT,
  'network GET /quotas/:project_id/details.json': ASKED_BY_PROJECT,
  'volume GET /os-quota-sets/:quota_project_id': ASKED_BY_PROJECT,
  'volume GET /os-quota-sets/:quota_project_id/defaults': ASKED_BY_PROJECT,
  'identity GET /projects/:project_id': ASKED_BY_RULE,
  'identity GET /projects/:project_id/tags': ASKED_BY_RULE,
  'identity GET /projects/:project_id/tags/:value': ASKED_BY_RULE,
  'identity HEAD /projects/:project_id/tags/:value': ASKED_BY_RULE,
  'identity GET /users/:user_id': ASKED_BY_RULE,
  'identity DELETE /credentials/:credential_id': ASKED_BY_RULE,
  'identity GET /credentials/:credential_id': ASKED_BY_RULE,
  'identity PATCH /credentials/:credential_id': ASKED_BY_RULE,
  'identity DELETE /users/:user_id/credentials/OS-EC2/:access': ASKED_BY_RULE,
  'identity GET /users/:user_id/credentials/OS-EC2': ASKED_BY_RULE,
  'identity GET /users/:user_id/credentials/OS-EC2/:access': ASKED_BY_RULE,
  'identity POST /users/:user_id/credentials/OS-EC2': ASKED_BY_RULE,
  'identity GET /limits/:limit_id': ASKED_BY_RULE,
  'identity DELETE /OS-TRUST/trusts/:trust_id': ASKED_BY_RULE,
  'identity GET /OS-TRUST/trusts/:trust_id': ASKED_BY_RULE,
  'identity GET /OS-TRUST/trusts/:trust_id/roles': ASKED_BY_RULE,
  'identity GET /OS-TRUST/trusts/:trust_id/roles/:role_id': ASKED_BY_RULE,
  'identity HEAD /OS-TRUST/trusts/:trust_id/roles/:role_id': ASKED_BY_RULE,
  'identity DELETE /users/:user_id/access_rules/:access_rule_id': ASKED_BY_RULE,
  'identity DELETE /users/:user_id/application_credentials/:application_credential_id': ASKED_BY_RULE,
  'identity GET /users/:user_id/access_rules': ASKED_BY_RULE,
  'identity GET /users/:user_id/access_rules/:access_rule_id': ASKED_BY_RULE,
  'identity GET /users/:user_id/application_credentials': ASKED_BY_RULE,
  'identity GET /users/:user_id/application_credentials/:application_credential_id': ASKED_BY_RULE,
  'identity POST /users/:user_id/application_credentials': ASKED_BY_RULE,
  'identity GET /users/:user_id/projects': ASKED_BY_RULE,
  'identity GET /users/:user_id/groups': ASKED_BY_RULE,
};

/** What a member may not read of their own either. */
const NOT_READ: Readonly<Record<string, string>> = {
  'identity GET /auth/tokens/OS-PKI/revoked': 'Keystone refuses it to everybody',
  'identity GET /OS-TRUST/trusts/:trust_id/roles/:role_id': 'it is not a role that the trust gives',
  'network GET /auto-allocated-topology/:project_id': 'it makes one, and this parent has no default subnet pool',
  'network GET /qos/rule-types/:rule_type': 'what the drivers can is told to administrators alone',
  'network GET /quotas': 'the quotas of all projects, which Neutron gives to administrators alone',
};

/** What would leave the one who asks without a token. */
const ENDS_THE_TOKEN: Readonly<Record<string, string>> = {
  'identity DELETE /auth/tokens': 'it is the token that asks',
  'identity POST /OS-OAUTH2/token': 'it asks for an application credential, and takes no token',
  'identity POST /users/:user_id/password': 'it asks for the old password, and takes no token',
};
const isIdentity = ({ service }: Pick<Prepared, 'service'>): boolean => service.convention.name === 'identity';

const parent = await testParent();
const objects = objectsOf(parent);
const prepared: Prepared[] = [];
/** The ids of what has copies under the same id. */
const shared: string[] = [];
/** What the children hold before their owner's deletions reach them. */
let before = new Map<string, string>();
const answers: { name: string; who: string; answer: TestAnswer }[] = [];

afterAll(() => parent.stop());

beforeAll(async () => {
  for (const parameter of ['server_id', 'floatingip_id', 'snapshot_id']) await objects.id(parameter);
  const { project_id } = parent.tenants.alice;
  await objects.ask('admin', 'PUT', `/identity/v3/projects/${project_id}/tags/${TAG}`);
  for (const each of everyOperation(parent.services)) prepared.push(await prepare(objects, each));
  shared.push(await objects.id('image_id'), await objects.id('flavor_id', 'compute'));
}, 120_000);

async function as(who: 'alice' | 'rita' | 'bob', call: Prepared): Promise<TestAnswer> {
  const answer = await send(parent, who, call);
  answers.push({ name: call.name, who, answer });
  return answer;
}

test('every path parameter has an object, and every body a sample', () => {
  const lacking = operations.flatMap(({ service, operation, name }) => {
    const schema = schemaOf(service, operation);
    const problem = schema === undefined ? undefined : check(schema, sample(schema));
    return [
      ...parametersOf(operation.path)
        .filter((parameter) => kindOf(parameter, service.convention.name) === undefined)
        .map((parameter) => `${name}: say in src/testing/objects.ts how an object for :${parameter} is made`),
      ...(problem === undefined ? [] : [`${name}: no sample of the body's schema: ${JSON.stringify(problem)}`]),
    ];
  });
  expect(lacking).toEqual([]);
});

test('every rule has a name of the kind that its service gives, and refers to rules that there are', () => {
  const forms: Readonly<Record<string, RegExp>> = {
    identity: /^identity:[a-z0-9_]+$/,
    compute: /^(os_compute_api:[a-z-]+|compute:server:topology|compute:aggregates)(:[a-z_-]+)*$/,
    network: /^(get|create|update|delete|add|remove|onboard)_[a-z_]+$/,
    volume: /^([a-z]+_extension|volume|message):[A-Za-z_]+(:[A-Za-z_]+)*$|^limits_extension:used_limits$/,
    image: /^[a-z_]+$/,
  };
  const rules = new Set(rulesOf(services).map((rule) => rule.name));
  const wrong = operations.flatMap(({ operation: { policy }, service, name }) => {
    if (policy === 'none') return [];
    return [
      ...(forms[service.convention.name]?.test(policy.name) === true ? [] : [`${name}: named ${policy.name}`]),
      ...unknownAttributes(policy.check).map((attribute) => `${name}: %(${attribute})s is unknown to operations.ts`),
    ];
  });
  for (const { name, check: text } of rulesOf(services)) {
    for (const reference of referencesOf(parseRule(text))) {
      if (!rules.has(reference)) wrong.push(`${name} refers to ${reference}, which is not`);
    }
  }
  for (const { file, rule } of rulesAskedFor())
    if (!rules.has(rule)) wrong.push(`${file} asks for ${rule}, which is not`);
  expect(wrong).toEqual([]);
});

test('without a token, and with one that is none, the answer is 401', async () => {
  const wrong: string[] = [];
  for (const call of prepared.filter(({ operation }) => operation.policy !== 'none')) {
    for (const who of ['', 'no-such-token']) {
      const answer = await send(parent, who, call);
      if (answer.status !== 401 || (call.operation.method !== 'HEAD' && !isFault(call.service.convention.name, answer)))
        wrong.push(`${call.name} as '${who}': ${answer.status} ${answer.text.slice(0, 200)}`);
    }
  }
  expect(wrong).toEqual([]);
});

/** A 403, or where a service does not tell that there is anything: an empty list, or none found. */
function isRefused({ operation }: Prepared, answer: TestAnswer): boolean {
  if (answer.status === 403 || operation.refused === undefined) return answer.status === 403;
  if (answer.status === 404) return true;
  const [list, ...more] = Object.values(JSON.parse(answer.text) as object);
  return operation.method === 'GET' && Array.isArray(list) && list.length + more.length === 0;
}

test('a reader changes nothing', async () => {
  const wrong: string[] = [];
  const may = prepared.filter(({ operation }) => operation.method !== 'GET' && operation.method !== 'HEAD');
  for (const call of may) {
    if (mayOnOwn(services, call.operation, READER)) continue;
    const answer = await as('rita', call);
    if (!isRefused(call, answer)) wrong.push(`${call.name}: ${answer.status} ${answer.text.slice(0, 200)}`);
  }
  expect(wrong).toEqual([]);
  const let_in = may.filter(({ operation }) => mayOnOwn(services, operation, READER)).map(({ name }) => name);
  expect(let_in.sort()).toEqual(Object.keys(READERS_MAY).sort());
});

test('what is for administrators is refused to a member', async () => {
  const wrong: string[] = [];
  for (const call of prepared.filter(({ operation }) => !mayOnOwn(services, operation, MEMBER))) {
    const answer = await as('alice', call);
    if (!isRefused(call, answer)) wrong.push(`${call.name}: ${answer.status} ${answer.text.slice(0, 200)}`);
  }
  expect(wrong).toEqual([]);
});

test("another project's member finds none of it", async () => {
  const wrong: string[] = [];
  const met = new Set<string>();
  for (const each of everyOperation(parent.services)) {
    if (!(isOwned(each) || each.name in FOREIGN) || !mayOnOwn(services, each.operation, MEMBER)) continue;
    const call = await prepare(objects, each, isIdentity(each) ? { ids: alicesOwn(parent) } : {});
    const answer = await as('bob', call);
    const expected = FOREIGN[call.name]?.status ?? 404;
    met.add(call.name);
    const isWell =
      expected === 200 || call.operation.method === 'HEAD' || isFault(call.service.convention.name, answer);
    if (answer.status !== expected || !isWell)
      wrong.push(`${call.name}: ${answer.status} ${answer.text.slice(0, 200)}`);
  }
  expect(wrong).toEqual([]);
  expect(Object.keys(FOREIGN).filter((name) => !met.has(name))).toEqual([]);
});

test("no list shows another project's objects", async () => {
  const wrong: string[] = [];
  const theirs = [...projectIds(), parent.tenants.alice.user_id, parent.tenants.alice.project_id];
  for (const call of prepared.filter((one) => !isOwned(one) && mayOnOwn(services, one.operation, MEMBER))) {
    if (call.operation.method !== 'GET') continue;
    const answer = await as('bob', {
      ...call,
      headers: { ...call.headers, 'x-subject-token': parent.tokens.bob ?? '' },
    });
    const shown = theirs.filter((id) => answer.text.includes(id));
    if (shown.length > 0) wrong.push(`${call.name} shows ${shown.join()}`);
  }
  expect(wrong).toEqual([]);
});

test("another project's objects cannot be named in a body either", async () => {
  const wrong: string[] = [];
  let tried = 0;
  const bobs = objectsOf(parent, 'bob');
  for (const parameter of ['server_id', 'router_id', 'snapshot_id', 'image_id']) await bobs.id(parameter);
  shared.push(await bobs.id('image_id'), await bobs.id('flavor_id', 'compute'));
  for (const each of operations) {
    const { operation, service } = each;
    if (operation.method === 'GET' || isIdentity(each) || !mayOnOwn(services, operation, MEMBER)) continue;
    const schema = schemaOf(service, operation);
    if (schema === undefined) continue;
    for (const property of propertiesOf(schema)) {
      const { body } = await prepare(objects, each, { optional: new Set([property]) });
      const named = projectIds().filter((id) => JSON.stringify(body).includes(`"${id}"`));
      if (named.length === 0) continue;
      tried++;
      const answer = await as('bob', { ...(await prepare(bobs, each)), body });
      if (answer.status < 400 || answer.status >= 500)
        wrong.push(`${each.name} with ${JSON.stringify(body)}: ${answer.status} ${answer.text.slice(0, 200)}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(tried).toBeGreaterThan(30);
}, 60_000);

test("Cinder's paths with another project in them are refused", async () => {
  const wrong: string[] = [];
  const { project_id } = parent.tenants.alice;
  for (const call of prepared.filter(({ service }) => service.convention.name === 'volume')) {
    // A rule about the project that is named is asked before the URL is looked at, and refuses as well.
    if (!mayOnOwn(services, call.operation, MEMBER) || FOREIGN[call.name]?.status === 403) continue;
    const answer = await as('bob', { ...call, url: call.url.replace('/v3/', `/v3/${project_id}/`) });
    if (answer.status !== 400) wrong.push(`${call.name}: ${answer.status} ${answer.text}`);
  }
  expect(wrong).toEqual([]);
});

test('a member reads what is theirs, and no call of theirs ends in a fault of ours', async () => {
  const wrong: string[] = [];
  let done = 0;
  before = childSecrets(parent, shared);
  const order = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
  const calls = everyOperation(parent.services)
    .filter(({ operation, name }) => mayOnOwn(services, operation, MEMBER) && !(name in ENDS_THE_TOKEN))
    .toSorted((one, other) => order.indexOf(one.operation.method) - order.indexOf(other.operation.method));
  for (const each of calls) {
    const call = await prepare(objects, each, isIdentity(each) ? { ids: alicesOwn(parent) } : {});
    const answer = await as('alice', call);
    if (answer.status < 300) done++;
    const isRead = each.operation.method === 'GET' && !(each.name in NOT_READ);
    if (answer.status >= (isRead ? 300 : 500) || answer.status === 401)
      wrong.push(`${call.name}: ${answer.status} ${answer.text.slice(0, 200)}`);
  }
  expect(wrong).toEqual([]);
  expect(done).toBeGreaterThan(100);
}, 60_000);

test("no answer to a tenant carries a child's address, id or credential", async () => {
  const secrets = new Map([...before, ...childSecrets(parent, shared)]);
  expect(secrets.size).toBeGreaterThan(20);
  const wrong = answers.flatMap(({ name, who, answer }) => {
    const said = `${answer.text} ${JSON.stringify(answer.headers)}`;
    return [...secrets]
      .filter(([text]) => said.includes(text))
      .map(([text, what]) => `${name} as ${who}: ${what} ${text}`);
  });
  expect(wrong).toEqual([]);
});

test("a marker that names another project's object is as unknown as one that names nothing", async () => {
  const lists: Readonly<Record<string, string>> = {
    server_id: '/compute/v2.1/servers',
    volume_id: '/volume/v3/volumes',
    snapshot_id: '/volume/v3/snapshots',
    network_id: '/network/v2.0/networks',
    port_id: '/network/v2.0/ports',
    security_group_id: '/network/v2.0/security-groups',
    image_id: '/image/v2/images',
  };
  const bob = objectsOf(parent, 'bob');
  for (const [parameter, list] of Object.entries(lists)) {
    const theirs = await bob.id(parameter);
    const nothing = randomUUID();
    const ask = (marker: string) => parent.api.call('alice', 'GET', `${list}?marker=${marker}&limit=5`);
    const [foreign, unknown] = [await ask(theirs), await ask(nothing)];
    expect([parameter, foreign.status]).not.toEqual([parameter, 200]);
    expect([foreign.status, foreign.text.replaceAll(theirs, nothing)]).toEqual([unknown.status, unknown.text]);
    expect((await parent.api.call('bob', 'GET', `${list}?marker=${theirs}`)).status).toBe(200);
  }
});

/** Ids of what belongs to alice's project, under which nobody else finds anything. */
function projectIds(): string[] {
  return [...objects.known()].flatMap(([key, id]) =>
    kindOf(...(key.split('.').toReversed() as [string, string]))?.owner === 'project' && id.length > 30 ? [id] : [],
  );
}

/** The rules that the code asks for by name, beside those of the operations. */
function rulesAskedFor(): { file: string; rule: string }[] {
  const folder = join(import.meta.dirname, '..');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !/test/.test(file),
  );
  return files.flatMap((file) =>
    [...readFileSync(join(folder, file), 'utf8').matchAll(/\b(?:enforce|allowed)\(\s*'([^']+)'/g)].map((match) => ({
      file,
      rule: match[1] ?? '',
    })),
  );
}
