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

/** PATH of this process, for looking up binaries. */
export function searchPath(): string[] {
  return (process.env['PATH'] ?? '').split(process.platform === 'win32' ? ';' : ':').filter((dir) => dir !== '');
}
