/** The quotas endpoint of Neutron: limits and usage of projects. */
import { type Static, Type } from 'typebox';
import type { Db } from '../db/database.ts';
import { badRequest, notFound } from '../http/fault.ts';
import { type Operation, operation, type PolicyRule, type RequestContext } from '../http/service.ts';
import type { QuotaBook } from '../resource/quota.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const quotaExtensions: readonly Extension[] = [
  {
    alias: 'quota-check-limit',
    name: 'Quota engine limit check',
    description: 'A limit below what is used is refused on request.',
    updated: '2021-09-08T16:00:00-00:00',
  },
  {
    alias: 'quota_details',
    name: 'Quota details management support',
    description: 'How much of a quota is used.',
    updated: '2017-02-10T10:00:00-00:00',
  },
  {
    alias: 'quotas',
    name: 'Quota management support',
    description: 'Quotas of projects.',
    updated: '2012-07-29T10:00:00-00:00',
  },
];

const get: PolicyRule = {
  name: 'get_quota',
  check: 'rule:admin_only or role:reader and project_id:%(project_id)s',
  description: "Show a project's quota",
};
const update: PolicyRule = { name: 'update_quota', check: 'rule:admin_only', description: "Set a project's quota" };
const remove: PolicyRule = { name: 'delete_quota', check: 'rule:admin_only', description: "Reset a project's quota" };

const LIMIT_MAX = 2 ** 31 - 1;

const QuotaUpdate = Type.Object(
  { quota: Type.Record(Type.String({ maxLength: 64 }), Type.Unknown(), { maxProperties: 64 }) },
  { additionalProperties: false },
);

/** `/quotas`: list, show, default, details, tenant, update and delete. */
export function quotaOperations(db: Db, book: QuotaBook): Operation[] {
  const own = (context: RequestContext): string => {
    const id = context.identity.project?.id;
    if (id === undefined) throw badRequest('Tenant-id was missing from quota request.', 'QuotaMissingTenant');
    return id;
  };
  const readable = (context: RequestContext, projectId: string | undefined): string => {
    context.enforce(get.name, { project_id: projectId ?? '' });
    return projectId ?? '';
  };
  const limitsOf = async (projectId: string) => {
    const usage = await book.usage(db.query, projectId);
    return Object.fromEntries(Object.entries(usage).map(([resource, { limit }]) => [resource, limit]));
  };
  const details = async (context: RequestContext, projectId: string | undefined) => {
    const usage = await book.usage(db.query, readable(context, projectId));
    const entries = Object.entries(usage).map(([resource, { limit, in_use }]) => [
      resource,
      { limit, used: in_use, reserved: 0 },
    ]);
    return { quota: Object.fromEntries(entries) };
  };
  const read = (path: string, summary: string, handle: Operation['handle']) =>
    operation({ method: 'GET', path, policy: get, status: 200, summary, handle });
  return [
    read('/quotas', 'List the projects that have limits of their own', async ({ context }) => {
      context.enforce(get.name, { project_id: '' });
      const projects = await book.projects(db.query);
      const quotas = projects.map(async (id) => ({ ...(await limitsOf(id)), project_id: id, tenant_id: id }));
      return { quotas: await Promise.all(quotas) };
    }),
    read('/quotas/tenant', "Show the caller's project", async ({ context }) => ({
      tenant: { tenant_id: own(context) },
    })),
    read('/quotas/project', "Show the caller's project", async ({ context }) => ({
      project: { project_id: own(context) },
    })),
    read('/quotas/:project_id', "Show a project's limits", async ({ context, params }) => ({
      quota: await limitsOf(readable(context, params.project_id)),
    })),
    read('/quotas/:project_id/default', 'Show the default limits', async ({ context, params }) => {
      readable(context, params.project_id);
      return { quota: await book.defaultLimits(db.query) };
    }),
    // Clients ask for either form.
    ...['details', 'details.json'].map((name) =>
      read(`/quotas/:project_id/${name}`, "Show a project's limits and usage", ({ context, params }) =>
        details(context, params.project_id),
      ),
    ),
    operation<Static<typeof QuotaUpdate>>({
      method: 'PUT',
      path: '/quotas/:project_id',
      policy: update,
      body: QuotaUpdate,
      status: 200,
      summary: "Set a project's limits",
      handle: async (call) => {
        const projectId = (call.params.project_id ?? '').slice(0, 255);
        const { force: _force, check_limit, ...given } = call.body.quota;
        const limits = limitsGiven(book, given);
        if (check_limit === true) await refuseBelowUsage(book, db, projectId, limits);
        await db.transaction((tx) => book.set(tx, projectId, limits));
        return { quota: await limitsOf(projectId) };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/quotas/:project_id',
      policy: remove,
      status: 204,
      summary: "Put a project's limits back to the defaults",
      handle: async (call) => {
        const projectId = call.params.project_id ?? '';
        await db.transaction(async (tx) => {
          if (!(await book.projects(tx)).includes(projectId)) {
            throw notFound(`Quota for tenant ${projectId} could not be found.`, 'TenantQuotaNotFound');
          }
          await book.reset(tx, projectId);
        });
      },
    }),
  ];
}

/** Clients send limits as numbers or as their digits. */
function limitsGiven(book: QuotaBook, given: Readonly<Record<string, unknown>>): Record<string, number> {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(book.defaults, name));
  if (unknown.length > 0) {
    const names = unknown.map((name) => `'${name.slice(0, 64)}'`).join(', ');
    throw badRequest(`Unrecognized attribute(s) ${names}`, 'HTTPBadRequest');
  }
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, limitOf(name, value)]));
}

function limitOf(name: string, value: unknown): number {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value) : JSON.stringify(value);
  const refuse = (reason: string) => badRequest(`Invalid input for ${name}. Reason: ${reason}.`, 'HTTPBadRequest');
  if (!/^-?\d{1,15}$/.test(text)) throw refuse(`'${text.slice(0, 64)}' is not an integer`);
  const limit = Number(text);
  if (limit < -1) throw refuse(`'${limit}' is too small - must be at least '-1'`);
  if (limit > LIMIT_MAX) throw refuse(`'${limit}' is too large - must be no larger than '${LIMIT_MAX}'`);
  return limit;
}

async function refuseBelowUsage(book: QuotaBook, db: Db, projectId: string, limits: Record<string, number>) {
  const usage = await book.usage(db.query, projectId);
  for (const [resource, limit] of Object.entries(limits)) {
    const used = usage[resource]?.in_use ?? 0;
    if (limit < 0 || used <= limit) continue;
    throw badRequest(
      `Quota limit ${limit} for ${resource} must be greater than or equal to already used ${used}`,
      'HTTPBadRequest',
    );
  }
}
