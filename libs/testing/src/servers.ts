import { brokerUrl } from './config.js';

/** Asks the vitest process for a server, which is started at the first request. */
export async function askServer<T>(path: string): Promise<T> {
  const response = await fetch(brokerUrl() + path);
  const body = (await response.json()) as T & { error?: string };
  if (!response.ok) throw new Error(body.error ?? `test server ${path}: ${response.status}`);
  return body;
}

export interface TestTemporal {
  address: string;
  namespace: string;
  uiUrl?: string;
}

/** The Temporal dev server of this run: shared by all specs, so give workflows ids and queues of your own. */
export function testTemporal(): Promise<TestTemporal> {
  return askServer<TestTemporal>('/temporal');
}
