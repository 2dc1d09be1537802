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
  /** Sent as JSON under `contentType` (default application/json); a Uint8Array goes as the bytes it is. */
  readonly body?: unknown;
  /** Bytes to stream (give `contentType`). Never retried; its time limit is one of silence, not of the whole. */
  readonly stream?: Readable;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The microversion the caller was written for; lowered to the cloud's maximum where `atMost` is true. */
  readonly microversion?: string;
  readonly atMost?: boolean;
  readonly scope?: CloudScope;
  /** The parent's request id, sent as X-OpenStack-Request-ID (`req-<uuid>`). */
  readonly requestId?: string;
  /** Counted from when the call leaves the queue; the client's own by default. */
  readonly timeout_ms?: number;
  /** Statuses that are an answer and not an error (e.g. `[404]` on a DELETE). */
  readonly accept?: readonly number[];
}

export interface CloudAnswer<Body> {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

export { CloudError } from './error.ts';
export type { CloudErrorStage, CloudFailure } from './error.ts';

export interface CloudApi {
  readonly name: string;
  /** One call, one JSON answer. Throws CloudError for statuses >= 400 that are not in `accept`. */
  call<Body = unknown>(call: CloudCall): Promise<CloudAnswer<Body>>;
  /** The answer's body as a stream (image data); the caller must consume or destroy it. */
  download(call: CloudCall): Promise<CloudAnswer<Readable>>;
  /**
   * All pages of a list, following `next` links, a page at a time (one without items is left out); `limit` per page
   * defaults to 1000 (identity, which has no paging of its own, is sent none).
   */
  pages<Item>(call: CloudCall, collection: string): AsyncIterable<Item[]>;
  /** Highest microversion of the service at this cloud (`2.93`), or undefined where it has none. Cached. */
  maximumMicroversion(service: CloudService): Promise<string | undefined>;
  /** True where the catalog has the service. */
  offers(service: CloudService): Promise<boolean>;
  /**
   * The account's own project, user and role names at the cloud; `domainId` is the domain of that project, or the one
   * the account is scoped to, in which case `projectId` is empty.
   */
  account(): Promise<{ projectId: string; userId: string; domainId: string; roles: string[] }>;
  /** `closed`: all is well; `open`: calls fail at once; `half-open`: one call is let through to see. */
  readonly breaker: 'closed' | 'open' | 'half-open';
  /** Cheap unauthenticated look at the identity endpoint that closes an open breaker when it succeeds. */
  probe(): Promise<boolean>;
  /** Calls made since start, by `METHOD service /path-template` with ids replaced by `*`. */
  readonly counts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}
