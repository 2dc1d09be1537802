/** What every simulated service shares: JSON rows, faults, the clock, and the stores of one cloud. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Image } from './image.ts';
import type { Flavor, Keypair, Server } from './server.ts';
import type { Port, Subnet } from './network-port.ts';
import type { Snapshot, Volume } from './volume.ts';

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type Row = { [key: string]: Json };

/** A refusal in the making; each service puts it into its own fault form. `type` is Neutron's exception name. */
export class SimFault extends Error {
  readonly status: number;
  readonly type: string;
  constructor(status: number, message: string, type = 'HTTPBadRequest') {
    super(message);
    this.status = status;
    this.type = type;
  }
}

export interface Project {
  readonly id: string;
  name: string;
  domain_id: string;
  description: string;
  enabled: boolean;
}

export interface User {
  readonly id: string;
  name: string;
  domain_id: string;
  password: string;
  enabled: boolean;
}

export interface Token {
  readonly id: string;
  readonly user: User;
  /** Undefined where the token is unscoped or scoped to a domain. */
  readonly project: Project | undefined;
  readonly domainId: string | undefined;
  readonly roles: readonly string[];
  readonly issuedAt_ms: number;
  readonly expiresAt_ms: number;
  readonly auditId: string;
  readonly methods: readonly string[];
}

/** How long things take. `boot_ms`: BUILD to ACTIVE; `action_ms`: any other work on a server; `volume_ms`: any on volumes. */
export interface SimTiming {
  boot_ms: number;
  action_ms: number;
  volume_ms: number;
}

/** What one compute host (there is one per zone) shows in the hypervisor list. */
export interface SimCapacity {
  vcpus: number;
  memory_mb: number;
  disk_gb: number;
}

/** What the cloud's networking has and lacks. */
export interface SimNetworking {
  /** Aliases of extensions that it does not have, and ones that it has beside the usual. */
  readonly without: readonly string[];
  readonly beside: readonly string[];
  /** Physical networks that its agents are wired to; undefined: they do not tell, and networks may lie on any. */
  readonly physicalNetworks: readonly string[] | undefined;
}

/** The in-memory stores; tests may read, change and delete anything in them "behind the parent's back". */
export interface SimState {
  readonly projects: Map<string, Project>;
  readonly users: Map<string, User>;
  readonly domains: Map<string, Row>;
  readonly roles: Map<string, string>;
  /** Keys `project/user/role` by id. */
  readonly assignments: Set<string>;
  readonly tokens: Map<string, Token>;
  readonly servers: Map<string, Server>;
  readonly flavors: Map<string, Flavor>;
  /** Keys `user/name`. */
  readonly keypairs: Map<string, Keypair>;
  readonly computeQuotas: Map<string, Record<string, number>>;
  /** What guests told of their passwords, encrypted, by server. */
  readonly passwords: Map<string, string>;
  /** Tokens of consoles that were given out. */
  readonly consoles: Set<string>;
  /** External events that it was told of, by server, the oldest first. */
  readonly events: Map<string, Row[]>;
  readonly computeServices: Map<string, Row>;
  readonly networks: Map<string, Row>;
  readonly subnets: Map<string, Subnet>;
  readonly ports: Map<string, Port>;
  readonly routers: Map<string, Row>;
  readonly floatingips: Map<string, Row>;
  readonly securityGroups: Map<string, Row>;
  readonly securityGroupRules: Map<string, Row>;
  readonly addressGroups: Map<string, Row>;
  readonly qosPolicies: Map<string, Row>;
  readonly trunks: Map<string, Row>;
  readonly networkQuotas: Map<string, Record<string, number>>;
  readonly volumes: Map<string, Volume>;
  readonly snapshots: Map<string, Snapshot>;
  readonly volumeTypes: Map<string, Row>;
  readonly volumeQuotas: Map<string, Record<string, number>>;
  readonly images: Map<string, Image>;
}

export interface World {
  readonly name: string;
  readonly region: string;
  readonly zones: readonly string[];
  readonly timing: SimTiming;
  readonly capacity: SimCapacity;
  /** Highest minor microversion of compute (2.x) and volume (3.x). */
  readonly maximum: { readonly compute: number; readonly volume: number };
  readonly networking: SimNetworking;
  readonly state: SimState;
  /** `http://host:port` of the cloud. */
  root(): string;
  /** Runs a step of an object's life after a while; an exception in it is a mistake of the simulator and is thrown. */
  later(delay_ms: number, step: () => void): void;
}

/** Fresh, empty stores. */
export function emptyState(): SimState {
  return {
    projects: new Map(),
    users: new Map(),
    domains: new Map(),
    roles: new Map(),
    assignments: new Set(),
    tokens: new Map(),
    servers: new Map(),
    flavors: new Map(),
    keypairs: new Map(),
    computeQuotas: new Map(),
    passwords: new Map(),
    consoles: new Set(),
    events: new Map(),
    computeServices: new Map(),
    networks: new Map(),
    subnets: new Map(),
    ports: new Map(),
    routers: new Map(),
    floatingips: new Map(),
    securityGroups: new Map(),
    securityGroupRules: new Map(),
    addressGroups: new Map(),
    qosPolicies: new Map(),
    trunks: new Map(),
    networkQuotas: new Map(),
    volumes: new Map(),
    snapshots: new Map(),
    volumeTypes: new Map(),
    volumeQuotas: new Map(),
    images: new Map(),
  };
}

/** A UUID with dashes. */
export const newId = (): string => randomUUID();
/** A UUID without dashes, as Keystone's ids are. */
export const newHexId = (): string => randomUUID().replaceAll('-', '');
/** `bytes` random bytes in URL-safe base 64. */
export const randomText = (bytes: number): string => randomBytes(bytes).toString('base64url');

/** `2026-11-22T13:05:18Z`: whole seconds, as Nova's `updated` and Neutron's timestamps are. */
export const seconds = (at_ms: number): string => `${new Date(at_ms).toISOString().slice(0, 19)}Z`;
/** `2026-11-22T13:05:18.000000`: whole seconds in Cinder's form. */
export const micros = (at_ms: number): string => `${new Date(at_ms).toISOString().slice(0, 19)}.000000`;
/** Now in milliseconds, cut to whole seconds: databases below OpenStack keep no fraction. */
export const nowInSeconds_ms = (): number => Math.floor(Date.now() / 1000) * 1000;

export const isRow = (value: Json | undefined): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const rowOf = (value: Json | undefined): Row => (isRow(value) ? value : {});
export const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '');
export const listOf = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
export const textsOf = (value: Json | undefined): string[] =>
  listOf(value).filter((one): one is string => typeof one === 'string');
export const isTrue = (value: Json | undefined): boolean =>
  value === true || value === 1 || /^(true|1|yes|on)$/i.test(textOf(value));

/** The whole object under `key` of a string map; other values are made text as `String` does. */
export function textMap(value: Json | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(rowOf(value)).map(([key, one]) => [key, String(one)]));
}
