import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@opsloop/platform';
import type { Consumer as Client, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs';
import { BATCH, PAUSE_MS, type Subscription, WORKERS } from '../consumer.js';
import type { Arrival, Inbox } from './inbox.js';
import type { KafkaTimings } from './kafka.config.js';
import { fromKafka } from './record.pure.js';

/** A third of the session: two heartbeats may be lost. */
const HEARTBEATS_PER_SESSION = 3;
/** How long a fetch waits for something to come; also how soon a part that was paused is read again. */
const FETCH_WAIT_MS = 250;
/**
 * A partition brings at least one of the relay's requests, and a fetch something of every partition: kafkajs always
 * asks for them in the same order, so that with less the last ones would starve while the first ones have a backlog.
 */
const FETCH_PART_BYTES_MAX = 1024 * 1024;
const FETCH_BYTES_MAX = 16 * FETCH_PART_BYTES_MAX;
/** Joining waits for members that are in the middle of a batch, which is at most 64 messages. */
const REBALANCE_MS = 15_000;
/** After a session has ended: at first at once, and never slower than Kafka's return should be noticed. */
const BACKOFF_MS = [100, 500, 1_000, 2_000, 5_000] as const;
/** A session that has lasted this long was a good one. */
const GOOD_MS = 30_000;
const LOOK_MS = 500;
/** A consumer whose handler hangs never disconnects; it is left behind, and its work is absorbed by the inbox. */
const FAREWELL_MS = 3_000;

/** One member of one consumer group, as long as it lives. */
class Session {
  private signAt = Date.now();
  private readonly resumes = new Set<NodeJS.Timeout>();
  private end!: (why: string) => void;
  readonly ended = new Promise<string>((resolve) => (this.end = resolve));
  joined = false;
  left = false;

  constructor(
    private readonly client: Client,
    private readonly topic: string,
    private readonly inbox: Inbox,
    private readonly workers: number,
    private readonly timings: KafkaTimings,
  ) {
    const { events } = client;
    const sign = (): void => void (this.signAt = Date.now());
    for (const event of [events.FETCH, events.HEARTBEAT, events.START_BATCH_PROCESS, events.END_BATCH_PROCESS] as const)
      (client.on as (event: string, listener: () => void) => void)(event, sign);
    client.on(events.GROUP_JOIN, () => {
      this.joined = true;
      sign();
    });
    // kafkajs restarts itself after some errors and gives up for good after others; here every crash is an end.
    client.on(events.CRASH, ({ payload }) => this.end(payload.error.message));
    client.on(events.STOP, () => this.end('stopped'));
  }

  async run(): Promise<void> {
    await this.client.connect();
    await this.client.subscribe({ topics: [this.topic], fromBeginning: true });
    await this.client.run({
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: this.workers,
      eachBatch: (payload) => this.eachBatch(payload),
    });
  }

  get silentMs(): number {
    return Date.now() - this.signAt;
  }

  quit(why: string): void {
    this.end(why);
  }

  /** Leaves the group, so that others take over at once; does not wait for a handler that hangs. */
  async leave(patienceMs: number): Promise<void> {
    this.left = true;
    for (const timer of this.resumes) clearTimeout(timer);
    const leaving = this.client.disconnect().catch(() => undefined);
    await Promise.race([leaving, delay(patienceMs, undefined, { ref: false })]);
  }

  /** Nothing may be thrown out of here: kafkajs ends a consumer for good on errors of a programmer. */
  private async eachBatch(payload: EachBatchPayload): Promise<void> {
    // kafkajs itself sends heartbeats between batches only.
    const beat = setInterval(() => {
      if (!this.left) payload.heartbeat().catch(() => undefined);
    }, this.timings.sessionMs / HEARTBEATS_PER_SESSION);
    let waitMs: number;
    try {
      waitMs = await this.work(payload);
    } catch {
      // The inbox throws nothing; what is left are calls of a client that has just ended.
      waitMs = PAUSE_MS;
    } finally {
      clearInterval(beat);
    }
    if (waitMs > 0 && !this.left) this.pause(payload, waitMs);
  }

  /** The rest of the part stays on Kafka meanwhile, and other parts go on. */
  private pause(payload: EachBatchPayload, waitMs: number): void {
    const resume = payload.pause();
    const timer = setTimeout(() => {
      this.resumes.delete(timer);
      resume();
    }, waitMs);
    this.resumes.add(timer);
  }

  /** Handles as much as it can; answers for how long the rest has to wait. */
  private async work({ batch, resolveOffset, isRunning, isStale }: EachBatchPayload): Promise<number> {
    const { messages, partition } = batch;
    for (let at = 0; at < messages.length;) {
      if (this.left || !isRunning() || isStale()) return 0;
      const { arrivals, cause } = stretchAt(messages, at, partition);
      const waitMs =
        cause === undefined
          ? await this.inbox.deliver(arrivals)
          : await this.inbox.putAside(foundAt(messages[at]!, partition), cause);
      if (waitMs > 0) return waitMs;
      at += Math.max(1, arrivals.length);
      if (!this.left) resolveOffset(messages[at - 1]!.offset);
    }
    return 0;
  }
}

const foundAt = ({ offset, value }: KafkaMessage, partition: number): Arrival['found'] => ({
  partition,
  offset,
  value,
});

/** The messages from `at` on that one transaction handles: of one part, readable, at most a batch; or why the first is not. */
function stretchAt(messages: KafkaMessage[], at: number, partition: number): { arrivals: Arrival[]; cause?: string } {
  const arrivals: Arrival[] = [];
  for (let i = at; i < messages.length && arrivals.length < BATCH; i += 1) {
    const record = fromKafka(messages[i]!);
    if ('cause' in record) return arrivals.length > 0 ? { arrivals } : { arrivals, cause: record.cause };
    if (arrivals.length > 0 && arrivals[0]!.part !== record.part) break;
    arrivals.push({ ...record, found: foundAt(messages[i]!, partition) });
  }
  return { arrivals };
}

export interface KafkaConsumerOptions {
  kafka: Kafka;
  prefix: string;
  subscription: Subscription;
  inbox: Inbox;
  timings: KafkaTimings;
  logger: Pick<Logger, 'info' | 'warn'>;
  rebuilt: () => void;
}

/** The consumer of one topic for one group. Whatever ends it, it is made anew, until it is stopped. */
export class KafkaConsumer {
  private session: Session | undefined;
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();
  private endedSince: number | undefined = Date.now();
  private lastEnd = 'not started yet';

  constructor(private readonly options: KafkaConsumerOptions) {}

  get subscription(): Subscription {
    return this.options.subscription;
  }

  start(): void {
    this.loop = this.supervise();
  }

  /** Finishes what is in hand, takes nothing new, and leaves the group. */
  async stop(patienceMs: number): Promise<void> {
    this.stopping.abort();
    await this.session?.leave(patienceMs);
    this.session?.quit('stopped');
    await this.loop;
  }

  /** Makes the consumer anew. */
  rebuild(why: string): void {
    this.session?.quit(why);
  }

  /** Why this process does not consume; undefined while it does. */
  trouble(): { sinceMs: number; why: string } | undefined {
    return this.endedSince === undefined ? undefined : { sinceMs: Date.now() - this.endedSince, why: this.lastEnd };
  }

  private async supervise(): Promise<void> {
    const { topic, group } = this.subscription;
    for (let failures = 0; !this.stopping.signal.aborted;) {
      const since = Date.now();
      const why = await this.live();
      if (this.stopping.signal.aborted) return;
      if (Date.now() - since > GOOD_MS) failures = 0;
      this.lastEnd = why;
      this.options.logger.warn('a Kafka consumer ended; it is made anew', { topic, group, cause: why });
      this.options.rebuilt();
      const waitMs = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)];
      failures += 1;
      await delay(waitMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
    }
  }

  /** One session, to its end; answers why it ended. */
  private async live(): Promise<string> {
    const { kafka, prefix, subscription, inbox, timings } = this.options;
    const { topic, group, workers = WORKERS } = subscription;
    const client = kafka.consumer({
      groupId: `${prefix}${group}.${topic}`,
      sessionTimeout: timings.sessionMs,
      heartbeatInterval: timings.sessionMs / HEARTBEATS_PER_SESSION,
      rebalanceTimeout: REBALANCE_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      maxBytes: FETCH_BYTES_MAX,
      maxBytesPerPartition: FETCH_PART_BYTES_MAX,
      allowAutoTopicCreation: false,
      retry: { retries: 4, restartOnFailure: () => Promise.resolve(false) },
    });
    const session = new Session(client, prefix + topic, inbox, workers, timings);
    this.session = session;
    const look = setInterval(() => {
      if (session.joined) this.endedSince = undefined;
      if (session.silentMs > timings.silentMs) session.quit(`no sign of life for ${timings.silentMs} ms`);
    }, LOOK_MS);
    session.run().catch((error: unknown) => session.quit((error as Error).message));
    const why = await session.ended;
    clearInterval(look);
    this.endedSince ??= Date.now();
    if (!this.stopping.signal.aborted) await session.leave(FAREWELL_MS);
    return why;
  }
}
