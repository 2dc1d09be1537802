/** Interfaces of servers. */
import { badRequest, conflict, Fault, notFound } from '../../http/fault.ts';
import { type Operation, operation, type RequestContext } from '../../http/service.ts';
import type { ServerPort } from '../../network/server-networks.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, findServer, withServer } from './lookup.ts';
import { enqueue, refreshAddresses } from './records.ts';
import type { ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import { attachInterfaceSchema } from './schema.ts';
import { requireState } from './state.ts';

interface InterfaceBody {
  readonly interfaceAttachment?: {
    readonly net_id?: string;
    readonly port_id?: string;
    readonly fixed_ips?: readonly { readonly ip_address: string }[];
    readonly tag?: string;
  };
}

/** What a boot refuses as a bad request names, here, what is not there or in use; and the other way round. */
function refuseInterface(error: unknown): never {
  if (!(error instanceof Fault)) throw error;
  const { status, message } = error;
  if (status === 409 && message.startsWith('Multiple possible networks found')) throw badRequest(message);
  if (status === 400 && /^(Port id|Network) \S+ could not be found\.$/.test(message)) throw notFound(message);
  if (status === 400 && /^Fixed IP address \S+ is already in use/.test(message)) throw conflict(message);
  throw error;
}

function interfaceView(context: RequestContext, port: ServerPort): Record<string, unknown> {
  return {
    net_id: port.network_id,
    port_id: port.id,
    mac_addr: port.mac_address,
    port_state: port.status,
    fixed_ips: port.fixed_ips.map(({ subnet_id, ip_address }) => ({ subnet_id, ip_address })),
    ...(context.version >= 70 ? { tag: port.tag } : {}),
  };
}

/** The operations below `os-interface`. */
export function interfaceOperations(dependencies: ServerDependencies): Operation[] {
  const { db, network } = dependencies;
  const path = '/servers/:server_id/os-interface';
  const interface_states = ['active', 'paused', 'stopped'];
  const portsOf = async (row: ServerRow): Promise<readonly ServerPort[]> =>
    (await network.portsOf(db.query, [row.id])).get(row.id) ?? [];
  return [
    operation({
      method: 'GET',
      path,
      policy: rules.interfacesIndex,
      status: 200,
      summary: 'List interfaces of a server',
      handle: async (call) => {
        const ports = await portsOf(await findServer(dependencies, call));
        return { interfaceAttachments: ports.map((port) => interfaceView(call.context, port)) };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:port_id`,
      policy: rules.interfacesShow,
      status: 200,
      summary: 'Show an interface of a server',
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        const id = call.params.port_id as string;
        const port = (await portsOf(row)).find((one) => one.id === id);
        if (port === undefined) throw notFound(`Instance ${row.id} does not have a port with id ${id}`);
        return { interfaceAttachment: interfaceView(call.context, port) };
      },
    }),
    operation<InterfaceBody>({
      method: 'POST',
      path,
      policy: rules.interfacesCreate,
      body: attachInterfaceSchema,
      status: 200,
      summary: 'Attach an interface to a server',
      handle: async (call) => {
        const { net_id, port_id, fixed_ips, tag } = call.body.interfaceAttachment ?? {};
        const fixed_ip = fixed_ips?.[0]?.ip_address;
        if (net_id !== undefined && port_id !== undefined) {
          throw badRequest('Must not input both network_id and port_id');
        }
        if (fixed_ip !== undefined && net_id === undefined) {
          throw badRequest('Must input network_id when request IP address');
        }
        const server = await findServer(dependencies, call);
        const isAny = net_id === undefined && port_id === undefined;
        const wanted = isAny ? undefined : [{ network_id: net_id, port_id, fixed_ip, tag }];
        const resolved = await network.resolve(db.query, call.context, wanted).catch(refuseInterface);
        if (resolved.requests.length === 0)
          throw badRequest(
            `No specific network was requested and none are available for project '${server.project_id}'.`,
          );
        const port = await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'attach_interface', vm: interface_states });
          const [made] = await network.attach(tx, call.context, resolved, {
            server_id: row.id,
            child: row.child as string,
            zone: row.zone,
            security_groups: undefined,
          });
          if (made === undefined) throw badRequest('Failed to attach network adapter device');
          await enqueue(tx, dependencies, row, askerOf(call.context), {
            action: 'attach_interface',
            record: 'attach_interface',
            body: { port_id: made.id },
            stateful: false,
          });
          await refreshAddresses(tx, dependencies, [row.id]);
          return made;
        }).catch(refuseInterface);
        return { interfaceAttachment: interfaceView(call.context, port) };
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:port_id`,
      policy: rules.interfacesDelete,
      status: 202,
      summary: 'Detach an interface from a server',
      handle: async (call) => {
        const id = call.params.port_id as string;
        const server = await findServer(dependencies, call);
        if (!(await portsOf(server)).some((port) => port.id === id)) {
          throw notFound(`Port ${id} could not be found.`);
        }
        await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'detach_interface', vm: interface_states });
          await enqueue(tx, dependencies, row, askerOf(call.context), {
            action: 'detach_interface',
            record: 'detach_interface',
            body: { port_id: id },
            stateful: false,
          });
        });
      },
    }),
  ];
}
