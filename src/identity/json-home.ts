/**
 * Keystone's JSON Home: what there is below the root, under names that stay when paths change. Read off the operations,
 * so that it lists what is served and nothing else.
 */
import type { Operation } from '../http/service.ts';

const BASE = 'https://docs.openstack.org/api/openstack-identity/3';

/** The names of what is no plain collection and member. */
const NAMES: Readonly<Record<string, string>> = {
  '/auth/catalog': 'auth_catalog',
  '/auth/domains': 'auth_domains',
  '/auth/projects': 'auth_projects',
  '/auth/system': 'auth_system',
  '/auth/tokens': 'auth_tokens',
  '/auth/tokens/OS-PKI/revoked': 'OS-PKI revocations',
  '/domains/:domain_id/config': 'domain_config',
  '/domains/:domain_id/config/:group': 'domain_config_group',
  '/domains/:domain_id/config/:group/:option': 'domain_config_option',
  '/domains/config/:group/:option/default': 'domain_config_default_option',
  '/domains/config/:group/default': 'domain_config_default_group',
  '/domains/config/default': 'domain_config_default',
  '/ec2tokens': 'OS-EC2 ec2tokens',
  '/endpoints/:endpoint_id/OS-ENDPOINT-POLICY/policy': 'OS-ENDPOINT-POLICY endpoint_policy',
  '/groups/:group_id/users': 'group_users',
  '/groups/:group_id/users/:user_id': 'group_user',
  '/limits/model': 'limit_model',
  '/OS-EP-FILTER/endpoint_groups/:endpoint_group_id/endpoints': 'OS-EP-FILTER endpoints_in_endpoint_group',
  '/OS-EP-FILTER/endpoint_groups/:endpoint_group_id/projects': 'OS-EP-FILTER projects_associated_with_endpoint_group',
  '/OS-EP-FILTER/endpoint_groups/:endpoint_group_id/projects/:project_id':
    'OS-EP-FILTER endpoint_group_to_project_association',
  '/OS-EP-FILTER/endpoints/:endpoint_id/projects': 'OS-EP-FILTER endpoint_projects',
  '/OS-EP-FILTER/projects/:project_id/endpoint_groups': 'OS-EP-FILTER project_endpoint_groups',
  '/OS-EP-FILTER/projects/:project_id/endpoints': 'OS-EP-FILTER project_endpoints',
  '/OS-EP-FILTER/projects/:project_id/endpoints/:endpoint_id': 'OS-EP-FILTER project_endpoint',
  '/OS-OAUTH1/access_token': 'OS-OAUTH1 access_tokens',
  '/OS-OAUTH1/authorize/:request_token_id': 'OS-OAUTH1 authorize_request_token',
  '/OS-OAUTH1/request_token': 'OS-OAUTH1 request_tokens',
  '/OS-OAUTH2/token': 'OS-OAUTH2 token',
  '/OS-REVOKE/events': 'OS-REVOKE events',
  '/OS-SIMPLE-CERT/ca': 'OS-SIMPLE-CERT ca_certificate',
  '/OS-SIMPLE-CERT/certificates': 'OS-SIMPLE-CERT certificates',
  '/OS-TRUST/trusts/:trust_id/roles': 'OS-TRUST trust_roles',
  '/OS-TRUST/trusts/:trust_id/roles/:role_id': 'OS-TRUST trust_role',
  '/policies/:policy_id/OS-ENDPOINT-POLICY/endpoints': 'OS-ENDPOINT-POLICY policy_endpoints',
  '/policies/:policy_id/OS-ENDPOINT-POLICY/endpoints/:endpoint_id': 'OS-ENDPOINT-POLICY endpoint_policy_association',
  '/policies/:policy_id/OS-ENDPOINT-POLICY/services/:service_id': 'OS-ENDPOINT-POLICY service_policy_association',
  '/policies/:policy_id/OS-ENDPOINT-POLICY/services/:service_id/regions/:region_id':
    'OS-ENDPOINT-POLICY region_and_service_policy_association',
  '/projects/:project_id/tags/:value': 'project_tags',
  '/role_assignments': 'role_assignments',
  '/role_inferences': 'role_inferences',
  '/roles/:prior_role_id/implies': 'implied_roles',
  '/roles/:prior_role_id/implies/:implied_role_id': 'implied_role',
  '/s3tokens': 's3tokens s3tokens',
  '/users/:user_id/credentials/OS-EC2': 'OS-EC2 user_credentials',
  '/users/:user_id/credentials/OS-EC2/:access': 'OS-EC2 user_credential',
  '/users/:user_id/groups': 'user_groups',
  '/users/:user_id/OS-OAUTH1/access_tokens': 'OS-OAUTH1 user_access_tokens',
  '/users/:user_id/OS-OAUTH1/access_tokens/:access_token_id': 'OS-OAUTH1 user_access_token',
  '/users/:user_id/OS-OAUTH1/access_tokens/:access_token_id/roles': 'OS-OAUTH1 user_access_token_roles',
  '/users/:user_id/OS-OAUTH1/access_tokens/:access_token_id/roles/:role_id': 'OS-OAUTH1 user_access_token_role',
  '/users/:user_id/password': 'user_change_password',
  '/users/:user_id/projects': 'user_projects',
};

/** Paths that Keystone serves and does not list. */
const UNLISTED = /^\/projects\/:project_id\/tags$|\/security_compliance/;

/** Keystone's names of parameters, where they are others than in the path; those of an extension name it. */
const PARAMETERS: Readonly<Record<string, string>> = {
  access: 'credential_id',
  access_token_id: 'OS-OAUTH1 access_token_id',
  consumer_id: 'OS-OAUTH1 consumer_id',
  endpoint_group_id: 'OS-EP-FILTER endpoint_group_id',
  group: 'config_group',
  implied_role_id: 'role_id',
  option: 'config_option',
  prior_role_id: 'role_id',
  request_token_id: 'OS-OAUTH1 request_token_id',
  trust_id: 'OS-TRUST trust_id',
  value: 'tag_value',
};
const EXPERIMENTAL = /^\/(registered_)?limits(\/|$)/;

const relation = (kind: 'rel' | 'param', name: string): string => {
  const [first = '', second] = name.split(' ');
  return second === undefined ? `${BASE}/${kind}/${first}` : `${BASE}/ext/${first}/1.0/${kind}/${second}`;
};

const singular = (word: string): string => word.replace(/ies$/, 'y').replace(/s$/, '');

/** What a path is called: `OS-EP-FILTER endpoint_groups` in an extension, else one word. */
function nameOf(path: string): string | undefined {
  if (UNLISTED.test(path)) return undefined;
  if (Object.hasOwn(NAMES, path)) return NAMES[path];
  const [, prefix, scope = '', actor = '', one, inherited] =
    /^(\/OS-INHERIT)?\/(?:(domains|projects|system)(?:\/:\w+)?)\/(users|groups)\/:\w+\/roles(\/:role_id)?(\/inherited_to_projects)?$/.exec(
      path,
    ) ?? [];
  if (scope !== '') {
    const name = `${singular(scope.replace('system', 'systems'))}_${singular(actor)}_role${one === undefined ? 's' : ''}`;
    return prefix === undefined ? name : `OS-INHERIT ${name}${(inherited ?? '').replace('/', '_')}`;
  }
  const [, extension, collection = '', member] =
    /^(?:\/(OS-[A-Z0-9-]+))?(?:\/users\/:user_id)?\/([a-z_]+)(\/:[a-z_]+_id)?$/.exec(path) ?? [];
  const name = member === undefined ? collection : singular(collection);
  return name === '' ? undefined : extension === undefined ? name : `${extension} ${name}`;
}

/** The document; `prefix` goes before each path. */
export function jsonHome(operations: readonly Pick<Operation, 'path'>[], prefix = ''): unknown {
  const resources: Record<string, unknown> = {};
  for (const path of new Set(operations.map((one) => one.path))) {
    const name = nameOf(path);
    if (name === undefined) continue;
    // Keystone calls it the credential's id.
    const shown = path.replace(/:access\b/, ':credential_id');
    const href = prefix + shown.replace(/:(\w+)/g, '{$1}');
    const parameters = [...shown.matchAll(/:(\w+)/g)].map(([, parameter = '']) => [
      parameter,
      relation('param', PARAMETERS[parameter] ?? parameter),
    ]);
    resources[relation('rel', name)] = {
      ...(parameters.length === 0 ? { href } : { 'href-template': href, 'href-vars': Object.fromEntries(parameters) }),
      ...(EXPERIMENTAL.test(path) ? { hints: { status: 'experimental' } } : {}),
    };
  }
  return { resources };
}
