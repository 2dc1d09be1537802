/** The console proxy of a simulated cloud: takes a WebSocket for a token that was given out, and says back what it hears. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { World } from './world.ts';

const WEBSOCKET = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The page that a console's address opens. */
export const PAGE = '<html><body>noVNC</body></html>';

/** Answers the handshake. As Nova's, it wants the `Origin` to be its own. */
export function openConsole(world: World, request: IncomingMessage, socket: Duplex): void {
  socket.on('error', () => socket.destroy());
  const token = new URL(request.url ?? '/', world.root()).searchParams.get('token') ?? '';
  const isOwn = request.headers.origin === new URL(world.root()).origin;
  if (!world.state.consoles.has(token) || !isOwn) {
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n');
    return;
  }
  const key = String(request.headers['sec-websocket-key']);
  const accept = createHash('sha1').update(`${key}${WEBSOCKET}`).digest('base64');
  const protocol = request.headers['sec-websocket-protocol'];
  socket.write(
    [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${accept}`,
      ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
      '',
      '',
    ].join('\r\n'),
  );
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('end', () => socket.end());
}
