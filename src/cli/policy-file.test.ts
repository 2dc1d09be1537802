/** An operator's policy.yaml: what it may say, and that it holds in place of the defaults. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { testParent } from '../testing/parent.ts';
import { readConfig } from './config.ts';
import { readPolicyFile } from './policy-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'headwater-policy-'));
const POLICY = `
# Auditors read all networks, readers make none, and nobody but administrators makes keypairs.
auditor: role:manager and not role:admin
"create_network": "rule:admin or (rule:project_member and role:manager)"
"os_compute_api:os-keypairs:create": "rule:admin"
`;

function file(text: string): string {
  const path = join(folder, 'policy.yaml');
  writeFileSync(path, text);
  return path;
}

describe('the file', () => {
  it('is read beside the configuration that names it', () => {
    file(POLICY);
    const path = join(folder, 'headwater.yaml');
    writeFileSync(path, 'policy_file: policy.yaml\nchildren: { a: { cloud: a, zones: { a: nova } } }\n');
    expect(readConfig(path).policy).toMatchObject({ 'os_compute_api:os-keypairs:create': 'rule:admin' });
  });

  it.each([
    ['', {}],
    ['# nothing\n', {}],
    ['{"a": "role:b"}', { a: 'role:b' }],
    ['a: ""', { a: '' }],
  ])('may say %j', (text, rules) => expect(readPolicyFile(file(text))).toEqual(rules));

  it.each([
    ['a: role:b or', 'the rule `a` cannot be understood'],
    ['a: [role:b]', 'the rule `a` is no text'],
    ['a: ~', 'the rule `a` is no text'],
    ['- a', 'one rule a line'],
    ['a: "', 'this is not YAML'],
  ])('may not say %j', (text, words) => expect(() => readPolicyFile(file(text))).toThrow(words));

  it('is missed by its name', () => {
    expect(() => readPolicyFile(join(folder, 'nowhere.yaml'))).toThrow('`policy_file` cannot be read (ENOENT)');
  });
});

describe('a parent with such a file', async () => {
  const parent = await testParent({ policy: readPolicyFile(file(POLICY)), begin: false });
  const { call } = parent.api;
  afterAll(() => parent.stop());

  it('refuses what the defaults allow, and allows what the file does', async () => {
    const network = { network: { name: 'n' } };
    expect((await call('alice', 'POST', '/network/v2.0/networks', network)).status).toBe(403);
    expect((await call('admin', 'POST', '/network/v2.0/networks', network)).status).toBe(201);
    const keypair = { keypair: { name: 'k' } };
    expect((await call('alice', 'POST', '/compute/v2.1/os-keypairs', keypair)).status).toBe(403);
    expect((await call('admin', 'POST', '/compute/v2.1/os-keypairs', keypair)).status).toBe(200);
  });

  it('leaves every other rule as it is', async () => {
    expect((await call('alice', 'GET', '/network/v2.0/networks')).status).toBe(200);
    expect((await call('alice', 'GET', '/compute/v2.1/os-services')).status).toBe(403);
  });

  it('gives what a role may with it once it is held', async () => {
    const { user_id, project_id } = parent.tenants.alice;
    const path = `/identity/v3/projects/${project_id}/users/${user_id}/roles/${parent.roles.manager}`;
    expect((await call('admin', 'PUT', path)).status).toBe(204);
    await parent.login('alice');
    expect((await call('alice', 'POST', '/network/v2.0/networks', { network: { name: 'n' } })).status).toBe(201);
  });
});

it('refuses rules that refer to each other in a circle', async () => {
  await expect(testParent({ policy: { admin: 'rule:other', other: 'rule:admin' }, begin: false })).rejects.toThrow(
    'in a circle',
  );
});
