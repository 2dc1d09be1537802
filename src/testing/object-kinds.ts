/**
 * How an object of every kind that a path can name is made. A path parameter that has no entry here fails the tests that
 * call every operation: whoever adds an operation says here what it acts on.
 */
import { randomUUID } from 'node:crypto';
import { Buffer } from 'node:buffer';
import type { TestAnswer } from './api.ts';
import type { TestParent } from './parent.ts';

/** What `sample` calls things, so that bodies and paths speak of the same. */
export const KEY = 'sample';
export const TAG = 'sample';

export interface ObjectKind {
  /** Whose it is: the owner's project's, the owner's own, or the whole cloud's. */
  readonly owner: 'project' | 'user' | 'cloud';
  readonly make: (objects: Objects) => Promise<string> | string;
}

export interface Objects {
  readonly parent: TestParent;
  /** Whose the objects are that belong to a project or a user. */
  readonly owner: 'alice' | 'bob';
  /** The id of the one object of that kind, made at first need. @param parameter as in a path: `server_id` */
  id(parameter: string, service?: string): Promise<string>;
  /** It has been deleted: the next who asks gets a new one. */
  forget(parameter: string, service?: string): void;
  /** What one object hung on may be gone with another: all are made again as they are asked for. */
  forgetAll(): void;
  /** The ids made so far, by parameter. */
  known(): ReadonlyMap<string, string>;
  /** Makes a call as `admin`, or as the objects' owner (`mine`); throws where it is refused. @returns what stands under the body's only key, or the body */
  ask(
    who: 'admin' | 'mine',
    method: string,
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<TestAnswer['body']>;
}

const project = (make: ObjectKind['make']): ObjectKind => ({ owner: 'project', make });
const user = (make: ObjectKind['make']): ObjectKind => ({ owner: 'user', make });
const cloud = (make: ObjectKind['make']): ObjectKind => ({ owner: 'cloud', make });
const word = (): string => `sample-${randomUUID().slice(0, 8)}`;

/** The id of what the owner makes. */
const owners = (url: string, body: (objects: Objects) => object | Promise<object>): ObjectKind =>
  project(async (objects) => (await objects.ask('mine', 'POST', url, await body(objects))).id);
const admins = (url: string, key: string, more: object = {}): ObjectKind =>
  cloud(async ({ ask }) => (await ask('admin', 'POST', url, { [key]: { name: word(), ...more } })).id);
const firstOf = (url: string): ObjectKind => cloud(async ({ ask }) => (await ask('admin', 'GET', url))[0].id);
const aliasOf = (url: string): ObjectKind =>
  cloud(async ({ ask }) => (await ask('mine', 'GET', url))[0]?.alias ?? 'sample');
const role = admins('/identity/v3/roles', 'role');

/** A rule of the one QoS policy. */
const qosRule = (key: string, values: object): ObjectKind =>
  cloud(async ({ ask, id }) => {
    const policy = await id('policy_id', 'network');
    return (await ask('admin', 'POST', `/network/v2.0/qos/policies/${policy}/${key}s`, { [key]: values })).id;
  });

/** By path parameter, with the service before it where services mean different things by one. */
export const kinds: Readonly<Record<string, ObjectKind>> = {
  'identity.access_rule_id': user(async ({ ask, id, parent, owner }) => {
    await id('application_credential_id', 'identity');
    const rules = await ask('mine', 'GET', `/identity/v3/users/${parent.tenants[owner].user_id}/access_rules`);
    return rules.access_rules[0].id;
  }),
  'identity.application_credential_id': user(async ({ ask, parent, owner }) => {
    const access_rules = [{ service: 'compute', method: 'GET', path: `/v2.1/${word()}` }];
    const url = `/identity/v3/users/${parent.tenants[owner].user_id}/application_credentials`;
    return (await ask('mine', 'POST', url, { application_credential: { name: word(), access_rules } })).id;
  }),
  'identity.access': user(async ({ ask, parent, owner }) => {
    const { user_id, project_id } = parent.tenants[owner];
    const url = `/identity/v3/users/${user_id}/credentials/OS-EC2`;
    return (await ask('mine', 'POST', url, { tenant_id: project_id })).access;
  }),
  'identity.credential_id': user(async ({ ask, parent, owner }) => {
    const credential = { type: 'sample', blob: 'sample', user_id: parent.tenants[owner].user_id };
    return (await ask('mine', 'POST', '/identity/v3/credentials', { credential })).id;
  }),
  'identity.domain_id': admins('/identity/v3/domains', 'domain'),
  'identity.consumer_id': cloud(
    async ({ ask }) => (await ask('admin', 'POST', '/identity/v3/OS-OAUTH1/consumers', { consumer: {} })).id,
  ),
  // Had by signed requests alone, and for administrators alone: whom it is refused to, nobody looks for it.
  'identity.request_token_id': cloud(() => 'no-request-token'),
  'identity.access_token_id': cloud(() => 'no-access-token'),
  'identity.endpoint_group_id': cloud(async ({ ask }) => {
    const endpoint_group = { name: word(), filters: { interface: 'public' } };
    return (await ask('admin', 'POST', '/identity/v3/OS-EP-FILTER/endpoint_groups', { endpoint_group })).id;
  }),
  'identity.endpoint_id': cloud(async ({ ask, id }) => {
    const service_id = await id('service_id', 'identity');
    const endpoint = { service_id, interface: 'public', url: 'http://sample.test' };
    return (await ask('admin', 'POST', '/identity/v3/endpoints', { endpoint })).id;
  }),
  'identity.group_id': admins('/identity/v3/groups', 'group', { domain_id: 'default' }),
  'identity.group': cloud(async ({ ask, id }) => {
    const config = { identity: { driver: 'sql', list_limit: 1 } };
    await ask('admin', 'PUT', `/identity/v3/domains/${await id('domain_id', 'identity')}/config`, { config });
    return 'identity';
  }),
  'identity.implied_role_id': role,
  'identity.limit_id': project(async ({ ask, id, parent, owner }) => {
    const url = `/identity/v3/registered_limits/${await id('registered_limit_id', 'identity')}`;
    const { service_id, resource_name } = await ask('admin', 'GET', url);
    const { project_id } = parent.tenants[owner];
    const limits = [{ service_id, resource_name, project_id, resource_limit: 1 }];
    return (await ask('admin', 'POST', '/identity/v3/limits', { limits }))[0].id;
  }),
  'identity.option': cloud(() => 'driver'),
  'identity.password_option': cloud(() => 'password_regex'),
  'identity.policy_id': cloud(async ({ ask }) => {
    const policy = { blob: '{}', type: 'application/json' };
    return (await ask('admin', 'POST', '/identity/v3/policies', { policy })).id;
  }),
  'identity.prior_role_id': role,
  'identity.role_id': role,
  // One that nobody works in: whoever changes or deletes it takes nothing from the others.
  'identity.project_id': admins('/identity/v3/projects', 'project', { domain_id: 'default', tags: [TAG] }),
  'identity.region_id': cloud(
    async ({ ask }) => (await ask('admin', 'POST', '/identity/v3/regions', { region: { id: word() } })).id,
  ),
  'identity.registered_limit_id': cloud(async ({ ask, id }) => {
    const registered_limits = [
      { service_id: await id('service_id', 'identity'), resource_name: word(), default_limit: 1 },
    ];
    return (await ask('admin', 'POST', '/identity/v3/registered_limits', { registered_limits }))[0].id;
  }),
  'identity.service_id': admins('/identity/v3/services', 'service', { type: 'sample' }),
  'identity.user_id': admins('/identity/v3/users', 'user', { domain_id: 'default', password: 'victim-password-0451' }),
  'identity.trust_id': user(async ({ ask, parent, owner }) => {
    const { user_id, project_id } = parent.tenants[owner];
    const users = { trustor_user_id: user_id, trustee_user_id: parent.tenants.rita.user_id };
    const trust = { ...users, impersonation: false, project_id, roles: [{ name: 'member' }] };
    return (await ask('mine', 'POST', '/identity/v3/OS-TRUST/trusts', { trust })).id;
  }),
  'identity.value': cloud(() => TAG),

  key: cloud(() => KEY),
  tag: cloud(() => TAG),

  'compute.alias': aliasOf('/compute/v2.1/extensions'),
  'network.alias': aliasOf('/network/v2.0/extensions'),
  'volume.alias': aliasOf('/volume/v3/extensions'),
  'compute.aggregate_id': cloud(async ({ ask }) => {
    const aggregate = await ask('admin', 'POST', '/compute/v2.1/os-aggregates', { aggregate: { name: word() } });
    return String(aggregate.id);
  }),
  'compute.class_id': cloud(() => 'default'),
  'compute.flavor_id': cloud(async ({ ask }) => {
    const flavor = { name: word(), ram: 128, vcpus: 1, disk: 1 };
    const { id } = await ask('admin', 'POST', '/compute/v2.1/flavors', { flavor });
    await ask('admin', 'POST', `/compute/v2.1/flavors/${id}/os-extra_specs`, { extra_specs: { [KEY]: 'sample' } });
    return id;
  }),
  'compute.host_name': cloud(() => 'east'),
  'compute.migration_id': cloud(() => '1'),
  'compute.moment': cloud(() => '2026-01-01 00:00:00'),
  'compute.hypervisor_id': firstOf('/compute/v2.1/os-hypervisors'),
  'compute.keypair_name': user(async ({ ask }) => {
    const keypair = { name: word(), type: 'ssh', public_key: PUBLIC_KEY };
    return (await ask('mine', 'POST', '/compute/v2.1/os-keypairs', { keypair })).name;
  }),
  'compute.network': project(async ({ ask, id }) => {
    const network = await id('network_id');
    return (await ask('mine', 'GET', `/network/v2.0/networks/${network}`)).name;
  }),
  'compute.project_id': project(({ parent, owner }) => parent.tenants[owner].project_id),
  'compute.request_id': project(async ({ ask, id }) => {
    const actions = await ask('mine', 'GET', `/compute/v2.1/servers/${await id('server_id')}/os-instance-actions`);
    return actions[0].request_id;
  }),
  'compute.server_group_id': owners('/compute/v2.1/os-server-groups', () => ({
    server_group: { name: word(), policy: 'anti-affinity' },
  })),
  'compute.service_id': firstOf('/compute/v2.1/os-services'),
  server_id: project(bootServer),

  image_id: project(async ({ ask }) => {
    const image = {
      name: word(),
      disk_format: 'raw',
      container_format: 'bare',
      visibility: 'shared',
      tags: [TAG],
      [KEY]: 'sample',
    };
    const { id } = await ask('mine', 'POST', '/image/v2/images', image);
    const data = { 'content-type': 'application/octet-stream' };
    await ask('mine', 'PUT', `/image/v2/images/${id}/file`, Buffer.from('sample'), data);
    return id;
  }),
  'image.member_id': cloud(async ({ ask, id }) => {
    const member = await id('project_id', 'identity');
    await ask('mine', 'POST', `/image/v2/images/${await id('image_id')}/members`, { member });
    return member;
  }),
  'image.task_id': cloud(() => randomUUID()),

  address_group_id: owners('/network/v2.0/address-groups', () => ({
    address_group: { name: word(), addresses: ['198.51.100.0/24'] },
  })),
  address_scope_id: owners('/network/v2.0/address-scopes', () => ({ address_scope: { name: word(), ip_version: 4 } })),
  rbac_policy_id: owners('/network/v2.0/rbac-policies', async ({ id }) => ({
    rbac_policy: {
      object_type: 'network',
      object_id: await id('network_id'),
      action: 'access_as_shared',
      target_tenant: word(),
    },
  })),
  // A segment is its network's.
  segment_id: cloud(({ id }) => id('network_id')),
  subnetpool_id: tagged('subnetpools', 'subnetpool', () => ({
    name: word(),
    prefixes: ['10.46.0.0/16'],
    default_prefixlen: 26,
  })),
  'network.agent_id': firstOf('/network/v2.0/agents'),
  floatingip_id: project(async ({ parent, ask, id }) => {
    const external = await parent.eventually(async () => {
      const networks = await ask('mine', 'GET', '/network/v2.0/networks?router:external=true');
      return networks.find((network: { availability_zones: string[] }) => network.availability_zones.includes('east'));
    });
    const router_id = await id('router_id');
    await ask('mine', 'PUT', `/network/v2.0/routers/${router_id}`, {
      router: { external_gateway_info: { network_id: external.id } },
    });
    const floatingip = { floating_network_id: external.id, port_id: await id('port_id') };
    const made = await ask('mine', 'POST', '/network/v2.0/floatingips', { floatingip });
    await ask('mine', 'PUT', `/network/v2.0/floatingips/${made.id}/tags/${TAG}`);
    return made.id;
  }),
  port_forwarding_id: project(async ({ ask, id }) => {
    const floatingip_id = await id('floatingip_id');
    const port = await ask('mine', 'GET', `/network/v2.0/ports/${await id('port_id')}`);
    await ask('mine', 'PUT', `/network/v2.0/floatingips/${floatingip_id}`, { floatingip: { port_id: null } });
    const port_forwarding = {
      protocol: 'tcp',
      external_port: 80,
      internal_port: 80,
      internal_port_id: port.id,
      internal_ip_address: port.fixed_ips[0].ip_address,
    };
    const url = `/network/v2.0/floatingips/${floatingip_id}/port_forwardings`;
    return (await ask('mine', 'POST', url, { port_forwarding })).id;
  }),
  'network.policy_id': cloud(async ({ ask }) => {
    const policy = { name: word(), shared: true };
    const { id } = await ask('admin', 'POST', '/network/v2.0/qos/policies', { policy });
    await ask('admin', 'PUT', `/network/v2.0/policies/${id}/tags/${TAG}`);
    return id;
  }),
  bandwidth_limit_rule_id: qosRule('bandwidth_limit_rule', { max_kbps: 1000 }),
  dscp_marking_rule_id: qosRule('dscp_marking_rule', { dscp_mark: 10 }),
  minimum_bandwidth_rule_id: qosRule('minimum_bandwidth_rule', { min_kbps: 100 }),
  minimum_packet_rate_rule_id: qosRule('minimum_packet_rate_rule', { min_kpps: 100 }),
  packet_rate_limit_rule_id: qosRule('packet_rate_limit_rule', { max_kpps: 100 }),
  rule_type: cloud(() => 'bandwidth_limit'),
  trunk_id: tagged('trunks', 'trunk', async ({ ask, id }) => {
    const port = { network_id: await id('network_id') };
    return { port_id: (await ask('mine', 'POST', '/network/v2.0/ports', { port })).id };
  }),
  'network.flavor_id': cloud(async ({ ask }) => {
    const flavor = { name: word(), service_type: 'L3_ROUTER_NAT' };
    return (await ask('admin', 'POST', '/network/v2.0/flavors', { flavor })).id;
  }),
  'network.service_profile_id': cloud(async ({ ask, id }) => {
    const service_profile = { metainfo: 'sample' };
    const made = await ask('admin', 'POST', '/network/v2.0/service_profiles', { service_profile });
    const url = `/network/v2.0/flavors/${await id('flavor_id', 'network')}/service_profiles`;
    await ask('admin', 'POST', url, { service_profile: { id: made.id } });
    return made.id;
  }),
  network_id: tagged('networks', 'network', () => ({ name: word() })),
  // The port of the server, so that it can be asked for through the server as well.
  port_id: tagged('ports', 'port', async ({ id }) => ({
    network_id: await id('network_id'),
    fixed_ips: [{ subnet_id: await id('subnet_id') }],
    security_groups: [await id('security_group_id')],
  })),
  'network.project_id': project(({ parent, owner }) => parent.tenants[owner].project_id),
  router_id: project(async (objects) => {
    const { ask, id } = objects;
    const subnet_id = await id('subnet_id');
    const made = await ask('mine', 'POST', '/network/v2.0/routers', { router: { name: word() } });
    await ask('mine', 'PUT', `/network/v2.0/routers/${made.id}/add_router_interface`, { subnet_id });
    await ask('mine', 'PUT', `/network/v2.0/routers/${made.id}/tags/${TAG}`);
    return made.id;
  }),
  security_group_id: tagged('security-groups', 'security_group', () => ({ name: word() })),
  security_group_rule_id: owners('/network/v2.0/security-group-rules', async ({ id }) => ({
    security_group_rule: { security_group_id: await id('security_group_id'), direction: 'ingress', protocol: 'tcp' },
  })),
  subnet_id: tagged('subnets', 'subnet', async ({ id }) => ({
    network_id: await id('network_id'),
    cidr: '10.45.1.0/24',
    ip_version: 4,
  })),

  'volume.attachment_id': project(async ({ ask, id }) => {
    await id('server_id');
    return (await ask('mine', 'GET', `/volume/v3/volumes/${await id('volume_id')}`)).attachments[0].attachment_id;
  }),
  'volume.quota_class_name': cloud(() => 'default'),
  'volume.quota_project_id': project(({ parent, owner }) => parent.tenants[owner].project_id),
  'volume.service_action': cloud(() => 'freeze'),
  snapshot_id: project(async ({ parent, ask }) => {
    const volume_id = await newVolume({ parent, ask });
    const snapshot = { volume_id, name: word(), metadata: { [KEY]: 'sample' } };
    const { id } = await ask('mine', 'POST', '/volume/v3/snapshots', { snapshot });
    return rested({ parent, ask }, `/volume/v3/snapshots/${id}`, 'available');
  }),
  volume_id: project(newVolume),
  volume_type_id: cloud(async ({ ask }) => {
    const volume_type = { name: word(), extra_specs: { [KEY]: 'sample' } };
    return (await ask('admin', 'POST', '/volume/v3/types', { volume_type })).id;
  }),
};

/** A server in the zone east with an image, a port and a volume; it runs. */
async function bootServer({ parent, ask, id }: Objects): Promise<string> {
  const server = {
    name: word(),
    imageRef: await id('image_id'),
    flavorRef: await id('flavor_id', 'compute'),
    availability_zone: 'east',
    networks: [{ port: await id('port_id') }],
    metadata: { [KEY]: 'sample' },
    tags: [TAG],
  };
  const { id: server_id } = await ask('mine', 'POST', '/compute/v2.1/servers', { server });
  await rested({ parent, ask }, `/compute/v2.1/servers/${server_id}`, 'ACTIVE');
  const volumeId = await id('volume_id');
  const volumeAttachment = { volumeId, delete_on_termination: false };
  await ask('mine', 'POST', `/compute/v2.1/servers/${server_id}/os-volume_attachments`, { volumeAttachment });
  await rested({ parent, ask }, `/volume/v3/volumes/${volumeId}`, 'in-use');
  return server_id;
}

async function newVolume({ parent, ask }: Pick<Objects, 'parent' | 'ask'>): Promise<string> {
  const volume = { size: 1, name: word(), availability_zone: 'east', metadata: { [KEY]: 'sample' } };
  const { id } = await ask('mine', 'POST', '/volume/v3/volumes', { volume });
  return rested({ parent, ask }, `/volume/v3/volumes/${id}`, 'available');
}

/** Waits until it shows the status; gives its id. */
async function rested({ parent, ask }: Pick<Objects, 'parent' | 'ask'>, url: string, status: string): Promise<string> {
  const shown: TestAnswer['body'] = await parent.eventually(async () => {
    const one = await ask('mine', 'GET', url);
    if (/error/i.test(one.status)) throw new Error(`${url} is in ${one.status}`);
    return one.status === status && one;
  });
  return shown.id;
}

/** Something of Neutron's that carries the tag. */
function tagged(collection: string, key: string, body: (objects: Objects) => object | Promise<object>): ObjectKind {
  return project(async (objects) => {
    const { id } = await objects.ask('mine', 'POST', `/network/v2.0/${collection}`, { [key]: await body(objects) });
    await objects.ask('mine', 'PUT', `/network/v2.0/${collection}/${id}/tags/${TAG}`);
    return id;
  });
}

const PUBLIC_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ sample';
