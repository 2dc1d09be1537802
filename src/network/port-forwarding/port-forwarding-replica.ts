/** The child side of port forwardings: part of their floating IP's copy, compared by what they say and not by ids. */
import type { ChildContext } from '../../cascade/contract.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import type { FloatingIp } from '../floating-ip-resource.ts';
import type { Forwarding } from './port-forwarding-resource.ts';

/** A forwarding as a child shows it; one without the extension of ranges shows single ports alone. */
interface ChildForwarding {
  readonly id: string;
  readonly protocol: string;
  readonly internal_port_id: string;
  readonly internal_ip_address: string;
  readonly external_port_range?: string;
  readonly internal_port_range?: string;
  readonly external_port?: number | null;
  readonly internal_port?: number | null;
}

export interface ForwardingsThere {
  /** Deletes those that are too much. Twice: the second finds none. */
  removeSurplus(): Promise<void>;
  /** Makes those that are missing. Twice: the second finds them. */
  addMissing(): Promise<void>;
}

/**
 * Reads the forwardings of a floating IP's copy.
 * @param path of the copy: `/floatingips/<id>`
 */
export async function forwardingsThere(
  context: ChildContext,
  row: FloatingIp,
  path: string,
  scope: CloudScope,
): Promise<ForwardingsThere> {
  const call = { service: 'network', path: `${path}/port_forwardings`, scope } as const;
  const wanted = new Map<string, Forwarding & { readonly child_port_id: string }>();
  for (const one of row.forwardings) {
    const { child_id } = await context.ensure('port', one.internal_port_id);
    wanted.set(keyOf({ ...one, internal_port_id: child_id }), { ...one, child_port_id: child_id });
  }
  const { body } = await context.api.call<{ port_forwardings: ChildForwarding[] }>({ ...call, method: 'GET' });
  const there = new Map(body.port_forwardings.map((one) => [keyOf(one), one]));
  return {
    async removeSurplus() {
      for (const [key, { id }] of there) {
        if (wanted.has(key)) continue;
        await context.api.call({ ...call, method: 'DELETE', path: `${call.path}/${id}`, accept: [404] });
      }
    },
    async addMissing() {
      for (const [key, one] of wanted) {
        if (there.has(key)) continue;
        const { protocol, internal_ip_address, child_port_id: internal_port_id } = one;
        const values = { protocol, internal_ip_address, internal_port_id, ...portsOf(one) };
        await context.api.call({ ...call, method: 'POST', body: { port_forwarding: values } });
      }
    },
  };
}

/** Single ports by the attributes that every child knows. */
function portsOf({ external_port_range, internal_port_range }: Forwarding) {
  const [external, internal] = [external_port_range, internal_port_range].map((range) => range.split(':'));
  const isSingle = external?.[0] === external?.[1] && internal?.[0] === internal?.[1];
  if (!isSingle) return { external_port_range, internal_port_range };
  return { external_port: Number(external?.[0]), internal_port: Number(internal?.[0]) };
}

function keyOf(one: Omit<ChildForwarding, 'id'>): string {
  const { external_port, internal_port, external_port_range, internal_port_range } = one;
  return [
    one.protocol,
    external_port_range ?? `${external_port}:${external_port}`,
    internal_port_range ?? `${internal_port}:${internal_port}`,
    one.internal_port_id,
    one.internal_ip_address,
  ].join(' ');
}
