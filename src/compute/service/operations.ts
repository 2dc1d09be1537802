/** Compute services over HTTP: the proxies of the children as nova-compute, to be disabled and forced down like any. */
import { sql } from 'kysely';
import { Type } from 'typebox';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, queryParameters } from '../links.ts';
import { BOOLEAN, booleanOf } from '../parameters.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { childHosts, COMPUTE_BINARY, type Host, isUuid, parentHosts, serviceId, UUIDS_SINCE } from './hosts.ts';

const rules = {
  list: computeRule('os-services:list', ADMIN),
  update: computeRule('os-services:update', ADMIN),
  remove: computeRule('os-services:delete', ADMIN),
};

const FORCED_DOWN_SINCE = 11;
const QUERY = queryParameters({ host: ANY_TEXT, binary: ANY_TEXT });

const REASON = Type.Optional(Type.String({ minLength: 1, maxLength: 255 }));
const NAMED = {
  host: Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9\\-._]*$' }),
  binary: Type.String({ minLength: 1, maxLength: 255 }),
  disabled_reason: REASON,
};
const OLD_BODY = Type.Object(NAMED, { additionalProperties: false });
const FORCING_BODY = Type.Object({ ...NAMED, forced_down: Type.Optional(BOOLEAN) }, { additionalProperties: false });
const BODY = Type.Object(
  {
    status: Type.Optional(Type.Unsafe<'enabled' | 'disabled'>({ type: 'string', enum: ['enabled', 'disabled'] })),
    disabled_reason: REASON,
    forced_down: Type.Optional(BOOLEAN),
  },
  { additionalProperties: false },
);

interface NamedChange {
  readonly host: string;
  readonly binary: string;
  readonly disabled_reason?: string;
  readonly forced_down?: unknown;
}

interface Change {
  readonly status?: 'enabled' | 'disabled';
  readonly disabled_reason?: string;
  readonly forced_down?: unknown;
}

/** A service as it is listed. */
function view(host: Host, version: number) {
  return {
    id: serviceId(host, version),
    binary: host.binary,
    host: host.host,
    zone: host.zones[0] ?? '',
    status: host.enabled ? 'enabled' : 'disabled',
    state: host.up ? 'up' : 'down',
    updated_at: host.updated_at,
    disabled_reason: host.disabled_reason,
    ...(version >= FORCED_DOWN_SINCE ? { forced_down: host.forced_down } : {}),
  };
}

const onlyCompute = (binary: string): Fault =>
  badRequest(`Updating a ${binary} service is not supported. Only nova-compute services can be updated.`);

/** Everything below `/os-services`. */
export function serviceOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const services = async () => [...parentHosts(), ...(await childHosts(cascade, db.query))];

  const change = async (host: string, values: Parameters<typeof cascade.setProxy>[3]) => {
    await db.transaction((tx) => cascade.setProxy(tx, host, COMPUTE_BINARY, values));
    cascade.poke();
  };

  const byId = async (id: string, version: number): Promise<Host> => {
    if (version >= UUIDS_SINCE && !isUuid(id)) throw badRequest(`Invalid uuid ${id}`);
    if (version < UUIDS_SINCE && !/^\d{1,10}$/.test(id)) {
      throw badRequest('Invalid input received: id must be an integer');
    }
    const found = (await services()).find((host) => String(serviceId(host, version)) === id.toLowerCase());
    if (found === undefined) throw notFound(`Service ${id} could not be found.`);
    return found;
  };

  /** Before 2.53 the path names what to do, and the body to whom. */
  const act = async (action: string, body: NamedChange, version: number) => {
    const { host, binary, disabled_reason } = body;
    const known = ['enable', 'disable', 'disable-log-reason', ...(version >= FORCED_DOWN_SINCE ? ['force-down'] : [])];
    if (!known.includes(action)) throw notFound('Unknown action');
    if (action === 'disable-log-reason' && disabled_reason === undefined) {
      throw badRequest('Missing disabled reason field');
    }
    if (action === 'force-down' && body.forced_down === undefined) throw badRequest('Missing forced_down field');
    if (binary !== COMPUTE_BINARY) throw onlyCompute(binary);
    if (!(await childHosts(cascade, db.query)).some((one) => one.host === host)) {
      throw notFound(`Host '${host}' is not mapped to any cell`);
    }
    if (action === 'force-down') {
      const forced_down = booleanOf(body.forced_down);
      await change(host, { forced_down });
      return { service: { host, binary, forced_down } };
    }
    const enabled = action === 'enable';
    const reason = action === 'disable-log-reason' ? (disabled_reason ?? null) : null;
    await change(host, { enabled, disabled_reason: reason });
    const shown = reason === null ? {} : { disabled_reason: reason };
    return { service: { host, binary, status: enabled ? 'enabled' : 'disabled', ...shown } };
  };

  return [
    operation({
      method: 'GET',
      path: '/os-services',
      policy: rules.list,
      query: QUERY,
      status: 200,
      summary: 'List compute services',
      handle: async ({ context, query }) => {
        const host = firstOf(query.host) ?? '';
        const binary = firstOf(query.binary) ?? '';
        const rows = (await services()).filter(
          (one) => (host === '' || one.host === host) && (binary === '' || one.binary === binary),
        );
        return { services: rows.map((one) => view(one, context.version)) };
      },
    }),
    operation<NamedChange>({
      method: 'PUT',
      path: '/os-services/:service_id',
      until: UUIDS_SINCE - 1,
      policy: rules.update,
      body: (version) => (version >= FORCED_DOWN_SINCE ? FORCING_BODY : OLD_BODY),
      status: 200,
      summary: 'Enable, disable or force down a compute service',
      handle: ({ params, body, context }) => act(params.service_id as string, body, context.version),
    }),
    operation<Change>({
      method: 'PUT',
      path: '/os-services/:service_id',
      since: UUIDS_SINCE,
      policy: rules.update,
      body: BODY,
      status: 200,
      summary: 'Update a compute service',
      handle: async ({ params, body, context }) => {
        const service = await byId(params.service_id as string, context.version);
        if (service.binary !== COMPUTE_BINARY) throw onlyCompute(service.binary);
        if (body.status === 'enabled' && body.disabled_reason !== undefined) {
          throw badRequest("Specifying 'disabled_reason' with status 'enabled' is invalid.");
        }
        if (body.status === undefined && body.forced_down === undefined) {
          throw badRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.");
        }
        await change(service.host, {
          ...(body.status === undefined
            ? {}
            : { enabled: body.status === 'enabled', disabled_reason: body.disabled_reason ?? null }),
          ...(body.forced_down === undefined ? {} : { forced_down: booleanOf(body.forced_down) }),
        });
        return { service: view(await byId(params.service_id as string, context.version), context.version) };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/os-services/:service_id',
      policy: rules.remove,
      status: 204,
      summary: 'Delete a compute service',
      handle: async ({ params, context }) => {
        const service = await byId(params.service_id as string, context.version);
        if (service.binary !== COMPUTE_BINARY) {
          throw conflict(`The ${service.binary} service is part of this cloud and cannot be deleted.`);
        }
        const hosted = await sql`
          select 1 from servers where child = ${service.host} and deleted_at is null limit 1`.execute(db.query);
        throw conflict(
          hosted.rows.length > 0
            ? 'Unable to delete compute service that is hosting instances. Migrate or delete the instances first.'
            : 'Unable to delete compute service: it goes when its cloud is taken out of the configuration.',
        );
      },
    }),
  ];
}
