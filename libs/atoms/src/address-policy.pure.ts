import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { OpsError } from '@opsloop/contracts';

/**
 * Which addresses outgoing calls may reach. Whoever writes a flow or sends an event chooses URLs, so without this they
 * could reach whatever the worker can: cloud metadata (and with it credentials), databases, our own ports.
 */

/** Addresses that hand out credentials of the machine. Refused always, whatever an allow list says. */
const METADATA_V4 = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
];
const METADATA_V6 = ['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'];

/** Everything that is not the public internet (IANA special-purpose registries). */
const PRIVATE_V4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
const PRIVATE_V6 = [
  '::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/32',
  '2001:db8::/32',
  '2002::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];
/** Ranges whose last 32 bits are an IPv4 address: that one is judged. */
const CARRIES_V4 = ['::ffff:0:0/96', '64:ff9b::/96'];

export interface AllowEntry {
  text: string;
  list: BlockList;
  family: 'ipv4' | 'ipv6';
  /** Absent: every port. */
  port?: number;
}

export interface AddressPolicy {
  allow: readonly AllowEntry[];
  /** Loopback is allowed: everything on this machine belongs to the person who started the stack. */
  embedded: boolean;
  /** Ports of opsloop itself on this machine: never reachable from an atom. */
  ownPorts: ReadonlySet<number>;
}

const listOf = (cidrs: readonly string[], family: 'ipv4' | 'ipv6'): BlockList => {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address, bits] = cidr.split('/');
    if (bits === undefined) list.addAddress(address!, family);
    else list.addSubnet(address!, Number(bits), family);
  }
  return list;
};

const metadataV4 = listOf(METADATA_V4, 'ipv4');
const metadataV6 = listOf(METADATA_V6, 'ipv6');
const privateV4 = listOf(PRIVATE_V4, 'ipv4');
const privateV6 = listOf(PRIVATE_V6, 'ipv6');
const loopbackV4 = listOf(['127.0.0.0/8'], 'ipv4');
const carriesV4 = listOf(CARRIES_V4, 'ipv6');

/** Parses entries `10.0.0.0/8`, `10.1.2.3`, `10.0.0.0/8:8080`, `[fd00::/8]:443`. A wrong one is refused at start, never ignored. */
export function parseAllow(entries: readonly string[]): AllowEntry[] {
  return entries.map((entry) => {
    const text = entry.trim();
    const match = /^(?:\[(?<v6>[^\]]+)\]|(?<bare>[^[\]]+?))(?::(?<port>\d{1,5}))?$/.exec(
      isBareV6(text) ? `[${text}]` : text,
    );
    const cidr = match?.groups?.v6 ?? match?.groups?.bare;
    const port = match?.groups?.port;
    const [address = '', bits, ...rest] = (cidr ?? '').split('/');
    const version = isIP(address);
    const width = version === 6 ? 128 : 32;
    const length = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
    if (
      version === 0 ||
      rest.length > 0 ||
      length < 0 ||
      length > width ||
      (port !== undefined && Number(port) > 65_535)
    ) {
      throw new OpsError(
        'configuration',
        `OPSLOOP_HTTP_ALLOW holds "${entry}"; write CIDR or CIDR:port, for example 10.0.0.0/8 or 10.1.2.3:8080 or [fd00::/8]:443`,
      );
    }
    const family = version === 6 ? 'ipv6' : 'ipv4';
    const list = new BlockList();
    list.addSubnet(address, length, family);
    return { text, list, family, ...(port === undefined ? {} : { port: Number(port) }) };
  });
}

const isBareV6 = (text: string): boolean => !text.includes('[') && isIPv6(text.split('/')[0]!);

/** `undefined` = allowed; else why not. */
export function refusal(address: string, port: number, policy: AddressPolicy): string | undefined {
  // A zone (fe80::1%eth0) says over which link, not which address; with it no range would match.
  const bare = address.split('%', 1)[0]!;
  const judged = innerV4(bare) ?? bare;
  const family = isIPv4(judged) ? 'ipv4' : isIPv6(judged) ? 'ipv6' : undefined;
  if (family === undefined) return `${address} is no IP address`;
  if (family === 'ipv4' ? metadataV4.check(judged, 'ipv4') : metadataV6.check(judged, 'ipv6')) {
    return `${address} is a cloud metadata address, which hands out credentials; it is never allowed`;
  }
  const loopback =
    family === 'ipv4' ? loopbackV4.check(judged, 'ipv4') : judged === '::1' || /^(0+:){7}0*1$/.test(judged);
  if (loopback && policy.ownPorts.has(port))
    return `${address}:${port} is a port of opsloop itself; it is never allowed`;
  if (
    policy.allow.some(
      (e) => (e.port === undefined || e.port === port) && e.family === family && e.list.check(judged, family),
    )
  )
    return undefined;
  const isPrivate = family === 'ipv4' ? privateV4.check(judged, 'ipv4') : privateV6.check(judged, 'ipv6');
  if (!isPrivate) return undefined;
  if (policy.embedded && family === 'ipv4' && loopback) return undefined;
  return `${address} is a private or reserved address`;
}

/** The IPv4 address inside a mapped (`::ffff:a.b.c.d`) or translated (`64:ff9b::/96`) IPv6 address. */
function innerV4(address: string): string | undefined {
  if (!isIPv6(address) || !carriesV4.check(address, 'ipv6')) return undefined;
  const dotted = /(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  if (dotted !== null) return dotted[1];
  // The URL parser writes it as two groups of hexadecimal digits; `::` can only stand before them, or stand for zeros.
  const groups = expandV6(address)
    .slice(-2)
    .map((g) => Number.parseInt(g, 16));
  return groups.flatMap((g) => [g >> 8, g & 255]).join('.');
}

function expandV6(address: string): string[] {
  const [head = '', tail] = address.split('%', 1)[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  return [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
}
