/** `/os-security-groups` and `/os-security-group-rules`: Neutron's groups and what they let in, until 2.35. */
import { isIP } from 'node:net';
import { badRequest, type Fault, forbidden, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { queryParameters } from '../links.ts';
import { computeRule, MEMBER, READER } from '../rules.ts';
import { type Forwarding, isUuid, LIMITED_PARAMETERS, projectOf, PROXIES_UNTIL, reworded, window } from './services.ts';

const rule = (name: string, check: string) => computeRule(`os-security-groups:${name}`, check);
const QUERY = queryParameters({ ...LIMITED_PARAMETERS, all_tenants: { type: 'string' } }, Number.MAX_SAFE_INTEGER);

interface NeutronRule {
  readonly id: string;
  readonly security_group_id: string;
  readonly direction: string;
  readonly protocol: string | null;
  readonly port_range_min: number | null;
  readonly port_range_max: number | null;
  readonly remote_group_id: string | null;
  readonly remote_ip_prefix: string | null;
}

interface NeutronGroup {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly tenant_id: string;
  readonly security_group_rules: readonly NeutronRule[];
}

/** A rule as Nova compares and creates it. */
interface NovaRule {
  readonly group_id?: string;
  readonly cidr?: string;
  readonly protocol?: string;
  readonly from_port?: number;
  readonly to_port?: number;
}

const invalid = (reason: string): Fault => badRequest(`Invalid input received: ${reason}`);
const asBadRequest = ({ message }: Fault): Fault => badRequest(message);
const asForbidden = ({ message }: Fault): Fault => forbidden(message);

function idOf(value: unknown): string {
  if (!isUuid(value)) throw badRequest('Security group id should be uuid');
  return value;
}

/** The first and last port that a rule is about, which Nova says of every protocol. */
function portsOf(one: NeutronRule): { from_port: number | null; to_port: number | null } {
  const { protocol, port_range_min, port_range_max } = one;
  if (protocol === null || port_range_min !== null || port_range_max !== null) {
    return { from_port: port_range_min, to_port: port_range_max };
  }
  return /^(tcp|udp)$/i.test(protocol) ? { from_port: 1, to_port: 65_535 } : { from_port: -1, to_port: -1 };
}

/** What stands under the body's key. */
function given(body: unknown, key: string): Readonly<Record<string, unknown>> {
  const value = (body as Readonly<Record<string, unknown>> | undefined)?.[key];
  if (body === undefined || body === null || Object.keys(body).length === 0) {
    throw badRequest("The request body can't be empty");
  }
  if (value === undefined || value === null || typeof value !== 'object') throw badRequest(`Missing parameter ${key}`);
  return value as Readonly<Record<string, unknown>>;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalid(`${name} is not a string or unicode`);
  if (value.length > 255) throw invalid(`${name} has ${value.length} characters, more than 255.`);
  return value;
}

/** Everything below both paths. */
export function securityGroupOperations({ network }: Forwarding): Operation[] {
  const group = async (context: RequestContext, id: string): Promise<NeutronGroup> =>
    ((await network(context, { method: 'GET', path: `/security-groups/${id}` })) as { security_group: NeutronGroup })
      .security_group;

  /** The groups that rules let in, by id; one that the caller does not see makes no rule to show. */
  const sources = async (
    context: RequestContext,
    rules: readonly NeutronRule[],
  ): Promise<ReadonlyMap<string, { name: string; tenant_id: string }>> => {
    const ids = [...new Set(rules.flatMap(({ remote_group_id }) => remote_group_id ?? []))];
    if (ids.length === 0) return new Map();
    const query = { id: ids, fields: ['id', 'name', 'tenant_id'] };
    const answer = await network(context, { method: 'GET', path: '/security-groups', query });
    const { security_groups } = answer as { security_groups: NeutronGroup[] };
    return new Map(security_groups.map(({ id, name, tenant_id }) => [id, { name, tenant_id }]));
  };

  const ruleView = (one: NeutronRule, known: Awaited<ReturnType<typeof sources>>) => ({
    id: one.id,
    parent_group_id: one.security_group_id,
    ip_protocol: one.protocol,
    ...portsOf(one),
    group: one.remote_group_id === null ? {} : (known.get(one.remote_group_id) ?? {}),
    ip_range: one.remote_group_id === null ? { cidr: one.remote_ip_prefix ?? '0.0.0.0/0' } : {},
  });

  const views = async (context: RequestContext, groups: readonly NeutronGroup[]) => {
    const known = await sources(
      context,
      groups.flatMap(({ security_group_rules }) => security_group_rules),
    );
    return groups.map(({ id, name, description, tenant_id, security_group_rules }) => ({
      id,
      name,
      description,
      tenant_id,
      rules: security_group_rules
        .filter(
          ({ direction, remote_group_id }) =>
            direction === 'ingress' && (remote_group_id === null || known.has(remote_group_id)),
        )
        .map((one) => ruleView(one, known)),
    }));
  };
  const view = async (context: RequestContext, one: NeutronGroup) => ({
    security_group: (await views(context, [one]))[0],
  });

  const save = async (
    call: Call<unknown>,
    method: 'POST' | 'PUT',
    path: string,
    faults: Parameters<typeof reworded>[1],
  ) => {
    const { name, description } = given(call.body, 'security_group');
    const security_group = { name: text(name, 'name'), description: text(description, 'description') };
    const answer = network(call.context, { method, path, body: { security_group } });
    return view(call.context, ((await reworded(answer, faults)) as { security_group: NeutronGroup }).security_group);
  };

  const list = async ({ context, query }: Call) => {
    const { offset, limit } = window(query);
    const all = context.identity.isAdmin && query.all_tenants !== undefined;
    const { security_groups } = (await network(context, {
      method: 'GET',
      path: '/security-groups',
      query: all ? {} : { tenant_id: projectOf(context) },
    })) as { security_groups: NeutronGroup[] };
    const shown = await views(context, security_groups.slice(offset, offset + limit));
    const key = (one: (typeof shown)[number]): string => `${one.tenant_id} ${one.name}`;
    return { security_groups: shown.toSorted((one, other) => (key(one) < key(other) ? -1 : 1)) };
  };

  const addRule = async ({ context, body }: Call<unknown>) => {
    const wanted = given(body, 'security_group_rule');
    const parent = await group(context, idOf(wanted.parent_group_id));
    const source = wanted.group_id == null ? undefined : await group(context, idOf(wanted.group_id));
    const made = novaRule(wanted, source?.id);
    if (made === undefined) throw badRequest('Not enough parameters to build a valid rule.');
    if (made.cidr !== undefined && made.cidr.endsWith('/0') && !/^(0\.0\.0\.0|::)\//.test(made.cidr)) {
      throw badRequest(`Bad prefix for network in cidr ${made.cidr}`);
    }
    if (parent.security_group_rules.some((one) => one.direction === 'ingress' && isSame(one, made))) {
      throw badRequest(`This rule already exists in group ${parent.id}`);
    }
    const { from_port = -1, to_port = -1 } = made;
    const answer = network(context, {
      method: 'POST',
      path: '/security-group-rules',
      body: {
        security_group_rule: {
          direction: 'ingress',
          security_group_id: parent.id,
          protocol: made.protocol ?? null,
          ethertype: made.cidr?.includes(':') ? 'IPv6' : 'IPv4',
          remote_ip_prefix: made.cidr ?? null,
          remote_group_id: made.group_id ?? null,
          ...(from_port === -1 ? {} : { port_range_min: from_port }),
          ...(to_port === -1 ? {} : { port_range_max: to_port }),
        },
      },
    });
    const { security_group_rule } = (await reworded(answer, { 409: asForbidden })) as {
      security_group_rule: NeutronRule;
    };
    return { security_group_rule: ruleView(security_group_rule, await sources(context, [security_group_rule])) };
  };

  const groups = '/os-security-groups';
  const groupPath = (call: Call): string => `/security-groups/${idOf(call.params.security_group_id)}`;
  return [
    operation({
      method: 'GET',
      path: groups,
      until: PROXIES_UNTIL,
      policy: rule('get', READER),
      query: QUERY,
      status: 200,
      summary: 'List security groups',
      handle: list,
    }),
    operation({
      method: 'GET',
      path: `${groups}/:security_group_id`,
      until: PROXIES_UNTIL,
      policy: rule('show', READER),
      status: 200,
      summary: 'Show a security group',
      handle: async (call) => view(call.context, await group(call.context, idOf(call.params.security_group_id))),
    }),
    operation<unknown>({
      method: 'POST',
      path: groups,
      until: PROXIES_UNTIL,
      policy: rule('create', MEMBER),
      status: 200,
      summary: 'Create a security group',
      handle: (call) => save(call, 'POST', '/security-groups', { 409: asForbidden }),
    }),
    operation<unknown>({
      method: 'PUT',
      path: `${groups}/:security_group_id`,
      until: PROXIES_UNTIL,
      policy: rule('update', MEMBER),
      status: 200,
      summary: 'Update a security group',
      handle: async (call) => {
        const path = groupPath(call as Call);
        await group(call.context, idOf(call.params.security_group_id));
        return save(call, 'PUT', path, { 409: asBadRequest });
      },
    }),
    operation({
      method: 'DELETE',
      path: `${groups}/:security_group_id`,
      until: PROXIES_UNTIL,
      policy: rule('delete', MEMBER),
      status: 202,
      summary: 'Delete a security group',
      handle: async (call) => {
        await reworded(network(call.context, { method: 'DELETE', path: groupPath(call) }), { 409: asBadRequest });
      },
    }),
    operation<unknown>({
      method: 'POST',
      path: '/os-security-group-rules',
      until: PROXIES_UNTIL,
      policy: rule('rule:create', MEMBER),
      status: 200,
      summary: 'Add a rule to a security group',
      handle: addRule,
    }),
    operation({
      method: 'DELETE',
      path: '/os-security-group-rules/:security_group_rule_id',
      until: PROXIES_UNTIL,
      policy: rule('rule:delete', MEMBER),
      status: 202,
      summary: 'Delete a rule of a security group',
      handle: async ({ context, params }) => {
        const path = `/security-group-rules/${idOf(params.security_group_rule_id)}`;
        await reworded(network(context, { method: 'DELETE', path }), { 404: ({ message }) => notFound(message) });
      },
    }),
  ];
}

/**
 * The rule that is meant; undefined where too little was said.
 * @throws Fault 400 for protocols, ports and ranges that Nova does not take
 */
function novaRule(wanted: Readonly<Record<string, unknown>>, group_id: string | undefined): NovaRule | undefined {
  const protocol = wanted.ip_protocol == null ? undefined : String(wanted.ip_protocol);
  const upper = protocol?.toUpperCase() ?? '';
  let from: unknown = wanted.from_port ?? undefined;
  let to: unknown = wanted.to_port ?? undefined;
  const target = group_id === undefined ? { cidr: cidrOf(wanted.cidr) } : { group_id };
  if (group_id !== undefined && from === undefined && to === undefined) {
    if (upper === 'ICMP') from = to = -1;
    if (upper === 'TCP' || upper === 'UDP') [from, to] = [1, 65_535];
  }
  if (protocol === undefined || protocol === '' || from === undefined || to === undefined) {
    return group_id === undefined ? undefined : target;
  }
  const [from_port, to_port] = [integer(from), integer(to)];
  if (from_port === undefined || to_port === undefined) {
    throw invalid(
      upper === 'ICMP' ? 'Type and Code must be integers for ICMP protocol type' : 'To and From ports must be integers',
    );
  }
  if (!['TCP', 'UDP', 'ICMP'].includes(upper)) throw badRequest(`Invalid IP protocol ${protocol.slice(0, 64)}`);
  const range = (words: string): Fault => badRequest(`Invalid port range ${from_port}:${to_port}. ${words}`);
  if (upper === 'ICMP') {
    if (from_port < -1 || from_port > 255 || to_port < -1 || to_port > 255) {
      throw range('For ICMP, the type:code must be valid');
    }
  } else {
    if (from_port > to_port) throw range('Former value cannot be greater than the later');
    if (from_port < 1 || to_port > 65_535) throw range(`Valid ${upper} ports should be between 1-65535`);
  }
  return { ...target, protocol, from_port, to_port };
}

const integer = (value: unknown): number | undefined =>
  /^\s*[+-]?\d{1,10}\s*$/.test(String(value)) ? Number(value) : undefined;

function cidrOf(given_: unknown): string {
  if (given_ === undefined || given_ === null || given_ === '') return '0.0.0.0/0';
  const cidr = String(given_).slice(0, 255);
  const [address = '', prefix = '', ...more] = cidr.split('/');
  const family = isIP(address);
  const isValid = /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32) && more.length === 0;
  if (family === 0 || !isValid) throw badRequest(`${cidr} is not a valid IP network.`);
  return cidr;
}

function isSame(one: NeutronRule, made: NovaRule): boolean {
  const { from_port, to_port } = portsOf(one);
  const cidr = one.remote_ip_prefix ?? '0.0.0.0/0';
  return (
    (one.remote_group_id ?? undefined) === made.group_id &&
    // Nova compares the address of a group's rule too, which such a rule of its own never has.
    (made.cidr === undefined ? one.remote_group_id !== null : cidr === made.cidr) &&
    (one.protocol ?? undefined) === made.protocol &&
    (from_port ?? undefined) === made.from_port &&
    (to_port ?? undefined) === made.to_port
  );
}
