import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make, db } = await networkTest();
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body?.NeutronError?.type];
const share = (who: string, values: object) =>
  call(who, 'POST', '/rbac-policies', {
    rbac_policy: { object_type: 'network', action: 'access_as_shared', target_tenant: 'p2', ...values },
  });
const shared = async (who: string, values: object): Promise<string> => {
  const answer = await share(who, values);
  expect(answer.status).toBe(201);
  return answer.body.rbac_policy.id;
};
const change = (who: string, id: string, target_tenant: string) =>
  call(who, 'PUT', `/rbac-policies/${id}`, { rbac_policy: { target_tenant } });
const remove = (who: string, id: string) => call(who, 'DELETE', `/rbac-policies/${id}`);
const newNetwork = async (values: object = {}, who = 'alice'): Promise<string> =>
  (await make(who, 'network', { ...values })).id;
const policiesOf = async (object_id: string) =>
  (await call('admin', 'GET', `/rbac-policies?object_id=${object_id}`)).body.rbac_policies;

describe('RBAC policies', () => {
  it('are shown as Neutron shows them, each project its own', async () => {
    const object_id = await newNetwork();
    const made = await share('alice', { object_id, object_type: ' NETWORK ' });
    const { id } = made.body.rbac_policy;
    const expected = {
      id,
      project_id: 'p1',
      tenant_id: 'p1',
      object_type: 'network',
      object_id,
      action: 'access_as_shared',
      target_tenant: 'p2',
    };
    expect(made.body.rbac_policy).toEqual(expected);
    expect((await call('alice', 'GET', `/rbac-policies/${id}`)).body.rbac_policy).toEqual(expected);
    const filters = `object_id=${object_id}&object_type=Network&target_tenant=p2&action=access_as_shared`;
    expect((await call('alice', 'GET', `/rbac-policies?${filters}`)).body.rbac_policies).toEqual([expected]);
    expect((await call('bob', 'GET', '/rbac-policies')).body.rbac_policies).toEqual([]);
    expect(fault(await call('bob', 'GET', `/rbac-policies/${id}`))).toEqual([404, 'RbacPolicyNotFound']);
    expect((await change('bob', id, 'p3')).status).toBe(404);
    expect((await remove('bob', id)).status).toBe(404);
    expect((await change('rita', id, 'p3')).status).toBe(403);
    expect(fault(await call('alice', 'GET', '/rbac-policies?object_type=port'))).toEqual([400, 'InvalidInput']);
    expect((await call('alice', 'GET', '/rbac-policies?target_project=p2')).status).toBe(400);
    expect((await call('admin', 'GET', '/quotas/p1/details.json')).body.quota.rbac_policy.used).toBe(1);
    expect((await remove('alice', id)).status).toBe(204);
    expect((await call('admin', 'GET', '/quotas/p1/details.json')).body.quota.rbac_policy.used).toBe(0);
  });

  it('are refused as Neutron refuses them', async () => {
    const object_id = await newNetwork();
    await shared('alice', { object_id });
    expect(fault(await share('alice', { object_id }))).toEqual([409, 'DuplicateRbacPolicy']);
    expect(fault(await share('alice', { object_id, target_tenant: '*' }))).toEqual([403, 'PolicyNotAuthorized']);
    expect(fault(await share('alice', { object_id, object_type: 'port' }))).toEqual([400, 'InvalidInput']);
    const odd = await share('alice', { object_id, action: 'foo' });
    expect(odd.body.NeutronError).toMatchObject({
      type: 'InvalidActionForType',
      message:
        "Invalid action 'foo' for object type 'network'. Valid actions: ('access_as_shared', 'access_as_external')",
    });
    expect(fault(await share('alice', { object_id: randomUUID() }))).toEqual([400, 'InvalidInput']);
    expect(fault(await share('alice', { object_id: 'zz' }))).toEqual([400, 'HTTPBadRequest']);
    // Bob sees it, but it is not his.
    expect(fault(await share('bob', { object_id, target_tenant: 'p3' }))).toEqual([400, 'InvalidInput']);
    expect(fault(await share('bob', { object_id: await newNetwork(), target_tenant: 'p3' }))).toEqual([
      400,
      'InvalidInput',
    ]);
    expect((await call('alice', 'POST', '/rbac-policies', { rbac_policy: { object_id } })).status).toBe(400);
    const id = await shared('alice', { object_id, target_tenant: 'p3' });
    expect(fault(await change('alice', id, 'p2'))).toEqual([409, 'DuplicateRbacPolicy']);
    expect(fault(await change('alice', id, '*'))).toEqual([403, 'PolicyNotAuthorized']);
    const action = await call('alice', 'PUT', `/rbac-policies/${id}`, { rbac_policy: { action: 'x' } });
    expect(action.status).toBe(400);
  });

  it('leave one of two that are made at once', async () => {
    const object_id = await newNetwork();
    const statuses = await Promise.all([share('alice', { object_id }), share('alice', { object_id })]);
    expect(statuses.map(({ status }) => status).sort()).toEqual([201, 409]);
  });
});

describe('a network shared with one project', () => {
  it('is that project’s to use, as long as the policy is there', async () => {
    const id = await newNetwork();
    const subnet = await make('alice', 'subnet', { network_id: id, cidr: '10.5.0.0/24', ip_version: 4 });
    expect((await call('bob', 'GET', `/networks/${id}`)).status).toBe(404);
    const policy = await shared('alice', { object_id: id });
    expect((await call('bob', 'GET', `/networks/${id}`)).body.network.shared).toBe(true);
    expect((await call('alice', 'GET', `/networks/${id}`)).body.network.shared).toBe(false);
    expect((await call('bob', 'GET', '/networks?shared=True&fields=id')).body.networks).toContainEqual({ id });
    expect((await call('alice', 'GET', `/networks?shared=True&id=${id}`)).body.networks).toEqual([]);
    expect((await call('bob', 'GET', `/networks?shared=False&id=${id}`)).body.networks).toEqual([]);
    expect((await call('bob', 'GET', `/subnets/${subnet.id}`)).status).toBe(200);
    expect((await call('bob', 'PUT', `/networks/${id}`, { network: { name: 'x' } })).status).toBe(403);
    expect((await call('bob', 'DELETE', `/networks/${id}`)).status).toBe(403);
    const port = await make('bob', 'port', { network_id: id });
    for (const answer of [await remove('alice', policy), await change('alice', policy, 'p3')]) {
      expect(fault(answer)).toEqual([409, 'RbacPolicyInUse']);
    }
    // Another policy lets the port stay.
    const everybody = await shared('admin', { object_id: id, target_tenant: '*' });
    expect((await change('alice', policy, 'p3')).status).toBe(200);
    expect(fault(await remove('admin', everybody))).toEqual([409, 'RbacPolicyInUse']);
    expect((await call('bob', 'DELETE', `/ports/${port.id}`)).status).toBe(204);
    expect((await remove('admin', everybody)).status).toBe(204);
    expect((await call('bob', 'GET', `/networks/${id}`)).status).toBe(404);
    expect((await call('alice', 'DELETE', `/networks/${id}`)).status).toBe(204);
    expect(await policiesOf(id)).toEqual([]);
  });

  it('follows `shared`, and `shared` follows the policies', async () => {
    const id = await newNetwork({ shared: true }, 'admin');
    const [policy] = await policiesOf(id);
    expect(policy).toMatchObject({ action: 'access_as_shared', target_tenant: '*', project_id: 'p0' });
    const update = (values: object) => call('admin', 'PUT', `/networks/${id}`, { network: values });
    expect((await update({ shared: false })).body.network.shared).toBe(false);
    expect(await policiesOf(id)).toEqual([]);
    await shared('admin', { object_id: id, target_tenant: '*' });
    expect((await call('bob', 'GET', `/networks/${id}`)).body.network.shared).toBe(true);
    await make('bob', 'subnet', { network_id: await newNetwork({}, 'bob'), cidr: '10.5.0.0/24', ip_version: 4 });
    const port = await make('bob', 'port', { network_id: id, fixed_ips: [] });
    expect(fault(await update({ shared: false }))).toEqual([409, 'InvalidSharedSetting']);
    await shared('admin', { object_id: id });
    expect((await update({ shared: false })).status).toBe(200);
    expect(await policiesOf(id)).toHaveLength(1);
    expect((await call('bob', 'GET', `/ports/${port.id}`)).status).toBe(200);
    // Only what was asked for itself is counted.
    expect((await call('admin', 'GET', '/quotas/p0/details.json')).body.quota.rbac_policy.used).toBe(1);
  });

  it('is found by one indexed query', async () => {
    await db.query.executeQuery(sql`set enable_seqscan = off`.compile(db.query));
    const plan = await sql<{ 'QUERY PLAN': string }>`explain select * from networks where (project_id = 'p2'
      or (networks.shared or (networks.shared_with <> '{}' and networks.shared_with @> array['p2']::text[]))
      or (networks.external_shared or (networks.external_with <> '{}' and networks.external_with @> array['p2']::text[])))`.execute(
      db.query,
    );
    const text = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
    for (const index of ['networks_of_project', 'networks_shared_with', 'networks_external_with']) {
      expect(text).toContain(index);
    }
  });
});

describe('an external network', () => {
  it('can be one for some projects alone', async () => {
    const id = await newNetwork();
    await make('alice', 'subnet', { network_id: id, cidr: '10.6.0.0/24', ip_version: 4 });
    const policy = await shared('admin', { object_id: id, action: 'access_as_external' });
    const seen = (await call('bob', 'GET', `/networks/${id}`)).body.network;
    expect(seen).toMatchObject({ 'router:external': true, shared: false });
    const router = await make('bob', 'router', { external_gateway_info: { network_id: id } });
    expect(fault(await remove('admin', policy))).toEqual([409, 'RbacPolicyInUse']);
    expect(fault(await call('admin', 'PUT', `/networks/${id}`, { network: { 'router:external': false } }))).toEqual([
      409,
      'ExternalNetworkInUse',
    ]);
    expect((await call('bob', 'DELETE', `/routers/${router.id}`)).status).toBe(204);
    expect((await remove('admin', policy)).status).toBe(204);
    expect((await call('alice', 'GET', `/networks/${id}`)).body.network['router:external']).toBe(false);
    expect((await call('bob', 'GET', `/networks/${id}`)).status).toBe(404);
  });

  it('has a policy for everybody, which goes with the attribute', async () => {
    const id = await newNetwork({ 'router:external': true }, 'admin');
    expect(await policiesOf(id)).toMatchObject([{ action: 'access_as_external', target_tenant: '*' }]);
    await shared('admin', { object_id: id, action: 'access_as_external', target_tenant: 'p9' });
    const inside = await call('admin', 'PUT', `/networks/${id}`, { network: { 'router:external': false } });
    expect(inside.body.network['router:external']).toBe(false);
    expect(await policiesOf(id)).toEqual([]);
    const [policy] = (await policiesOf(await newNetwork({ 'router:external': true, is_default: true }, 'admin'))) as {
      id: string;
    }[];
    expect(fault(await remove('admin', policy?.id ?? ''))).toEqual([409, 'RbacPolicyInUse']);
  });
});

describe('every other kind that can be shared', () => {
  it('security groups, for ports and as the remote of rules', async () => {
    const { id } = await make('alice', 'security_group', { name: 'g' });
    const network_id = await newNetwork({}, 'bob');
    const port = { port: { network_id, security_groups: [id] } };
    expect((await call('bob', 'POST', '/ports', port)).status).toBe(404);
    const policy = await shared('alice', { object_type: 'security_group', object_id: id });
    expect(
      (await call('bob', 'GET', '/security-groups?shared=True&fields=id&fields=shared')).body.security_groups,
    ).toEqual([{ id, shared: true }]);
    const made = await call('bob', 'POST', '/ports', port);
    expect(made.body.port.security_groups).toEqual([id]);
    expect(fault(await remove('alice', policy))).toEqual([409, 'RbacPolicyInUse']);
    expect((await call('bob', 'PUT', `/security-groups/${id}`, { security_group: { name: 'x' } })).status).toBe(403);
    expect((await call('bob', 'DELETE', `/ports/${made.body.port.id}`)).status).toBe(204);
    expect((await remove('alice', policy)).status).toBe(204);
    expect((await call('bob', 'GET', `/security-groups/${id}`)).status).toBe(404);
  });

  it('address groups, for rules', async () => {
    const made = await call('alice', 'POST', '/address-groups', { address_group: { name: 'a' } });
    const { id } = made.body.address_group;
    const policy = await shared('alice', { object_type: 'address_group', object_id: id });
    expect((await call('bob', 'GET', `/address-groups/${id}`)).body.address_group).not.toHaveProperty('shared');
    const add = await call('bob', 'PUT', `/address-groups/${id}/add_addresses`, { addresses: ['10.0.0.0/8'] });
    expect(add.status).toBe(403);
    const group = await make('bob', 'security_group', { name: 'g' });
    await make('bob', 'security_group_rule', {
      security_group_id: group.id,
      direction: 'ingress',
      remote_address_group_id: id,
    });
    expect(fault(await remove('alice', policy))).toEqual([409, 'RbacPolicyInUse']);
    expect((await call('bob', 'DELETE', `/security-groups/${group.id}`)).status).toBe(204);
    expect((await remove('alice', policy)).status).toBe(204);
  });

  it('subnet pools and address scopes, the pool only with its scope', async () => {
    const made = async (path: string, kind: string, values: object): Promise<string> => {
      const answer = await call('alice', 'POST', path, { [kind]: values });
      expect(answer.status).toBe(201);
      return answer.body[kind].id;
    };
    const scope = await made('/address-scopes', 'address_scope', { ip_version: 4 });
    const prefixes = ['10.0.0.0/16'];
    const pool = await made('/subnetpools', 'subnetpool', { name: 'p', prefixes, address_scope_id: scope });
    const pooled = { object_type: 'subnetpool', object_id: pool };
    expect(fault(await share('alice', pooled))).toEqual([400, 'RbacPolicyInitError']);
    const opened = await shared('alice', { object_type: 'address_scope', object_id: scope });
    const policy = await shared('alice', pooled);
    expect((await call('bob', 'GET', `/subnetpools/${pool}`)).body.subnetpool.shared).toBe(true);
    const network_id = await newNetwork({}, 'bob');
    await make('bob', 'subnet', { network_id, subnetpool_id: pool, ip_version: 4, prefixlen: 24 });
    expect(fault(await remove('alice', policy))).toEqual([409, 'RbacPolicyInUse']);
    const other = { name: 'q', prefixes: ['10.1.0.0/16'], address_scope_id: scope };
    expect((await call('bob', 'POST', '/subnetpools', { subnetpool: other })).status).toBe(201);
    expect(fault(await remove('alice', opened))).toEqual([409, 'RbacPolicyInUse']);
    expect((await call('bob', 'DELETE', `/networks/${network_id}`)).status).toBe(204);
    expect((await remove('alice', policy)).status).toBe(204);
  });

  it('QoS policies, for networks and ports', async () => {
    const made = await call('admin', 'POST', '/qos/policies', { policy: { name: 'q' } });
    const { id } = made.body.policy;
    const policy = await shared('admin', { object_type: 'qos_policy', object_id: id });
    expect((await call('bob', 'GET', `/qos/policies/${id}`)).body.policy.shared).toBe(true);
    expect((await call('alice', 'GET', `/qos/policies/${id}`)).status).toBe(404);
    const network = await newNetwork({ qos_policy_id: id }, 'bob');
    expect(fault(await remove('admin', policy))).toEqual([409, 'RbacPolicyInUse']);
    expect((await call('bob', 'DELETE', `/networks/${network}`)).status).toBe(204);
    expect((await remove('admin', policy)).status).toBe(204);
    await call('admin', 'PUT', `/qos/policies/${id}`, { policy: { shared: true } });
    expect(await policiesOf(id)).toMatchObject([{ object_type: 'qos_policy', target_tenant: '*' }]);
    await newNetwork({ qos_policy_id: id }, 'bob');
    expect(fault(await call('admin', 'PUT', `/qos/policies/${id}`, { policy: { shared: false } }))).toEqual([
      409,
      'RbacPolicyInUse',
    ]);
  });
});
