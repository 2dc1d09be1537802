/** Where floating IPs can come from: the IPv4 subnets of the external networks that a project may use. */
import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { type Operation, operation } from '../http/service.ts';
import { all } from '../resource/store.ts';
import { chooseItems } from './edge-list.ts';
import { callersProject, visibleNetworks } from './network-project.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const floatingIpPoolExtensions: readonly Extension[] = [
  {
    alias: 'floatingip-pools',
    name: 'Floating IP Pools Extension',
    description: 'Where floating IPs can come from.',
    updated: '2018-03-21T10:00:00-00:00',
  },
];

interface PoolSubnet {
  readonly id: string;
  readonly name: string;
  readonly network_id: string;
  readonly cidr: string;
}

const POOLS_MAX = 10_000;

/** `GET /floatingip-pools`. */
export function floatingIpPoolOperations(db: Db): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/floatingip-pools',
      policy: {
        name: 'get_floatingip_pool',
        check: 'rule:project_reader_or_admin',
        description: 'List where floating IPs can come from',
      },
      status: 200,
      summary: 'List the subnets that floating IPs can come from',
      handle: async ({ context, query }) => {
        const { rows } = await sql<PoolSubnet>`select id, name, network_id, cidr from subnets
          where ip_version = 4 and network_id in (select id from networks where external and ${all(visibleNetworks(context))})
          order by id limit ${POOLS_MAX}`.execute(db.query);
        const project = callersProject(context);
        const pools = rows.map(({ id, name, network_id, cidr }) => ({
          subnet_id: id,
          subnet_name: name,
          tenant_id: project,
          network_id,
          cidr,
          project_id: project,
        }));
        return { floatingip_pools: chooseItems(pools, query, []) };
      },
    }),
  ];
}
