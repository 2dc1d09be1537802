/** A Tempest workspace for a target: the one configuration, filled in with what differs from cloud to cloud. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUESTS } from '../e2e/harness/testbed.ts';
import { everything, type Target } from './target.ts';

const PACKAGES = '/usr/lib/python3/dist-packages';
const STESTR = `[DEFAULT]
test_path=${PACKAGES}/tempest/test_discover
top_dir=${PACKAGES}
group_regex=([^\\.]*\\.)*
`;

/**
 * Makes the workspace anew.
 * @param extensions aliases of the network extensions whose tests are run, whatever the target announces
 * @param identityUrl where Tempest finds Keystone: the target itself, or what stands before it
 * @throws Error where the target lacks the images or the external network of the testbed's seed
 */
export async function makeWorkspace(
  folder: string,
  target: Target,
  extensions: readonly string[],
  identityUrl: string,
): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'etc'), { recursive: true });
  mkdirSync(join(folder, 'lock'));
  const values: Record<string, string> = {
    folder,
    identity_url: identityUrl,
    admin_password: target.entry.auth.password ?? '',
    image: await idOf(target, 'image', '/images', 'images', 'cirros'),
    image_alt: await idOf(target, 'image', '/images', 'images', 'cirros-alt'),
    external_network: await idOf(target, 'network', '/networks', 'networks', 'public'),
    network_extensions: extensions.join(','),
    guests: String(GUESTS),
  };
  const template = readFileSync(join(import.meta.dirname, 'tempest.conf'), 'utf8');
  const text = template.replaceAll(/^([^#\n]*)\$\{(\w+)\}/gm, (_, before: string, key: string) => {
    const value = values[key];
    if (value === undefined) throw new Error(`tempest.conf asks for ${key}, which nobody gives`);
    return before + value;
  });
  writeFileSync(join(folder, 'etc', 'tempest.conf'), text, { mode: 0o600 });
  writeFileSync(join(folder, '.stestr.conf'), STESTR);
}

async function idOf(target: Target, service: 'image' | 'network', path: string, collection: string, name: string) {
  const [found] = await everything(target.api, service, path, collection, { name });
  if (found === undefined) throw new Error(`${target.label} has no ${collection.slice(0, -1)} called ${name}`);
  return found.id;
}

/** The aliases of the network extensions that a cloud announces. */
export async function extensionsOf(target: Target): Promise<string[]> {
  const { body } = await target.api.call<{ extensions: { alias: string }[] }>({
    service: 'network',
    method: 'GET',
    path: '/extensions',
  });
  return body.extensions.map(({ alias }) => alias).sort();
}
