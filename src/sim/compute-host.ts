/** Simulated Nova's hosts: zones, services, hypervisors and their figures. */
import { type Call, route, type Service } from './http.ts';
import { hostUsage } from './server-life.ts';
import { micros, newId, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

const UPTIME = ' 13:05:24 up 13 min,  0 user,  load average: 0.73, 1.16, 0.82\n';

export function addHosts(world: World, service: Service): void {
  const { computeServices } = world.state;
  for (const zone of world.zones) {
    const host = `${world.name}-${zone}-1`;
    computeServices.set(host, {
      id: newId(),
      hypervisorId: newId(),
      binary: 'nova-compute',
      host,
      zone,
      status: 'enabled',
      disabled_reason: null,
    });
  }
  const hosts = (): Row[] => [...computeServices.values()];
  const figures = (used: ReturnType<typeof hostUsage>, count: number): Row => {
    const { vcpus, memory_mb, disk_gb } = world.capacity;
    return {
      vcpus: vcpus * count,
      memory_mb: memory_mb * count,
      local_gb: disk_gb * count,
      vcpus_used: used.vcpus,
      memory_mb_used: used.memory_mb,
      local_gb_used: used.disk_gb,
      free_ram_mb: memory_mb * count - used.memory_mb,
      free_disk_gb: disk_gb * count - used.disk_gb,
      current_workload: 0,
      running_vms: used.servers,
      disk_available_least: 0,
    };
  };
  const live = { available: true, active: true };
  route(service, 'GET', '/os-availability-zone', () => ({
    status: 200,
    body: {
      availabilityZoneInfo: world.zones.map((zoneName) => ({ zoneName, zoneState: { available: true }, hosts: null })),
    },
  }));
  route(
    service,
    'GET',
    '/os-availability-zone/detail',
    () => {
      const updated_at = micros(Date.now());
      const internal = {
        zoneName: 'internal',
        zoneState: { available: true },
        hosts: {
          [world.name]: { 'nova-scheduler': { ...live, updated_at }, 'nova-conductor': { ...live, updated_at } },
        },
      };
      const zones = world.zones.map((zoneName) => ({
        zoneName,
        zoneState: { available: true },
        hosts: { [`${world.name}-${zoneName}-1`]: { 'nova-compute': { ...live, updated_at } } },
      }));
      return { status: 200, body: { availabilityZoneInfo: [internal, ...zones] } };
    },
    { policy: 'os_compute_api:os-availability-zone:detail' },
  );
  const serviceView = ({ hypervisorId: _hypervisor, ...row }: Row): Row => ({
    ...row,
    state: 'up',
    updated_at: micros(Date.now()),
    forced_down: false,
  });
  route(
    service,
    'GET',
    '/os-services',
    (call) => {
      const internal = ['nova-scheduler', 'nova-conductor'].map(
        (binary): Row => ({
          id: `${world.name}-${binary}`,
          binary,
          host: world.name,
          zone: 'internal',
          status: 'enabled',
          disabled_reason: null,
        }),
      );
      const rows = [...internal, ...hosts()].filter((one) =>
        ['binary', 'host'].every((key) => (call.query.get(key) ?? one[key]) === one[key]),
      );
      return { status: 200, body: { services: rows.map(serviceView) } };
    },
    { policy: 'os_compute_api:os-services:list' },
  );
  route(
    service,
    'PUT',
    '/os-services/:id',
    (call) => {
      const row = hosts().find((one) => one['id'] === call.params['id']);
      if (row === undefined) throw new SimFault(404, `Service ${call.params['id']} could not be found.`);
      const { status, disabled_reason } = rowOf(call.body);
      Object.assign(row, { ...(status === undefined ? {} : { status }), disabled_reason: disabled_reason ?? null });
      return { status: 200, body: { service: serviceView(row) } };
    },
    { policy: 'os_compute_api:os-services:update' },
  );
  const hypervisor = (call: Call, row: Row): Row => {
    const { id, hypervisorId, host, status, disabled_reason } = row;
    const view: Row = {
      id: hypervisorId ?? '',
      hypervisor_hostname: host ?? '',
      state: 'up',
      status: status ?? '',
      hypervisor_type: 'QEMU',
      hypervisor_version: 7_002_000,
      host_ip: '192.0.2.1',
      service: { id: id ?? '', host: host ?? '', disabled_reason: disabled_reason ?? null },
    };
    // Nova shows a host's figures up to 2.87 and its uptime from there on.
    if (call.minor >= 88) view['uptime'] = UPTIME;
    else Object.assign(view, figures(hostUsage(world, textOf(host)), 1), { cpu_info: { arch: 'x86_64' } });
    return view;
  };
  const listPolicy = { policy: 'os_compute_api:os-hypervisors:list' };
  route(
    service,
    'GET',
    '/os-hypervisors/detail',
    (call) => ({ status: 200, body: { hypervisors: hosts().map((one) => hypervisor(call, one)) } }),
    listPolicy,
  );
  route(
    service,
    'GET',
    '/os-hypervisors',
    (call) => {
      const rows = hosts().map((one) => hypervisor(call, one));
      const pick = ({ id = '', hypervisor_hostname = '', state = '', status = '' }: Row): Row => ({
        id,
        hypervisor_hostname,
        state,
        status,
      });
      return { status: 200, body: { hypervisors: rows.map(pick) } };
    },
    listPolicy,
  );
  route(
    service,
    'GET',
    '/os-hypervisors/:id/uptime',
    (call) => {
      const row = hosts().find((one) => one['hypervisorId'] === call.params['id']);
      if (call.minor >= 88 || row === undefined) throw new SimFault(404, 'The resource could not be found.');
      const { id = '', hypervisor_hostname = '', state = '', status = '' } = hypervisor(call, row);
      return { status: 200, body: { hypervisor: { id, hypervisor_hostname, state, status, uptime: UPTIME } } };
    },
    listPolicy,
  );
  route(
    service,
    'GET',
    '/os-hypervisors/statistics',
    (call) => {
      if (call.minor >= 88) throw new SimFault(404, 'The resource could not be found.');
      const all = hosts().map((one) => hostUsage(world, textOf(one['host'])));
      const sum = all.reduce(
        (left, right) => ({
          vcpus: left.vcpus + right.vcpus,
          memory_mb: left.memory_mb + right.memory_mb,
          disk_gb: left.disk_gb + right.disk_gb,
          servers: left.servers + right.servers,
        }),
        { vcpus: 0, memory_mb: 0, disk_gb: 0, servers: 0 },
      );
      return { status: 200, body: { hypervisor_statistics: { count: all.length, ...figures(sum, all.length) } } };
    },
    listPolicy,
  );
}
