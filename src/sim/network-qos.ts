/** Simulated QoS policies and their rules. */
import { type Call, route, type Service } from './http.ts';
import { addKind, type Kind, standardFields, touch } from './network-kind.ts';
import { isRow, listOf, newId, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

const types = ['bandwidth_limit', 'dscp_marking', 'minimum_bandwidth', 'minimum_packet_rate', 'packet_rate_limit'];

const policyMissing = (id: string): SimFault =>
  new SimFault(404, `QoS policy ${id} could not be found.`, 'QosPolicyNotFound');

/** @throws SimFault 404 for a policy that is not there */
export function checkPolicy(world: World, given: Row): void {
  const id = textOf(given['qos_policy_id']);
  if (id !== '' && !world.state.qosPolicies.has(id)) throw policyMissing(id);
}

function policyKind(world: World): Kind {
  const settable = ['name', 'description', 'shared', 'is_default'];
  return {
    singular: 'policy',
    plural: 'policies',
    path: '/qos/policies',
    rows: world.state.qosPolicies,
    missing: policyMissing,
    creatable: settable,
    updatable: settable,
    required: [],
    isQuotaed: false,
    isTagged: false,
    isOpenTo: (row) => row['shared'] === true,
    create: (call, given, projectId) => {
      if (!call.isAdmin) throw new SimFault(403, '(rule:create_policy) is disallowed by policy', 'PolicyNotAuthorized');
      return {
        ...standardFields(projectId, given),
        shared: given['shared'] ?? false,
        is_default: given['is_default'] ?? false,
        rules: [],
      };
    },
    update: (_call, row, given) => {
      Object.assign(row, given);
    },
    remove: (_call, row) => {
      const { networks, ports, floatingips } = world.state;
      const users: [string, Map<string, Row>][] = [
        ['network', networks],
        ['port', ports],
        ['floatingip', floatingips],
      ];
      for (const [name, rows] of users) {
        const user = [...rows.values()].find((one) => one['qos_policy_id'] === row['id']);
        if (user === undefined) continue;
        const message = `QoS Policy ${textOf(row['id'])} is used by ${name} ${textOf(user['id'])}.`;
        throw new SimFault(409, message, 'QosPolicyInUse');
      }
    },
  };
}

/** Registers policies and their rules. */
export function addQos(world: World, service: Service): void {
  addKind(world, service, policyKind(world));
  const policy = (call: Call): { row: Row; rules: Row[] } => {
    const row = world.state.qosPolicies.get(call.params['id'] ?? '');
    if (row === undefined) throw policyMissing(call.params['id'] ?? '');
    return { row, rules: listOf(row['rules']).filter(isRow) };
  };
  for (const type of types) {
    const path = `/qos/policies/:id/${type}_rules`;
    route(service, 'POST', path, (call) => {
      const { row, rules } = policy(call);
      const given = rowOf(rowOf(call.body)[`${type}_rule`]);
      const rule: Row = { ...given, id: newId(), qos_policy_id: row['id'] ?? null, type };
      const twin = rules.find((one) => one['type'] === type && one['direction'] === rule['direction']);
      if (twin !== undefined) {
        const message = `Rule ${type} conflicts with rule ${textOf(twin['id'])} which already exists in QoS Policy ${textOf(row['id'])}.`;
        throw new SimFault(409, message, 'QoSRulesConflict');
      }
      row['rules'] = [...rules, rule];
      touch(row);
      return { status: 201, body: { [`${type}_rule`]: rule } };
    });
    route(service, 'DELETE', `${path}/:rule`, (call) => {
      const { row, rules } = policy(call);
      row['rules'] = rules.filter((one) => one['id'] !== call.params['rule']);
      touch(row);
      return { status: 204 };
    });
  }
}
