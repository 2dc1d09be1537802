/**
 * Addresses of consoles: what a child gives, and what a tenant gets instead. A child's is either a page of its console
 * proxy that opens a WebSocket (noVNC, SPICE: `http://.../vnc_auto.html?path=%3Ftoken%3D...`), or the WebSocket itself
 * (serial: `ws://.../?token=...`).
 */

export const CONSOLE_PATH = '/console';

/** The tenant's address of a session. */
export function tenantUrl(publicUrl: string, childUrl: string, { id, token }: { id: string; token: string }): string {
  const child = new URL(childUrl);
  const root = `${CONSOLE_PATH}/${id}/`;
  const socket = `${root}?token=${token}`;
  if (child.protocol.startsWith('ws')) return `${publicUrl.replace(/^http/, 'ws')}${socket}`;
  // The page reads `path` as what follows the host and a slash.
  return `${publicUrl}${root}${child.pathname.replace(/^\/+/, '')}?path=${encodeURIComponent(socket.slice(1))}`;
}

/** The URL of the WebSocket behind a child's address; http and https, as the request that becomes one is sent. */
export function socketUrl(childUrl: string): URL {
  const child = new URL(childUrl);
  const protocol = child.protocol === 'https:' || child.protocol === 'wss:' ? 'https:' : 'http:';
  const path = child.searchParams.get('path');
  if (path !== null) return new URL(`${protocol}//${child.host}/${path.replace(/^\/+/, '')}`);
  if (child.protocol.startsWith('ws')) return new URL(`${protocol}//${child.host}${child.pathname}${child.search}`);
  return new URL(`${protocol}//${child.host}/websockify?token=${child.searchParams.get('token') ?? ''}`);
}

/**
 * The URL of something that a console's page needs (a script, an image), beside the page at the child.
 * @returns undefined where the child's address is no page, or the path leads out of where its pages lie
 */
export function assetUrl(childUrl: string, path: string): URL | undefined {
  const child = new URL(childUrl);
  if (!/^https?:$/.test(child.protocol) || !/^[\w./-]{1,255}$/.test(path) || path.includes('..')) return undefined;
  return new URL(`/${path.replace(/^\/+/, '')}`, child.origin);
}
