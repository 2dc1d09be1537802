import { describe, expect, it } from 'vitest';
import { networkTest } from './testing.ts';

const { call, make } = await networkTest(['east', 'west']);

const typeOf = (answer: { body: { NeutronError: { type: string } } }): string => answer.body.NeutronError.type;

describe('security groups', () => {
  it('come with a default group that stays, and egress rules in each new one', async () => {
    const list = await call('bob', 'GET', '/security-groups');
    const [group] = list.body.security_groups;
    expect(group).toMatchObject({ name: 'default', stateful: true, project_id: 'p2' });
    expect(group.security_group_rules).toHaveLength(4);
    expect((await call('bob', 'DELETE', `/security-groups/${group.id}`)).status).toBe(409);
    expect(typeOf(await call('bob', 'PUT', `/security-groups/${group.id}`, { security_group: { name: 'x' } }))).toBe(
      'SecurityGroupCannotUpdateDefault',
    );
    expect(typeOf(await call('bob', 'POST', '/security-groups', { security_group: { name: 'default' } }))).toBe(
      'SecurityGroupDefaultAlreadyExists',
    );
    const made = await make('bob', 'security_group', { name: 'web' });
    expect(
      made.security_group_rules.map(
        (rule: { direction: string; ethertype: string }) => `${rule.direction} ${rule.ethertype}`,
      ),
    ).toEqual(['egress IPv4', 'egress IPv6']);
  });

  it('take each rule once, and show it in the group', async () => {
    const group = await make('alice', 'security_group', { name: 'web' });
    const rule = {
      security_group_id: group.id,
      direction: 'ingress',
      protocol: 'tcp',
      port_range_min: 22,
      port_range_max: 22,
    };
    const made = await make('alice', 'security_group_rule', rule);
    expect(made).toMatchObject({ ethertype: 'IPv4', protocol: 'tcp', port_range_min: 22, remote_ip_prefix: null });
    const again = { ...rule, protocol: '6', remote_ip_prefix: '0.0.0.0/0' };
    const refused = await call('alice', 'POST', '/security-group-rules', { security_group_rule: again });
    expect([refused.status, typeOf(refused)]).toEqual([409, 'SecurityGroupRuleExists']);
    const shown = await call('alice', 'GET', `/security-groups/${group.id}`);
    expect(shown.body.security_group.security_group_rules).toHaveLength(3);
    expect((await call('bob', 'GET', `/security-group-rules/${made.id}`)).status).toBe(404);
    expect((await call('alice', 'DELETE', `/security-group-rules/${made.id}`)).status).toBe(204);
    const after = await call('alice', 'GET', `/security-groups/${group.id}`);
    expect(after.body.security_group.security_group_rules).toHaveLength(2);
  });

  it("refuse rules in Neutron's words", async () => {
    const { id: security_group_id } = await make('alice', 'security_group', { name: 'r' });
    for (const [values, status, message] of [
      [{ protocol: 'icmp', port_range_min: -1, port_range_max: 25 }, 400, 'Invalid value for port -1'],
      [{ protocol: 'tcp', port_range_min: 80, port_range_max: 65_536 }, 400, 'Invalid value for port 65536'],
      [{ protocol: 'tcp', port_range_min: '', port_range_max: 80 }, 400, 'Invalid value for port '],
      [{ protocol: 58 }, 400, 'Invalid ethertype IPv4 for protocol 58.'],
      [{ remote_group_id: 'bad' }, 404, 'Security group bad does not exist'],
      [{ remote_address_group_id: 'bad' }, 404, 'Address group bad could not be found.'],
      [{ security_group_id: 'bad' }, 404, 'Security group bad does not exist'],
    ] as const) {
      const rule = { security_group_id, direction: 'ingress', ...values };
      const refused = await call('alice', 'POST', '/security-group-rules', { security_group_rule: rule });
      expect([refused.status, refused.body.NeutronError.message]).toEqual([status, message]);
    }
  });

  it('in use cannot go; what names them goes with them', async () => {
    const network = await make('alice', 'network', {});
    const group = await make('alice', 'security_group', { name: 'a' });
    const other = await make('alice', 'security_group', { name: 'b' });
    await make('alice', 'security_group_rule', {
      security_group_id: other.id,
      direction: 'ingress',
      remote_group_id: group.id,
    });
    const port = await make('alice', 'port', { network_id: network.id, security_groups: [group.id] });
    expect(typeOf(await call('alice', 'DELETE', `/security-groups/${group.id}`))).toBe('SecurityGroupInUse');
    await call('alice', 'PUT', `/ports/${port.id}`, { port: { security_groups: [] } });
    expect((await call('alice', 'DELETE', `/security-groups/${group.id}`)).status).toBe(204);
    const shown = await call('alice', 'GET', `/security-groups/${other.id}`);
    expect(shown.body.security_group.security_group_rules).toHaveLength(2);
  });
});
