import { randomUUID } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make, cascade, sims } = await networkTest(['east', 'west']);
const { east } = sims as { east: NonNullable<(typeof sims)[string]> };

const newPolicy = async (values: object = {}, who = 'admin') => {
  const { status, body } = await call(who, 'POST', '/qos/policies', { policy: values });
  expect(status, JSON.stringify(body)).toBe(201);
  return body.policy;
};
const add = (policyId: string, type: string, values: object, who = 'admin') =>
  call(who, 'POST', `/qos/policies/${policyId}/${type}_rules`, { [`${type}_rule`]: values });
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body.NeutronError.type];
const message = (answer: Awaited<ReturnType<typeof call>>) => answer.body.NeutronError.message as string;

describe('QoS policies', () => {
  it('are made by admins, shared, listed and tagged', async () => {
    const own = await newPolicy({ name: 'own', project_id: 'p1' });
    expect(own).toMatchObject({ name: 'own', shared: false, is_default: false, rules: [], project_id: 'p1', tags: [] });
    expect(own.revision_number).toBe(0);
    const shared = await newPolicy({ name: 'shared', shared: true });
    const hidden = await newPolicy({ name: 'hidden' });
    const seen = (await call('alice', 'GET', '/qos/policies?sort_key=name&sort_dir=asc')).body.policies;
    expect(seen.map(({ name }: { name: string }) => name)).toEqual(['own', 'shared']);
    expect((await call('alice', 'GET', '/qos/policies?shared=true&fields=id')).body.policies).toEqual([
      { id: shared.id },
    ]);
    expect(fault(await call('alice', 'GET', `/qos/policies/${hidden.id}`))).toEqual([404, 'QosPolicyNotFound']);
    expect((await call('alice', 'POST', '/qos/policies', { policy: {} })).status).toBe(403);
    expect((await call('alice', 'PUT', `/qos/policies/${own.id}`, { policy: { name: 'x' } })).status).toBe(403);
    expect((await call('admin', 'PUT', `/policies/${own.id}/tags/gold`)).status).toBe(201);
    expect((await call('alice', 'GET', '/qos/policies?tags=gold')).body.policies).toHaveLength(1);
    for (const { id } of [own, shared, hidden]) await call('admin', 'DELETE', `/qos/policies/${id}`);
  });

  it('have one default a project, which its new networks get', async () => {
    const policy = await newPolicy({ is_default: true, project_id: 'p2' });
    expect(
      fault(await call('admin', 'POST', '/qos/policies', { policy: { is_default: true, project_id: 'p2' } })),
    ).toEqual([409, 'QoSPolicyDefaultAlreadyExists']);
    expect((await make('bob', 'network', {})).qos_policy_id).toBe(policy.id);
    expect((await make('bob', 'network', { qos_policy_id: null })).qos_policy_id).toBeNull();
  });

  it('take rules of each type, by policy and by alias, and refuse what contradicts', async () => {
    const { id } = await newPolicy({ shared: true });
    const limit = (await add(id, 'bandwidth_limit', { max_kbps: '1000' })).body.bandwidth_limit_rule;
    expect(limit).toEqual({ id: limit.id, max_kbps: 1000, max_burst_kbps: 0, direction: 'egress' });
    expect((await add(id, 'dscp_marking', { dscp_mark: 10 })).status).toBe(201);
    expect((await add(id, 'minimum_bandwidth', { min_kbps: 500 })).status).toBe(201);
    expect((await add(id, 'minimum_packet_rate', { min_kpps: 5 })).status).toBe(201);
    expect((await add(id, 'packet_rate_limit', { max_kpps: 5, direction: 'ingress' })).status).toBe(201);
    const types = (await call('alice', 'GET', `/qos/policies/${id}`)).body.policy.rules.map(
      (one: { type: string }) => one.type,
    );
    expect(types.sort()).toEqual([
      'bandwidth_limit',
      'dscp_marking',
      'minimum_bandwidth',
      'minimum_packet_rate',
      'packet_rate_limit',
    ]);

    expect(fault(await add(id, 'bandwidth_limit', { max_kbps: 5 }))).toEqual([409, 'QoSRuleParameterConflict']);
    expect(message(await add(id, 'bandwidth_limit', { max_kbps: 5000 }))).toBe(
      `Rule bandwidth_limit conflicts with rule ${limit.id} which already exists in QoS Policy ${id}.`,
    );
    expect(message(await add(id, 'minimum_bandwidth', { min_kbps: 5000, direction: 'ingress' }))).toBe(
      `Unable to add the rule with value 5000 to the policy ${id} as the existing rule of type bandwidth_limit has value 1000.`,
    );
    expect(fault(await add(id, 'minimum_packet_rate', { min_kpps: 5, direction: 'any' }))[1]).toBe(
      'QoSRuleParameterConflict',
    );
    expect((await add(id, 'dscp_marking', { dscp_mark: 11 })).status).toBe(400);
    expect((await add(id, 'bandwidth_limit', {})).status).toBe(400);
    expect(fault(await add(randomUUID(), 'bandwidth_limit', { max_kbps: 5 }))[1]).toBe('QosPolicyNotFound');
    expect((await add(id, 'bandwidth_limit', { max_kbps: 5 }, 'alice')).status).toBe(403);
    const wrong = await call('admin', 'GET', `/qos/policies/${id}/dscp_marking_rules/${limit.id}`);
    expect(fault(wrong)).toEqual([404, 'QosRuleNotFound']);

    const alias = `/qos/alias_bandwidth_limit_rules/${limit.id}`;
    const changed = await call('admin', 'PUT', alias, { alias_bandwidth_limit_rule: { max_kbps: 2000 } });
    expect(changed.body).toEqual({ alias_bandwidth_limit_rule: { ...limit, max_kbps: 2000 } });
    expect((await call('alice', 'GET', alias)).body.alias_bandwidth_limit_rule.max_kbps).toBe(2000);
    const nested = await call('alice', 'GET', `/qos/policies/${id}/bandwidth_limit_rules?max_kbps=2000`);
    expect(nested.body.bandwidth_limit_rules).toHaveLength(1);
    expect((await call('admin', 'DELETE', alias)).status).toBe(204);
    expect((await call('admin', 'GET', alias)).status).toBe(404);
    const both = await Promise.all([1, 2].map(() => add(id, 'bandwidth_limit', { max_kbps: 900 })));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });

  it('tell which types of rules there are', async () => {
    const types = async (query: string) =>
      (await call('alice', 'GET', `/qos/rule-types${query}`)).body.rule_types.length;
    expect([await types(''), await types('?all_supported=true'), await types('?all_rules=true')]).toEqual([3, 3, 5]);
    const shown = await call('admin', 'GET', '/qos/rule-types/dscp_marking');
    expect(shown.body.rule_type.drivers[0].supported_parameters[0].parameter_name).toBe('dscp_mark');
    expect((await call('admin', 'GET', '/qos/rule-types/nothing')).status).toBe(404);
  });
});

describe('what has a QoS policy', () => {
  it('brings it to the child with its rules, and is told of changes', async () => {
    const policy = await newPolicy({ shared: true });
    const limit = (await add(policy.id, 'bandwidth_limit', { max_kbps: 1000 })).body.bandwidth_limit_rule;
    const network = await make('alice', 'network', { qos_policy_id: policy.id });
    await make('alice', 'subnet', { network_id: network.id, ip_version: 4, cidr: '10.31.0.0/24' });
    const port = await make('alice', 'port', { network_id: network.id });
    expect(port).toMatchObject({ qos_policy_id: null, qos_network_policy_id: policy.id });
    const listed = (await call('alice', 'GET', `/ports?id=${port.id}`)).body.ports;
    expect(listed[0].qos_network_policy_id).toBe(policy.id);
    expect(fault(await call('alice', 'PUT', `/ports/${port.id}`, { port: { qos_policy_id: randomUUID() } }))).toEqual([
      404,
      'QosPolicyNotFound',
    ]);
    const hidden = await newPolicy({});
    expect((await call('alice', 'PUT', `/ports/${port.id}`, { port: { qos_policy_id: hidden.id } })).status).toBe(404);
    await call('alice', 'PUT', `/ports/${port.id}`, { port: { qos_policy_id: policy.id } });

    const context = cascade.context('east');
    const { child_id } = await context.ensure('port', port.id);
    const copy = [...east.state.qosPolicies.values()].find(({ name }) => name === policy.id);
    const rules = () => ((copy?.rules ?? []) as Record<string, unknown>[]).map(({ max_kbps }) => max_kbps);
    expect(rules()).toEqual([1000]);
    expect(east.state.ports.get(child_id)?.qos_policy_id).toBe(copy?.id);
    const there = [...east.state.networks.values()].find(({ name }) => name === network.id);
    expect(there?.qos_policy_id).toBe(copy?.id);

    const path = `/qos/policies/${policy.id}/bandwidth_limit_rules/${limit.id}`;
    await call('admin', 'PUT', path, { bandwidth_limit_rule: { max_kbps: 700 } });
    await context.ensure('qos_policy', policy.id);
    expect(rules()).toEqual([700]);

    expect(fault(await add(policy.id, 'packet_rate_limit', { max_kpps: 5 }))).toEqual([409, 'QosRuleNotSupported']);
    expect(message(await call('admin', 'DELETE', `/qos/policies/${policy.id}`))).toBe(
      `QoS Policy ${policy.id} is used by port ${port.id}.`,
    );
    await call('alice', 'PUT', `/ports/${port.id}`, { port: { qos_policy_id: null } });
    await call('alice', 'PUT', `/networks/${network.id}`, { network: { qos_policy_id: null } });
    await context.ensure('port', port.id);
    expect(east.state.ports.get(child_id)?.qos_policy_id).toBeNull();
    expect((await call('admin', 'DELETE', `/qos/policies/${policy.id}`)).status).toBe(204);
    await cascade.start();
    const isGone = () => expect(east.state.qosPolicies.has(String(copy?.id))).toBe(false);
    await vi.waitFor(isGone, { timeout: 10_000, interval: 25 });
    expect(there?.qos_policy_id).toBeNull();
  });

  it('is refused rules that no child enforces', async () => {
    const policy = await newPolicy({ shared: true });
    await add(policy.id, 'packet_rate_limit', { max_kpps: 5 });
    const refused = await call('alice', 'POST', '/networks', { network: { qos_policy_id: policy.id } });
    expect(fault(refused)).toEqual([409, 'QosRuleNotSupportedByNetwork']);
  });
});
