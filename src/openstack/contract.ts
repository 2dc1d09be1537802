/**
 * What the rest of Headwater may ask of a cloud it drives. One `CloudClient` is one account at one OpenStack cloud;
 * it knows authentication, the catalog, microversions, retries, time limits, bounded concurrency and a circuit
 * breaker, and nothing of what Headwater is for. A parent is driven by the very same client as any other cloud.
 */
import type { Readable } from 'node:stream';

/** The catalog types driven; each is found in the catalog under its official type or one of its old aliases. */
export type CloudService = 'identity' | 'compute' | 'network' | 'volume' | 'image' | 'load-balancer';

/** Whose token a call carries: the account's own project, or another project of the cloud (by its id there). */
export interface CloudScope {
  readonly projectId?: string;
}

export interface CloudCall {
  readonly service: CloudService;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path below the service's versioned root, e.g. `/servers/detail`, `/ports`, `/users`; begins with a slash. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  /** JSON body, or bytes to stream (then give `contentType`). */
  readonly body?: unknown;
  readonly stream?: Readable;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The microversion the caller was written for; lowered to the cloud's maximum where `atMost` is true. */
  readonly microversion?: string;
  readonly atMost?: boolean;
  readonly scope?: CloudScope;
  /** The parent's request id, sent as X-OpenStack-Request-ID (`req-<uuid>`). */
  readonly requestId?: string;
  readonly timeout_ms?: number;
  /** Statuses that are an answer and not an error (e.g. `[404]` on a DELETE). */
  readonly accept?: readonly number[];
}

export interface CloudAnswer<Body> {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/** Why a call got no usable answer. `down`: connection refused, timed out, 502-504, or the breaker is open. */
export type CloudFailure = 'down' | 'refused' | 'unauthorized' | 'protocol';

/**
 * A call's failure. `message` is for operators (may name the endpoint, never a secret); `tenantMessage` is what a
 * tenant may read: the cloud's own fault text, stripped of addresses, or a plain sentence.
 */
export declare class CloudErrorShape extends Error {
  readonly failure: CloudFailure;
  /** HTTP status, 0 where there was none. */
  readonly status: number;
  readonly tenantMessage: string;
  /** True where sending the very same call later may succeed (down, 429, 503, 409 of a busy resource is not). */
  readonly transient: boolean;
  /** True where the cloud may have carried the call out all the same (it was sent, no answer came). */
  readonly uncertain: boolean;
  readonly retryAfter_ms: number | undefined;
}

export interface CloudApi {
  readonly name: string;
  /** One call, one JSON answer. Throws CloudError for statuses >= 400 that are not in `accept`. */
  call<Body = unknown>(call: CloudCall): Promise<CloudAnswer<Body>>;
  /** The answer's body as a stream (image data); the caller must consume or destroy it. */
  download(call: CloudCall): Promise<CloudAnswer<Readable>>;
  /** All pages of a list, following `next` links or markers, item by item; `limit` per page defaults to 1000. */
  pages<Item>(call: CloudCall, collection: string): AsyncIterable<Item[]>;
  /** Highest microversion of the service at this cloud (`2.93`), or undefined where it has none. Cached. */
  maximumMicroversion(service: CloudService): Promise<string | undefined>;
  /** True where the catalog has the service. */
  offers(service: CloudService): Promise<boolean>;
  /** The account's own project, user and role names at the cloud. */
  account(): Promise<{ projectId: string; userId: string; domainId: string; roles: string[] }>;
  /** `closed`: all is well; `open`: calls fail at once; `half-open`: one call is let through to see. */
  readonly breaker: 'closed' | 'open' | 'half-open';
  /** Cheap unauthenticated look at the identity endpoint that closes an open breaker when it succeeds. */
  probe(): Promise<boolean>;
  /** Calls made since start, by `METHOD service /path-template` with ids replaced by `*`. */
  readonly counts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}
