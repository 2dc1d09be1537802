import { expect, it } from 'vitest';
import { bind, call, east, eventually, external, newRouter, routersIn, tenantSubnet, type } from '../edge-testing.ts';

it('gateways and floating IPs have a QoS policy, here and in the child', async () => {
  const { id: network_id } = await external();
  const made = await call('admin', 'POST', '/qos/policies', { policy: { shared: true } });
  const qos_policy_id: string = made.body.policy.id;
  const copy = () => [...east.state.qosPolicies.values()].find(({ name }) => name === qos_policy_id);
  const tenant = await tenantSubnet('10.51.0.0/24');
  await bind(tenant.network_id, 'east');
  const router_id = await newRouter({ external_gateway_info: { network_id, qos_policy_id } });
  const gateway = async () => (await call('alice', 'GET', `/routers/${router_id}`)).body.router.external_gateway_info;
  expect(await gateway()).toMatchObject({ network_id, enable_snat: true, qos_policy_id });
  await call('alice', 'PUT', `/routers/${router_id}/add_router_interface`, { subnet_id: tenant.subnet_id });
  const inChild = () => routersIn(east, router_id)[0]?.external_gateway_info as Record<string, unknown> | undefined;
  await eventually(() => expect(inChild()).toMatchObject({ qos_policy_id: copy()?.id }));
  expect(type(await call('admin', 'DELETE', `/qos/policies/${qos_policy_id}`))).toBe('QosPolicyInUse');

  const change = (external_gateway_info: object) =>
    call('alice', 'PUT', `/routers/${router_id}`, { router: { external_gateway_info } });
  // What is not spoken of stays.
  await change({ network_id });
  expect(await gateway()).toMatchObject({ qos_policy_id });
  await change({ network_id, qos_policy_id: null });
  expect(await gateway()).not.toHaveProperty('qos_policy_id');
  await eventually(() => expect(inChild()).not.toHaveProperty('qos_policy_id'));

  const floatingip = { floating_network_id: network_id, qos_policy_id };
  const floating = (await call('alice', 'POST', '/floatingips', { floatingip })).body.floatingip;
  expect(floating.qos_policy_id).toBe(qos_policy_id);
  const path = `/floatingips/${floating.id}`;
  const free = await call('alice', 'PUT', path, { floatingip: { qos_policy_id: null } });
  expect(free.body.floatingip.qos_policy_id).toBeNull();
  expect((await call('alice', 'DELETE', path)).status).toBe(204);
  expect((await call('admin', 'DELETE', `/qos/policies/${qos_policy_id}`)).status).toBe(204);
  await eventually(() => expect(copy()).toBeUndefined());
});
