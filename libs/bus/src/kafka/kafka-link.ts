import { setTimeout as delay } from 'node:timers/promises';
import { OpsError } from '@opsloop/contracts';
import type { Logger } from '@opsloop/platform';
import type { Kafka, Message, Producer } from 'kafkajs';
import type { KafkaConfig, KafkaTimings } from './kafka.config.js';

/** Between tries to reach Kafka: its return is noticed within a second. */
const AGAIN_MS = 1_000;
/** A deaf broker must not hold up our own end. */
const FAREWELL_MS = 3_000;

interface Connected {
  producer: Producer;
  /** Partitions by topic, as they are in Kafka. */
  partitions: Map<string, number>;
}

/**
 * Our producer, kept alive. Makes the topics, sends, and is made anew after every send whose outcome is unknown:
 * kafkajs then steps the sequence of its idempotent producer back, and the broker would take the next, different
 * messages for repeats and drop them.
 */
export class KafkaLink {
  private connected: Connected | undefined;
  private awaySince: number | undefined = Date.now();
  private lastError = 'not connected yet';
  private readonly stopped = new AbortController();
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly kafka: Kafka,
    private readonly config: KafkaConfig,
    private readonly timings: KafkaTimings,
    private readonly topics: readonly string[],
    private readonly logger: Pick<Logger, 'info' | 'warn'>,
    /** Kafka can be reached, for the first time or again. */
    private readonly onConnected: () => void,
  ) {}

  start(): void {
    this.loop = this.reconnect();
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    await this.loop;
    await farewell(this.connected?.producer);
    this.connected = undefined;
  }

  get up(): boolean {
    return this.connected !== undefined;
  }

  /** Since when, and why, Kafka cannot be reached; undefined while it can. */
  trouble(): { sinceMs: number; why: string } | undefined {
    return this.awaySince === undefined ? undefined : { sinceMs: Date.now() - this.awaySince, why: this.lastError };
  }

  partitionsOf(topic: string): number {
    return this.connected?.partitions.get(topic) ?? this.config.partitions;
  }

  /** Resolves when all replicas that count have the messages; `unavailable` when that is not known in time. */
  async send(topic: string, messages: Message[]): Promise<void> {
    const link = this.connected;
    if (link === undefined) throw new OpsError('unavailable', `Kafka cannot be reached: ${this.lastError}`);
    const late = new AbortController();
    try {
      await Promise.race([
        link.producer.sendBatch({ acks: -1, timeout: this.timings.sendMs, topicMessages: [{ topic, messages }] }),
        delay(this.timings.sendMs, undefined, { signal: late.signal }).then(() => {
          throw new Error(`no acknowledgement within ${this.timings.sendMs} ms`);
        }),
      ]);
    } catch (error) {
      this.lost(link, error);
      throw new OpsError('unavailable', `Kafka took no messages: ${(error as Error).message}`, { cause: error });
    } finally {
      late.abort();
    }
  }

  private lost(link: Connected, error: unknown): void {
    // Sends of other parts fail with it; one of them is enough to start over.
    if (this.connected !== link) return;
    this.connected = undefined;
    this.awaySince = Date.now();
    this.lastError = (error as Error).message;
    this.logger.warn('Kafka took no messages; they wait in the log', { cause: this.lastError });
    this.loop = farewell(link.producer).then(() => this.reconnect());
  }

  private async reconnect(): Promise<void> {
    let said = '';
    while (!this.stopped.signal.aborted) {
      try {
        this.connected = await this.connect();
        this.awaySince = undefined;
        this.logger.info('Kafka takes messages', { brokers: this.config.brokers.join() });
        this.onConnected();
        return;
      } catch (error) {
        this.lastError = (error as Error).message;
        if (this.lastError !== said) this.logger.warn('Kafka cannot be reached', { cause: (said = this.lastError) });
        await delay(AGAIN_MS, undefined, { signal: this.stopped.signal }).catch(() => undefined);
      }
    }
  }

  private async connect(): Promise<Connected> {
    const partitions = await this.makeTopics();
    const producer = this.kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      retry: { retries: 3 },
    });
    try {
      await producer.connect();
    } catch (error) {
      await farewell(producer);
      throw error;
    }
    return { producer, partitions };
  }

  /** Topics that exist are taken as they are, so that an administrator may make them with other settings. */
  private async makeTopics(): Promise<Map<string, number>> {
    const admin = this.kafka.admin();
    try {
      await admin.connect();
      const known = new Set(await admin.listTopics());
      const missing = this.topics.filter((topic) => !known.has(topic));
      if (missing.length > 0) {
        const { partitions, replication } = this.config;
        await admin.createTopics({
          waitForLeaders: true,
          topics: missing.map((topic) => ({ topic, numPartitions: partitions, replicationFactor: replication })),
        });
      }
      const { topics } = await admin.fetchTopicMetadata({ topics: [...this.topics] });
      return new Map(topics.map(({ name, partitions }) => [name, partitions.length]));
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }
}

/** Disconnects without waiting for a broker that does not answer. */
async function farewell(producer: Producer | undefined): Promise<void> {
  const left = producer?.disconnect().catch(() => undefined);
  await Promise.race([left, delay(FAREWELL_MS, undefined, { ref: false })]);
}
