/** What stands at the root of the API: the resources that Neutron has without any extension. */
import { type Operation, operation } from '../http/service.ts';

const CORE = ['network', 'subnet', 'subnetpool', 'port'] as const;

/** `GET /`. */
export function resourceListOperations(): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/',
      policy: { name: 'get_resource', check: 'rule:public', description: 'List the core resources' },
      status: 200,
      summary: 'List the core resources',
      handle: async ({ context }) => ({
        resources: CORE.map((name) => ({
          name,
          collection: `${name}s`,
          links: [{ rel: 'self', href: `${context.baseUrl}/${name}s` }],
        })),
      }),
    }),
  ];
}
