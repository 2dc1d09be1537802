/** Ports and ranges of ports of a port forwarding, in Neutron's words. Pure; no database. */
import { badRequest, type Fault } from '../../http/fault.ts';
import { invalidAttribute } from '../network-fault.ts';

const PORT_MAX = 65_535;

export const badForwarding = (message: string): Fault =>
  badRequest(`Bad port_forwarding request: ${message}.`, 'BadRequest');

/** A port or a range as it was given: `port` is the attribute of a single one, `port_range` that of several. */
export interface PortsGiven {
  readonly port?: number | string | null | undefined;
  readonly range?: number | string | null | undefined;
}

/**
 * The range that was given, by either attribute (a single port wins, as in Neutron); undefined where neither was.
 * @throws Fault 400 for what is no port or no range
 */
export function rangeGiven(side: 'external' | 'internal', { port, range }: PortsGiven): string | undefined {
  if (port !== undefined && port !== null) {
    const number = portOf(`${side}_port`, String(port));
    return `${number}:${number}`;
  }
  if (range === undefined || range === null) return undefined;
  return checkedRange(`${side}_port_range`, String(range));
}

function portOf(attribute: string, text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw invalidAttribute(attribute, `'${text}' is not an integer.`);
  const port = Number(text);
  if (port < 1) throw invalidAttribute(attribute, `'${port}' is too small - must be at least '1'.`);
  if (port > PORT_MAX) {
    throw invalidAttribute(attribute, `'${port}' is too large - must be no larger than '${PORT_MAX}'.`);
  }
  return port;
}

function checkedRange(attribute: string, text: string): string {
  const parts = text.split(':');
  if (parts.length > 2) throw invalidAttribute(attribute, 'Port range must be two integers separated by a colon.');
  const [first = 0, last = first] = parts.map((part) => {
    if (!/^\d{1,9}$/.test(part) || Number(part) < 1 || Number(part) > PORT_MAX) {
      throw invalidAttribute(attribute, `Invalid port: ${part}.`);
    }
    return Number(part);
  });
  if (first > last) {
    throw invalidAttribute(attribute, 'First port in a port range must be lower than the second port.');
  }
  return `${first}:${last}`;
}

/** @throws Fault 400 where several internal ports do not face as many external ones */
export function checkRelation(external: string, internal: string): void {
  const inner = span(internal);
  if (inner === 0 || inner === span(external)) return;
  throw badForwarding(
    'Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N',
  );
}

const bounds = (range: string): readonly [number, number] => {
  const [first = 0, last = first] = range.split(':').map(Number);
  return [first, last];
};

function span(range: string): number {
  const [first, last] = bounds(range);
  return last - first;
}

/** Whether two ranges have a port in common. */
export function overlap(one: string, other: string): boolean {
  const [a, b] = bounds(one);
  const [c, d] = bounds(other);
  return Math.max(a, c) <= Math.min(b, d);
}

/** The first port of a range, by which lists are sorted. */
export const firstOf = (range: string): number => bounds(range)[0];
