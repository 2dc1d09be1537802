/** DNS names of ports, networks and floating IPs, as Neutron checks and shows them. Pure; no database. */
import { invalidAttribute } from '../network-fault.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const dnsExtensions: readonly Extension[] = [
  {
    alias: 'dns-domain-ports',
    name: 'dns_domain for ports',
    description: 'Ports have a DNS domain of their own.',
    updated: '2017-04-24T10:00:00-00:00',
  },
  {
    alias: 'dns-integration',
    name: 'DNS Integration',
    description: 'Names of ports, networks and floating IPs.',
    updated: '2015-08-15T18:00:00-00:00',
  },
];

/** The domain that Neutron gives where an operator says none. */
const DOMAIN = 'openstacklocal.';
const NAME_MAX_LENGTH = 255;

/**
 * A name as it is kept: lower case.
 * @param given null stands for none
 * @throws Fault 400 for what is no name, or a full one outside of the cloud's domain
 */
export function dnsNameOf(given: string | null | undefined): string {
  const name = (given ?? '').toLowerCase();
  if (name === '') return '';
  refuseWrong('dns_name', name);
  if (!name.endsWith('.') || (name.endsWith(`.${DOMAIN}`) && name.length > DOMAIN.length + 1)) return name;
  throw invalidAttribute(
    'dns_name',
    `The dns_name passed is a FQDN. Its higher level labels must be equal to the dns_domain option in neutron.conf, that has been set to '${DOMAIN}'. It must also include one or more valid DNS labels to the left of '${DOMAIN}'.`,
  );
}

/** @throws Fault 400 for what is no domain: it is full, and ends in a dot */
export function dnsDomainOf(given: string | null | undefined): string {
  const domain = given ?? '';
  if (domain === '') return '';
  refuseWrong('dns_domain', domain);
  if (!domain.endsWith('.')) throw invalidAttribute('dns_domain', `'${domain}' is not a FQDN.`);
  return domain;
}

function refuseWrong(attribute: string, text: string): void {
  const trimmed = text.endsWith('.') ? text.slice(0, -1) : text;
  const reason = reasonAgainst(trimmed);
  if (reason === undefined) return;
  throw invalidAttribute(attribute, `'${text}' not a valid PQDN or FQDN. Reason: ${reason}.`);
}

function reasonAgainst(trimmed: string): string | undefined {
  if (trimmed.length > NAME_MAX_LENGTH) return `'${trimmed}' exceeds the ${NAME_MAX_LENGTH} character FQDN limit`;
  const labels = trimmed.split('.');
  for (const label of labels) {
    if (label === '') return 'Encountered an empty component';
    if (label.startsWith('-') || label.endsWith('-')) return `Name '${label}' must not start or end with a hyphen`;
    if (!/^[a-z0-9-]{1,63}$/i.test(label)) {
      return `Name '${label}' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen`;
    }
  }
  const last = labels.at(-1) ?? '';
  return labels.length > 1 && /^\d+$/.test(last) ? `TLD '${last}' must not be all numeric` : undefined;
}

/** `dns_assignment` of a port: for each address its name, by default made of the address. */
export function assignmentsOf(port: {
  readonly dns_name: string;
  readonly fixed_ips: readonly { readonly ip_address: string }[];
}): { readonly ip_address: string; readonly hostname: string; readonly fqdn: string }[] {
  return port.fixed_ips.map(({ ip_address }) => {
    const hostname = port.dns_name === '' ? `host-${ip_address.replaceAll(/[.:]/g, '-')}` : port.dns_name;
    return { ip_address, hostname, fqdn: hostname.endsWith('.') ? hostname : `${hostname}.${DOMAIN}` };
  });
}
