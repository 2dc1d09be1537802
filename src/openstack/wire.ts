/** Requests over pooled connections: bytes out, bytes in, and whether the cloud can have seen them. */
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { CloudEntry } from './clouds-yaml.ts';
import { CloudError, plainSentence } from './error.ts';

export interface WireRequest {
  readonly origin: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array | Readable | undefined;
  readonly timeout_ms: number;
}

export interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface WireStream {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

export interface Wire {
  /** Sends, and gives the whole answer whatever its status. Throws CloudError where there is none. */
  send(request: WireRequest): Promise<WireAnswer>;
  /** The same with the body as a stream, which the caller must consume or destroy. */
  open(request: WireRequest): Promise<WireStream>;
  close(): Promise<void>;
}

export interface WireOptions {
  readonly name: string;
  readonly entry: CloudEntry;
  readonly connect_timeout_ms: number;
  /** Largest body that `send` reads, in bytes; 64 MiB by default. */
  readonly bodyLength_max?: number;
}

/** Node's and undici's codes for "no connection was made", which leave no doubt that nothing was sent. */
const unsentCodes = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

const headersTimeoutCodes = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** Makes the connections to one cloud: a pool for each of its origins, opened on first use. */
export function createWire(options: WireOptions): Wire {
  const { name, entry } = options;
  const bodyLength_max = options.bodyLength_max ?? 64 * 1_024 * 1_024;
  const pools = new Map<string, Pool>();
  const pem = (path: string | undefined): Buffer | undefined => (path === undefined ? undefined : readFileSync(path));
  const tls = {
    rejectUnauthorized: entry.verify ?? true,
    ...(entry.cacert === undefined ? {} : { ca: pem(entry.cacert) }),
    ...(entry.cert === undefined ? {} : { cert: pem(entry.cert) }),
    ...(entry.key === undefined ? {} : { key: pem(entry.key) }),
  };

  const poolOf = (origin: string): Pool => {
    let pool = pools.get(origin);
    if (pool === undefined) {
      const timeout = options.connect_timeout_ms;
      // The client's limiter bounds the connections; a second bound here would only queue where no one sees it.
      pool = new Pool(origin, { connections: null, connectTimeout: timeout, connect: { ...tls, timeout } });
      pools.set(origin, pool);
    }
    return pool;
  };

  const broken = (request: WireRequest, sent: boolean, cause: Error & { code?: string }): CloudError => {
    const where = `${name}: ${request.method} ${request.origin}`;
    const unsent = !sent || (cause.code !== undefined && unsentCodes.has(cause.code));
    const timedOut = cause.code !== undefined && headersTimeoutCodes.has(cause.code);
    const message = unsent
      ? `${where} could not be reached (${reasonOf(cause)})`
      : `${where} broke off (${reasonOf(cause)})`;
    return new CloudError(message, {
      failure: 'down',
      stage: unsent ? 'not-sent' : timedOut ? 'time-out' : 'no-answer',
      tenantMessage: plainSentence.down,
      uncertain: !unsent && !isSafe(request.method),
      cause,
    });
  };

  const timedOut = (request: WireRequest, sent: boolean): CloudError =>
    new CloudError(`${name}: ${request.method} ${request.origin} gave no answer in ${request.timeout_ms} ms`, {
      failure: 'down',
      stage: 'time-out',
      tenantMessage: plainSentence.down,
      uncertain: sent && !isSafe(request.method),
    });

  const send = (request: WireRequest): Promise<WireAnswer> =>
    new Promise((resolve, reject) => {
      let sent = false;
      let status = 0;
      let headers: Readonly<Record<string, string>> = {};
      let length = 0;
      const chunks: Buffer[] = [];
      let overrun: CloudError | undefined;
      let running: Dispatcher.DispatchController | undefined;
      let timer: NodeJS.Timeout | undefined;
      const streaming = isStream(request.body);
      const giveUp = (error: CloudError): void => {
        overrun = error;
        clearTimeout(timer);
        running?.abort(error);
        reject(error);
      };
      // An upload may rightly take long: there undici's limits of silence stand instead of one for the whole.
      if (!streaming) timer = setTimeout(() => giveUp(timedOut(request, sent)), request.timeout_ms);
      poolOf(request.origin).dispatch(dispatchOptions(request, streaming ? request.timeout_ms : 0), {
        onRequestStart(controller) {
          if (overrun !== undefined) {
            controller.abort(overrun);
            return;
          }
          running = controller;
          sent = true;
        },
        onResponseStart(_controller, statusCode, received) {
          status = statusCode;
          headers = flat(received);
        },
        onResponseData(_controller, chunk) {
          length += chunk.length;
          if (length > bodyLength_max) giveUp(tooLong(request));
          else chunks.push(chunk);
        },
        onResponseEnd() {
          clearTimeout(timer);
          const [only] = chunks;
          const text = only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks, length);
          resolve({ status, headers, text: text.toString('utf8') });
        },
        onResponseError(_controller, error) {
          clearTimeout(timer);
          reject(overrun ?? broken(request, sent, error));
        },
      });
    });

  const tooLong = (request: WireRequest): CloudError =>
    new CloudError(`${name}: ${request.method} ${request.origin} answered with more than ${bodyLength_max} bytes`, {
      failure: 'protocol',
      stage: 'answer',
      tenantMessage: plainSentence.protocol,
      uncertain: !isSafe(request.method),
    });

  const open = async (request: WireRequest): Promise<WireStream> => {
    try {
      const answer = await poolOf(request.origin).request(dispatchOptions(request, request.timeout_ms));
      return { status: answer.statusCode, headers: flat(answer.headers), body: answer.body };
    } catch (error) {
      throw broken(request, true, error as Error);
    }
  };

  return {
    send,
    open,
    async close() {
      const open = [...pools.values()];
      pools.clear();
      await Promise.all(open.map((pool) => pool.destroy()));
    },
  };
}

/** Reads a stream to its end, at most `length_max` bytes of it (the rest is let go); for fault bodies. */
export async function readText(body: Readable, length_max: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= length_max) break;
    }
  } catch {
    // The status is known and counts; half a fault text is better than none.
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** True where sending the call again can change nothing. */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

function isStream(body: WireRequest['body']): body is Readable {
  return typeof body === 'object' && !(body instanceof Uint8Array);
}

function dispatchOptions(
  request: WireRequest,
  silence_ms: number,
): Dispatcher.DispatchOptions & { path: string; method: Dispatcher.HttpMethod } {
  return {
    path: request.path,
    method: request.method,
    headers: request.headers,
    body: request.body ?? null,
    headersTimeout: silence_ms,
    bodyTimeout: silence_ms,
  };
}

function flat(received: Record<string, string | string[] | undefined>): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const key in received) {
    const value = received[key];
    if (value !== undefined) headers[key] = typeof value === 'string' ? value : value.join(', ');
  }
  return headers;
}

function reasonOf(error: Error & { code?: string }): string {
  // Some of Node's connection errors are aggregates with a code and no message.
  return error.message === '' ? (error.code ?? error.name) : error.message;
}
