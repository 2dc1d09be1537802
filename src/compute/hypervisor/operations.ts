/** Hypervisors over HTTP: each child as one, with the sizes of the whole child. */
import { sql } from 'kysely';
import type { Capacity } from '../../cascade/contract.ts';
import { compute } from '../../http/conventions.ts';
import { badRequest, notFound, notImplemented } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, NON_NEGATIVE, once, PAGING_PARAMETERS, queryParameters } from '../links.ts';
import { BOOLEAN, booleanOf } from '../parameters.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { childHosts, type Host, isUuid, serviceId, stableIds, UUIDS_SINCE } from '../service/hosts.ts';

const rule = (name: string) => computeRule(`os-hypervisors:${name}`, ADMIN);

const PAGES_SINCE = 33;
const CPU_OBJECT_SINCE = 28;
const SERVERS_ALWAYS_SINCE = 75;
const SIZES_UNTIL = 87;
const SERVERS_MAX = 1000;

const WITH_SERVERS = BOOLEAN;
const HOSTNAME = { type: 'string', minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9\\-._]*$' };
const LOOSE_QUERY = queryParameters(PAGING_PARAMETERS, Number.MAX_SAFE_INTEGER);
const STRICT_QUERY = queryParameters(
  {
    limit: once(NON_NEGATIVE),
    marker: once(ANY_TEXT),
    hypervisor_hostname_pattern: once(HOSTNAME),
    with_servers: WITH_SERVERS,
  },
  UUIDS_SINCE,
);
const SHOW_QUERY = queryParameters({ with_servers: WITH_SERVERS }, UUIDS_SINCE);

interface ServerName {
  readonly uuid: string;
  readonly name: string;
}

const NO_CAPACITY: Capacity = {
  vcpus: 0,
  vcpus_used: 0,
  memory_mb: 0,
  memory_mb_used: 0,
  local_gb: 0,
  local_gb_used: 0,
  running_vms: 0,
};

function sizes(known: Capacity) {
  const { uptime: _, ...capacity } = known;
  return {
    ...capacity,
    free_ram_mb: capacity.memory_mb - capacity.memory_mb_used,
    free_disk_gb: capacity.local_gb - capacity.local_gb_used,
    current_workload: 0,
    disk_available_least: capacity.local_gb - capacity.local_gb_used,
  };
}

const idOf = (host: Host, version: number): string | number => {
  const { uuid, number } = stableIds('hypervisor', host.host);
  return version >= UUIDS_SINCE ? uuid : number;
};

function view(host: Host, version: number, detail: boolean, servers?: readonly ServerName[]) {
  const shown: Record<string, unknown> = {
    id: idOf(host, version),
    hypervisor_hostname: host.host,
    state: host.up ? 'up' : 'down',
    status: host.enabled ? 'enabled' : 'disabled',
  };
  if (detail) {
    shown.hypervisor_type = 'OpenStack';
    shown.hypervisor_version = 0;
    // Where the child is stays the operator's configuration.
    shown.host_ip = '0.0.0.0';
    shown.service = { id: serviceId(host, version), host: host.host, disabled_reason: host.disabled_reason };
    if (version <= SIZES_UNTIL) {
      Object.assign(shown, sizes(host.capacity ?? NO_CAPACITY));
      shown.cpu_info = version >= CPU_OBJECT_SINCE ? {} : '';
    } else {
      // As Nova: nobody knows it of a host that is down.
      shown.uptime = host.up ? (host.capacity?.uptime ?? null) : null;
    }
  }
  if (servers !== undefined && (servers.length > 0 || version >= SERVERS_ALWAYS_SINCE)) shown.servers = servers;
  return shown;
}

/** Everything below `/os-hypervisors`. */
export function hypervisorOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const hosts = () => childHosts(cascade, db.query);

  const serversOf = async (child: string): Promise<ServerName[]> => {
    const { rows } = await sql<ServerName>`select id as uuid, name from servers
      where child = ${child} and deleted_at is null order by id limit ${SERVERS_MAX}`.execute(db.query);
    return rows;
  };

  const matching = async (pattern: string): Promise<Host[]> => {
    const found = (await hosts()).filter(({ host }) => host.includes(pattern));
    if (found.length === 0) throw notFound(`No hypervisor matching '${pattern}' could be found.`);
    return found;
  };

  const byId = async ({ params, context: { version } }: Call): Promise<Host> => {
    const id = params.hypervisor_id as string;
    if (version >= UUIDS_SINCE && !isUuid(id)) throw badRequest(`Invalid uuid ${id}`);
    const found = (await hosts()).find((host) => String(idOf(host, version)) === id.toLowerCase());
    if (found === undefined) throw notFound(`Hypervisor with ID '${id}' could not be found.`);
    return found;
  };

  const list = async (call: Call, detail: boolean) => {
    const { context, query } = call;
    const { version } = context;
    const pattern = version >= UUIDS_SINCE ? firstOf(query.hypervisor_hostname_pattern) : undefined;
    const withServers = version >= UUIDS_SINCE && booleanOf(firstOf(query.with_servers) ?? false);
    const marker = firstOf(query.marker) || undefined;
    if (pattern !== undefined && (query.limit !== undefined || marker !== undefined)) {
      throw badRequest(
        'Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.',
      );
    }
    const all = pattern === undefined ? await hosts() : await matching(pattern);
    const { page, next } = version >= PAGES_SINCE ? paged(all, call, marker) : { page: all, next: undefined };
    const hypervisors = await Promise.all(
      page.map(async (host) => view(host, version, detail, withServers ? await serversOf(host.host) : undefined)),
    );
    if (next === undefined || pattern !== undefined) return { hypervisors };
    return { hypervisors, hypervisors_links: [{ rel: 'next', href: nextHref(context, query, detail, next) }] };
  };

  return [
    ...[false, true].flatMap((detail) =>
      [
        { until: UUIDS_SINCE - 1, query: LOOSE_QUERY },
        { since: UUIDS_SINCE, query: STRICT_QUERY },
      ].map((bracket) =>
        operation({
          method: 'GET',
          path: detail ? '/os-hypervisors/detail' : '/os-hypervisors',
          policy: rule(detail ? 'list-detail' : 'list'),
          ...bracket,
          status: 200,
          summary: detail ? 'List hypervisors with details' : 'List hypervisors',
          handle: (call) => list(call, detail),
        }),
      ),
    ),
    operation({
      method: 'GET',
      path: '/os-hypervisors/statistics',
      until: SIZES_UNTIL,
      policy: rule('statistics'),
      status: 200,
      summary: 'Show the sizes of all hypervisors together',
      handle: async () => {
        const all = await hosts();
        const sum: Record<string, number> = { ...sizes(NO_CAPACITY) };
        for (const { capacity } of all) {
          for (const [name, value] of Object.entries(sizes(capacity ?? NO_CAPACITY))) {
            sum[name] = (sum[name] ?? 0) + value;
          }
        }
        return { hypervisor_statistics: { count: all.length, ...sum } };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-hypervisors/:hypervisor_id',
      policy: rule('show'),
      query: (version) => SHOW_QUERY(version),
      status: 200,
      summary: 'Show a hypervisor',
      handle: async (call) => {
        const { version } = call.context;
        const host = await byId(call);
        const withServers = version >= UUIDS_SINCE && booleanOf(firstOf(call.query.with_servers) ?? false);
        return { hypervisor: view(host, version, true, withServers ? await serversOf(host.host) : undefined) };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-hypervisors/:hypervisor_id/uptime',
      until: SIZES_UNTIL,
      policy: rule('uptime'),
      status: 200,
      summary: 'Show how long a hypervisor has been up, as the first host of the child that is up tells',
      handle: async (call) => {
        const host = await byId(call);
        if (!host.up) throw badRequest(`Compute service of ${host.host} is unavailable at this time.`);
        const uptime = host.capacity?.uptime;
        if (uptime === undefined) throw notImplemented('The requested functionality is not supported.');
        return { hypervisor: { ...view(host, call.context.version, false), uptime } };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-hypervisors/:hypervisor_id/search',
      until: UUIDS_SINCE - 1,
      policy: rule('search'),
      status: 200,
      summary: 'Find hypervisors by a part of their name',
      handle: async ({ params, context }) => ({
        hypervisors: (await matching(params.hypervisor_id as string)).map((host) => view(host, context.version, false)),
      }),
    }),
    operation({
      method: 'GET',
      path: '/os-hypervisors/:hypervisor_id/servers',
      until: UUIDS_SINCE - 1,
      policy: rule('servers'),
      status: 200,
      summary: 'List the servers of hypervisors by a part of their name',
      handle: async ({ params, context }) => ({
        hypervisors: await Promise.all(
          (await matching(params.hypervisor_id as string)).map(async (host) =>
            view(host, context.version, false, await serversOf(host.host)),
          ),
        ),
      }),
    }),
  ];
}

function paged(all: readonly Host[], { context, query }: Call, marker: string | undefined) {
  const limit = Math.min(Number(firstOf(query.limit) ?? compute.paging.maximum), compute.paging.maximum);
  const at = marker === undefined ? -1 : all.findIndex((host) => String(idOf(host, context.version)) === marker);
  if (marker !== undefined && at === -1) throw badRequest(`marker [${marker}] not found`);
  const page = all.slice(at + 1, at + 1 + limit);
  const last = page.at(-1);
  return { page, next: last !== undefined && page.length >= limit ? idOf(last, context.version) : undefined };
}

function nextHref(context: RequestContext, query: Call['query'], detail: boolean, marker: string | number): string {
  const next = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (name !== 'marker') next.set(name, firstOf(value) ?? '');
  next.set('marker', String(marker));
  return `${context.baseUrl}/os-hypervisors${detail ? '/detail' : ''}?${next.toString()}`;
}
