/** Hosts and the usage audit log, over two children. */
import { sql } from 'kysely';
import { afterAll, expect, test } from 'vitest';
import { computeTest } from '../testing.ts';

const parent = await computeTest({ east: { east: 'nova' }, west: { west: 'nova' } });
afterAll(() => parent.close());

const old = (method: string, path: string, body?: unknown, minor = 42) =>
  parent.call('admin', method, path, body, minor);

test('hosts are the children and the parent, by zone', async () => {
  const { hosts } = (await old('GET', '/os-hosts')).body;
  expect(hosts).toContainEqual({ host_name: 'east', service: 'compute', zone: 'east' });
  expect(hosts).toContainEqual({ host_name: 'headwater', service: 'scheduler', zone: 'internal' });
  expect((await old('GET', '/os-hosts?zone=west')).body.hosts).toEqual([
    { host_name: 'west', service: 'compute', zone: 'west' },
  ]);
  expect((await old('GET', '/os-hosts?zone=nowhere')).body.hosts).toEqual([]);
  expect((await old('GET', '/os-hosts', undefined, 43)).status).toBe(404);
});

test('a host shows its size and what each project uses', async () => {
  await sql`insert into servers (id, project_id, name, user_id, status, vm_state, power_state, zone, child, flavor_id,
      image_id, key_name, hostname, reservation_id, locked, tags, ips, attention, body)
    values ('s1', 'p1', 'one', 'u', 'ACTIVE', 'active', 1, 'east', 'east', 'f', '', '', 'one', 'r', false, '{}', '{}', false,
      '{"flavor_copy": {"vcpus": 2, "ram": 512, "disk": 3, "ephemeral": 1}}')`.execute(parent.db.query);
  const { host } = (await old('GET', '/os-hosts/east')).body;
  expect(host.map(({ resource }: { resource: { project: string } }) => resource.project)).toEqual([
    '(total)',
    '(used_now)',
    '(used_max)',
    'p1',
  ]);
  expect(host[3].resource).toEqual({ host: 'east', project: 'p1', cpu: 2, memory_mb: 512, disk_gb: 4 });
  expect((await old('GET', '/os-hosts/nowhere')).body.itemNotFound.message).toBe(
    "Host 'nowhere' is not mapped to any cell",
  );
});

test('a host is disabled and enabled, and neither started nor put into maintenance', async () => {
  expect((await old('PUT', '/os-hosts/east', { status: 'disable' })).body).toEqual({
    host: 'east',
    status: 'disabled',
  });
  const { services } = (await old('GET', '/os-services?host=east')).body;
  expect(services[0].status).toBe('disabled');
  expect((await old('PUT', '/os-hosts/east', { status: 'Enable' })).body.status).toBe('enabled');
  expect((await old('PUT', '/os-hosts/east', { maintenance_mode: 'enable' })).status).toBe(501);
  expect((await old('PUT', '/os-hosts/east', {})).status).toBe(400);
  expect((await old('PUT', '/os-hosts/east', { status: 'off' })).status).toBe(400);
  expect((await old('GET', '/os-hosts/east/startup')).status).toBe(501);
  expect((await old('GET', '/os-hosts/nowhere/reboot')).status).toBe(404);
});

test('the audit log says that no host has run', async () => {
  const log = (await old('GET', '/os-instance_usage_audit_log')).body.instance_usage_audit_logs;
  expect(log).toMatchObject({
    num_hosts: 2,
    num_hosts_done: 0,
    overall_status: '0 of 2 hosts done. 0 errors.',
    log: {},
  });
  const then = (await old('GET', `/os-instance_usage_audit_log/${encodeURIComponent('2024-03-05 10:00:00')}`)).body;
  expect(then.instance_usage_audit_log).toMatchObject({
    period_beginning: '2024-02-01 00:00:00',
    period_ending: '2024-03-01 00:00:00',
  });
  expect((await old('GET', '/os-instance_usage_audit_log/yesterday')).body.badRequest.message).toBe(
    'Invalid timestamp for date yesterday',
  );
});
