/** Availability zones over HTTP: those that children serve now. */
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ADMIN, ANYBODY, computeRule } from '../rules.ts';
import { childHosts, type Host, INTERNAL_ZONE, parentHosts } from '../service/hosts.ts';

const rules = {
  list: computeRule('os-availability-zone:list', ANYBODY),
  detail: computeRule('os-availability-zone:detail', ADMIN),
};

/** A zone takes new servers while a child of it is up and not disabled. */
const isAvailable = (hosts: readonly Host[]): boolean => hosts.some((host) => host.up && host.enabled);

/** `/os-availability-zone` and its detail. */
export function availabilityZoneOperations({ db, cascade }: ComputeDependencies): Operation[] {
  const zones = async () => {
    const [names, hosts] = await Promise.all([cascade.zones(db.query), childHosts(cascade, db.query)]);
    const described = names.map(({ name, children }) => {
      const members = hosts.filter(({ host }) => children.includes(host));
      return { name, members, available: isAvailable(members) };
    });
    // As Nova: those that can be used come first.
    return [...described.filter(({ available }) => available), ...described.filter(({ available }) => !available)];
  };
  return [
    operation({
      method: 'GET',
      path: '/os-availability-zone',
      policy: rules.list,
      status: 200,
      summary: 'List availability zones',
      handle: async () => ({
        availabilityZoneInfo: (await zones()).map(({ name, available }) => ({
          zoneName: name,
          zoneState: { available },
          hosts: null,
        })),
      }),
    }),
    operation({
      method: 'GET',
      path: '/os-availability-zone/detail',
      policy: rules.detail,
      status: 200,
      summary: 'List availability zones with their hosts',
      handle: async () => ({
        availabilityZoneInfo: [
          { zoneName: INTERNAL_ZONE, zoneState: { available: true }, hosts: hostsOf(parentHosts()) },
          ...(await zones()).map(({ name, available, members }) => ({
            zoneName: name,
            zoneState: { available },
            hosts: available ? hostsOf(members.filter((host) => host.enabled)) : null,
          })),
        ],
      }),
    }),
  ];
}

function hostsOf(hosts: readonly Host[]) {
  const found: Record<string, Record<string, object>> = {};
  for (const { host, binary, up, enabled, updated_at } of hosts) {
    found[host] = { ...found[host], [binary]: { available: up, active: enabled, updated_at } };
  }
  return found;
}
