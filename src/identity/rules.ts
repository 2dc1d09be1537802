/** The names and defaults of Keystone's rules, as far as this service has what they protect. */
import type { PolicyRule } from '../http/service.ts';

const ADMIN = 'rule:admin';
const SYSTEM_READER = `${ADMIN} or (role:reader and system_scope:all)`;

const rule = (name: string, check: string): PolicyRule => ({ name: `identity:${name}`, check });
/** A reader of the domain that the target names under this path. */
const domainReader = (path: string): string => `(role:reader and domain_id:%(target.${path})s)`;

/** Also services on their own behalf. */
export const adminOrService = (name: string): PolicyRule => rule(name, `${ADMIN} or rule:service_role`);
/** For what each signed-in user may do. */
export const ANYBODY = (name: string): PolicyRule => rule(name, '@');
export const admin = (name: string): PolicyRule => rule(name, ADMIN);
export const systemReader = (name: string): PolicyRule => rule(name, SYSTEM_READER);
/** Also readers of the domain that a list is asked for, or that the thing lies in. */
export const domainList = (name: string): PolicyRule => rule(name, `${SYSTEM_READER} or ${domainReader('domain_id')}`);

const ofUser = `${SYSTEM_READER} or ${domainReader('user.domain_id')} or user_id:%(target.user.id)s`;

export const getUser = rule('get_user', ofUser);
export const listUserProjects = rule('list_user_projects', ofUser);
export const listGroupsForUser = rule('list_groups_for_user', ofUser);
export const getProject = (name: string): PolicyRule =>
  rule(name, `${SYSTEM_READER} or ${domainReader('project.domain_id')} or project_id:%(target.project.id)s`);
export const getDomain = rule(
  'get_domain',
  `${SYSTEM_READER} or token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s`,
);
export const getGroup = (name: string): PolicyRule =>
  rule(name, `${SYSTEM_READER} or ${domainReader('group.domain_id')}`);
export const readGrants = (name: string): PolicyRule =>
  rule(
    name,
    `${SYSTEM_READER} or (role:reader and domain_id:%(target.actor.domain_id)s and domain_id:%(target.scope.domain_id)s)`,
  );

/** Asked beside the rule of the list, where it is of a project and those below. */
export const listAssignmentsForTree = domainList('list_role_assignments_for_tree');

const ofToken = 'user_id:%(target.token.user_id)s';
export const checkToken = rule('check_token', `${SYSTEM_READER} or ${ofToken}`);
export const validateToken = rule('validate_token', `${SYSTEM_READER} or rule:service_role or ${ofToken}`);
export const revokeToken = rule('revoke_token', `${ADMIN} or ${ofToken}`);

const SELF = 'user_id:%(user_id)s';
export const self = (name: string): PolicyRule => rule(name, SELF);
export const adminOrSelf = (name: string): PolicyRule => rule(name, `${ADMIN} or ${SELF}`);
export const systemReaderOrSelf = (name: string): PolicyRule => rule(name, `${SYSTEM_READER} or ${SELF}`);

const ofOwner = 'user_id:%(target.user.id)s';
export const accessRule = {
  list: rule('list_access_rules', `(role:reader and system_scope:all) or ${ofOwner}`),
  get: rule('get_access_rule', `(role:reader and system_scope:all) or ${ofOwner}`),
  remove: rule('delete_access_rule', `(role:admin and system_scope:all) or ${ofOwner}`),
};

const OF_TRUSTOR = 'user_id:%(target.trust.trustor_user_id)s';
const OF_TRUSTEE = 'user_id:%(target.trust.trustee_user_id)s';
const OF_EITHER = `${SYSTEM_READER} or ${OF_TRUSTOR} or ${OF_TRUSTEE}`;
export const trustRules = {
  create: rule('create_trust', OF_TRUSTOR),
  list: systemReader('list_trusts'),
  /** Asked in place of that where a list names a trustor, or a trustee. */
  listOfTrustor: rule('list_trusts_for_trustor', `${SYSTEM_READER} or ${OF_TRUSTOR}`),
  listOfTrustee: rule('list_trusts_for_trustee', `${SYSTEM_READER} or ${OF_TRUSTEE}`),
  get: rule('get_trust', OF_EITHER),
  listRoles: rule('list_roles_for_trust', OF_EITHER),
  getRole: rule('get_role_for_trust', OF_EITHER),
  remove: rule('delete_trust', `${ADMIN} or ${OF_TRUSTOR}`),
};

const OF_CREDENTIAL = 'user_id:%(target.credential.user_id)s';
const readCredential = `${SYSTEM_READER} or ${OF_CREDENTIAL}`;
const changeCredential = `${ADMIN} or ${OF_CREDENTIAL}`;
const memberCredential = `${ADMIN} or (role:member and ${OF_CREDENTIAL})`;
export const credentialRules = {
  list: rule('list_credentials', readCredential),
  get: rule('get_credential', readCredential),
  create: rule('create_credential', changeCredential),
  update: rule('update_credential', changeCredential),
  remove: rule('delete_credential', changeCredential),
  listEc2: rule('ec2_list_credentials', memberCredential),
  getEc2: rule('ec2_get_credential', readCredential),
  createEc2: rule('ec2_create_credential', memberCredential),
  removeEc2: rule('ec2_delete_credential', changeCredential),
};

export const getLimit = rule(
  'get_limit',
  `${SYSTEM_READER} or domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s or project_id:%(target.limit.project_id)s`,
);
