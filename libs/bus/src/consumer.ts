import type { Topic, TopicBodies } from '@opsloop/contracts';
import type { Logger } from '@opsloop/platform';
import type { Database, Tx } from '@opsloop/postgres';
import { advanceSql, deadSql, retrySql, singleSql, takeSql } from './bus.sql.js';
import { type Reaction, reactionTo } from './failure.pure.js';

/** Messages per transaction: shares one commit, and stays below 50 ms of work at 0.5 ms per message. */
export const BATCH = 64;
/** Partitions handled at a time per group and process: two keep both cores busy while one waits for its commit. */
export const WORKERS = 2;
/** Until tenants arrive there is one; then a batch is cut where the tenant changes. */
export const TENANT = 'default';
/** After our own bookkeeping failed (the database is away) nobody needs an answer sooner. */
export const PAUSE_MS = 250;
/** What a start takes from the event to Temporal. */
const PATIENCE_MS = 25;

export interface BusMessage<T = TopicBodies[Topic]> {
  /** The publisher's UUID. */
  id: string;
  key: string;
  tenant: string;
  /** ISO, when it was written. */
  at: string;
  body: T;
}

/** Where the messages of one delivery stand in the log. */
export interface Stretch {
  part: number;
  /** Their numbers, rising. */
  ids: string[];
}

export interface Subscription {
  topic: Topic;
  group: string;
  /** Handles the messages of one transaction, in order. Effects only through `tx`. */
  handle: (messages: BusMessage[], tx: Tx, stretch: Stretch) => Promise<void>;
  /** False = the commit need not reach the disk: redelivery repairs it with the same ids. Default true. */
  durable?: boolean;
  /** Partitions handled at a time in this process. Default 2. */
  workers?: number;
  /** Messages per transaction. Default {@link BATCH}. */
  batchSize?: number;
  /**
   * True = may wait a moment. What an event starts is on its way through decision and control at the very time at which
   * everybody else would read the same event; on a small machine they would only stand in its way.
   */
  patient?: boolean;
  /** True = what the handler needs is away: nothing is taken until somebody wakes the consumer again. */
  away?: () => boolean;
}

interface Row {
  id: string;
  part: number;
  attempts: number;
  key: string;
  msg_id: string;
  tenant: string;
  body: TopicBodies[Topic];
  at: Date;
  /** There was more: in other partitions, or behind the one message that is taken at a time after a failure. */
  more: boolean;
}

export interface ConsumerObserver {
  handled(count: number, seconds: number): void;
  failed(): void;
  dead(): void;
}

/** Delivers the messages of one topic to one group. Wakes at once, works until nothing is left, then waits. */
export class Consumer {
  private readonly running = new Set<Promise<void>>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private wakes = 0;
  private patience: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    readonly subscription: Subscription,
    private readonly db: Database,
    private readonly logger: Pick<Logger, 'warn' | 'error'>,
    private readonly observer: ConsumerObserver,
  ) {}

  /** There may be something to do. Cheap when there is not. */
  wake(): void {
    if (this.stopped || this.subscription.away?.() === true) return;
    // Whoever is looking now must look once more: what it found may be older than what we were woken for.
    this.wakes += 1;
    if (this.running.size >= (this.subscription.workers ?? WORKERS)) return;
    const worker = this.work().finally(() => this.running.delete(worker));
    this.running.add(worker);
  }

  /** Something was published: as {@link wake}, when its patience ends. */
  published(): void {
    if (this.subscription.patient !== true) return this.wake();
    this.patience ??= setTimeout(() => {
      this.patience = undefined;
      this.wake();
    }, PATIENCE_MS);
  }

  /** Takes nothing new and waits for the transactions in flight. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.patience);
    for (const timer of this.timers) clearTimeout(timer);
    await Promise.all(this.running);
  }

  private async work(): Promise<void> {
    for (let seen = -1, more = true; !this.stopped && (more || seen !== this.wakes);) {
      seen = this.wakes;
      more = await this.once();
    }
  }

  /** One partition, one transaction. True when there may be more. */
  private async once(): Promise<boolean> {
    const { topic, group, handle, durable, batchSize = BATCH } = this.subscription;
    let rows: Row[] = [];
    const started = performance.now();
    try {
      await this.db.inTransaction(
        TENANT,
        async (tx) => {
          rows = await tx.query<Row>(takeSql(group, topic, batchSize));
          if (rows.length === 0) return;
          await handle(rows.map(messageOf), tx, { part: rows[0]!.part, ids: rows.map((row) => row.id) });
          tx.send(advanceSql(group, topic, rows[0]!.part, rows.at(-1)!.id));
        },
        { durable: durable !== false },
      );
    } catch (error) {
      return this.failed(rows, error);
    }
    if (rows.length > 0) this.observer.handled(rows.length, (performance.now() - started) / 1000);
    // A short batch emptied its partition as of then, and whoever published later has woken us.
    return rows.length >= batchSize || rows[0]?.more === true;
  }

  private async failed(rows: Row[], error: unknown): Promise<boolean> {
    const first = rows[0];
    const { topic, group } = this.subscription;
    if (first === undefined) {
      this.logger.warn('cannot take messages', { topic, group, error });
      this.wakeIn(PAUSE_MS);
      return false;
    }
    this.observer.failed();
    const reaction = reactionTo(error, rows.length, first.attempts);
    this.logger.warn('a bus handler failed', {
      topic,
      group,
      message: first.msg_id,
      batch: rows.length,
      attempts: first.attempts,
      reaction: reaction.do,
      error,
    });
    try {
      await this.record(reaction, first, rows.at(-1)!);
      return reaction.do !== 'retry';
    } catch (recording) {
      // Not recorded = redelivered as if it had not failed; harmless, since nothing was written.
      this.logger.warn('cannot record a failed delivery', { topic, group, error: recording });
      this.wakeIn(PAUSE_MS);
      return false;
    }
  }

  private async record(reaction: Reaction, first: Row, last: Row): Promise<void> {
    const { topic, group } = this.subscription;
    switch (reaction.do) {
      case 'single':
        await this.db.query(singleSql(group, topic, first.part, first.id, last.id));
        return;
      case 'dead':
        await this.db.query(deadSql(group, topic, first.part, first.id, reaction.cause));
        this.observer.dead();
        this.logger.error('a message was put aside', { topic, group, message: first.msg_id, key: first.key });
        return;
      case 'retry':
        await this.db.query(retrySql(group, topic, first.part, first.id, first.attempts, reaction.delayMs));
        this.wakeIn(reaction.delayMs);
    }
  }

  private wakeIn(ms: number): void {
    if (this.stopped) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.wake();
    }, ms);
    this.timers.add(timer);
  }
}

function messageOf(row: Row): BusMessage {
  return { id: row.msg_id, key: row.key, tenant: row.tenant, at: row.at.toISOString(), body: row.body };
}
