/** Simulated port forwardings of floating IPs. */
import { type Call, route, type Service } from './http.ts';
import { touch } from './network-kind.ts';
import { isRow, type Json, listOf, newId, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

const path = '/floatingips/:id/port_forwardings';
const bad = (message: string): SimFault => new SimFault(400, `Bad port_forwarding request: ${message}.`, 'BadRequest');

const range = (port: Json | undefined, given: Json | undefined): string =>
  typeof port === 'number' ? `${port}:${port}` : textOf(given);

function single(given: string): Json {
  const [first, last] = given.split(':');
  return first === last ? Number(first) : null;
}

function collides(one: Json | undefined, other: string): boolean {
  const [a = 0, b = 0] = textOf(one).split(':').map(Number);
  const [c = 0, d = 0] = other.split(':').map(Number);
  return Math.max(a, c) <= Math.min(b, d);
}

/** Takes away what was forwarded to a port that goes. */
export function dropForwardings(world: World, portId: string): void {
  for (const floating of world.state.floatingips.values()) {
    const before = listOf(floating['port_forwardings']).filter(isRow);
    const kept = before.filter((one) => one['internal_port_id'] !== portId);
    if (kept.length === before.length) continue;
    floating['port_forwardings'] = kept;
    if (kept.length === 0) Object.assign(floating, { router_id: null, status: 'DOWN' });
  }
}

/** Registers the port forwardings; `routerOf` finds the router between a port's address and the external network. */
export function addForwardings(
  world: World,
  service: Service,
  routerOf: (floating: Row, portId: string, address: string) => Json,
): void {
  const parent = (call: Call): { floating: Row; there: Row[] } => {
    const id = call.params['id'] ?? '';
    const floating = world.state.floatingips.get(id);
    if (floating === undefined) throw new SimFault(404, `Floating IP ${id} could not be found`, 'FloatingIPNotFound');
    return { floating, there: listOf(floating['port_forwardings']).filter(isRow) };
  };
  route(service, 'GET', path, (call) => ({ status: 200, body: { port_forwardings: parent(call).there } }));
  route(service, 'POST', path, (call) => {
    const { floating, there } = parent(call);
    const given = rowOf(rowOf(call.body)['port_forwarding']);
    if (floating['port_id'] !== null)
      throw new SimFault(409, 'It is tied to a port.', 'FloatingIPPortAlreadyAssociated');
    const external = range(given['external_port'], given['external_port_range']);
    const internal = range(given['internal_port'], given['internal_port_range']);
    const alike = there.filter((one) => one['protocol'] === given['protocol']);
    const twin = alike.find((one) => collides(one['external_port_range'], external));
    if (twin !== undefined) {
      throw bad(
        `There is a port collision with the external_port_range. The following ranges collides: ${textOf(twin['external_port_range'])} and ${external}`,
      );
    }
    const internal_port_id = textOf(given['internal_port_id']);
    const internal_ip_address = textOf(given['internal_ip_address']);
    floating['router_id'] = routerOf(floating, internal_port_id, internal_ip_address);
    const made: Row = {
      id: newId(),
      protocol: given['protocol'] ?? null,
      external_port: single(external),
      external_port_range: external,
      internal_port: single(internal),
      internal_port_range: internal,
      internal_port_id,
      internal_ip_address,
      description: textOf(given['description']),
    };
    floating['port_forwardings'] = [...there, made];
    floating['status'] = 'ACTIVE';
    touch(floating);
    return { status: 201, body: { port_forwarding: made } };
  });
  route(service, 'DELETE', `${path}/:forwarding`, (call) => {
    const { floating, there } = parent(call);
    const kept = there.filter((one) => one['id'] !== call.params['forwarding']);
    if (kept.length === there.length) {
      const message = `Port Forwarding ${call.params['forwarding']} could not be found.`;
      throw new SimFault(404, message, 'PortForwardingNotFound');
    }
    floating['port_forwardings'] = kept;
    if (kept.length === 0) Object.assign(floating, { router_id: null, status: 'DOWN' });
    touch(floating);
    return { status: 204 };
  });
}
