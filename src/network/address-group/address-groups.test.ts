import { randomUUID } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { abilityOf } from '../ability.ts';
import { networkTest } from '../testing.ts';
import { NO_TOPOLOGY } from '../topology.ts';

const { call, cascade, db, sims } = await networkTest(['east', 'west'], NO_TOPOLOGY, {
  west: { without: ['address-group'] },
});
const { east, west } = sims as Record<'east' | 'west', NonNullable<(typeof sims)[string]>>;
await cascade.start();
for (const child of ['east', 'west']) {
  await vi.waitFor(async () => expect((await abilityOf(db.query, child)).facts).toBeDefined(), 20_000);
}

const made = async (values: object, who = 'alice') => {
  const { status, body } = await call(who, 'POST', '/address-groups', { address_group: values });
  expect(status).toBe(201);
  return body.address_group;
};
const change = (id: string, way: 'add' | 'remove', addresses: unknown, who = 'alice') =>
  call(who, 'PUT', `/address-groups/${id}/${way}_addresses`, { addresses });
const fault = (answer: Awaited<ReturnType<typeof call>>) => [
  answer.status,
  answer.body.NeutronError.type,
  answer.body.NeutronError.message,
];

describe('address groups', () => {
  it('show prefixes in their usual form, each once', async () => {
    const addresses = ['10.0.0.5/24', '10.0.0.6/24', '2001:db8::1/32'];
    const group = await made({ name: 'offices', description: 'ours', addresses });
    expect(group).toEqual({
      id: group.id,
      name: 'offices',
      description: 'ours',
      addresses: ['10.0.0.0/24', '2001:db8::/32'],
      project_id: 'p1',
      tenant_id: 'p1',
    });
    const shown = await call('alice', 'GET', `/address-groups/${group.id}?fields=name&fields=addresses`);
    expect(shown.body.address_group).toEqual({ name: 'offices', addresses: ['10.0.0.0/24', '2001:db8::/32'] });
    expect((await made({ addresses: null })).addresses).toEqual([]);
  });

  it('are listed with filters, sorting and paging, each project its own', async () => {
    for (const name of ['b', 'a', 'c']) await made({ name, description: 'listed' }, 'bob');
    const page = await call('bob', 'GET', '/address-groups?description=listed&sort_key=name&sort_dir=desc&limit=2');
    expect(page.body.address_groups.map(({ name }: { name: string }) => name)).toEqual(['c', 'b']);
    const next = new URL(page.body.address_groups_links[0].href);
    const rest = await call('bob', 'GET', `/address-groups${next.search}`);
    expect(rest.body.address_groups.map(({ name }: { name: string }) => name)).toEqual(['a']);
    expect((await call('alice', 'GET', '/address-groups?description=listed')).body.address_groups).toEqual([]);
    expect((await call('admin', 'GET', '/address-groups?description=listed')).body.address_groups).toHaveLength(3);
    expect((await call('bob', 'GET', '/address-groups?addresses=1.2.3.0/24')).status).toBe(400);
  });

  it('refuse what Neutron refuses', async () => {
    const refused = (addresses: unknown) => call('alice', 'POST', '/address-groups', { address_group: { addresses } });
    expect(fault(await refused(['10.0.0.5']))).toEqual([
      400,
      'HTTPBadRequest',
      "Invalid input for addresses. Reason: '10.0.0.5' isn't a recognized IP subnet cidr, '10.0.0.5/32' is recommended.",
    ]);
    expect(fault(await refused(['1.2.3.0/24', '1.2.3.0/24']))[2]).toContain('Duplicate items in the list');
    expect(fault(await refused(['nowhere']))[2]).toContain("'nowhere' is not a valid IP subnet");
    expect((await refused('10.0.0.0/24')).status).toBe(400);
    const { id } = await made({ addresses: ['10.0.0.0/24'] });
    expect(fault(await call('alice', 'PUT', `/address-groups/${id}`, { address_group: { addresses: [] } }))[0]).toBe(
      400,
    );
    expect(fault(await change(id, 'add', ['10.0.0.9/24']))).toEqual([
      400,
      'AddressesAlreadyExist',
      `Addresses ['10.0.0.0/24'] already exist in the address group ${id}.`,
    ]);
    expect(fault(await change(id, 'remove', ['10.9.0.0/24']))).toEqual([
      404,
      'AddressesNotFound',
      `Addresses ['10.9.0.0/24'] not found in the address group ${id}.`,
    ]);
    expect(fault(await change(id, 'remove', ['10.9.0.1']))[2]).toContain("['10.9.0.1/32'] not found");
    expect(fault(await change(id, 'add', ['nowhere']))).toEqual([400, 'AddrFormatError', 'invalid IPNetwork nowhere']);
    expect((await change(id, 'add', ['10.1.0.0/24'], 'bob')).status).toBe(404);
    expect((await change(id, 'add', ['10.1.0.0/24'], 'rita')).status).toBe(403);
    expect(fault(await call('alice', 'GET', '/address-groups/nope'))[1]).toBe('AddressGroupNotFound');
  });

  it('lose nothing when changed twice at once', async () => {
    const { id } = await made({});
    const prefixes = Array.from({ length: 8 }, (_, at) => `10.${at}.0.0/16`);
    const answers = await Promise.all(prefixes.map((prefix) => change(id, 'add', [prefix])));
    expect(answers.map(({ status }) => status)).toEqual(prefixes.map(() => 200));
    expect((await call('alice', 'GET', `/address-groups/${id}`)).body.address_group.addresses).toEqual(prefixes);
  });
});

describe('rules that name an address group', () => {
  const newRule = (values: object, who = 'alice') =>
    call(who, 'POST', '/security-group-rules', { security_group_rule: { direction: 'ingress', ...values } });
  const newGroup = async (who = 'alice'): Promise<string> =>
    (await call(who, 'POST', '/security-groups', { security_group: { name: 'g' } })).body.security_group.id;
  const copyOf = (id: string) => [...east.state.addressGroups.values()].find(({ name }) => name === id);

  it('take one of the caller, and nothing beside it', async () => {
    const { id } = await made({ addresses: ['10.0.0.0/24'] });
    const security_group_id = await newGroup();
    const rule = { security_group_id, remote_address_group_id: id };
    const first = await newRule(rule);
    expect(first.body.security_group_rule).toMatchObject({ remote_address_group_id: id, remote_ip_prefix: null });
    expect(fault(await newRule(rule))[1]).toBe('SecurityGroupRuleExists');
    expect(fault(await newRule({ ...rule, remote_ip_prefix: '1.2.3.0/24' }))[1]).toBe(
      'SecurityGroupMultipleRemoteEntites',
    );
    expect(fault(await newRule({ ...rule, remote_address_group_id: randomUUID() }))[1]).toBe('AddressGroupNotFound');
    const foreign = { security_group_id: await newGroup('bob'), remote_address_group_id: id };
    expect(fault(await newRule(foreign, 'bob'))[1]).toBe('AddressGroupNotFound');
    const listed = await call('alice', 'GET', `/security-group-rules?remote_address_group_id=${id}`);
    expect(listed.body.security_group_rules).toHaveLength(1);
    expect(fault(await call('alice', 'DELETE', `/address-groups/${id}`))).toEqual([
      409,
      'AddressGroupInUse',
      `Address group ${id} is in use on one or more security group rules.`,
    ]);
    await call('alice', 'DELETE', `/security-group-rules/${first.body.security_group_rule.id}`);
    expect((await call('alice', 'DELETE', `/address-groups/${id}`)).status).toBe(204);
    expect((await call('alice', 'GET', `/address-groups/${id}`)).status).toBe(404);
  });

  it('bring it to the child of their group, follow it, and let it go', async () => {
    const { id } = await made({ name: 'a', addresses: ['10.0.0.0/24'] });
    const security_group_id = await newGroup();
    const rule = (await newRule({ security_group_id, remote_address_group_id: id })).body.security_group_rule;
    const context = cascade.context('east');
    const { child_id } = await context.ensure('security_group', security_group_id);
    const copy = copyOf(id);
    expect(copy).toMatchObject({ name: id, addresses: ['10.0.0.0/24'] });
    const rules = () => [...east.state.securityGroupRules.values()].filter((one) => one.security_group_id === child_id);
    expect(rules().map(({ remote_address_group_id }) => remote_address_group_id)).toContain(copy?.id);

    await change(id, 'add', ['10.1.0.0/24']);
    await change(id, 'remove', ['10.0.0.0/24']);
    await call('alice', 'PUT', `/address-groups/${id}`, { address_group: { name: 'other' } });
    const shows = (values: object) =>
      vi.waitFor(() => expect(copyOf(id)).toMatchObject(values), { timeout: 10_000, interval: 25 });
    await shows({ addresses: ['10.1.0.0/24'], description: 'Headwater: other' });

    // Its copy was taken away behind the parent's back, with the rules that named it.
    east.state.addressGroups.clear();
    for (const one of rules())
      if (one.remote_address_group_id !== null) east.state.securityGroupRules.delete(String(one.id));
    await change(id, 'add', ['10.2.0.0/24']);
    await shows({ addresses: ['10.1.0.0/24', '10.2.0.0/24'] });

    await call('alice', 'DELETE', `/security-group-rules/${rule.id}`);
    await context.ensure('security_group', security_group_id);
    expect((await call('alice', 'DELETE', `/address-groups/${id}`)).status).toBe(204);
    await vi.waitFor(() => expect(copyOf(id)).toBeUndefined(), { timeout: 10_000, interval: 25 });
  });

  it('become rules where a child is not known to keep to address groups', async () => {
    const { id } = await made({ addresses: ['10.0.0.0/24', '2001:db8::/32'] });
    const security_group_id = await newGroup();
    const values = { security_group_id, remote_address_group_id: id, protocol: 'tcp' };
    const rule = (await newRule(values)).body.security_group_rule;
    await newRule({ ...values, ethertype: 'IPv6' });
    const { child_id } = await cascade.context('west').ensure('security_group', security_group_id);
    const admitted = () =>
      [...west.state.securityGroupRules.values()]
        .filter((one) => one.security_group_id === child_id && one.direction === 'ingress')
        .map(({ ethertype, protocol, remote_ip_prefix }) => `${ethertype} ${protocol} ${remote_ip_prefix}`)
        .sort();
    const eventually = (prefixes: readonly string[]) =>
      vi.waitFor(() => expect(admitted()).toEqual(prefixes), { timeout: 10_000, interval: 25 });
    await eventually(['IPv4 tcp 10.0.0.0/24', 'IPv6 tcp 2001:db8::/32']);
    await change(id, 'add', ['10.1.0.0/24']);
    await change(id, 'remove', ['10.0.0.0/24']);
    await eventually(['IPv4 tcp 10.1.0.0/24', 'IPv6 tcp 2001:db8::/32']);
    await call('alice', 'DELETE', `/security-group-rules/${rule.id}`);
    await eventually(['IPv6 tcp 2001:db8::/32']);
    expect(west.requests.count(/address-groups/)).toBe(0);
  });
});
