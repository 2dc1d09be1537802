/**
 * Holds what is served and what is said of the rest against a published description of an API (OpenAPI): each of its
 * operations must be one or the other.
 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Service } from '../http/service.ts';
import { ConfigError } from './config.ts';
import { describedServices, type Missing, notServed } from './docs.ts';

const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head'] as const;

/**
 * The operations of a description that are neither served nor spoken of.
 * @param file a YAML file of OpenAPI; its paths begin with the service's root
 */
function unsorted(service: Service, missing: readonly Missing[], file: string): string[] {
  const { paths } = parse(readFileSync(file, 'utf8')) as { paths: Record<string, Record<string, unknown>> };
  const { root } = service.convention;
  const served = new Set(service.operations.map(({ method, path }) => `${method} ${shape(path)}`));
  const spoken = missing.flatMap((one) => one.paths.map(pattern));
  return Object.entries(paths).flatMap(([path, item]) => {
    const below = shape(path.startsWith(root) ? path.slice(root.length) : path);
    return METHODS.filter((method) => method in item)
      .map((method) => ({ method: method.toUpperCase(), below }))
      .filter(({ method }) => !served.has(`${method} ${below}`))
      .filter(
        ({ method }) =>
          !spoken.some((one) =>
            one.method !== undefined ? one.method === method && one.path === below : isBelow(below, one.path),
          ),
      )
      .map(({ method }) => `${method} ${below}`);
  });
}

/** The same for a service by its name. @throws ConfigError for a name that is none */
export function unsortedIn(name: string, file: string): string[] {
  const service = describedServices().find(({ convention }) => convention.name === name);
  if (service === undefined) throw new ConfigError(`there is no service ${name}`);
  return unsorted(service, notServed()[name] ?? [], file);
}

/** A path with every parameter as `{}`, whatever it is called. */
const shape = (path: string): string => path.replace(/:[a-z_]+|\{[^}]*\}/g, '{}').replace(/\/$/, '');

/** What a reason speaks of: a method and its path, or a path with all below it. */
function pattern(text: string): { readonly method: string | undefined; readonly path: string } {
  const [, method, path = text] = /^([A-Z]+) (.*)$/.exec(text) ?? [];
  return { method, path: shape(path) };
}

const isBelow = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`);
