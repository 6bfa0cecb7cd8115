import { type Topic, TOPICS } from '@opsloop/contracts';
import type { Logger } from '@opsloop/platform';
import type { Database, Tx } from '@opsloop/postgres';
import { RELAY_GROUP, seenSql } from '../bus.sql.js';
import { type BusMessage, Consumer, type ConsumerObserver, type Stretch } from '../consumer.js';
import type { KafkaLink } from './kafka-link.js';
import { relayedSql, relayFromSql } from './kafka.sql.js';
import { requestsOf, toKafka } from './record.pure.js';

/** Messages that were put aside, for whoever watches Kafka; nobody of us consumes it. */
export const DEAD_TOPIC = 'dead';
export const RELAYED_TOPICS: readonly string[] = [...TOPICS, DEAD_TOPIC];

/** A send costs a few milliseconds whatever its size, so a transaction carries more than a handler's would. */
const BATCH = 256;

/**
 * Carries the log to Kafka: one more group of the log, whose handling is sending. A part has one relay at a time, its
 * cursor being locked until Kafka has acknowledged, so order by key is kept. A relay that dies in between, or whose
 * send is late, is followed by one that sends the same again: what comes first on Kafka is always in order.
 */
export class Relay {
  private readonly consumers: Consumer[];

  constructor(
    private readonly db: Database,
    private readonly link: KafkaLink,
    private readonly prefix: string,
    logger: Pick<Logger, 'warn' | 'error'>,
    observer: (topic: string) => ConsumerObserver,
  ) {
    this.consumers = RELAYED_TOPICS.map((topic) => {
      const subscription = {
        topic: topic as Topic,
        group: RELAY_GROUP,
        // A repeat is recognised by whoever consumes.
        durable: false,
        // Each send holds a connection of the pool while it waits for Kafka.
        workers: 1,
        batchSize: BATCH,
        // Its return wakes everything.
        away: () => !this.link.up,
        handle: (messages: BusMessage[], tx: Tx, stretch: Stretch) => this.carry(topic, messages, tx, stretch),
      };
      return new Consumer(subscription, db, logger, observer(topic));
    });
  }

  /** After the groups have their cursors. */
  async prepare(): Promise<void> {
    for (const topic of RELAYED_TOPICS) {
      await this.db.query(relayFromSql(topic));
      await this.db.query(seenSql(RELAY_GROUP, topic));
    }
  }

  /** Something was published. */
  wake(topics: readonly string[] = RELAYED_TOPICS): void {
    for (const consumer of this.consumers) if (topics.includes(consumer.subscription.topic)) consumer.wake();
  }

  async stop(): Promise<void> {
    await Promise.all(this.consumers.map((consumer) => consumer.stop()));
  }

  private async carry(topic: string, messages: BusMessage[], tx: Tx, { part, ids }: Stretch): Promise<void> {
    const name = this.prefix + topic;
    const [cursor] = await tx.query<{ position: string }>(relayedSql(topic, part));
    const numbers = [cursor?.position ?? '0', ...ids].map(BigInt);
    const partitions = this.link.partitionsOf(name);
    const records = messages.map((message, i) =>
      toKafka({ seq: numbers[i + 1]!, after: numbers[i]!, part, message }, partitions),
    );
    for (const request of requestsOf(records)) await this.link.send(name, request);
  }
}
