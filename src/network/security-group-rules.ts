/** What makes a security group rule valid, with Neutron's exceptions. Pure; no database. */
import { badRequest } from '../http/fault.ts';
import { normalizedCidr, parseCidr } from './address-range.ts';

const PROTOCOLS: Readonly<Record<string, number>> = {
  ah: 51,
  dccp: 33,
  egp: 8,
  esp: 50,
  gre: 47,
  hopopt: 0,
  icmp: 1,
  igmp: 2,
  ip: 0,
  ipip: 4,
  'ipv6-encap': 41,
  'ipv6-frag': 44,
  'ipv6-icmp': 58,
  icmpv6: 58,
  'ipv6-nonxt': 59,
  'ipv6-opts': 60,
  'ipv6-route': 43,
  ospf: 89,
  pgm: 113,
  rsvp: 46,
  sctp: 132,
  tcp: 6,
  udp: 17,
  udplite: 136,
  vrrp: 112,
};
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);
const ICMP = new Set([1, 58]);
/** Of IPv6 alone, by their names and numbers. */
const IPV6_ONLY = new Set([41, 43, 44, 58, 59, 60]);

/** A rule's values, as far as they say what it lets pass. */
export interface RuleValues {
  readonly direction: string;
  readonly ethertype: string;
  readonly protocol: string | null;
  readonly port_range_min: number | null;
  readonly port_range_max: number | null;
  readonly remote_ip_prefix: string | null;
  readonly remote_group_id: string | null;
  readonly remote_address_group_id: string | null;
}

/** A rule as it was asked for: ports and protocols as numbers or text, an ethertype in any case. */
export interface RuleRequest {
  readonly direction: string;
  readonly ethertype?: string | null | undefined;
  readonly protocol?: string | number | null | undefined;
  readonly port_range_min?: string | number | null | undefined;
  readonly port_range_max?: string | number | null | undefined;
  readonly remote_ip_prefix?: string | null | undefined;
  readonly remote_group_id?: string | null | undefined;
  readonly remote_address_group_id?: string | null | undefined;
}

/**
 * A rule's values in their usual form.
 * @throws Fault 400 in Neutron's words for what does not fit together
 */
export function checkRule(request: RuleRequest): RuleValues {
  const ethertype = ethertypeOf(request.ethertype);
  const protocol = protocolOf(request.protocol, ethertype);
  const port_range_min = portOf(request.port_range_min);
  const port_range_max = portOf(request.port_range_max);
  const range = checkPorts(protocol, port_range_min, port_range_max);
  const remote_group_id = request.remote_group_id ?? null;
  const remote_address_group_id = request.remote_address_group_id ?? null;
  const remote_ip_prefix = prefixOf(request.remote_ip_prefix, ethertype);
  const remotes = [remote_group_id, remote_address_group_id, remote_ip_prefix];
  if (remotes.filter((remote) => remote !== null).length > 1) {
    throw badRequest(
      'Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.',
      'SecurityGroupMultipleRemoteEntites',
    );
  }
  return {
    direction: request.direction,
    ethertype,
    protocol,
    ...range,
    remote_ip_prefix,
    remote_group_id,
    remote_address_group_id,
  };
}

/** What two rules that let the same pass have in common. */
export function ruleKey(rule: RuleValues): string {
  const number = rule.protocol === null ? '' : String(PROTOCOLS[rule.protocol] ?? Number(rule.protocol));
  const anywhere = rule.ethertype === 'IPv4' ? '0.0.0.0/0' : '::/0';
  const prefix = rule.remote_ip_prefix === null ? '' : normalizedCidr(rule.remote_ip_prefix);
  return [
    rule.direction,
    rule.ethertype,
    number,
    rule.port_range_min ?? '',
    rule.port_range_max ?? '',
    prefix === anywhere ? '' : prefix,
    rule.remote_group_id ?? '',
    rule.remote_address_group_id ?? '',
  ].join('|');
}

function ethertypeOf(given: string | null | undefined): string {
  if (given === undefined || given === null) return 'IPv4';
  if (/^ipv4$/i.test(given)) return 'IPv4';
  if (/^ipv6$/i.test(given)) return 'IPv6';
  throw badRequest(
    `Security group rule for ethertype '${given}' not supported. Allowed values are ['IPv4', 'IPv6'].`,
    'SecurityGroupRuleInvalidEtherType',
  );
}

function protocolOf(given: string | number | null | undefined, ethertype: string): string | null {
  if (given === undefined || given === null || given === '') return null;
  const name = String(given).toLowerCase();
  const number = Object.hasOwn(PROTOCOLS, name) ? PROTOCOLS[name] : /^\d{1,3}$/.test(name) ? Number(name) : undefined;
  if (number === undefined || number > 255) {
    const names = Object.keys(PROTOCOLS).map((known) => `'${known}'`);
    throw badRequest(
      `Security group rule protocol ${String(given)} not supported. Only protocol values [None, ${names.join(', ')}] and integer representations [0 to 255] are supported.`,
      'SecurityGroupRuleInvalidProtocol',
    );
  }
  if (ethertype === 'IPv4' && IPV6_ONLY.has(number)) {
    throw badRequest(`Invalid ethertype IPv4 for protocol ${name}.`, 'SecurityGroupEthertypeConflictWithProtocol');
  }
  // Clients of IPv6 rules say icmp and mean that of IPv6.
  if (ethertype === 'IPv6' && (name === 'icmp' || name === 'icmpv6')) return 'ipv6-icmp';
  // Any protocol is no protocol.
  return name === 'ip' || name === '0' ? null : name;
}

function portOf(given: string | number | null | undefined): number | null {
  if (given === undefined || given === null) return null;
  const text = String(given);
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw badRequest(`Invalid value for port ${text}`, 'SecurityGroupInvalidPortValue');
  }
  return Number(text);
}

function checkPorts(protocol: string | null, min: number | null, max: number | null) {
  if (min === null && max === null) return { port_range_min: null, port_range_max: null };
  if (protocol === null) {
    throw badRequest('Must also specify protocol if port range is given.', 'SecurityGroupProtocolRequiredWithPorts');
  }
  const number = PROTOCOLS[protocol] ?? Number(protocol);
  if (ICMP.has(number)) {
    checkIcmp('type', 'port_range_min', min);
    checkIcmp('code', 'port_range_max', max);
    if (min === null) {
      throw badRequest(
        `ICMP code (port-range-max) ${max} is provided but ICMP type (port-range-min) is missing.`,
        'SecurityGroupMissingIcmpType',
      );
    }
  } else if (WITH_PORTS.has(number)) {
    for (const port of [min, max]) {
      if (port !== null && (port < 1 || port > 65_535)) {
        throw badRequest(`Invalid value for port ${port}`, 'SecurityGroupInvalidPortValue');
      }
    }
    if (min === null || max === null || min > max) {
      throw badRequest(
        'For TCP/UDP protocols, port_range_min must be <= port_range_max',
        'SecurityGroupInvalidPortRange',
      );
    }
  } else {
    throw badRequest(
      `Ports cannot be specified for protocol ${number}. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.`,
      'SecurityGroupInvalidProtocolForPort',
    );
  }
  return { port_range_min: min, port_range_max: max };
}

function checkIcmp(field: string, attribute: string, value: number | null): void {
  if (value === null || (value >= 0 && value <= 255)) return;
  throw badRequest(
    `Invalid value for ICMP ${field} (${attribute}) ${value}. It must be 0 to 255.`,
    'SecurityGroupInvalidIcmpValue',
  );
}

function prefixOf(given: string | null | undefined, ethertype: string): string | null {
  if (given === undefined || given === null || given === '') return null;
  const text = given.includes('/') ? given : `${given}/${given.includes(':') ? 128 : 32}`;
  const cidr = parseCidr(text);
  if (cidr === undefined) throw badRequest(`Invalid CIDR ${given} given as IP prefix.`, 'InvalidCIDR');
  if (`IPv${cidr.version}` !== ethertype) {
    throw badRequest(
      `Conflicting value ethertype ${ethertype} for CIDR ${given}`,
      'SecurityGroupRuleParameterConflict',
    );
  }
  return text;
}
