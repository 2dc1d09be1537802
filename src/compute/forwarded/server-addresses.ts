/** Actions that give servers fixed and floating IPs, and take them: changes of Neutron's ports, until 2.43. */
import { type TSchema, Type } from 'typebox';
import { badRequest, conflict, notFound } from '../../http/fault.ts';
import type { Call, Operation, RequestContext } from '../../http/service.ts';
import type { ServerPort } from '../../network/server-networks.ts';
import { computeRule, MEMBER } from '../rules.ts';
import { act, findServer, type ServerDependencies, type ServerRow } from '../server/index.ts';
import { floatingIps, type NeutronFloatingIp } from './floating-ips.ts';
import { type Forwarding, reworded } from './services.ts';

const UNTIL = 43;
const IP = { type: 'string', oneOf: [{ format: 'ipv4' }, { format: 'ipv6' }] };
const bodyOf = (action: string, properties: object, required: readonly string[]): TSchema =>
  Type.Unsafe({
    type: 'object',
    properties: { [action]: { type: 'object', properties, required, additionalProperties: false } },
    required: [action],
    additionalProperties: false,
  });

/** The four actions. */
export function addressActions(servers: ServerDependencies, { network }: Forwarding): Operation[] {
  const portsOf = async (row: ServerRow): Promise<readonly ServerPort[]> =>
    (await servers.network.portsOf(servers.db.query, [row.id])).get(row.id) ?? [];

  const setAddresses = (context: RequestContext, port: string, fixed_ips: readonly object[]) =>
    network(context, { method: 'PUT', path: `/ports/${port}`, body: { port: { fixed_ips } } });

  const addFixed = async (call: Call<{ networkId: string | number }>): Promise<void> => {
    const row = await findServer(servers, call);
    const network_id = String(call.body.networkId);
    const absent = () => notFound(`Network could not be found for instance ${row.id}.`);
    const port = (await portsOf(row)).find((one) => one.network_id === network_id);
    if (port === undefined) throw absent();
    const query = { network_id };
    const answer = await network(call.context, { method: 'GET', path: '/subnets', query });
    const { subnets } = answer as { subnets: { id: string }[] };
    const before = port.fixed_ips.map(({ subnet_id, ip_address }) => ({ subnet_id, ip_address }));
    for (const { id } of subnets) {
      try {
        await setAddresses(call.context, port.id, [...before, { subnet_id: id }]);
        return;
      } catch (error) {
        // A subnet that has none left: the network may have another.
        call.context.log.debug({ err: error, port_id: port.id, subnet_id: id }, 'no further address for a port');
      }
    }
    throw absent();
  };

  const removeFixed = async (call: Call<{ address: string }>): Promise<void> => {
    const row = await findServer(servers, call);
    const { address } = call.body;
    const port = (await portsOf(row)).find(({ fixed_ips }) =>
      fixed_ips.some(({ ip_address }) => ip_address === address),
    );
    if (port === undefined) throw badRequest(`Instance ${row.id} does not have fixed IP '${address}'.`);
    const left = port.fixed_ips
      .filter(({ ip_address }) => ip_address !== address)
      .map(({ subnet_id, ip_address }) => ({ subnet_id, ip_address }));
    await setAddresses(call.context, port.id, left);
  };

  const byAddress = async (context: RequestContext, address: string, words: string): Promise<NeutronFloatingIp> => {
    const [found, ...more] = await floatingIps({ network }, context, { floating_ip_address: address });
    if (found === undefined) throw notFound(words);
    if (more.length > 0) throw conflict(`Multiple floating IPs are found for address ${address}.`);
    return found;
  };

  const setPort = (context: RequestContext, id: string, floatingip: object) =>
    network(context, { method: 'PUT', path: `/floatingips/${id}`, body: { floatingip } });

  const addFloating = async (call: Call<{ address: string; fixed_address?: string }>): Promise<void> => {
    const { context, body } = call;
    const row = await findServer(servers, call);
    const ports = await portsOf(row);
    if (ports.length === 0) throw badRequest('Instance network is not ready yet');
    const fixed = ports.flatMap((port) => port.fixed_ips.map((ip) => ({ port: port.id, ...ip })));
    if (fixed.length === 0) throw badRequest('No fixed IPs associated to instance');
    const wanted = body.fixed_address;
    const target = fixed.find(({ ip_address, version }) =>
      wanted === undefined ? version === 4 : ip_address === wanted,
    );
    if (target === undefined) {
      throw badRequest(
        wanted === undefined
          ? `Unable to associate floating IP ${body.address} to any fixed IPs for instance ${row.id}. Instance has no fixed IPv4 addresses to associate.`
          : 'Specified fixed address not assigned to instance',
      );
    }
    const ip = await byAddress(context, body.address, 'floating IP not found');
    const answer = setPort(context, ip.id, { port_id: target.port, fixed_ip_address: target.ip_address });
    const unable = ({ message }: Error) =>
      badRequest(
        `Unable to associate floating IP ${body.address} to fixed IP ${target.ip_address} for instance ${row.id}. Error: ${message}`,
      );
    await reworded(answer, { 400: unable, 404: unable, 409: ({ message }) => badRequest(message) });
  };

  const removeFloating = async (call: Call<{ address: string }>): Promise<void> => {
    const { context, body, params } = call;
    const ip = await byAddress(context, body.address, `Floating IP not found for address ${body.address}.`);
    const row = await findServer(servers, call);
    const isIts = ip.port_id !== null && (await portsOf(row)).some(({ id }) => id === ip.port_id);
    if (!isIts) {
      throw conflict(`Floating IP ${body.address} is not associated with instance ${params.server_id}.`);
    }
    await setPort(context, ip.id, { port_id: null });
  };

  const rule = (name: string) => computeRule(name, MEMBER);
  return [
    act({
      action: 'addFixedIp',
      until: UNTIL,
      policy: rule('os-multinic:add'),
      body: bodyOf('addFixedIp', { networkId: { type: ['string', 'number'], minLength: 1, maxLength: 36 } }, [
        'networkId',
      ]),
      summary: 'Give a server one more address in a network',
      handle: addFixed,
    }),
    act({
      action: 'removeFixedIp',
      until: UNTIL,
      policy: rule('os-multinic:remove'),
      body: bodyOf('removeFixedIp', { address: IP }, ['address']),
      summary: 'Take an address from a server',
      handle: removeFixed,
    }),
    act({
      action: 'addFloatingIp',
      until: UNTIL,
      policy: rule('os-floating-ips:add'),
      body: bodyOf('addFloatingIp', { address: IP, fixed_address: IP }, ['address']),
      summary: 'Tie a floating IP to a server',
      handle: addFloating,
    }),
    act({
      action: 'removeFloatingIp',
      until: UNTIL,
      policy: rule('os-floating-ips:remove'),
      body: bodyOf('removeFloatingIp', { address: IP }, ['address']),
      summary: 'Untie a floating IP from a server',
      handle: removeFloating,
    }),
  ];
}
