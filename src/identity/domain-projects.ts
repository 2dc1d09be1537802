/** Keystone shows a domain as a project too, one that `is_domain`. What is done to it as a project is done to the domain. */
import { badRequest } from '../http/fault.ts';
import { type Call, type Operation, Reply } from '../http/service.ts';
import { collection, type Core, flag, holdDomain } from './core.ts';
import { domainOperations } from './domains.ts';

type Shown = Record<string, unknown> & { readonly id: string };

/** Operations on projects that also take domains. @param plain those on projects alone */
export function alsoDomains(core: Core, plain: readonly Operation[]): Operation[] {
  const operations = domainOperations(core);
  return plain.map((op) => {
    const of = operations.find(
      ({ method, path }) =>
        method === op.method && path === op.path.replace('/projects', '/domains').replace(':project_id', ':domain_id'),
    );
    if (of === undefined) return op;
    return {
      ...op,
      handle: async (call) => ((await isMeant(core, op, call)) ? asProject(op, of, call) : op.handle(call)),
    };
  });
}

/** Whether a call is about domains: it says so, or names one. */
async function isMeant(core: Core, { method }: Operation, { params, query, body }: Call): Promise<boolean> {
  if (params.project_id !== undefined) return (await holdDomain(core.db.query, params.project_id)) !== undefined;
  if (method === 'GET') return query.is_domain !== undefined && flag(query, 'is_domain');
  return (body as { project: { is_domain?: boolean } }).project.is_domain === true;
}

async function asProject(op: Operation, of: Operation, call: Call): Promise<unknown> {
  const { params, query, context } = call;
  const body = call.body as { project?: Record<string, unknown> } | undefined;
  const { is_domain, domain_id, parent_id, ...rest } = body?.project ?? {};
  if (domain_id !== undefined && domain_id !== null && domain_id !== params.project_id) {
    throw badRequest('only root projects are allowed to act as domains.');
  }
  if (parent_id !== undefined && parent_id !== null)
    throw badRequest('only root projects are allowed to act as domains.');
  if (is_domain === false) throw badRequest('Update of `is_domain` is not allowed.');
  const { is_domain: _asked, domain_id: within, parent_id: below, ...filters } = query;
  // A domain lies in none, and below none.
  if (op.method === 'GET' && params.project_id === undefined && (within !== undefined || below !== undefined)) {
    return collection(context, 'projects', '/projects', [], query);
  }
  const given = { ...call, params: { ...params, domain_id: params.project_id ?? '' }, query: filters };
  const answer = await of.handle(body === undefined ? given : { ...given, body: { domain: rest } });
  if (answer === undefined || answer instanceof Reply) return answer;
  const { domain, domains } = answer as { domain?: Shown; domains?: Shown[] };
  const shown = (one: Shown) => ({
    ...one,
    domain_id: null,
    parent_id: null,
    is_domain: true,
    links: { self: `${context.baseUrl}/projects/${one.id}` },
  });
  return domain === undefined
    ? collection(context, 'projects', '/projects', (domains ?? []).map(shown), query)
    : { project: shown(domain) };
}
