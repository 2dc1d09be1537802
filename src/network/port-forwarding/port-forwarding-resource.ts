/** Port forwardings as the API shows and takes them. Ports are kept as ranges, as Neutron keeps them. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { computed, field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const portForwardingExtensions: readonly Extension[] = [
  {
    alias: 'expose-port-forwarding-in-fip',
    name: 'Expose Floating IP port forwardings',
    description: 'A floating IP shows its port forwardings.',
    updated: '2018-06-28T16:00:00-00:00',
  },
  {
    alias: 'floating-ip-port-forwarding',
    name: 'Floating IP Port Forwarding',
    description: 'Single ports of a floating IP lead to ports of servers.',
    updated: '2018-01-19T10:00:00-00:00',
  },
  {
    alias: 'floating-ip-port-forwarding-description',
    name: 'Floating IP Port Forwarding new attribute description',
    description: 'Port forwardings have a description.',
    updated: '2019-11-01T10:00:00-00:00',
  },
  {
    alias: 'floating-ip-port-forwarding-detail',
    name: 'Floating IP port forwarding detail',
    description: 'A floating IP shows the ids of its port forwardings and their ports.',
    updated: '2022-05-06T10:00:00-00:00',
  },
  {
    alias: 'floating-ip-port-forwarding-port-ranges',
    name: 'Floating IP Port Forwarding support port ranges',
    description: 'Port forwardings of ranges of ports.',
    updated: '2020-07-01T10:00:00-00:00',
  },
];

const Uuid = Type.String({ format: 'uuid' });
const Port = nullable(Type.Union([Type.Integer(), Type.String({ maxLength: 16 })]));

/** A range of one port as that port; undefined for more, which then shows no single port. */
const single = (range: string): number | undefined => {
  const [first, last] = range.split(':');
  return first === last ? Number(first) : undefined;
};

const portForwarding = resource({
  name: 'port_forwarding',
  table: 'port_forwardings',
  fields: {
    id: field(Type.String(), { filter: true }),
    project_id: field(Type.String({ maxLength: 255 }), { create: 'optional', show: 'never' }),
    floatingip_id: field(Type.String(), { column: true, show: 'never' }),
    external_port_start: field(Type.Integer(), {
      name: 'external_port',
      create: 'optional',
      update: true,
      input: Port,
      sort: true,
      show: 'never',
      filter: (values) => sql<SqlBool>`external_port_range = any(${values.map((value) => `${value}:${value}`)})`,
    }),
    external_port: computed((row: { external_port_range: string }) => single(row.external_port_range)),
    external_port_range: field(Type.String(), {
      create: 'optional',
      update: true,
      input: Port,
      filter: true,
      sort: true,
    }),
    internal_port_given: field(Type.Null(), {
      name: 'internal_port',
      create: 'optional',
      update: true,
      input: Port,
      show: 'never',
    }),
    internal_port: computed((row: { internal_port_range: string }) => single(row.internal_port_range)),
    internal_port_range: field(Type.String(), { create: 'optional', update: true, input: Port, column: true }),
    internal_port_id: field(Type.String(), {
      create: 'required',
      update: true,
      input: Uuid,
      filter: true,
      sort: true,
    }),
    internal_ip_address: field(Type.String(), {
      create: 'required',
      update: true,
      input: Type.String({ format: 'ipv4' }),
      column: true,
    }),
    protocol: field(Type.String(), {
      create: 'required',
      update: true,
      input: Type.String({ maxLength: 16 }),
      filter: true,
      sort: true,
    }),
    description: field(Type.String({ maxLength: 255 }), {
      create: 'optional',
      update: true,
      default: '',
      filter: true,
    }),
  },
});

/** A port forwarding as it is stored. */
export type PortForwarding = Row<typeof portForwarding>;
export const portForwardings = createStore(portForwarding);

/** What a floating IP's row carries of each, and what its copy in the child is brought to. */
export type Forwarding = Pick<
  PortForwarding,
  'id' | 'protocol' | 'external_port_range' | 'internal_port_range' | 'internal_port_id' | 'internal_ip_address'
>;

/** As a floating IP shows it. */
export function shownInFloatingIp(one: Forwarding) {
  const { id, protocol, internal_ip_address, internal_port_id } = one;
  const internal_port = single(one.internal_port_range);
  const external_port = single(one.external_port_range);
  return {
    id,
    protocol,
    internal_ip_address,
    internal_port_id,
    ...(internal_port === undefined ? {} : { internal_port }),
    ...(external_port === undefined ? {} : { external_port }),
  };
}

declare module '../../db/tables.ts' {
  interface Tables {
    port_forwardings: TableOf<typeof portForwarding>;
  }
}
