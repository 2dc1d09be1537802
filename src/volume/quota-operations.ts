/** Quota sets, quota classes and limits. */
import { Type } from 'typebox';
import type { Db } from '../db/database.ts';
import { badRequest } from '../http/fault.ts';
import { type Call, type Operation, operation, type PolicyRule, Reply } from '../http/service.ts';
import type { QuotaUsage } from '../resource/quota.ts';
import { volumeQuotas } from './quota.ts';
import { administers, reads } from './rules.ts';
import { isTrue } from './shapes.ts';

const Limit = Type.Union([
  Type.Integer({ minimum: -1, maximum: 2_147_483_647 }),
  Type.String({ pattern: '^-?[0-9]{1,10}$' }),
]);
const Limits = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9-_:. ]{1,300}$' }),
  Type.Union([Limit, Type.String({ maxLength: 255 })]),
  { additionalProperties: false, maxProperties: 1000 },
);
const quotaSet = Type.Object({ quota_set: Limits }, { additionalProperties: false });
const quotaClassSet = Type.Object({ quota_class_set: Limits }, { additionalProperties: false });

const SET = '/os-quota-sets/:quota_project_id';
const CLASS = '/os-quota-class-sets/:quota_class_name';
const EVERYBODY = 'default';

/** Limits of a body as numbers. @throws Fault 400 for what is no quota or no limit */
function limitsOf(
  given: Readonly<Record<string, number | string>>,
  known: Readonly<Record<string, number>>,
): Record<string, number> {
  const entries = Object.entries(given).filter(
    ([name]) => name !== 'tenant_id' && name !== 'id' && name !== 'class_name',
  );
  const bad = entries.map(([name]) => name).filter((name) => !Object.hasOwn(known, name));
  if (bad.length > 0) throw badRequest(`Bad key(s) in quota set: ${bad.join(', ').slice(0, 200)}`);
  return Object.fromEntries(
    entries.map(([name, value]) => {
      const limit = Number(value);
      if (!Number.isSafeInteger(limit) || limit < -1 || limit > 2_147_483_647) {
        throw badRequest(
          `Invalid input for field/attribute ${name}. Value: ${String(value).slice(0, 64)}. It must be an integer from -1 to 2147483647`,
        );
      }
      return [name, limit];
    }),
  );
}

const limitsIn = (usage: Readonly<Record<string, QuotaUsage>>): Record<string, number> =>
  Object.fromEntries(Object.entries(usage).map(([name, { limit }]) => [name, limit]));

export function quotaOperations({ db }: { readonly db: Db }): Operation[] {
  const idOf = (call: Pick<Call, 'params'>): string => call.params.quota_project_id as string;
  const target = async (call: Pick<Call, 'params'>) => ({ project_id: idOf(call) });
  const show: PolicyRule = reads('volume_extension:quotas:show');

  return [
    operation({
      method: 'GET',
      path: SET,
      policy: show,
      target,
      status: 200,
      summary: 'Show the quotas of a project',
      handle: async (call) => {
        const usage = await (await volumeQuotas(db.query)).usage(db.query, idOf(call));
        if (!isTrue([call.query.usage ?? ''].flat()[0])) return { quota_set: { ...limitsIn(usage), id: idOf(call) } };
        const used = Object.entries(usage).map(([name, { limit, in_use }]) => [name, { limit, in_use, reserved: 0 }]);
        return { quota_set: { ...Object.fromEntries(used), id: idOf(call) } };
      },
    }),
    operation({
      method: 'GET',
      path: `${SET}/defaults`,
      policy: show,
      target,
      status: 200,
      summary: 'Show the quotas that hold where nothing else was said',
      handle: async (call) => {
        const limits = await (await volumeQuotas(db.query)).defaultLimits(db.query);
        return { quota_set: { ...limits, id: idOf(call) } };
      },
    }),
    operation<{ quota_set: Record<string, number | string> }>({
      method: 'PUT',
      path: SET,
      policy: administers('volume_extension:quotas:update'),
      body: quotaSet,
      status: 200,
      summary: 'Set quotas of a project',
      handle: async (call) => {
        const usage = await db.transaction(async (tx) => {
          const quotas = await volumeQuotas(tx);
          await quotas.set(tx, idOf(call), limitsOf(call.body.quota_set, quotas.defaults));
          return quotas.usage(tx, idOf(call));
        });
        return { quota_set: limitsIn(usage) };
      },
    }),
    operation({
      method: 'DELETE',
      path: SET,
      policy: administers('volume_extension:quotas:delete'),
      status: 200,
      summary: 'Go back to the defaults for a project',
      handle: async (call) => {
        await db.transaction(async (tx) => (await volumeQuotas(tx)).reset(tx, idOf(call)));
        return new Reply(200);
      },
    }),
    operation({
      method: 'GET',
      path: CLASS,
      policy: administers('volume_extension:quota_classes:get'),
      status: 200,
      summary: 'Show a quota class',
      handle: async ({ params }) => {
        const limits = await (await volumeQuotas(db.query)).defaultLimits(db.query);
        return { quota_class_set: { ...limits, id: params.quota_class_name as string } };
      },
    }),
    operation<{ quota_class_set: Record<string, number | string> }>({
      method: 'PUT',
      path: CLASS,
      policy: administers('volume_extension:quota_classes:update'),
      body: quotaClassSet,
      status: 200,
      summary: 'Set the quotas that hold where nothing else was said',
      handle: async ({ params, body }) => {
        if (params.quota_class_name !== EVERYBODY)
          throw badRequest(`Only the quota class '${EVERYBODY}' has an effect.`);
        const limits = await db.transaction(async (tx) => {
          const quotas = await volumeQuotas(tx);
          await quotas.setDefaults(tx, limitsOf(body.quota_class_set, quotas.defaults));
          return quotas.defaultLimits(tx);
        });
        return { quota_class_set: limits };
      },
    }),
    operation({
      method: 'GET',
      path: '/limits',
      policy: reads('limits_extension:used_limits'),
      status: 200,
      summary: 'Show the limits of a project and what is used of them',
      handle: async ({ context, query }) => {
        const asked = [query.project_id ?? query.tenant_id ?? ''].flat()[0] ?? '';
        const own = context.identity.project?.id ?? '';
        const usage = await (await volumeQuotas(db.query)).usage(
          db.query,
          context.identity.isAdmin && asked !== '' ? asked : own,
        );
        const limit = (name: string): number => usage[name]?.limit ?? -1;
        const used = (name: string): number => usage[name]?.in_use ?? 0;
        const absolute = {
          maxTotalVolumes: limit('volumes'),
          maxTotalSnapshots: limit('snapshots'),
          maxTotalVolumeGigabytes: limit('gigabytes'),
          maxTotalBackups: limit('backups'),
          maxTotalBackupGigabytes: limit('backup_gigabytes'),
          totalVolumesUsed: used('volumes'),
          totalGigabytesUsed: used('gigabytes'),
          totalSnapshotsUsed: used('snapshots'),
          totalBackupsUsed: 0,
          totalBackupGigabytesUsed: 0,
        };
        return { limits: { rate: [], absolute } };
      },
    }),
  ];
}
