/** Nova's rules of flavors, with its defaults. */
import type { PolicyRule } from '../../http/service.ts';

const ADMIN = 'rule:admin';
const READER = 'rule:project_reader_or_admin';
const rule = (name: string, check: string): PolicyRule => ({ name: `os_compute_api:${name}`, check });

export const flavorPolicies = {
  // Nova asks no rule of who lists flavors: what a project may see is all there is to it.
  list: rule('flavors:index', '@'),
  show: rule('flavors:show', '@'),
  create: rule('os-flavor-manage:create', ADMIN),
  update: rule('os-flavor-manage:update', ADMIN),
  remove: rule('os-flavor-manage:delete', ADMIN),
};

export const flavorAccessPolicies = {
  list: rule('os-flavor-access', ADMIN),
  add: rule('os-flavor-access:add_tenant_access', ADMIN),
  remove: rule('os-flavor-access:remove_tenant_access', ADMIN),
};

export const extraSpecPolicies = {
  index: rule('os-flavor-extra-specs:index', READER),
  show: rule('os-flavor-extra-specs:show', READER),
  create: rule('os-flavor-extra-specs:create', ADMIN),
  update: rule('os-flavor-extra-specs:update', ADMIN),
  remove: rule('os-flavor-extra-specs:delete', ADMIN),
};
