/** What hangs below a server and is the parent's own: metadata, tags, addresses, security groups. */
import type { Tx } from '../../db/database.ts';
import { badRequest, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, Reply } from '../../http/service.ts';
import { check } from '../../http/validation.ts';
import type { GroupChange, ServerGroup } from '../../network/server-networks.ts';
import { requireMetadataQuota } from './boot-quota.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, withServer } from './lookup.ts';
import { change, wake } from './records.ts';
import type { ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import {
  addSecurityGroupSchema,
  metadataSchema,
  metaSchema,
  removeSecurityGroupSchema,
  tagSchema,
  tagsSchema,
} from './schema.ts';
import { METADATA_STATES, requireState } from './state.ts';

const TAGS_MAX = 50;

/** Operations on metadata, tags, addresses and security groups of servers. */
export function partOperations(dependencies: ServerDependencies): Operation[] {
  return [
    ...metadataOperations(dependencies),
    ...tagOperations(dependencies),
    ...addressOperations(dependencies),
    ...groupOperations(dependencies),
  ];
}

/** Changes what a server is called by, and leaves telling the child to the proxy. */
async function changeFacts(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call,
  patch: Partial<ServerRow>,
): Promise<void> {
  const after = await change(tx, row, { ...patch, facts: row.facts + 1 });
  await wake(tx, dependencies, after, call.context.requestId);
}

type Metadata = Readonly<Record<string, string>>;

function metadataOperations(dependencies: ServerDependencies): Operation[] {
  const path = '/servers/:server_id/metadata';
  const save = async (
    call: Call,
    method: string,
    merge: (metadata: Metadata) => Metadata | Promise<Metadata>,
  ): Promise<Metadata> =>
    withServer(dependencies, call, async (tx, row) => {
      requireState(row, call.context, { method, vm: METADATA_STATES, task: 'any' });
      const metadata = await merge(row.metadata);
      await requireMetadataQuota(dependencies, call.context, metadata);
      await changeFacts(dependencies, tx, row, call, { metadata: { ...metadata } });
      return metadata;
    });
  const item = (row: ServerRow, key: string): string => {
    const value = Object.hasOwn(row.metadata, key) ? row.metadata[key] : undefined;
    if (value === undefined) throw notFound('Metadata item was not found');
    return value;
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: rules.metadataIndex,
      status: 200,
      summary: 'List metadata of a server',
      handle: async (call) => ({ metadata: (await findServer(dependencies, call)).metadata }),
    }),
    operation<{ metadata: Metadata }>({
      method: 'POST',
      path,
      policy: rules.metadataCreate,
      body: metadataSchema,
      status: 200,
      summary: 'Add metadata to a server',
      handle: async (call) => ({
        metadata: await save(call, 'update metadata', (before) => ({ ...before, ...call.body.metadata })),
      }),
    }),
    operation<{ metadata: Metadata }>({
      method: 'PUT',
      path,
      policy: rules.metadataReplace,
      body: metadataSchema,
      status: 200,
      summary: 'Replace metadata of a server',
      handle: async (call) => ({ metadata: await save(call, 'update metadata', () => call.body.metadata) }),
    }),
    operation({
      method: 'GET',
      path: `${path}/:key`,
      policy: rules.metadataShow,
      status: 200,
      summary: 'Show a metadata item of a server',
      handle: async (call) => {
        const key = call.params.key as string;
        return { meta: { [key]: item(await findServer(dependencies, call), key) } };
      },
    }),
    operation<{ meta: Metadata }>({
      method: 'PUT',
      path: `${path}/:key`,
      policy: rules.metadataUpdate,
      body: metaSchema,
      status: 200,
      summary: 'Set a metadata item of a server',
      handle: async (call) => {
        const { meta } = call.body;
        if (!Object.hasOwn(meta, call.params.key as string)) throw badRequest('Request body and URI mismatch');
        await save(call, 'update metadata', (before) => ({ ...before, ...meta }));
        return { meta };
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:key`,
      policy: rules.metadataDelete,
      status: 204,
      summary: 'Delete a metadata item of a server',
      handle: async (call) => {
        const key = call.params.key as string;
        item(await findServer(dependencies, call), key);
        await save(call, 'delete metadata', (before) =>
          Object.fromEntries(Object.entries(before).filter(([name]) => name !== key)),
        );
      },
    }),
  ];
}

function tagOperations(dependencies: ServerDependencies): Operation[] {
  const path = '/servers/:server_id/tags';
  const tagOf = (call: Call): string => call.params.tag as string;
  const save = (call: Call, method: string, merge: (row: ServerRow) => readonly string[] | undefined) =>
    withServer(dependencies, call, async (tx, row) => {
      requireState(row, call.context, { method, vm: METADATA_STATES, task: 'any', lock: false, launched: false });
      const tags = merge(row);
      if (tags !== undefined) await changeFacts(dependencies, tx, row, call, { tags: [...new Set(tags)] });
    });
  const known = (row: ServerRow, tag: string): void => {
    if (!row.tags.includes(tag)) throw notFound(`Server ${row.id} has no tag '${tag}'`);
  };
  const common = { since: 26 } as const;
  return [
    operation({
      ...common,
      method: 'GET',
      path,
      policy: rules.tagsIndex,
      status: 200,
      summary: 'List tags of a server',
      handle: async (call) => ({ tags: (await findServer(dependencies, call)).tags }),
    }),
    operation<{ tags: readonly string[] }>({
      ...common,
      method: 'PUT',
      path,
      policy: rules.tagsReplace,
      body: tagsSchema,
      status: 200,
      summary: 'Replace tags of a server',
      handle: async (call) => {
        await save(call, 'update tags', () => call.body.tags);
        return { tags: [...new Set(call.body.tags)] };
      },
    }),
    operation({
      ...common,
      method: 'DELETE',
      path,
      policy: rules.tagsDeleteAll,
      status: 204,
      summary: 'Delete all tags of a server',
      handle: (call) => save(call, 'delete tags', () => []),
    }),
    operation({
      ...common,
      method: 'GET',
      path: `${path}/:tag`,
      policy: rules.tagsShow,
      status: 204,
      summary: 'Tell whether a server has a tag',
      handle: async (call) => known(await findServer(dependencies, call), tagOf(call)),
    }),
    operation({
      ...common,
      method: 'PUT',
      path: `${path}/:tag`,
      policy: rules.tagsUpdate,
      status: 201,
      summary: 'Add a tag to a server',
      handle: async (call) => {
        const tag = tagOf(call);
        const problem = check(tagSchema, tag);
        if (problem !== undefined) {
          throw badRequest(
            `Tag '${tag.slice(0, 80)}' is invalid. It must be a non empty string without characters '/' and ','. Validation error message: ${problem.message}`,
          );
        }
        let isNew = true;
        await save(call, 'update tag', (row) => {
          isNew = !row.tags.includes(tag);
          if (isNew && row.tags.length >= TAGS_MAX) {
            throw badRequest(`The number of tags exceeded the per-server limit ${TAGS_MAX}`);
          }
          return isNew ? [...row.tags, tag] : undefined;
        });
        if (!isNew) return new Reply(204);
        const location = `${call.context.baseUrl}/servers/${call.params.server_id}/tags/${encodeURIComponent(tag)}`;
        return new Reply(201, undefined, { location });
      },
    }),
    operation({
      ...common,
      method: 'DELETE',
      path: `${path}/:tag`,
      policy: rules.tagsDelete,
      status: 204,
      summary: 'Delete a tag of a server',
      handle: (call) =>
        save(call, 'delete tag', (row) => {
          known(row, tagOf(call));
          return row.tags.filter((tag) => tag !== tagOf(call));
        }),
    }),
  ];
}

function addressOperations(dependencies: ServerDependencies): Operation[] {
  const plain = (row: ServerRow): Record<string, { version: number; addr: string }[]> =>
    Object.fromEntries(
      Object.entries(row.vm_state === 'building' ? {} : row.address_list).map(([network, addresses]) => [
        network,
        addresses.map(({ version, addr }) => ({ version, addr })),
      ]),
    );
  return [
    operation({
      method: 'GET',
      path: '/servers/:server_id/ips',
      policy: rules.ipsIndex,
      status: 200,
      summary: 'List addresses of a server',
      handle: async (call) => ({ addresses: plain(await findServer(dependencies, call)) }),
    }),
    operation({
      method: 'GET',
      path: '/servers/:server_id/ips/:network',
      policy: rules.ipsShow,
      status: 200,
      summary: 'Show addresses of a server in a network',
      handle: async (call) => {
        const network = call.params.network as string;
        const addresses = plain(await findServer(dependencies, call));
        if (!Object.hasOwn(addresses, network)) throw notFound('Instance is not a member of specified network');
        return { [network]: addresses[network] };
      },
    }),
  ];
}

function groupOperations(dependencies: ServerDependencies): Operation[] {
  const { db, network } = dependencies;
  const list = operation({
    method: 'GET',
    path: '/servers/:server_id/os-security-groups',
    policy: rules.listGroups,
    status: 200,
    summary: 'List security groups of a server',
    handle: async (call) => {
      const row = await findServer(dependencies, call);
      const groups = await network.groupsOf(db.query, row.id);
      return {
        security_groups: groups.map(groupView).sort((one, other) => (groupKey(one) < groupKey(other) ? -1 : 1)),
      };
    },
  });
  const save = (call: Call<{ name: string }>, change: (name: string) => GroupChange): Promise<void> => {
    const { name } = call.body;
    if (name.trim() === '') throw badRequest('Security group name cannot be empty');
    return withServer(dependencies, call, (tx, row) => network.changeGroups(tx, call.context, row.id, change(name)));
  };
  const actions = [
    {
      action: 'addSecurityGroup',
      policy: rules.addGroup,
      body: addSecurityGroupSchema,
      change: (add: string): GroupChange => ({ add }),
    },
    {
      action: 'removeSecurityGroup',
      policy: rules.removeGroup,
      body: removeSecurityGroupSchema,
      change: (remove: string): GroupChange => ({ remove }),
    },
  ];
  return [
    list,
    ...actions.map(({ action, policy, body, change }) =>
      operation<{ name: string }>({
        method: 'POST',
        path: '/servers/:server_id/action',
        action,
        policy,
        body,
        status: 202,
        summary: policy.description ?? '',
        handle: (call) => save(call, change),
      }),
    ),
  ];
}

function groupView({ id, name, description, project_id, rules }: ServerGroup) {
  return {
    id,
    name,
    description,
    tenant_id: project_id,
    rules: rules.map((rule) => ({
      id: rule.id,
      parent_group_id: id,
      ip_protocol: rule.protocol,
      from_port: rule.from_port,
      to_port: rule.to_port,
      group: rule.source === undefined ? {} : { name: rule.source.name, tenant_id: rule.source.project_id },
      ip_range: rule.source === undefined ? { cidr: rule.cidr } : {},
    })),
  };
}

const groupKey = ({ tenant_id, name }: ReturnType<typeof groupView>): string => `${tenant_id} ${name}`;
