/** Simulated Neutron security groups, their rules, and address groups. */
import { route, type Service } from './http.ts';
import { addKind, type Kind, standardFields, touch } from './network-kind.ts';
import { type Json, type Row, rowOf, SimFault, textOf, textsOf, type World } from './world.ts';

const groupMissing = (id: string): SimFault =>
  new SimFault(404, `Security group ${id} does not exist`, 'SecurityGroupNotFound');

const rulesOf = (world: World, groupId: string): Row[] =>
  [...world.state.securityGroupRules.values()].filter((one) => one['security_group_id'] === groupId);

function makeRule(projectId: string, given: Row): Row {
  const { id, created_at, updated_at, revision_number, tenant_id, project_id } = standardFields(projectId, given);
  const prefix = textOf(given['remote_ip_prefix']) || null;
  return {
    id: id ?? null,
    tenant_id: tenant_id ?? null,
    security_group_id: given['security_group_id'] ?? null,
    ethertype: textOf(given['ethertype']) || 'IPv4',
    direction: given['direction'] ?? null,
    protocol: given['protocol'] === undefined || given['protocol'] === null ? null : String(given['protocol']),
    port_range_min: given['port_range_min'] ?? null,
    port_range_max: given['port_range_max'] ?? null,
    remote_ip_prefix: prefix,
    remote_address_group_id: given['remote_address_group_id'] ?? null,
    normalized_cidr: prefix,
    remote_group_id: given['remote_group_id'] ?? null,
    description: textOf(given['description']),
    created_at: created_at ?? null,
    updated_at: updated_at ?? null,
    revision_number: revision_number ?? null,
    project_id: project_id ?? null,
  };
}

function makeGroup(world: World, projectId: string, given: Row): Row {
  const base = standardFields(projectId, given);
  const group: Row = { ...base, stateful: given['stateful'] ?? true, shared: false, revision_number: 1 };
  const id = textOf(group['id']);
  world.state.securityGroups.set(id, group);
  const isDefault = group['name'] === 'default';
  const wanted: Row[] = ['IPv4', 'IPv6'].flatMap((ethertype) => [
    { ethertype, direction: 'egress', security_group_id: id },
    ...(isDefault ? [{ ethertype, direction: 'ingress', security_group_id: id, remote_group_id: id }] : []),
  ]);
  for (const one of wanted) {
    const rule = makeRule(projectId, one);
    world.state.securityGroupRules.set(textOf(rule['id']), rule);
  }
  return group;
}

/** The project's `default` group, made when first asked for, as Neutron does. Gives its id. */
export function ensureDefaultGroup(world: World, projectId: string): string {
  for (const group of world.state.securityGroups.values()) {
    if (group['project_id'] === projectId && group['name'] === 'default') return textOf(group['id']);
  }
  return textOf(makeGroup(world, projectId, { name: 'default', description: 'Default security group' })['id']);
}

const rule_fields = [
  'security_group_id',
  'ethertype',
  'direction',
  'protocol',
  'port_range_min',
  'port_range_max',
  'remote_ip_prefix',
  'remote_group_id',
  'remote_address_group_id',
  'description',
];
// What makes two rules the same rule; the description does not.
const rule_identity = rule_fields.filter((name) => name !== 'description');

function checkRule(world: World, rule: Row): void {
  const invalid = (message: string, type: string): SimFault => new SimFault(400, message, type);
  const { direction, ethertype, protocol, port_range_min: low, port_range_max: high } = rule;
  if (direction !== 'ingress' && direction !== 'egress') {
    throw invalid(
      `Invalid input for direction. Reason: '${String(direction)}' is not in ['ingress', 'egress'].`,
      'HTTPBadRequest',
    );
  }
  if (ethertype !== 'IPv4' && ethertype !== 'IPv6') {
    throw invalid(
      `Security group rule for ethertype '${String(ethertype)}' not supported.`,
      'SecurityGroupRuleInvalidEtherType',
    );
  }
  const hasPorts = low !== null || high !== null;
  if (hasPorts && protocol === null) {
    throw invalid('Must also specify protocol if port range is given.', 'SecurityGroupProtocolRequiredWithPorts');
  }
  const isIcmp = /^(icmp|icmpv6|ipv6-icmp|1|58)$/.test(String(protocol));
  if (hasPorts && !isIcmp && (low === null || high === null || Number(low) > Number(high))) {
    throw invalid('For TCP/UDP protocols, port_range_min must be <= port_range_max', 'SecurityGroupInvalidPortRange');
  }
  const remotes = ['remote_ip_prefix', 'remote_group_id', 'remote_address_group_id'].filter(
    (key) => rule[key] !== null,
  );
  if (remotes.length > 1) {
    throw invalid(
      'Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.',
      'SecurityGroupMultipleRemoteEntites',
    );
  }
  const remote = rule['remote_group_id'];
  if (remote !== null && !world.state.securityGroups.has(textOf(remote))) throw groupMissing(textOf(remote));
  const addresses = rule['remote_address_group_id'];
  if (addresses !== null && !world.state.addressGroups.has(textOf(addresses)))
    throw addressGroupMissing(textOf(addresses));
  const twin = rulesOf(world, textOf(rule['security_group_id'])).find((one) =>
    rule_identity.every((key) => one[key] === rule[key]),
  );
  if (twin !== undefined) {
    const message = `Security group rule already exists. Rule id is ${textOf(twin['id'])}.`;
    throw new SimFault(409, message, 'SecurityGroupRuleExists');
  }
}

const addressGroupMissing = (id: string): SimFault =>
  new SimFault(404, `Address group ${id} could not be found.`, 'AddressGroupNotFound');

function groupKind(world: World): Kind {
  return {
    singular: 'security_group',
    plural: 'security_groups',
    rows: world.state.securityGroups,
    missing: groupMissing,
    creatable: ['name', 'description', 'stateful', 'tags'],
    updatable: ['name', 'description', 'stateful'],
    required: [],
    isQuotaed: true,
    isTagged: true,
    // Neutron makes a project's default group when the project first looks at its groups.
    beforeList: (call) => {
      if (call.projectId !== '') ensureDefaultGroup(world, call.projectId);
    },
    view: (row) => ({ ...row, security_group_rules: rulesOf(world, textOf(row['id'])) }),
    create: (_call, given, projectId) => {
      ensureDefaultGroup(world, projectId);
      if (given['name'] === 'default') {
        throw new SimFault(409, 'Default security group already exists.', 'SecurityGroupDefaultAlreadyExists');
      }
      return makeGroup(world, projectId, given);
    },
    update: (_call, row, given) => {
      if (row['name'] === 'default' && given['name'] !== undefined && given['name'] !== 'default') {
        throw new SimFault(409, 'Updating default security group not allowed.', 'SecurityGroupCannotUpdateDefault');
      }
      Object.assign(row, given);
    },
    remove: (call, row) => {
      const id = textOf(row['id']);
      if (row['name'] === 'default' && !call.isAdmin) {
        const message = 'Insufficient rights for removing default security group.';
        throw new SimFault(409, message, 'SecurityGroupCannotRemoveDefault');
      }
      if ([...world.state.ports.values()].some((one) => one.security_groups.includes(id))) {
        throw new SimFault(409, `Security Group ${id} in use.`, 'SecurityGroupInUse');
      }
      for (const rule of world.state.securityGroupRules.values()) {
        if (rule['security_group_id'] === id || rule['remote_group_id'] === id) {
          world.state.securityGroupRules.delete(textOf(rule['id']));
        }
      }
    },
  };
}

function ruleKind(world: World): Kind {
  return {
    singular: 'security_group_rule',
    plural: 'security_group_rules',
    rows: world.state.securityGroupRules,
    missing: (id) => new SimFault(404, `Security group rule ${id} does not exist`, 'SecurityGroupRuleNotFound'),
    creatable: rule_fields,
    updatable: [],
    required: ['security_group_id', 'direction'],
    isQuotaed: true,
    isTagged: false,
    create: (_call, given, projectId) => {
      const group = world.state.securityGroups.get(textOf(given['security_group_id']));
      if (group === undefined) throw groupMissing(textOf(given['security_group_id']));
      const rule = makeRule(projectId, given);
      checkRule(world, rule);
      touch(group);
      return rule;
    },
    update: () => {},
    remove: (_call, row) => {
      const group = world.state.securityGroups.get(textOf(row['security_group_id']));
      if (group !== undefined) touch(group);
    },
  };
}

function addressGroupKind(world: World): Kind {
  return {
    singular: 'address_group',
    plural: 'address_groups',
    rows: world.state.addressGroups,
    missing: addressGroupMissing,
    creatable: ['name', 'description', 'addresses'],
    updatable: ['name', 'description'],
    required: [],
    isQuotaed: false,
    isTagged: false,
    create: (_call, given, projectId) => {
      const { id, name, description } = standardFields(projectId, given);
      const addresses: Json = textsOf(given['addresses']);
      return {
        id: id ?? null,
        name: name ?? '',
        description: description ?? '',
        addresses,
        project_id: projectId,
        tenant_id: projectId,
      };
    },
    update: (_call, row, given) => {
      Object.assign(row, given);
    },
    remove: (_call, row) => {
      const id = textOf(row['id']);
      if ([...world.state.securityGroupRules.values()].some((one) => one['remote_address_group_id'] === id)) {
        const message = `Address group ${id} is in use on one or more security group rules.`;
        throw new SimFault(409, message, 'AddressGroupInUse');
      }
    },
  };
}

/** Registers groups, rules and address groups. */
export function addSecurity(world: World, service: Service): void {
  addKind(world, service, groupKind(world));
  addKind(world, service, ruleKind(world));
  addKind(world, service, addressGroupKind(world));
  for (const isAdding of [true, false]) {
    route(service, 'PUT', `/address-groups/:id/${isAdding ? 'add' : 'remove'}_addresses`, (call) => {
      const group = world.state.addressGroups.get(call.params['id'] ?? '');
      if (group === undefined) throw addressGroupMissing(call.params['id'] ?? '');
      const given = textsOf(rowOf(call.body)['addresses']);
      const before = textsOf(group['addresses']);
      const wrong = given.filter((one) => before.includes(one) === isAdding);
      if (wrong.length > 0) {
        const why = isAdding ? 'already exist in' : 'not found in';
        const type = isAdding ? 'AddressesAlreadyExist' : 'AddressesNotFound';
        throw new SimFault(
          isAdding ? 400 : 404,
          `Addresses ${wrong.join(', ')} ${why} the address group ${textOf(group['id'])}.`,
          type,
        );
      }
      group['addresses'] = isAdding ? [...before, ...given] : before.filter((one) => !given.includes(one));
      return { status: 200, body: { address_group: group } };
    });
  }
}
