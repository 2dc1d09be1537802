/** Quota sets, quota classes and limits over HTTP. */
import { badRequest } from '../../http/fault.ts';
import { type Call, type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, queryParameters } from '../links.ts';
import { booleanOf } from '../parameters.ts';
import { ADMIN, ANYBODY, computeRule, READER } from '../rules.ts';
import {
  defaultLimits,
  givenLimits,
  limitsBody,
  ownerOf,
  resetLimits,
  setDefaultLimits,
  setLimits,
  shownNames,
  usageOf,
} from './sets.ts';

const rules = {
  show: computeRule('os-quota-sets:show', READER),
  detail: computeRule('os-quota-sets:detail', READER),
  defaults: computeRule('os-quota-sets:defaults', ANYBODY),
  update: computeRule('os-quota-sets:update', ADMIN),
  remove: computeRule('os-quota-sets:delete', ADMIN),
  showClass: computeRule('os-quota-class-sets:show', ADMIN),
  updateClass: computeRule('os-quota-class-sets:update', ADMIN),
  limits: computeRule('limits', ANYBODY),
};

/** Asked within the operation that lists limits. */
export const otherProjectLimits = computeRule('limits:other_project', ADMIN);

const USER_QUERY = queryParameters({ user_id: ANY_TEXT });
const LIMITS_QUERY = queryParameters({ tenant_id: ANY_TEXT });
const ID_LENGTH_MAX = 255;

const ofProject = async (call: Call) => ({ project_id: call.params.project_id as string });
const pick = <V>(names: readonly string[], values: Readonly<Record<string, V>>): Record<string, V> =>
  Object.fromEntries(names.filter((name) => name in values).map((name) => [name, values[name] as V]));

/** `/os-quota-sets`, `/os-quota-class-sets` and `/limits`. */
export function quotaOperations(deps: ComputeDependencies): Operation[] {
  const { db, projectExists } = deps;
  const project = async (call: Call): Promise<string> => {
    const id = call.params.project_id as string;
    const known = projectExists === undefined || (await projectExists(db.query, id));
    if (!known || id.length > ID_LENGTH_MAX) throw badRequest(`Project ID ${id} is not a valid project.`);
    return id;
  };
  const userOf = (call: Call) => firstOf(call.query.user_id);
  const shown = async (call: Call, id: string) => {
    const usage = await usageOf(db.query, id, userOf(call));
    const names = shownNames('set', call.context.version);
    return pick(names, Object.fromEntries(Object.entries(usage).map(([name, { limit }]) => [name, limit])));
  };
  return [
    operation({
      method: 'GET',
      path: '/os-quota-sets/:project_id',
      policy: rules.show,
      target: ofProject,
      query: USER_QUERY,
      status: 200,
      summary: "Show a project's limits",
      handle: async (call) => {
        const id = await project(call);
        return { quota_set: { id, ...(await shown(call, id)) } };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-quota-sets/:project_id/detail',
      policy: rules.detail,
      target: ofProject,
      query: USER_QUERY,
      status: 200,
      summary: "Show a project's limits and usage",
      handle: async (call) => {
        const id = await project(call);
        const usage = await usageOf(db.query, id, userOf(call));
        const details = Object.entries(usage).map(([name, one]) => [name, { ...one, reserved: 0 }] as const);
        return { quota_set: { id, ...pick(shownNames('set', call.context.version), Object.fromEntries(details)) } };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-quota-sets/:project_id/defaults',
      policy: rules.defaults,
      target: ofProject,
      status: 200,
      summary: 'Show the default limits',
      handle: async (call) => {
        const id = await project(call);
        const limits = await defaultLimits(db.query);
        return { quota_set: { id, ...pick(shownNames('set', call.context.version), limits) } };
      },
    }),
    operation<{ quota_set: Record<string, unknown> }>({
      method: 'PUT',
      path: '/os-quota-sets/:project_id',
      policy: rules.update,
      target: ofProject,
      query: USER_QUERY,
      body: (version) => limitsBody('set', version),
      status: 200,
      summary: "Set a project's limits",
      handle: async (call) => {
        const id = await project(call);
        const { quota_set } = call.body;
        const force = booleanOf(quota_set.force ?? false);
        await db.transaction((tx) => setLimits(tx, id, givenLimits(quota_set), { force, userId: userOf(call) }));
        return { quota_set: await shown(call, id) };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/os-quota-sets/:project_id',
      policy: rules.remove,
      target: ofProject,
      query: USER_QUERY,
      status: 202,
      summary: "Bring a project's limits back to the defaults",
      handle: async (call) => {
        const owner = ownerOf(call.params.project_id as string, userOf(call));
        await db.transaction((tx) => resetLimits(tx, owner));
      },
    }),
    ...classOperations(deps),
    limitsOperation(deps),
  ];
}

function classOperations({ db }: ComputeDependencies): Operation[] {
  const shown = async (call: Call) => pick(shownNames('class', call.context.version), await defaultLimits(db.query));
  return [
    operation({
      method: 'GET',
      path: '/os-quota-class-sets/:class_id',
      policy: rules.showClass,
      status: 200,
      summary: 'Show the limits of a quota class',
      // Nova knows one class that means anything; of any other it shows the same defaults.
      handle: async (call) => ({ quota_class_set: { id: call.params.class_id, ...(await shown(call)) } }),
    }),
    operation<{ quota_class_set: Record<string, unknown> }>({
      method: 'PUT',
      path: '/os-quota-class-sets/:class_id',
      policy: rules.updateClass,
      body: (version) => limitsBody('class', version),
      status: 200,
      summary: 'Set the default limits',
      handle: async (call) => {
        if (call.params.class_id !== 'default') {
          throw badRequest('There is no quota class but default: limits are set for it or for a project.');
        }
        const limits = givenLimits(call.body.quota_class_set);
        await db.transaction((tx) => setDefaultLimits(tx, limits));
        return { quota_class_set: await shown(call) };
      },
    }),
  ];
}

/** Nova's names of limits, and until which microversion each shows. */
const ABSOLUTE: readonly (readonly [name: string, resource: string, until?: number])[] = [
  ['maxTotalRAMSize', 'ram'],
  ['maxTotalInstances', 'instances'],
  ['maxTotalCores', 'cores'],
  ['maxTotalKeypairs', 'key_pairs'],
  ['maxServerMeta', 'metadata_items'],
  ['maxImageMeta', 'metadata_items', 38],
  ['maxPersonality', 'injected_files', 56],
  ['maxPersonalitySize', 'injected_file_content_bytes', 56],
  ['maxServerGroups', 'server_groups'],
  ['maxServerGroupMembers', 'server_group_members'],
  ['maxTotalFloatingIps', 'floating_ips', 35],
  ['maxSecurityGroups', 'security_groups', 35],
  ['maxSecurityGroupRules', 'security_group_rules', 35],
];

const USED: typeof ABSOLUTE = [
  ['totalRAMUsed', 'ram'],
  ['totalCoresUsed', 'cores'],
  ['totalInstancesUsed', 'instances'],
  ['totalServerGroupsUsed', 'server_groups'],
  ['totalFloatingIpsUsed', 'floating_ips', 35],
  ['totalSecurityGroupsUsed', 'security_groups', 35],
];

function limitsOperation({ db }: ComputeDependencies): Operation {
  return operation({
    method: 'GET',
    path: '/limits',
    policy: rules.limits,
    query: LIMITS_QUERY,
    status: 200,
    summary: "Show the project's limits and what it uses of them",
    handle: async ({ context, query }) => {
      const other = firstOf(query.tenant_id);
      if (other !== undefined) context.enforce(otherProjectLimits.name);
      const usage = await usageOf(db.query, other ?? context.identity.project?.id ?? '-');
      const absolute: Record<string, number> = {};
      const at = ([, , until]: (typeof ABSOLUTE)[number]) => context.version <= (until ?? context.version);
      for (const [name, resource] of ABSOLUTE.filter(at)) absolute[name] = usage[resource]?.limit ?? -1;
      for (const [name, resource] of USED.filter(at)) absolute[name] = usage[resource]?.in_use ?? 0;
      return { limits: { rate: [], absolute } };
    },
  });
}
