import { BlockList, isIP } from 'node:net';
import { OpsError } from '@opsloop/contracts';

/** Who may say which client certificate a request came with: everybody else could write the header himself. */
export function trustedProxies(cidrs: readonly string[]): (peer: string | undefined) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address, bits] = cidr.split('/', 2) as [string, string?];
    const family = isIP(address);
    const prefix = bits === undefined ? (family === 6 ? 128 : 32) : Number(bits);
    if (family === 0 || !Number.isInteger(prefix) || prefix < 0 || prefix > (family === 6 ? 128 : 32))
      throw new OpsError('configuration', `OPSLOOP_TRUSTED_PROXIES: "${cidr}" is no CIDR such as 10.0.0.0/8`);
    list.addSubnet(address, prefix, family === 6 ? 'ipv6' : 'ipv4');
  }
  return (peer) => {
    // A dual-stack socket shows IPv4 peers as ::ffff:10.0.0.1.
    const address = peer?.replace(/^::ffff:(?=\d+\.)/i, '');
    return address !== undefined && isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  };
}
