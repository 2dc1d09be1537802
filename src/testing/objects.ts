/** One object of every kind that a path can name (object-kinds.ts), made by calls as a client makes them. */
import { format } from '../http/microversion.ts';
import type { Convention, Operation, Service } from '../http/service.ts';
import { kinds, type ObjectKind, type Objects } from './object-kinds.ts';
import type { TestParent } from './parent.ts';

export { KEY, type ObjectKind, type Objects, TAG } from './object-kinds.ts';

export function objectsOf(parent: TestParent, owner: Objects['owner'] = 'alice'): Objects {
  const made = new Map<string, Promise<string>>();
  const settled = new Map<string, string>();
  const objects: Objects = {
    parent,
    owner,
    async id(parameter, service) {
      const key = keyOf(parameter, service);
      const kind = kinds[key];
      if (kind === undefined) {
        throw new Error(`${key}: say in src/testing/object-kinds.ts how an object for this path parameter is made`);
      }
      const making = made.get(key) ?? Promise.resolve(kind.make(objects));
      made.set(key, making);
      const id = await making;
      settled.set(key, id);
      return id;
    },
    forget(parameter, service) {
      made.delete(keyOf(parameter, service));
    },
    forgetAll: () => made.clear(),
    known: () => settled,
    async ask(who, method, url, body, headers) {
      const answer = await parent.api.call(who === 'mine' ? owner : who, method, url, body, {
        ...latest(url),
        ...headers,
      });
      if (answer.status >= 300) throw new Error(`${method} ${url} as ${who}: ${answer.status} ${answer.text}`);
      const keys = Object.keys(answer.body ?? {});
      return keys.length === 1 ? answer.body[keys[0] as string] : answer.body;
    },
  };
  return objects;
}

/** What a parameter names, which services say differently. */
export function kindOf(parameter: string, service: string): ObjectKind | undefined {
  return kinds[keyOf(parameter, service)];
}

/** The parameters of a path, in their order. */
export const parametersOf = (path: string): string[] =>
  [...path.matchAll(/:([a-z_]+)/g)].map((match) => match[1] ?? '');

/** The operation's URL with ids in place of its parameters. */
export function urlOf(convention: Convention, path: string, ids: Readonly<Record<string, string>>): string {
  const filled = path.replace(/:([a-z_]+)/g, (_, name: string) => encodeURIComponent(ids[name] ?? ''));
  return `/${convention.name}${filled.startsWith('//') ? filled.slice(1) : convention.root + filled}`;
}

/** Headers that ask for the latest microversion at which the operation is. */
export function versionOf({ microversions: range }: Convention, operation?: Operation): Record<string, string> {
  if (range === undefined) return {};
  const minor = Math.min(operation?.until ?? range.maximum, range.maximum);
  return { 'openstack-api-version': `${range.type} ${format(range, minor)}` };
}

/** What tells an operation from all others: `compute POST /servers/:server_id/action reboot`, with its microversion where two share that. */
export function nameOf({ convention }: Service, { method, path, action, since }: Operation): string {
  return [convention.name, method, path, action, since === undefined ? undefined : `since .${since}`]
    .filter((part) => part !== undefined)
    .join(' ');
}

function keyOf(parameter: string, service: string | undefined): string {
  const own = `${service}.${parameter}`;
  return own in kinds ? own : parameter;
}

function latest(url: string): Record<string, string> {
  if (url.startsWith('/compute')) return { 'openstack-api-version': 'compute 2.96' };
  return url.startsWith('/volume') ? { 'openstack-api-version': 'volume 3.70' } : {};
}
