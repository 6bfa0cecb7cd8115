import { createRequire } from 'node:module';
import type { Logger } from '@opsloop/platform';
import type { Kafka, KafkaConfig as ClientConfig, SASLOptions } from 'kafkajs';
import type { KafkaConfig } from './kafka.config.js';

/** A broker that is there accepts within milliseconds, across regions within 300. */
const CONNECT_MS = 3_000;
/** Above the longest wait that we ask a broker for (a join: as long as the slowest member takes to finish its batch). */
const REQUEST_MS = 10_000;
/** We make clients anew ourselves; inside them a few tries bridge a change of leader, which takes a second or two. */
const RETRY = { retries: 4, initialRetryTime: 150, maxRetryTime: 1_000 };

const require = createRequire(import.meta.url);

/** A client of Kafka with our settings and our log. What it reports about itself is detail: its users say what it means. */
export function kafkaClient(config: KafkaConfig, logger: Pick<Logger, 'debug'>): Kafka {
  tameTimers();
  // Loaded here: its 140 files are for those who have a Kafka.
  const kafkajs = require('kafkajs') as typeof import('kafkajs');
  const { brokers, clientId, tls, sasl } = config;
  const options: ClientConfig = {
    brokers,
    clientId,
    connectionTimeout: CONNECT_MS,
    authenticationTimeout: CONNECT_MS,
    requestTimeout: REQUEST_MS,
    enforceRequestTimeout: true,
    retry: RETRY,
    logLevel: kafkajs.logLevel.WARN,
    logCreator:
      () =>
      ({ namespace, log: { message, error } }) => {
        logger.debug(`kafka: ${message}`, { namespace, cause: error as unknown });
      },
    ...(tls === undefined ? {} : { ssl: tls }),
    ...(sasl === undefined ? {} : { sasl: sasl as SASLOptions }),
  };
  return new kafkajs.Kafka(options);
}

interface RequestQueue {
  pending: unknown[];
  scheduleCheckPendingRequests(this: RequestQueue): void;
}

let tamed = false;

/**
 * kafkajs 2.2.4 asks for a timer of a negative time whenever nothing is pending (`throttledUntil` is -1). Node 24 warns
 * and makes it 1 ms, and each such timer asks for the next one: a busy loop per connection. With nothing pending there
 * is nothing to check, and whatever is queued later schedules its own check.
 */
function tameTimers(): void {
  if (tamed) return;
  tamed = true;
  const queue = require('kafkajs/src/network/requestQueue') as { prototype: RequestQueue };
  const schedule = queue.prototype.scheduleCheckPendingRequests;
  queue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue): void {
    if (this.pending.length > 0) schedule.call(this);
  };
}
