import type { Topic } from '@opsloop/contracts';
import type { Logger, Metrics } from '@opsloop/platform';
import type { Database } from '@opsloop/postgres';
import { RELAY_GROUP } from '../bus.sql.js';
import type { Consumer, ConsumerObserver } from '../consumer.js';
import { Inbox } from './inbox.js';
import { kafkaClient } from './kafka-client.js';
import { KafkaConsumer } from './kafka-consumer.js';
import { KafkaLink } from './kafka-link.js';
import { KAFKA_TIMINGS, type KafkaConfig, type KafkaTimings } from './kafka.config.js';
import { behindSql } from './kafka.sql.js';
import { Relay, RELAYED_TOPICS } from './relay.js';

/** Within the time that a process is given to end: a batch in hand takes less than a second, a hanging one is left. */
const STOP_MS = 10_000;

interface Standstill {
  mark: string;
  since: number;
  rebuiltAt: number;
}

export interface CarrierOptions {
  config: KafkaConfig;
  db: Database;
  logger: Logger;
  metrics: Metrics;
  observer: (topic: string, group: string) => ConsumerObserver;
  /** Consumers of the log itself, by which a group gets what Kafka has lost. */
  fromLog: readonly Consumer[];
}

/**
 * The bus over Kafka. The log in PostgreSQL stays the truth: publishing writes it within the transaction, a relay
 * carries it to Kafka, and where a group stands is kept beside the effects of its handlers. So Kafka may repeat, delay
 * and even lose messages, and the carrier may be changed from one start to the next.
 */
export class KafkaCarrier {
  private readonly timings: KafkaTimings;
  private readonly link: KafkaLink;
  private readonly relay: Relay;
  private readonly consumers: KafkaConsumer[];
  private readonly standstills = new Map<string, Standstill>();
  private begun = false;

  constructor(private readonly options: CarrierOptions) {
    const { config, db, logger, metrics, observer, fromLog } = options;
    this.timings = { ...KAFKA_TIMINGS, ...config.timings };
    const kafka = kafkaClient(config, logger);
    const topics = RELAYED_TOPICS.map((topic) => config.prefix + topic);
    this.link = new KafkaLink(kafka, config, this.timings, topics, logger, () => this.onConnected());
    this.relay = new Relay(db, this.link, config.prefix, logger, (topic) => observer(topic, RELAY_GROUP));
    const rebuilt = metrics.counter('opsloop_kafka_rebuilt_total', 'Kafka consumers made anew', ['topic', 'group']);
    const repaired = metrics.counter('opsloop_kafka_repaired_total', 'Losses of Kafka made good from the log', [
      'topic',
      'group',
    ]);
    this.consumers = fromLog.map((log) => {
      const { subscription } = log;
      const labels = { topic: subscription.topic, group: subscription.group };
      const inbox = new Inbox(subscription, db, logger, observer(labels.topic, labels.group), () => {
        repaired.inc(labels);
        log.wake();
      });
      const { prefix } = config;
      return new KafkaConsumer({
        kafka,
        prefix,
        subscription,
        inbox,
        timings: this.timings,
        logger,
        rebuilt: () => rebuilt.inc(labels),
      });
    });
  }

  /** Does not wait for Kafka: what is published meanwhile waits in the log. */
  async start(): Promise<void> {
    await this.relay.prepare();
    this.link.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.consumers.map((consumer) => consumer.stop(STOP_MS)));
    await this.relay.stop();
    await this.link.stop();
  }

  /** Messages of these topics are in the log. */
  published(topics?: readonly string[]): void {
    this.relay.wake(topics);
  }

  /** Throws the reason why this process should not be relied on. */
  check(): void {
    const away = this.link.trouble();
    if (away !== undefined && (away.sinceMs > this.timings.awayMs || !this.begun))
      throw new Error(`Kafka cannot be reached: ${away.why}`);
    for (const consumer of this.consumers) {
      const { topic, group } = consumer.subscription;
      const trouble = consumer.trouble();
      if (trouble !== undefined) throw new Error(`${group} does not consume ${topic}: ${trouble.why}`);
    }
    for (const [key, { since }] of this.standstills) {
      const forMs = Date.now() - since;
      if (forMs > this.timings.stalledMs) throw new Error(`${key} has not moved for ${Math.round(forMs / 1000)} s`);
    }
  }

  /**
   * Finds groups that do not move though there is something for them on Kafka: their consumers are made anew, and when
   * that does not help, what they wait for is taken from the log.
   */
  async watch(): Promise<void> {
    const groups = this.consumers.map((c) => c.subscription.group);
    const topics = this.consumers.map((c) => c.subscription.topic);
    const behind = await this.options.db.query<{ group: string; topic: Topic; part: number; mark: string }>(
      behindSql(groups, topics),
    );
    const now = Date.now();
    const seen = new Set<string>();
    for (const { group, topic, part, mark } of behind) {
      const key = `${group} on ${topic}/${part}`;
      seen.add(key);
      const known = this.standstills.get(key);
      if (known?.mark !== mark) this.standstills.set(key, { mark, since: now, rebuiltAt: now });
      else if (now - known.rebuiltAt > this.timings.stalledMs) {
        known.rebuiltAt = now;
        this.unblock(group, topic, now - known.since > 2 * this.timings.stalledMs);
      }
    }
    for (const key of this.standstills.keys()) if (!seen.has(key)) this.standstills.delete(key);
  }

  private onConnected(): void {
    // The topics exist from here on, which a consumer needs before it joins.
    if (!this.begun) for (const consumer of this.consumers) consumer.start();
    this.begun = true;
    this.relay.wake();
  }

  private unblock(group: string, topic: Topic, again: boolean): void {
    const why = `no progress for ${this.timings.stalledMs} ms`;
    this.consumers.find((c) => c.subscription.group === group && c.subscription.topic === topic)?.rebuild(why);
    if (!again) return;
    this.options.logger.warn('messages do not arrive from Kafka; they are taken from the log', { topic, group });
    this.options.fromLog.find((c) => c.subscription.group === group && c.subscription.topic === topic)?.wake();
  }
}
