/**
 * The relay of remote consoles: a tenant's browser speaks to the parent, and the parent to the child's console proxy.
 * Pages and scripts of the console are fetched from there; the WebSocket is passed through byte by byte, so that the
 * relay knows nothing of VNC, SPICE or serial lines.
 */
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Db } from '../../db/database.ts';
import { assetUrl, CONSOLE_PATH, socketUrl } from './address.ts';
import { createPlaces, type Places } from './places.ts';
import { findSession, findSessionByToken } from './session.ts';

const CONNECT_MS = 10_000;
const KEEP_ALIVE_MS = 60_000;
/** Consoles at a time in one process, each of two sockets, and of them one project's. */
const CONSOLES_MAX = 1000;
const PROJECT_CONSOLES_MAX = 100;
const ASSET_MAX_BYTES = 8 * 1024 * 1024;
const PATH = /^\/console\/([0-9a-f-]{36})\/[^?]*$/;
/** What of the handshake goes to the child; `Origin` and `Host` are made to fit it, and no cookie or token leaves here. */
const HANDSHAKE = ['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol'];
const ACCEPTANCE = ['sec-websocket-accept', 'sec-websocket-protocol'];

export interface ConsoleRelayOptions {
  readonly db: Db;
  readonly log: Logger;
}

/** Gives a server the routes below `/console`; what is open is cut when the server closes. */
export function attachConsoleRelay(server: FastifyInstance, { db, log }: ConsoleRelayOptions): void {
  const open = new Set<Duplex>();
  const places = createPlaces(CONSOLES_MAX, PROJECT_CONSOLES_MAX);
  server.get(`${CONSOLE_PATH}/:session/*`, (request, reply) => page(db, log, request, reply));
  server.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    // Who has gone without a word is noticed, on a console on which nothing is said as well.
    if (socket instanceof Socket) socket.setKeepAlive(true, KEEP_ALIVE_MS);
    relay({ db, log, open, places }, request, socket, head).catch((err: unknown) => {
      log.warn({ err }, 'a console could not be relayed');
      refuse(socket, 502, 'Bad Gateway');
    });
  });
  server.addHook('preClose', async () => {
    for (const socket of open) socket.destroy();
  });
}

/** Answers and ends the connection, whether its other end wants to end it or not. */
function refuse(socket: Duplex, status: number, reason: string): void {
  if (!socket.writable) return void socket.destroy();
  const answer = `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
  socket.end(answer, () => socket.destroy());
}

interface Relay extends ConsoleRelayOptions {
  readonly open: Set<Duplex>;
  readonly places: Places;
}

async function relay(
  { db, log, open, places }: Relay,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://parent');
  const id = PATH.exec(url.pathname)?.[1];
  if (id === undefined) return refuse(socket, 404, 'Not Found');
  if (request.headers.upgrade?.toLowerCase() !== 'websocket') return refuse(socket, 400, 'Bad Request');
  const session = await findSessionByToken(db.query, id, url.searchParams.get('token') ?? '');
  if (session === undefined) return refuse(socket, 403, 'Forbidden');
  const leave = socket.destroyed ? undefined : places.take(session.project_id);
  if (leave === undefined) return refuse(socket, 503, 'Service Unavailable');
  socket.once('close', leave);
  const target = socketUrl(session.child_url);
  const headers = Object.fromEntries(
    HANDSHAKE.flatMap((name) => {
      const value = request.headers[name];
      return typeof value === 'string' ? [[name, value]] : [];
    }),
  );
  const ask = (target.protocol === 'https:' ? requestHttps : requestHttp)(target, {
    headers: { ...headers, connection: 'Upgrade', upgrade: 'websocket', origin: target.origin },
    timeout: CONNECT_MS,
  });
  ask.on('timeout', () => ask.destroy(new Error('the console proxy does not answer')));
  ask.on('error', (err) => {
    log.warn({ err, session: id }, 'the console proxy of a child cannot be reached');
    refuse(socket, 502, 'Bad Gateway');
  });
  ask.on('response', (answer) => {
    answer.resume();
    log.warn({ status: answer.statusCode, session: id }, 'the console proxy of a child refuses a console');
    refuse(socket, 502, 'Bad Gateway');
  });
  ask.on('upgrade', (answer, upstream, first) => {
    const accepted = ACCEPTANCE.flatMap((name) => {
      const value = answer.headers[name];
      return typeof value === 'string' ? [`${name}: ${value}`] : [];
    });
    socket.write(
      ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: Upgrade', ...accepted, '', ''].join(
        '\r\n',
      ),
    );
    upstream.setKeepAlive(true, KEEP_ALIVE_MS);
    upstream.setTimeout(0);
    log.info({ session: id }, 'a console is connected');
    join(open, socket, upstream);
    if (first.length > 0) socket.write(first);
    if (head.length > 0) upstream.write(head);
  });
  socket.on('close', () => ask.destroy());
  ask.end();
}

/** Joins two sockets: either's end is the other's. */
function join(open: Set<Duplex>, one: Duplex, other: Duplex): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    open.add(from);
    from.on('error', () => from.destroy());
    from.on('close', () => {
      open.delete(from);
      to.destroy();
    });
    from.pipe(to);
  }
}

/** A page or script of the console, from the child's proxy. */
async function page(db: Db, log: Logger, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const { session: id = '', '*': path = '' } = request.params as Record<string, string>;
  const session = await findSession(db.query, id);
  const target = session === undefined ? undefined : assetUrl(session.child_url, path);
  if (target === undefined) return reply.code(404).send();
  try {
    const answer = await fetch(target, { redirect: 'error', signal: AbortSignal.timeout(CONNECT_MS) });
    const bytes = await bytesOf(answer);
    if (!answer.ok || bytes === undefined) return await reply.code(answer.ok ? 502 : 404).send();
    return await reply
      .header('content-type', answer.headers.get('content-type') ?? 'application/octet-stream')
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer')
      .send(bytes);
  } catch (err) {
    log.warn({ err, session: id }, 'the console proxy of a child cannot be reached');
    return reply.code(502).send();
  }
}

/** All of the answer, or undefined where it is more than any console needs. */
async function bytesOf(answer: Response): Promise<Buffer | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    size += part.length;
    if (size > ASSET_MAX_BYTES) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
