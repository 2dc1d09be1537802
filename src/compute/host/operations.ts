/** `/os-hosts` until 2.42: the children as hosts, and what projects use of each. */
import { sql } from 'kysely';
import { type TSchema, Type } from 'typebox';
import { notFound, notImplemented } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, queryParameters } from '../links.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { childHosts, COMPUTE_BINARY, type Host, parentHosts } from '../service/hosts.ts';

const UNTIL = 42;
const rule = (name: string) => computeRule(`os-hosts:${name}`, ADMIN);
const QUERY = queryParameters({ zone: ANY_TEXT }, Number.MAX_SAFE_INTEGER);
const SWITCH = { type: 'string', enum: ['enable', 'disable', 'Enable', 'Disable', 'ENABLE', 'DISABLE'] };
const BODY: TSchema = Type.Unsafe({
  type: 'object',
  properties: { status: SWITCH, maintenance_mode: SWITCH },
  minProperties: 1,
  additionalProperties: false,
});
const NOT_SUPPORTED = 'The requested functionality is not supported.';

interface Used {
  readonly project_id: string;
  readonly cpu: number;
  readonly memory_mb: number;
  readonly disk_gb: number;
}

/** Everything below `/os-hosts`. */
export function hostOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const find = async (name: string): Promise<Host> => {
    const found = (await childHosts(cascade, db.query)).find(({ host }) => host === name);
    if (found === undefined) throw notFound(`Host '${name.slice(0, 255)}' is not mapped to any cell`);
    return found;
  };
  const usedBy = async (host: string): Promise<Used[]> => {
    const { rows } = await sql<Used>`
      select project_id, sum((body->'flavor_copy'->>'vcpus')::bigint)::float8 as cpu,
        sum((body->'flavor_copy'->>'ram')::bigint)::float8 as memory_mb,
        sum((body->'flavor_copy'->>'disk')::bigint + (body->'flavor_copy'->>'ephemeral')::bigint)::float8 as disk_gb
      from servers where child = ${host} and deleted_at is null group by project_id order by project_id`.execute(
      db.query,
    );
    return rows;
  };
  const shared = { until: UNTIL, status: 200 } as const;
  return [
    operation({
      ...shared,
      method: 'GET',
      path: '/os-hosts',
      policy: rule('list'),
      query: QUERY,
      summary: 'List hosts',
      handle: async ({ query }) => {
        const zone = firstOf(query.zone) ?? '';
        const all = [...parentHosts(), ...(await childHosts(cascade, db.query))];
        const hosts = all
          .filter(({ enabled, zones }) => enabled && (zone === '' || zones.includes(zone)))
          .map(({ host, binary, zones }) => ({
            host_name: host,
            service: binary.replace(/^nova-/, ''),
            zone: zone === '' ? (zones[0] ?? '') : zone,
          }));
        return { hosts };
      },
    }),
    operation({
      ...shared,
      method: 'GET',
      path: '/os-hosts/:host_name',
      policy: rule('show'),
      summary: "Show a host's size and what is used of it",
      handle: async ({ params }) => {
        const { host, capacity } = await find(params.host_name as string);
        const used = await usedBy(host);
        const sum = (of: (one: Used) => number): number => used.reduce((total, one) => total + of(one), 0);
        const resource = (project: string, cpu: number, memory_mb: number, disk_gb: number) => ({
          resource: { host, project, cpu, memory_mb, disk_gb },
        });
        const {
          vcpus = 0,
          vcpus_used = 0,
          memory_mb = 0,
          memory_mb_used = 0,
          local_gb = 0,
          local_gb_used = 0,
        } = capacity ?? {};
        return {
          host: [
            resource('(total)', vcpus, memory_mb, local_gb),
            resource('(used_now)', vcpus_used, memory_mb_used, local_gb_used),
            resource(
              '(used_max)',
              sum(({ cpu }) => cpu),
              sum((one) => one.memory_mb),
              sum(({ disk_gb }) => disk_gb),
            ),
            ...used.map((one) => resource(one.project_id, one.cpu, one.memory_mb, one.disk_gb)),
          ],
        };
      },
    }),
    operation<{ status?: string; maintenance_mode?: string }>({
      ...shared,
      method: 'PUT',
      path: '/os-hosts/:host_name',
      policy: rule('update'),
      body: BODY,
      summary: 'Enable or disable a host',
      handle: async ({ params, body }) => {
        const { host } = await find(params.host_name as string);
        if (body.maintenance_mode !== undefined) throw notImplemented(NOT_SUPPORTED);
        const enabled = body.status?.toLowerCase() === 'enable';
        await db.transaction((tx) => cascade.setProxy(tx, host, COMPUTE_BINARY, { enabled, disabled_reason: null }));
        cascade.poke();
        return { host, status: enabled ? 'enabled' : 'disabled' };
      },
    }),
    ...(
      [
        ['startup', 'start'],
        ['shutdown', 'shutdown'],
        ['reboot', 'reboot'],
      ] as const
    ).map(([action, name]) =>
      operation({
        ...shared,
        method: 'GET',
        path: `/os-hosts/:host_name/${action}`,
        policy: rule(name),
        summary: 'Refused: a child is switched by those who run it',
        handle: async ({ params }) => {
          await find(params.host_name as string);
          throw notImplemented(NOT_SUPPORTED);
        },
      }),
    ),
  ];
}
