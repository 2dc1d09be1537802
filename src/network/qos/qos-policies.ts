/** QoS policies: their operations, and the types of rules that there are. */
import { sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import type { Db, Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { conflict, forbidden, notFound } from '../../http/fault.ts';
import { type Operation, operation, type PolicyRule } from '../../http/service.ts';
import { chooseFields, chooseItems } from '../edge-list.ts';
import { ownOrAdmin, projectOf } from '../network-project.ts';
import { sharedOperations } from '../rbac/shareable.ts';
import { NOT_SHARED } from '../sharing.ts';
import { type QosPolicyRow, qosPolicyStore } from './qos-policy-resource.ts';
import { RULE_TYPES } from './qos-rule-resource.ts';
import { qosRuleOperations } from './qos-rules.ts';
import { qosPolicyNotFound, qosPolicySharing, refuseUsed, visiblePolicies } from './qos-use.ts';

export interface QosParts {
  readonly db: Db;
  readonly cascade: Cascade;
}

const rule = (name: string, check: string, description: string): PolicyRule => ({ name, check, description });

/** All operations below `/qos`. */
export function qosOperations(parts: QosParts): Operation[] {
  const { db, cascade } = parts;
  return [
    ...sharedOperations<QosPolicyRow>(qosPolicySharing, {
      db,
      convention,
      store: qosPolicyStore,
      path: '/qos/policies',
      policies: {
        list: rule('get_policy', 'rule:project_reader_or_admin', 'List QoS policies'),
        show: rule('get_policy', 'rule:project_reader_or_admin', 'Show a QoS policy'),
        create: rule('create_policy', 'rule:admin_only', 'Create a QoS policy'),
        update: rule('update_policy', 'rule:admin_only', 'Update a QoS policy'),
        remove: rule('delete_policy', 'rule:admin_only', 'Delete a QoS policy'),
      },
      visible: visiblePolicies,
      owned: ownOrAdmin,
      missing: qosPolicyNotFound,
      bulk: true,
      creating: async (given, context, tx) => {
        const project_id = projectOf(context, given.project_id);
        if (given.is_default === true) await refuseSecondDefault(tx, project_id, '');
        return {
          project_id,
          name: given.name ?? '',
          description: given.description ?? '',
          ...NOT_SHARED,
          shared: given.shared ?? false,
          is_default: given.is_default ?? false,
          rule_rows: [],
          tags: [],
        };
      },
      updating: async (row, given, _context, tx) => {
        if (given.is_default === true) await refuseSecondDefault(tx, row.project_id, row.id);
        return given;
      },
      updated: (row, _before, context, tx) =>
        cascade.revise(tx, 'qos_policy', row.id, { requestId: context.requestId }),
      removing: async (row, context, tx) => {
        await refuseUsed(tx, row);
        await cascade.retire(tx, 'qos_policy', row.id, { requestId: context.requestId });
      },
      committed: () => cascade.poke(),
    }),
    ...qosRuleOperations(parts),
    ...ruleTypeOperations(),
  ];
}

async function refuseSecondDefault(tx: Tx, projectId: string, ownId: string): Promise<void> {
  // Two at once: the second waits here for what the first says.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`qos default ${projectId}`}, 0))`.execute(tx);
  const other = await sql`select 1 from qos_policies
    where project_id = ${projectId} and is_default and id <> ${ownId}`.execute(tx);
  if (other.rows.length === 0) return;
  throw conflict(`A default QoS policy exists for project ${projectId}.`, 'QoSPolicyDefaultAlreadyExists');
}

/** The types of rules: those that ordinary children enforce, or, with `all_rules`, all that may be stored. */
function ruleTypeOperations(): Operation[] {
  const policy = rule('get_rule_type', 'rule:project_reader_or_admin', 'Types of QoS rules');
  return [
    operation({
      method: 'GET',
      path: '/qos/rule-types',
      policy,
      status: 200,
      summary: 'List the types of QoS rules',
      handle: async ({ query }) => {
        const { all_rules, all_supported: _all_supported, ...rest } = query;
        const isAll = /^(true|1|yes|on|t|y)$/i.test(String(all_rules ?? ''));
        const types = RULE_TYPES.filter(({ supported }) => isAll || supported);
        return {
          rule_types: chooseItems(
            types.map(({ type }) => ({ type })),
            rest,
            ['type'],
          ),
        };
      },
    }),
    operation({
      method: 'GET',
      path: '/qos/rule-types/:rule_type',
      policy,
      status: 200,
      summary: 'Show a type of QoS rules',
      handle: async ({ context, params, query }) => {
        // Whom it is told does not follow from a rule, and is told so in other words.
        if (!context.identity.isAdmin) throw forbidden('Not authorized.', 'NotAuthorized');
        const found = RULE_TYPES.find(({ type }) => type === params.rule_type);
        if (found === undefined) {
          throw notFound(`QoS rule type ${params.rule_type} could not be found.`, 'QosRuleTypeNotFound');
        }
        const { type, parameters, supported } = found;
        const drivers = supported ? [{ name: 'headwater', supported_parameters: parameters }] : [];
        return { rule_type: chooseFields({ type, drivers }, query) };
      },
    }),
  ];
}
