/**
 * What a handler throws when it refuses. A fault knows its status and words; how it looks on the wire is the
 * service's own affair (conventions.ts), so that Nova's, Neutron's and Keystone's forms live in one place.
 */

export interface FaultOptions {
  /** Neutron's exception name (`NetworkNotFound`), shown in its fault body; other services ignore it. */
  readonly type?: string;
  /** Overrides the fault's key in Nova's and Cinder's form (`overLimit`), which else follows from the status. */
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Neutron's `detail`. */
  readonly detail?: string;
  /** What Keystone shows in a few faults beside the usual. */
  readonly attributes?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** A refusal with an HTTP status, worded for the tenant who reads it. */
export class Fault extends Error {
  readonly status: number;
  readonly type: string | undefined;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly detail: string;
  readonly attributes: Readonly<Record<string, unknown>>;

  constructor(status: number, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.status = status;
    this.type = options.type;
    this.key = options.key;
    this.headers = options.headers ?? {};
    this.detail = options.detail ?? '';
    this.attributes = options.attributes ?? {};
  }
}

/** 400: the request itself is wrong. `type` is Neutron's exception name where it has one. */
export const badRequest = (message: string, type?: string): Fault => new Fault(400, message, options(type));
/** 401: no token, or one that says nothing any more. */
export const unauthorized = (message = 'The request you have made requires authentication.'): Fault =>
  new Fault(401, message);
/** 403: the token is good but the role or quota is not. */
export const forbidden = (message: string, type?: string): Fault => new Fault(403, message, options(type));
/** 404: there is no such thing, or it is another project's. */
export const notFound = (message: string, type?: string): Fault => new Fault(404, message, options(type));
/** 409: the thing's state, or another thing, stands against it. */
export const conflict = (message: string, type?: string): Fault => new Fault(409, message, options(type));
/** 413: larger than what is taken, or in Cinder's words over a quota. */
export const overLimit = (message: string): Fault => new Fault(413, message);
/** 501: OpenStack has it, this cloud does not. */
export const notImplemented = (message: string): Fault => new Fault(501, message);
/** 503: what is needed for the answer cannot be reached now. */
export const unavailable = (message: string): Fault => new Fault(503, message);
/** A fault while data is still coming: the connection ends with it, or the client would go on sending to nobody. */
export const unread = (status: number, message: string): Fault =>
  new Fault(status, message, { headers: { connection: 'close' } });

function options(type: string | undefined): FaultOptions {
  return type === undefined ? {} : { type };
}
