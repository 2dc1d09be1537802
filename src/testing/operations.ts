/** Every operation of a parent as calls: with ids that exist, and bodies that their schemas take. */
import { Buffer } from 'node:buffer';
import type { TSchema } from 'typebox';
import { conventions } from '../http/conventions.ts';
import { compileRule } from '../http/policy.ts';
import { type Operation, rulesOf, type Service } from '../http/service.ts';
import type { TestAnswer } from './api.ts';
import { KEY, kindOf, nameOf, type Objects, parametersOf, TAG, urlOf, versionOf } from './objects.ts';
import type { TestParent } from './parent.ts';
import { sample, type SampleOptions } from './sample.ts';

export interface Prepared {
  readonly service: Service;
  readonly operation: Operation;
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/**
 * Every operation with its service; `name` tells it from all others. Not those that are gone: they answer 410 to
 * everybody, whatever is named.
 */
export function everyOperation(services: readonly Service[]): Pick<Prepared, 'service' | 'operation' | 'name'>[] {
  return services.flatMap((service) =>
    service.operations
      .filter(({ status }) => status !== GONE)
      .map((operation) => ({ service, operation, name: nameOf(service, operation) })),
  );
}

const GONE = 410;

/** The call of an operation on the objects that there are, making those that it needs. */
export async function prepare(
  objects: Objects,
  { service, operation, name }: Pick<Prepared, 'service' | 'operation' | 'name'>,
  options: SampleOptions & { readonly ids?: Readonly<Record<string, string>> } = {},
): Promise<Prepared> {
  const ids: Record<string, string> = {};
  for (const parameter of parametersOf(operation.path)) {
    ids[parameter] = options.ids?.[parameter] ?? (await objects.id(parameter, service.convention.name));
  }
  const url = urlOf(service.convention, operation.path, ids);
  const { body, headers = {} } = bodyOf(service, operation, objects, options);
  return { service, operation, name, url, body, headers: { ...versionOf(service.convention, operation), ...headers } };
}

/** Makes the call. @param who a caller's name or a token */
export function send(
  parent: TestParent,
  who: string,
  { operation, url, body, headers }: Prepared,
): Promise<TestAnswer> {
  return parent.api.call(who, operation.method, url, body, headers);
}

/** Whether any of an operation's path parameters names what belongs to a project or a user. */
export function isOwned({ service, operation }: Pick<Prepared, 'service' | 'operation'>): boolean {
  return parametersOf(operation.path).some((name) => kindOf(name, service.convention.name)?.owner !== 'cloud');
}

/** Ids of alice's own user, project and domain, in place of those that are there to be changed. */
export const alicesOwn = ({ tenants }: TestParent): Readonly<Record<string, string>> => ({
  user_id: tenants.alice.user_id,
  project_id: tenants.alice.project_id,
  domain_id: 'default',
});

/** Ids by the name of the property that holds them, in whatever spelling a service gives it. */
export function hintsOf(objects: Objects): NonNullable<SampleOptions['hint']> {
  return (property) => {
    const known = objects.known();
    const words = HINTS[property] ?? [property.replace(/^source_/, '')];
    return words.flatMap((word) => known.get(word) ?? []);
  };
}

const HINTS: Readonly<Record<string, readonly string[]>> = {
  imageRef: ['image_id'],
  flavorRef: ['compute.flavor_id'],
  volumeId: ['volume_id'],
  uuid: ['network_id'],
  net_id: ['network_id'],
  network: ['network_id'],
  port: ['port_id'],
  key_name: ['compute.keypair_name'],
  security_group: ['security_group_id'],
  remote_group_id: ['security_group_id'],
  parent_group_id: ['security_group_id'],
  networkId: ['network_id'],
  remote_address_group_id: ['address_group_id'],
  source_volid: ['volume_id'],
  internal_port_id: ['port_id'],
  floating_network_id: ['network_id'],
};

function bodyOf(
  service: Service,
  operation: Operation,
  objects: Objects,
  options: SampleOptions,
): { body?: unknown; headers?: Record<string, string> } {
  const special = BODIES[nameOf(service, operation)];
  if (special !== undefined) return special(objects);
  if (operation.method === 'PUT' && operation.path.endsWith('/tags') && operation.body === undefined) {
    return { body: { tags: [TAG] } };
  }
  if (operation.stream === true) {
    return { body: Buffer.from('sample'), headers: { 'content-type': 'application/octet-stream' } };
  }
  const schema = schemaOf(service, operation);
  if (schema !== undefined) return { body: sample(schema, { hint: hintsOf(objects), ...options }) };
  return { body: operation.action === undefined ? undefined : { [operation.action]: {} } };
}

/** The schema of an operation's body at the microversion that `prepare` asks for. */
export function schemaOf(service: Service, operation: Operation): TSchema | undefined {
  if (typeof operation.body !== 'function') return operation.body;
  const maximum = service.convention.microversions?.maximum ?? 0;
  return operation.body(Math.min(operation.until ?? maximum, maximum));
}

/** Bodies of operations that check theirs themselves. */
const BODIES: Readonly<Record<string, (objects: Objects) => { body?: unknown; headers?: Record<string, string> }>> = {
  ...Object.fromEntries(
    ['GET', 'HEAD', 'DELETE'].map((method) => [
      `identity ${method} /auth/tokens`,
      ({ parent }: Objects) => ({ headers: { 'x-subject-token': parent.tokens.alice ?? '' } }),
    ]),
  ),
  ...Object.fromEntries(
    ['add', 'remove'].map((way) => [
      `network PUT /routers/:router_id/${way}_extraroutes`,
      () => ({ body: { router: { routes: [{ destination: '198.51.100.0/24', nexthop: '10.45.1.77' }] } } }),
    ]),
  ),
  ...Object.fromEntries(
    ['/volumes/:volume_id', '/snapshots/:snapshot_id'].map((path) => [
      `volume PUT ${path}/metadata/:key`,
      () => ({ body: { meta: { [KEY]: 'sample' } } }),
    ]),
  ),
  'volume PUT /volumes/:volume_id': () => ({ body: { volume: { name: 'sample' } } }),
  'volume PUT /snapshots/:snapshot_id': () => ({ body: { snapshot: { name: 'sample' } } }),
  'image POST /images/:image_id/import': () => ({ body: { method: { name: 'glance-direct' } } }),
  'image PATCH /images/:image_id': () => ({
    body: [{ op: 'replace', path: '/name', value: 'sample' }],
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
  }),
  'image POST /images/:image_id/members': ({ parent }) => ({ body: { member: parent.tenants.admin.project_id } }),
  'image PUT /images/:image_id/members/:member_id': () => ({ body: { status: 'accepted' } }),
};

/** Attributes that a caller's own objects have; a rule that speaks of others needs an entry here. */
const own = (user_id: string, project_id: string): Readonly<Record<string, string>> => ({
  project_id,
  user_id,
  owner: project_id,
  member_id: project_id,
  visibility: 'private',
  domain_id: 'default',
  'target.domain.id': 'default',
  'target.domain_id': 'default',
  'target.project.id': project_id,
  'target.project.domain_id': 'default',
  'target.user.id': user_id,
  'target.user.domain_id': 'default',
  'target.group.domain_id': 'default',
  'target.credential.user_id': user_id,
  'target.limit.domain.id': 'none',
  'target.limit.project.domain_id': 'default',
  'target.limit.project_id': project_id,
  'target.token.user_id': user_id,
  'target.trust.trustor_user_id': user_id,
  'target.trust.trustee_user_id': user_id,
  'target.actor.domain_id': 'default',
  'target.scope.domain_id': 'default',
});

/** The attributes of targets that the rule speaks of and that nobody here knows. */
export function unknownAttributes(check: string): string[] {
  const known = own('', '');
  return [...check.matchAll(/%\(([^)]+)\)s/g)].map((match) => match[1] ?? '').filter((name) => !(name in known));
}

/** Whether somebody with these roles may do it to what is their own. */
export function mayOnOwn(services: readonly Service[], { policy }: Operation, roles: readonly string[]): boolean {
  if (policy === 'none') return true;
  const rules = new Map(rulesOf(services).map((rule) => [rule.name, compileRule(rule.check)]));
  const domain = { id: 'default' };
  const credentials = { user_id: 'u', project_id: 'p', roles, token: { domain: undefined, project: { domain } } };
  return rules.get(policy.name)?.(credentials, own('u', 'p'), rules) === true;
}

/** Whether the body is a fault in the form that the service gives its faults. */
export function isFault(service: string, { status, body, text, headers }: TestAnswer): boolean {
  if (text === '') return status === 404 || status === 401;
  // OAuth 2.0 clients are told in the words of OAuth.
  if (service === 'identity' && typeof body?.error === 'string') return typeof body.error_description === 'string';
  if (status === 401) return typeof body?.error?.message === 'string' || service === 'image';
  if (service === 'image' && !String(headers['content-type']).includes('json')) return text.startsWith('<html>');
  switch (service) {
    case 'network':
      return typeof body?.NeutronError?.message === 'string' && typeof body.NeutronError.type === 'string';
    case 'identity':
      return body?.error?.code === status && typeof body.error.message === 'string';
    case 'image':
      return typeof body?.message === 'string' && String(body.code).startsWith(String(status));
    default: {
      const [fault] = Object.values(body ?? {}) as { code?: number; message?: string }[];
      return service in conventions && fault?.code === status && typeof fault.message === 'string';
    }
  }
}
