/** The prefixes of an address group's copy in a child, brought to what they should be. */
import type { ChildContext } from '../../cascade/contract.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import { normalizedCidr } from '../address-range.ts';

export interface ChildAddressGroup {
  readonly id: string;
  readonly addresses: readonly string[];
  readonly description?: string;
}

/** Prefixes in one call: stock clouds take no body of more than 112 KiB. */
export const PREFIXES_PER_CALL = 2000;

/**
 * Reads the copy and sends what differs; twice: the second finds nothing that does.
 * @param path of the copy
 * @param wanted in their usual form, each once
 * @returns the copy as it was read
 */
export async function bringPrefixes(
  context: ChildContext,
  path: string,
  scope: CloudScope,
  wanted: readonly string[],
): Promise<ChildAddressGroup> {
  const call = { service: 'network', scope } as const;
  const { body } = await context.api.call<{ address_group: ChildAddressGroup }>({ ...call, method: 'GET', path });
  // Clouds differ in how they write an address; what is taken away is named as they do.
  const there = new Map(body.address_group.addresses.map((text) => [normalizedCidr(text), text]));
  const kept = new Set(wanted);
  const changes = [
    ['add', wanted.filter((prefix) => !there.has(prefix))],
    ['remove', [...there].filter(([prefix]) => !kept.has(prefix)).map(([, text]) => text)],
  ] as const;
  for (const [verb, prefixes] of changes) {
    for (let at = 0; at < prefixes.length; at += PREFIXES_PER_CALL) {
      const addresses = prefixes.slice(at, at + PREFIXES_PER_CALL);
      await context.api.call({ ...call, method: 'PUT', path: `${path}/${verb}_addresses`, body: { addresses } });
    }
  }
  return body.address_group;
}
