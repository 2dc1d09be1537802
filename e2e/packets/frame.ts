/** Reads Ethernet frames, as far as the tests look into them. */
import { formatAddress } from '../../src/network/address-range.ts';

export interface Frame {
  /** As seen from the endpoint. */
  readonly direction: 'in' | 'out';
  readonly from: string;
  readonly to: string;
  /** `other` is whatever is neither of the rest. */
  readonly protocol: 'arp request' | 'arp reply' | 'echo request' | 'echo reply' | 'tcp' | 'other';
  /** IP addresses; of ARP, the sender's and the one that is asked for. */
  readonly source?: string;
  readonly destination?: string;
  /** Of IP: TTL or hop limit. */
  readonly ttl?: number;
}

const [IPV4, ARP, IPV6] = [0x0800, 0x0806, 0x86dd];
const TCP = 6;
const ECHO: Readonly<Record<string, Frame['protocol']>> = {
  '1 8': 'echo request',
  '1 0': 'echo reply',
  '58 128': 'echo request',
  '58 129': 'echo reply',
};

export function readFrame({ direction, frame }: { direction: 'in' | 'out'; frame: string }): Frame {
  const bytes = Buffer.from(frame, 'hex');
  const head = { direction, to: macAt(bytes, 0), from: macAt(bytes, 6) };
  const body = bytes.subarray(14);
  switch (bytes.readUInt16BE(12)) {
    case ARP:
      return {
        ...head,
        protocol: body.readUInt16BE(6) === 1 ? 'arp request' : 'arp reply',
        source: addressAt(body, 14, 4),
        destination: addressAt(body, 24, 4),
      };
    case IPV4:
      return {
        ...head,
        protocol: protocolOf(body.readUInt8(9), body.subarray((body.readUInt8(0) & 15) * 4)),
        source: addressAt(body, 12, 4),
        destination: addressAt(body, 16, 4),
        ttl: body.readUInt8(8),
      };
    case IPV6:
      return {
        ...head,
        protocol: protocolOf(body.readUInt8(6), body.subarray(40)),
        source: addressAt(body, 8, 6),
        destination: addressAt(body, 24, 6),
        ttl: body.readUInt8(7),
      };
    default:
      return { ...head, protocol: 'other' };
  }
}

const protocolOf = (number: number, message: Buffer): Frame['protocol'] =>
  number === TCP ? 'tcp' : (ECHO[`${number} ${message[0]}`] ?? 'other');

const macAt = (bytes: Buffer, at: number): string =>
  [...bytes.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

function addressAt(bytes: Buffer, at: number, version: 4 | 6): string {
  const digits = bytes.subarray(at, at + (version === 4 ? 4 : 16)).toString('hex');
  return formatAddress(BigInt(`0x${digits}`), version);
}
