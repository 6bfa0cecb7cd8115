import { randomBytes } from 'node:crypto';
import { testKafka, whereKafka } from '@opsloop/testing';
import type { BusOptions } from './bus.service.js';
import type { KafkaConfig } from './kafka/kafka.config.js';

export interface SpecCarrier {
  name: 'PostgreSQL' | 'Kafka';
  /** A bus of its own: topics and groups that nobody else has. */
  options(): Promise<BusOptions>;
}

/** Topics and groups of one test on a broker that all share; few partitions, and a session as short as it may be. */
export function specKafka(brokers: string, timings: KafkaConfig['timings'] = {}): KafkaConfig {
  return {
    brokers: [brokers],
    clientId: 'spec',
    prefix: `t${randomBytes(6).toString('hex')}.`,
    partitions: 4,
    replication: 1,
    timings: { sessionMs: 1_500, ...timings },
  };
}

const postgres: SpecCarrier = { name: 'PostgreSQL', options: () => Promise.resolve({}) };
const kafka: SpecCarrier = {
  name: 'Kafka',
  options: async () => ({ kafka: specKafka((await testKafka()).brokers) }),
};

/** Whatever is promised of the bus holds on each of them. */
export const carriers: readonly SpecCarrier[] = [postgres, ...(await whereKafka()).map(() => kafka)];

/** How many consumers a spec kills. */
export const busKills = (): number => Number(process.env['OPSLOOP_BUS_KILLS'] ?? 4);
/** How often members join and leave a group in a spec. */
export const busTurns = (): number => Number(process.env['OPSLOOP_BUS_TURNS'] ?? 3);
