import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@opsloop/platform';
import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs';
import type { KafkaRecord } from './kafka-record.pure.js';

/** Records of one round: as many events as one commit takes. */
const RECORDS = 64;
/** A killed process is noticed after this; brokers refuse less than 6 s unless told otherwise. */
const SESSION_MS = 10_000;
const HEARTBEAT_MS = SESSION_MS / 3;
/** No fetch and no heartbeat for this long: the consumer is given up and made anew. */
const SILENT_MS = 30_000;
const LOOK_MS = 1_000;
/** How long a fetch waits for something to come. */
const FETCH_WAIT_MS = 500;
/** Above the largest record that brokers take by default, 1 MB. */
const FETCH_PART_BYTES_MAX = 2 * 1024 * 1024;
/** After an end: at first soon, later seldom enough not to bother a cluster that is down. */
const BACKOFF_MS = [500, 1_000, 2_000, 5_000, 10_000] as const;
const GOOD_MS = 30_000;
/** A consumer that hangs never disconnects. */
const FAREWELL_MS = 3_000;

export interface TopicReaderOptions {
  kafka: Kafka;
  group: string;
  topic: string;
  fromBeginning: boolean;
  /** Resolves when the records are durable; throws when they have to be read again after a while. */
  take: (records: KafkaRecord[]) => Promise<void>;
  logger: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Reads one topic as a member of a consumer group, for as long as it is not stopped. kafkajs gives up for good after
 * some errors and stays silent after others, so every crash, and every long silence, ends the consumer and makes a new one.
 */
export class TopicReader {
  private readonly stopping = new AbortController();
  private client: Consumer | undefined;
  private signAt = 0;
  private readonly loop: Promise<void>;

  constructor(private readonly options: TopicReaderOptions) {
    this.loop = this.supervise();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }

  private async supervise(): Promise<void> {
    const { topic, group, logger } = this.options;
    let said = '';
    for (let failures = 0; !this.stopping.signal.aborted;) {
      const since = Date.now();
      const why = await this.live();
      if (this.stopping.signal.aborted) return;
      if (Date.now() - since > GOOD_MS) failures = 0;
      // Once per cause: a cluster that is down for an hour must not write a line every ten seconds.
      if (why !== said) logger.warn('a topic is not read; it is tried again', { topic, group, cause: (said = why) });
      await this.rest(BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)]!);
      failures += 1;
    }
  }

  /** One consumer, to its end; answers why it ended. */
  private async live(): Promise<string> {
    const { kafka, group, topic, fromBeginning } = this.options;
    const client = kafka.consumer({
      groupId: group,
      sessionTimeout: SESSION_MS,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      maxBytesPerPartition: FETCH_PART_BYTES_MAX,
      allowAutoTopicCreation: false,
      retry: { retries: 4, restartOnFailure: () => Promise.resolve(false) },
    });
    this.client = client;
    this.signAt = Date.now();
    let look: NodeJS.Timeout | undefined;
    const ended = new Promise<string>((resolve) => {
      const sign = (): void => void (this.signAt = Date.now());
      const { events } = client;
      client.on(events.FETCH, sign);
      client.on(events.HEARTBEAT, sign);
      client.on(events.GROUP_JOIN, sign);
      client.on(events.CRASH, ({ payload }) => resolve(payload.error.message));
      client.on(events.STOP, () => resolve('stopped'));
      this.stopping.signal.addEventListener('abort', () => resolve('stopped'), { once: true });
      look = setInterval(() => {
        if (Date.now() - this.signAt > SILENT_MS) resolve(`no sign of life for ${SILENT_MS / 1_000} s`);
      }, LOOK_MS);
      this.begin(client, topic, fromBeginning).catch((error: unknown) => resolve((error as Error).message));
    });
    const why = await ended;
    clearInterval(look);
    const left = client.disconnect().catch(() => undefined);
    await Promise.race([left, delay(FAREWELL_MS, undefined, { ref: false })]);
    return why;
  }

  private async begin(client: Consumer, topic: string, fromBeginning: boolean): Promise<void> {
    await client.connect();
    await client.subscribe({ topics: [topic], fromBeginning });
    await client.run({ eachBatchAutoResolve: false, eachBatch: (payload) => this.eachBatch(payload) });
  }

  /** Nothing may be thrown out of here: kafkajs ends a consumer for good on errors of a programmer. */
  private async eachBatch(payload: EachBatchPayload): Promise<void> {
    const { batch, resolveOffset, heartbeat, isRunning, isStale } = payload;
    // kafkajs itself sends heartbeats between batches only.
    const beat = setInterval(() => void heartbeat().catch(() => undefined), HEARTBEAT_MS);
    try {
      for (let at = 0; at < batch.messages.length; at += RECORDS) {
        const messages = batch.messages.slice(at, at + RECORDS);
        const records = messages.map((message) => recordOf(batch.topic, batch.partition, message));
        if (!(await this.takeAtLast(records, () => isRunning() && !isStale()))) return;
        resolveOffset(messages.at(-1)!.offset);
      }
    } finally {
      clearInterval(beat);
    }
  }

  /** Until they are durable: what is not stored is not committed, and the topic keeps it meanwhile. */
  private async takeAtLast(records: KafkaRecord[], goesOn: () => boolean): Promise<boolean> {
    for (let failures = 0; ; failures += 1) {
      if (this.stopping.signal.aborted || !goesOn()) return false;
      try {
        await this.options.take(records);
        return true;
      } catch (error) {
        const { topic, logger } = this.options;
        if (failures === 0) logger.warn('records are not stored yet', { topic, cause: (error as Error).message });
        await this.rest(BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)]!);
      }
    }
  }

  private async rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.stopping.signal }).catch(() => undefined);
  }
}

function recordOf(topic: string, partition: number, message: KafkaMessage): KafkaRecord {
  const { offset, key, value, headers } = message;
  return { topic, partition, offset, key, value, ...(headers === undefined ? {} : { headers }) };
}
