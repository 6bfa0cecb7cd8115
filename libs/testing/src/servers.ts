import { brokerUrl, onBuildServer } from './config.js';
import { kafkaJars } from './kafka-files.js';

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

export interface TestKafka {
  /** For `KAFKA_BROKERS`. */
  brokers: string;
}

/** The Kafka broker of this run: shared by all specs, so give topics and groups names of your own. */
export function testKafka(): Promise<TestKafka> {
  return askServer<TestKafka>('/kafka');
}

/**
 * For `describe.each`: one entry where there can be a broker, none where not. Says so in capitals then, since a suite
 * that did not run looks like one that passed; on a build server (`CI=true`) it is an error.
 */
export async function whereKafka(): Promise<readonly { name: 'Kafka' }[]> {
  try {
    await kafkaJars();
    return [{ name: 'Kafka' }];
  } catch (error) {
    const why = (error as Error).message;
    if (onBuildServer()) throw new Error(`the specs on Kafka cannot run: ${why}`, { cause: error });
    process.stderr.write(`\n*** KAFKA SPECS ARE NOT RUN: ${why} ***\n\n`);
    return [];
  }
}
