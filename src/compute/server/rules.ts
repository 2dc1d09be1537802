/** Nova's policy rules of servers, with its modern defaults. */
import type { PolicyRule } from '../../http/service.ts';

const reader = (name: string, description: string): PolicyRule => ({
  name: `os_compute_api:${name}`,
  check: 'rule:project_reader_or_admin',
  description,
});
const member = (name: string, description: string): PolicyRule => ({
  name: `os_compute_api:${name}`,
  check: 'rule:project_member_or_admin',
  description,
});
const admin = (name: string, description: string): PolicyRule => ({
  name: `os_compute_api:${name}`,
  check: 'rule:admin',
  description,
});

export const rules = {
  index: reader('servers:index', 'List servers'),
  detail: reader('servers:detail', 'List servers with details'),
  show: reader('servers:show', 'Show a server'),
  create: member('servers:create', 'Create a server'),
  update: member('servers:update', 'Update a server'),
  delete: member('servers:delete', 'Delete a server'),
  reboot: member('servers:reboot', 'Reboot a server'),
  rebuild: member('servers:rebuild', 'Rebuild a server'),
  resize: member('servers:resize', 'Resize a server'),
  confirmResize: member('servers:confirm_resize', 'Confirm a resize'),
  revertResize: member('servers:revert_resize', 'Revert a resize'),
  createImage: member('servers:create_image', 'Make an image of a server'),
  rescue: member('os-rescue', 'Rescue a server'),
  unshelve: member('os-shelve:unshelve', 'Unshelve a server'),
  lock: member('os-lock-server:lock', 'Lock a server'),
  unlock: member('os-lock-server:unlock', 'Unlock a server'),
  changePassword: member('os-admin-password', "Change a server's password"),
  consoleOutput: member('os-console-output', 'Show console output'),
  remoteConsole: member('os-remote-consoles', 'Create a remote console'),
  resetState: admin('os-admin-actions:reset_state', 'Reset the state of a server'),
  forceDelete: member('os-deferred-delete:force', 'Delete a server in any state'),
  listGroups: reader('os-security-groups:list', 'List the security groups of a server'),
  addGroup: member('os-security-groups:add', 'Add a security group to a server'),
  removeGroup: member('os-security-groups:remove', 'Remove a security group from a server'),
  metadataIndex: reader('server-metadata:index', 'List metadata'),
  metadataShow: reader('server-metadata:show', 'Show a metadata item'),
  metadataCreate: member('server-metadata:create', 'Create metadata'),
  metadataUpdate: member('server-metadata:update', 'Update a metadata item'),
  metadataReplace: member('server-metadata:update_all', 'Replace metadata'),
  metadataDelete: member('server-metadata:delete', 'Delete a metadata item'),
  tagsIndex: reader('os-server-tags:index', 'List tags'),
  tagsShow: reader('os-server-tags:show', 'Show a tag'),
  tagsUpdate: member('os-server-tags:update', 'Add a tag'),
  tagsReplace: member('os-server-tags:update_all', 'Replace tags'),
  tagsDelete: member('os-server-tags:delete', 'Delete a tag'),
  tagsDeleteAll: member('os-server-tags:delete_all', 'Delete all tags'),
  volumesIndex: reader('os-volumes-attachments:index', 'List attached volumes'),
  volumesShow: reader('os-volumes-attachments:show', 'Show an attached volume'),
  volumesCreate: member('os-volumes-attachments:create', 'Attach a volume'),
  volumesUpdate: member('os-volumes-attachments:update', 'Update an attached volume'),
  volumesDelete: member('os-volumes-attachments:delete', 'Detach a volume'),
  interfacesIndex: reader('os-attach-interfaces:list', 'List interfaces'),
  interfacesShow: reader('os-attach-interfaces:show', 'Show an interface'),
  interfacesCreate: member('os-attach-interfaces:create', 'Attach an interface'),
  interfacesDelete: member('os-attach-interfaces:delete', 'Detach an interface'),
  actionsIndex: reader('os-instance-actions:list', 'List actions'),
  actionsShow: reader('os-instance-actions:show', 'Show an action'),
  ipsIndex: reader('ips:index', 'List addresses'),
  ipsShow: reader('ips:show', 'Show addresses of a network'),
} as const satisfies Record<string, PolicyRule>;

/** Rules that no operation carries by itself: handlers and the renderer ask for them. */
export const inner = {
  allTenantsIndex: admin('servers:index:get_all_tenants', 'List servers of all projects'),
  allTenantsDetail: admin('servers:detail:get_all_tenants', 'List servers of all projects with details'),
  allFilters: admin('servers:allow_all_filters', 'Filter lists by anything'),
  hostStatus: admin('servers:show:host_status', 'See the status of the host'),
  actionEvents: admin('os-instance-actions:events', 'See all of the events of actions'),
} as const satisfies Record<string, PolicyRule>;
