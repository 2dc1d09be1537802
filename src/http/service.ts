/**
 * A service is a convention (how this OpenStack service words and frames things) and a list of operations. The
 * pipeline (server.ts) is the same for every service; whatever differs between them stands in `Convention`.
 */
import type { Readable } from 'node:stream';
import type { TSchema } from 'typebox';
import type { Logger } from 'pino';
import type { Fault } from './fault.ts';
import type { Identity } from './identity.ts';
import type { MicroversionRange } from './microversion.ts';
import { BASE_RULES, type RuleDefault } from './policy.ts';

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** What is different from service to service, once. */
export interface Convention {
  /** `compute`: the folder, the metrics label and the mount (`/compute`). */
  readonly name: string;
  /** The catalog's type and name: `compute`/`nova`. */
  readonly catalogType: string;
  readonly catalogName: string;
  /** Path of the current API below the mount: `/v2.1`. */
  readonly root: string;
  /**
   * Nova's `/v2`: the same operations as at the lowest microversion, without any of the headers, for clients from before
   * there were microversions; attributes that nobody knows are passed over there instead of refused.
   */
  readonly legacyRoot?: string;
  /** The catalog's URL below the mount; `%(project_id)s` is filled in per token. */
  readonly catalogPath: string;
  readonly microversions?: MicroversionRange;
  /** Response header that carries the request id beside `x-openstack-request-id`. */
  readonly requestIdHeader?: string;
  /** Goes with every answer. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The body of a fault; a string is sent as HTML (Glance). */
  readonly fault: (fault: Fault, wantsJson: boolean) => unknown;
  /** Words for a body that is no JSON, and one that does not fit its schema. */
  readonly malformed: string;
  readonly invalid: (problem: SchemaProblem, part?: 'query' | 'body') => Fault;
  readonly paging: Paging;
  /** How the service writes a moment: microseconds or none, `Z` or none. */
  readonly timestamp: (iso: string) => string;
  /** Attributes that the service shows under a second name (`tenant_id` for `project_id`). */
  readonly aliases: Readonly<Record<string, string>>;
  /** 404 for a path that does not exist. */
  readonly unknownPath: () => Fault;
  /** Keystone's way: it tells everybody which paths and methods there are not. The others ask for a token first. */
  readonly tellsUnknownPaths?: true;
  /**
   * True where there is no path for a method that it does not have, and none with a slash at its end: Nova's and Cinder's
   * routers know only whole routes, so that a client which leaves an id empty is not shown a list. Others answer 405 and
   * pass over the slash.
   */
  readonly wholeRoutes?: true;
  /**
   * Holds an object against what a request demands of it before it may be changed.
   * @param shown what the object shows under an attribute's name
   * @throws Fault 412 where it is not so
   */
  readonly precondition?: (
    headers: Readonly<Record<string, string | undefined>>,
    shown: (name: string) => unknown,
  ) => void;
  /** Words of a refusal by policy. */
  readonly refusal: (rule: string) => Fault;
  /** What is sent is looked at before it is asked whether the caller may send it at all (Neutron, Nova, Cinder). */
  readonly checksBodyFirst?: true;
  /** Neutron takes text for numbers and truth values, and makes them what they are meant to be. */
  readonly convertsValues?: true;
  /** Neutron reads every body as JSON, whatever the client calls it. */
  readonly takesAnyContentType?: true;
  /** Keystone's way: no body is an empty one, and what it lacks is said. */
  readonly takesNoBodyAsEmpty?: true;
  /** Keystone's way: whatever is read by GET answers HEAD too, without a body. */
  readonly answersHead?: true;
  /** Neutron's way with what a rule forbids to read: a list comes empty, and what is named is not found. */
  readonly hidesUnreadable?: true;
}

export interface Paging {
  /** The largest page, and what a client gets that asked for none. */
  readonly maximum: number;
  /** `sort_key`/`sort_dir` pairs, or Cinder's and Glance's `sort=key:dir,key:dir` as well. */
  readonly sort: 'keys' | 'keys-and-list' | 'none';
  readonly links: 'nova' | 'neutron' | 'glance' | 'keystone';
  /** What happens to a query parameter nobody knows. */
  readonly unknownFilter: 'ignore' | 'reject';
  /** Neutron's `fields=`: which attributes to show. */
  readonly fields: boolean;
  readonly defaultSort: readonly (readonly [string, 'asc' | 'desc'])[];
}

/** One way in which a body did not fit. `path` is a JSON pointer; `message` says what was expected. */
export interface SchemaProblem {
  readonly path: string;
  readonly keyword: string;
  readonly message: string;
  readonly value: unknown;
  /** Names that are not known, for `additionalProperties`; the missing one, for `required`. */
  readonly property: string | undefined;
  /** Of a name that is none: what names are made of. */
  readonly nameReason?: string;
}

/** All that a handler may know of where its call came from. */
export interface RequestContext {
  readonly requestId: string;
  readonly identity: Identity;
  /** Minor number of the microversion; 0 where the service has none. */
  readonly version: number;
  /** Public URL of the service's current API, without a slash at the end: `http://host:8080/compute/v2.1`. */
  readonly baseUrl: string;
  /** Public URL of the whole parent. */
  readonly publicUrl: string;
  readonly log: Logger;
  /** May this identity do what the rule names, to this target? Defaults to the identity's own project. */
  allowed(rule: string, target?: Readonly<Record<string, unknown>>): boolean;
  /** The same, as a 403 in the service's words. */
  enforce(rule: string, target?: Readonly<Record<string, unknown>>): void;
  /** Whether what the rule allows depends on this attribute of what is acted on (`user_id`). */
  speaksOf(rule: string, attribute: string): boolean;
}

export type Query = Readonly<Record<string, string | readonly string[]>>;

export interface Call<Body = unknown> {
  readonly context: RequestContext;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  /** Checked against the operation's schema; for an action, what stands under the action's name. */
  readonly body: Body;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The raw body, where the operation takes one (`stream: true`). */
  readonly stream: Readable;
}

/** An answer that is more than a body with the operation's usual status. */
export class Reply {
  constructor(
    readonly status: number,
    readonly body?: unknown,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {}
}

/** A body that is JSON already, as bytes: joined once, since long strings cost several times as much to put together. */
export class JsonBytes {
  readonly bytes: Buffer;
  constructor(parts: readonly (Buffer | string)[]) {
    this.bytes = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  }
}

/** A named rule and what it says unless the operator overrides it, in oslo.policy's language. */
export interface PolicyRule {
  readonly name: string;
  readonly check: string;
  readonly description?: string;
}

/** A body's schema: one for all, or the one that holds at a microversion. */
export type BodySchema = TSchema | ((version: number) => TSchema);

export interface Operation<Body = unknown> {
  readonly method: Method;
  /** Below the service's root, parameters as `:server_id`. A path outside of it begins with the mount-relative `//`. */
  readonly path: string;
  /** For `POST .../action`: the key of the body that chooses this operation. */
  readonly action?: string;
  /** `none` takes calls without a token (discovery, token issue). */
  readonly policy: PolicyRule | 'none';
  /** What those get whom the policy refuses, where that is no 403; throws, or gives the answer's body. */
  readonly refused?: (call: Call<unknown>) => unknown;
  /**
   * What is acted on, for rules that speak of more than the caller's own project (`%(target.user.id)s`). Asked before
   * the rule is, and so before the body has been checked.
   */
  readonly target?: (call: Call<unknown>) => Promise<Readonly<Record<string, unknown>>>;
  readonly since?: number;
  readonly until?: number;
  /** Makes the body what is then checked. Throws a Fault for what cannot be that. */
  readonly convert?: (body: unknown) => unknown;
  readonly body?: BodySchema;
  /** Takes any content as a stream instead of JSON. */
  readonly stream?: boolean;
  readonly query?: BodySchema;
  readonly status: number;
  readonly summary: string;
  readonly handle: (call: Call<Body>) => Promise<unknown>;
}

/**
 * Declares an operation with the type of its body; the list of a service's operations forgets that type again,
 * since the pipeline has checked the body against the schema before the handler sees it.
 */
export function operation<Body = undefined>(definition: Operation<Body>): Operation {
  return definition as Operation;
}

export interface Service {
  readonly convention: Convention;
  /** Its JSON Home document with `prefix` before each path, for who asks its version pages for that. */
  readonly home?: (prefix: string) => unknown;
  readonly operations: readonly Operation[];
  /** Rules beside those of the operations: of single fields (`resource.fieldRules`), or enforced inside a handler. */
  readonly rules?: readonly PolicyRule[];
}

/** Every rule that a service's operations and fields name. */
export function rulesOf(services: readonly Service[]): RuleDefault[] {
  const rules = new Map<string, RuleDefault>(BASE_RULES.map((rule) => [rule.name, rule]));
  for (const service of services) {
    for (const { policy } of service.operations) if (policy !== 'none') rules.set(policy.name, policy);
    for (const rule of service.rules ?? []) rules.set(rule.name, rule);
  }
  return [...rules.values()];
}
