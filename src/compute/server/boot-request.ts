/** A create's body as Nova reads it: zone and host, networks, counts. Nothing here asks the database. */
import { badRequest } from '../../http/fault.ts';
import type { NetworkRequest } from '../../network/server-networks.ts';
import type { InjectedFile } from './resource.ts';

/** `server` of a create, after its schema. */
export interface CreateBody {
  readonly name: string;
  readonly flavorRef: string | number;
  readonly imageRef?: string;
  readonly adminPass?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly networks?: 'none' | 'auto' | readonly NetworkBody[];
  readonly 'OS-DCF:diskConfig'?: string;
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly availability_zone?: string;
  readonly block_device_mapping?: readonly DeviceBody[];
  readonly block_device_mapping_v2?: readonly DeviceBody[];
  readonly config_drive?: boolean | string;
  readonly key_name?: string;
  readonly min_count?: number | string;
  readonly max_count?: number | string;
  readonly return_reservation_id?: boolean | string;
  readonly security_groups?: readonly { readonly name?: string }[];
  readonly user_data?: string;
  readonly personality?: readonly InjectedFile[];
  readonly description?: string | null;
  readonly tags?: readonly string[];
  readonly trusted_image_certificates?: readonly string[] | null;
  readonly host?: string;
  readonly hypervisor_hostname?: string;
  readonly hostname?: string;
}

interface NetworkBody {
  readonly uuid?: string;
  readonly port?: string | null;
  readonly fixed_ip?: string;
  readonly tag?: string;
}

export type DeviceBody = Readonly<Record<string, unknown>>;

/** The last part of what may be a URL. */
export const idFromReference = (reference: string | number): string => String(reference).split('/').at(-1) ?? '';

/** One request is one transaction, which must end within its time limit whatever the quota allows. */
const COUNT_MAX = 1000;

/** How many at least, and at most. @throws Fault 400 where they contradict each other */
export function counts(body: CreateBody): { minimum: number; maximum: number } {
  const minimum = Number(body.min_count ?? 1);
  const maximum = Number(body.max_count ?? minimum);
  if (minimum > maximum) throw badRequest('min_count must be <= max_count');
  if (minimum > COUNT_MAX) throw badRequest(`At most ${COUNT_MAX} servers can be created at once.`);
  return { minimum, maximum: Math.min(maximum, COUNT_MAX) };
}

/** `zone`, `zone:host`, `zone:host:node` or `zone::node`, the node being the same as the host here. */
export function parseZone(text: string | undefined): { zone: string | undefined; host: string | undefined } {
  if (text === undefined || text === '') return { zone: undefined, host: undefined };
  const parts = text.split(':');
  if (parts.length > 3) throw badRequest('Invalid input received: Unable to parse availability_zone');
  const host = parts[1] || parts[2];
  return { zone: parts[0] || undefined, host: host || undefined };
}

/** The networks asked for. @throws Fault 400 or 409 for entries that cannot be meant so */
export function networksOf(body: CreateBody, maximum: number): readonly NetworkRequest[] | 'auto' | 'none' | undefined {
  const { networks } = body;
  if (networks === undefined || typeof networks === 'string') return networks;
  // An empty list says no more than no list.
  if (networks.length === 0) return undefined;
  const seen = new Set<string>();
  return networks.map(({ uuid, port, fixed_ip, tag }) => {
    if (typeof port === 'string') {
      if (fixed_ip !== undefined) {
        throw badRequest(
          `Specified Fixed IP '${fixed_ip}' cannot be used with port '${port}': the two cannot be specified together.`,
        );
      }
      if (maximum > 1) {
        throw badRequest(
          'Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.',
        );
      }
      if (seen.has(port)) {
        throw badRequest(`Port ID '${port}' was specified twice: you cannot attach a port multiple times.`);
      }
      seen.add(port);
      return { port_id: port, tag };
    }
    if (uuid === undefined) throw badRequest("Bad network format: missing 'uuid'");
    if (!/^[0-9a-f-]{32,36}$/i.test(uuid)) {
      throw badRequest(`Bad networks format: network uuid is not in proper format (${uuid.slice(0, 64)})`);
    }
    if (fixed_ip !== undefined && maximum > 1) {
      throw badRequest('Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.');
    }
    return { network_id: uuid, fixed_ip, tag };
  });
}
