/** What a server does, how it lies on its host, and the password that its guest told: all of it is asked of the child. */
import { conflict } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import { askChild } from './ask.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer } from './lookup.ts';
import { inner, rules } from './rules.ts';

/** Since when diagnostics have the same form whatever the hypervisor. */
const PLAIN_DIAGNOSTICS = 48;
const TOPOLOGY_SINCE = 78;

interface Topology {
  readonly nodes?: readonly Readonly<Record<string, unknown>>[];
  readonly pagesize_kb?: number | null;
}

/** Diagnostics, topology and password of a server. */
export function askedOperations(dependencies: ServerDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/servers/:server_id/diagnostics',
      policy: rules.diagnostics,
      status: 200,
      summary: "Show what a server's hypervisor counts of it",
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        const isPlain = call.context.version >= PLAIN_DIAGNOSTICS;
        return askChild<object>(dependencies, call.context, row, {
          method: 'GET',
          path: '/diagnostics',
          ...(isPlain ? { version: PLAIN_DIAGNOSTICS, since: PLAIN_DIAGNOSTICS } : {}),
        });
      },
    }),
    operation({
      method: 'GET',
      path: '/servers/:server_id/topology',
      since: TOPOLOGY_SINCE,
      policy: rules.topology,
      status: 200,
      summary: 'Show the NUMA topology of a server',
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        const { nodes = [], pagesize_kb = null } = await askChild<Topology>(dependencies, call.context, row, {
          method: 'GET',
          path: '/topology',
          version: TOPOLOGY_SINCE,
          since: TOPOLOGY_SINCE,
        });
        const seesHost = call.context.allowed(inner.topologyHost.name);
        return {
          nodes: nodes.map(({ host_node, cpu_pinning, ...rest }) =>
            seesHost ? { ...rest, host_node: host_node ?? null, cpu_pinning: cpu_pinning ?? {} } : rest,
          ),
          pagesize_kb,
        };
      },
    }),
    operation({
      method: 'GET',
      path: '/servers/:server_id/os-server-password',
      policy: rules.passwordShow,
      status: 200,
      summary: 'Show the encrypted password that the guest told',
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        // One that is nowhere has not told anything.
        if (row.child_id === null) return { password: '' };
        const answer = await askChild<{ password?: string }>(dependencies, call.context, row, {
          method: 'GET',
          path: '/os-server-password',
        });
        return { password: answer.password ?? '' };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/servers/:server_id/os-server-password',
      policy: rules.passwordClear,
      status: 204,
      summary: 'Forget the encrypted password that the guest told',
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        if (row.child === null) throw conflict(`Instance ${row.id} is not ready`);
        if (row.child_id === null) return;
        await askChild(dependencies, call.context, row, { method: 'DELETE', path: '/os-server-password' });
      },
    }),
  ];
}
