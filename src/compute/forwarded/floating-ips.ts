/** `/os-floating-ips` and their pools: Neutron's floating IPs and external networks, until 2.35. */
import { type Fault, badRequest, forbidden, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { ANYBODY, computeRule, MEMBER, READER } from '../rules.ts';
import { type Forwarding, isUuid, pathOf, projectOf, PROXIES_UNTIL, reworded } from './services.ts';

export interface NeutronFloatingIp {
  readonly id: string;
  readonly floating_ip_address: string;
  readonly fixed_ip_address: string | null;
  readonly floating_network_id: string;
  readonly port_id: string | null;
}

interface NeutronNetwork {
  readonly id: string;
  readonly name: string;
}

const rule = (name: string, check: string) => computeRule(`os-floating-ips:${name}`, check);
/** The pool that Nova takes where none is named. */
const DEFAULT_POOL = 'nova';

/** Floating IPs by what is asked for, of those that the caller sees. */
export async function floatingIps(
  { network }: Pick<Forwarding, 'network'>,
  context: RequestContext,
  query: Readonly<Record<string, string>>,
): Promise<readonly NeutronFloatingIp[]> {
  const answer = await network(context, { method: 'GET', path: '/floatingips', query });
  return (answer as { floatingips: NeutronFloatingIp[] }).floatingips;
}

/** Both paths. */
export function floatingIpOperations({ network }: Forwarding): Operation[] {
  const pools = async (context: RequestContext, query: Readonly<Record<string, string>> = {}) => {
    const asked = { ...query, 'router:external': 'true' };
    const answer = await network(context, { method: 'GET', path: '/networks', query: asked });
    return (answer as { networks: NeutronNetwork[] }).networks;
  };

  const views = async (context: RequestContext, ips: readonly NeutronFloatingIp[]) => {
    if (ips.length === 0) return [];
    const ports = ips.flatMap(({ port_id }) => port_id ?? []);
    const [networks, servers] = await Promise.all([pools(context), serversOf(context, ports)]);
    const names = new Map(networks.map(({ id, name }) => [id, name || id]));
    return ips.map((ip) => ({
      id: ip.id,
      ip: ip.floating_ip_address,
      pool: names.get(ip.floating_network_id) ?? ip.floating_network_id,
      fixed_ip: ip.fixed_ip_address,
      instance_id: ip.port_id === null ? null : (servers.get(ip.port_id) ?? ''),
    }));
  };

  const serversOf = async (context: RequestContext, ids: readonly string[]): Promise<ReadonlyMap<string, string>> => {
    if (ids.length === 0) return new Map();
    const query = { id: ids, fields: ['id', 'device_id'] };
    const answer = await network(context, { method: 'GET', path: '/ports', query });
    const { ports } = answer as { ports: { id: string; device_id: string }[] };
    return new Map(ports.map(({ id, device_id }) => [id, device_id]));
  };

  const find = async (call: Call): Promise<NeutronFloatingIp> => {
    const id = call.params.floatingip_id ?? '';
    const answer = network(call.context, { method: 'GET', path: `/floatingips/${pathOf(call, 'floatingip_id')}` });
    const missing = () => notFound(`Floating IP not found for ID ${id.slice(0, 255)}`);
    return ((await reworded(answer, { 404: missing })) as { floatingip: NeutronFloatingIp }).floatingip;
  };

  const create = async ({ context, body }: Call<{ pool?: unknown } | undefined | null>) => {
    const wanted = body?.pool == null || body.pool === '' ? undefined : String(body.pool).slice(0, 255);
    const found = await poolOf(context, wanted);
    const answer = network(context, {
      method: 'POST',
      path: '/floatingips',
      body: { floatingip: { floating_network_id: found.id } },
    });
    const inPool = wanted === undefined ? '' : ` in pool ${wanted}`;
    const made = (await reworded(answer, {
      400: () => badRequest('The floating IP request failed with a BadRequest'),
      409: (fault: Fault) =>
        fault.type === 'OverQuota'
          ? forbidden(`IP allocation over quota${inPool}.`)
          : notFound(wanted === undefined ? 'No more floating IPs available.' : `No more floating IPs${inPool}.`),
    })) as { floatingip: NeutronFloatingIp };
    return { floating_ip: (await views(context, [made.floatingip]))[0] };
  };

  const poolOf = async (context: RequestContext, wanted: string | undefined): Promise<NeutronNetwork> => {
    const name = wanted ?? DEFAULT_POOL;
    const found = await pools(context, isUuid(name) ? { id: name } : { name });
    // Who names none and has only one to choose from means that one, whatever it is called.
    const candidates = found.length === 0 && wanted === undefined ? await pools(context) : found;
    const [first, ...others] = candidates;
    if (first === undefined) throw notFound('Floating IP pool not found.');
    if (others.length > 0) {
      if (wanted === undefined) throw notFound('Floating IP pool not found.');
      throw badRequest(`Multiple floating IP pools matches found for name '${wanted}'`);
    }
    return first;
  };

  const path = '/os-floating-ips';
  return [
    operation({
      method: 'GET',
      path: '/os-floating-ip-pools',
      until: PROXIES_UNTIL,
      policy: computeRule('os-floating-ip-pools', ANYBODY),
      status: 200,
      summary: 'List the networks that floating IPs are taken from',
      handle: async ({ context }) => ({
        floating_ip_pools: (await pools(context)).map(({ id, name }) => ({ name: name || id })),
      }),
    }),
    operation({
      method: 'GET',
      path,
      until: PROXIES_UNTIL,
      policy: rule('list', READER),
      status: 200,
      summary: 'List floating IPs',
      handle: async ({ context }) => {
        const own = await floatingIps({ network }, context, { tenant_id: projectOf(context) });
        return { floating_ips: await views(context, own) };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:floatingip_id`,
      until: PROXIES_UNTIL,
      policy: rule('show', READER),
      status: 200,
      summary: 'Show a floating IP',
      handle: async (call) => ({ floating_ip: (await views(call.context, [await find(call)]))[0] }),
    }),
    operation<{ pool?: unknown } | undefined | null>({
      method: 'POST',
      path,
      until: PROXIES_UNTIL,
      policy: rule('create', MEMBER),
      status: 200,
      summary: 'Take a floating IP from a pool',
      handle: create,
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:floatingip_id`,
      until: PROXIES_UNTIL,
      policy: rule('delete', MEMBER),
      status: 202,
      summary: 'Give a floating IP back',
      handle: async (call) => {
        const { id } = await find(call);
        await network(call.context, { method: 'DELETE', path: `/floatingips/${id}` });
      },
    }),
  ];
}
