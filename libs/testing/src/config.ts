import { defaultCacheDir } from '@opsloop/embedded';

/** Where the servers of this vitest run are asked for; set by the global setup and inherited by every fork. */
const BROKER = 'OPSLOOP_TEST_SERVERS';

export function brokerUrl(): string {
  const url = process.env[BROKER];
  if (url === undefined)
    throw new Error(`${BROKER} is not set: run specs through vitest with libs/testing's global setup`);
  return url;
}

export function setBrokerUrl(url: string): void {
  process.env[BROKER] = url;
}

/** Where the product keeps its downloads; the specs share them. */
export const cacheDir = (): string => defaultCacheDir(process.env);
