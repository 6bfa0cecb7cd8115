import type { Topic } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import type { Logger } from '@opsloop/platform';
import type { Database, Tx } from '@opsloop/postgres';
import { advanceSql, deadSql, retrySql } from '../bus.sql.js';
import { type ConsumerObserver, PAUSE_MS, type Subscription, TENANT } from '../consumer.js';
import { type Reaction, reactionTo } from '../failure.pure.js';
import { bodiesSql, claimSql, publishDeadSql, unreadableSql } from './kafka.sql.js';
import { type Found, type LogRecord, stillToDo } from './record.pure.js';

/** No topic of the apps: what was put aside travels on it, for whoever watches Kafka. */
const DEAD = 'dead' as Topic;
/** The log is asked for what is missing at once; this is how soon Kafka's copy is looked at again. */
const REPAIR_MS = 100;

interface Claim {
  position: string;
  attempts: number;
  waitMs: number;
  known: boolean;
}

/** A record and where it was found. */
export type Arrival = LogRecord & { found: Found };

/** What of a message that was put aside is kept for whoever looks into it. */
const KEPT_BYTES = 16 * 1024;
const FOREIGN = 'its number and id are not in our log';

type Obstacle = { waitMs: number } | 'one-by-one' | 'foreign';

/**
 * Makes the effects of a message happen once, however often Kafka brings it: where a group stands in a part is a row
 * that is locked, compared and moved in the transaction of the handler. So a repeat, a second consumer of the same
 * partition and a consumer that comes back from the dead find everything done.
 */
export class Inbox {
  constructor(
    private readonly subscription: Subscription,
    private readonly db: Database,
    private readonly logger: Pick<Logger, 'warn' | 'error'>,
    private readonly observer: ConsumerObserver,
    /** Messages are missing on Kafka: takes them from the log. */
    private readonly repair: () => void,
  ) {}

  /**
   * Handles records of one part, in order. Never throws. Answers 0 when all are done, else for how long the first one
   * that is not has to wait.
   */
  async deliver(records: readonly Arrival[]): Promise<number> {
    const { topic, group, durable } = this.subscription;
    const { part } = records[0]!;
    // Not the last: what a relay has sent again stands behind what came after it, and the group must never go back.
    const furthest = records.reduce((far, record) => (record.seq > far.seq ? record : far));
    let claim: Claim | undefined;
    let todo: Arrival[] = [];
    let obstacle: Obstacle | undefined;
    const started = performance.now();
    try {
      await this.db.inTransaction(
        TENANT,
        async (tx) => {
          todo = [];
          [claim] = await tx.query<Claim>(claimSql(group, topic, part, furthest.seq, furthest.message.id));
          if (claim === undefined) throw new Error('the group has no cursor');
          const open = stillToDo(records, BigInt(claim.position));
          if (open.todo.length === 0 && !open.gap) return;
          obstacle = obstacleTo(claim, open.gap, records.length);
          if (obstacle !== undefined) return;
          todo = open.todo;
          await this.handle(todo, tx);
          tx.send(advanceSql(group, topic, part, String(furthest.seq)));
        },
        { durable: durable !== false },
      );
    } catch (error) {
      return this.failed(claim, todo, error);
    }
    if (todo.length > 0) this.observer.handled(todo.length, (performance.now() - started) / 1000);
    if (obstacle === undefined) return 0;
    if (obstacle === 'one-by-one') return this.oneByOne(records);
    if (obstacle === 'foreign') return this.putAside(furthest.found, FOREIGN);
    if (claim?.waitMs === 0) {
      this.logger.warn('messages are missing on Kafka; they are taken from the log', { topic, group });
      this.repair();
    }
    return obstacle.waitMs;
  }

  private async handle(todo: readonly LogRecord[], tx: Tx): Promise<void> {
    const { topic, handle } = this.subscription;
    const { part } = todo[0]!;
    const seqs = todo.map((record) => String(record.seq));
    const large = todo.filter((record) => record.inLog).map((record) => String(record.seq));
    if (large.length > 0) {
      const rows = await tx.query<{ id: string; body: LogRecord['message']['body'] }>(bodiesSql(topic, part, large));
      for (const row of rows) todo.find((record) => String(record.seq) === row.id)!.message.body = row.body;
    }
    await handle(
      todo.map((record) => record.message),
      tx,
      { part, ids: seqs },
    );
  }

  private async oneByOne(records: readonly Arrival[]): Promise<number> {
    for (const record of records) {
      const waitMs = await this.deliver([record]);
      if (waitMs > 0) return waitMs;
    }
    return 0;
  }

  private async failed(claim: Claim | undefined, todo: Arrival[], error: unknown): Promise<number> {
    const { topic, group } = this.subscription;
    const first = todo[0];
    if (claim === undefined || first === undefined) {
      this.logger.warn('cannot take messages', { topic, group, error });
      return PAUSE_MS;
    }
    this.observer.failed();
    const reaction = reactionTo(error, todo.length, claim.attempts);
    this.logger.warn('a bus handler failed', {
      topic,
      group,
      message: first.message.id,
      batch: todo.length,
      attempts: claim.attempts,
      reaction: reaction.do,
      error,
    });
    if (reaction.do === 'single') return this.oneByOne(todo);
    try {
      return await this.record(reaction, first, claim.attempts);
    } catch (recording) {
      // Not recorded = redelivered as if it had not failed; harmless, since nothing was written.
      this.logger.warn('cannot record a failed delivery', { topic, group, error: recording });
      return PAUSE_MS;
    }
  }

  private async record(
    reaction: Exclude<Reaction, { do: 'single' }>,
    { seq, part, message }: LogRecord,
    attempts: number,
  ): Promise<number> {
    const { topic, group } = this.subscription;
    if (reaction.do === 'retry') {
      await this.db.query(retrySql(group, topic, part, String(seq), attempts, reaction.delayMs));
      return reaction.delayMs;
    }
    const { cause } = reaction;
    await this.db.inTransaction(TENANT, async (tx) => {
      const moved = await tx.query(deadSql(group, topic, part, String(seq), cause));
      if (moved.length === 0) return;
      const { id, key, at, body } = message;
      await tx.query(publishDeadSql(key, newId(), TENANT, { group, topic, key, id, at, cause, body }));
      tx.published(DEAD);
    });
    this.observer.dead();
    this.logger.error('a message was put aside', { topic, group, message: message.id, key: message.key });
    return 0;
  }

  /** Puts something aside that is none of our messages. Answers 0, or how long to wait until it can be recorded. */
  async putAside({ partition, offset, value }: Found, cause: string): Promise<number> {
    const { topic, group } = this.subscription;
    const place = { group, topic, partition, offset, cause, bytes: value?.length ?? 0 };
    const kept = (value ?? Buffer.alloc(0)).subarray(0, KEPT_BYTES);
    try {
      await this.db.inTransaction(TENANT, async (tx) => {
        if ((await tx.query(unreadableSql({ ...place, value: kept }))).length === 0) return;
        const body = { ...place, value: kept.toString('base64') };
        await tx.query(publishDeadSql(`${topic}/${partition}`, newId(), TENANT, body));
        tx.published(DEAD);
      });
    } catch (error) {
      this.logger.warn('cannot put a message aside', { topic, group, error });
      return PAUSE_MS;
    }
    this.observer.dead();
    this.logger.error('a message on Kafka is none of ours; it was put aside', place);
    return 0;
  }
}

/** What stands between a stretch and its handler, if anything. */
function obstacleTo(claim: Claim, gap: boolean, count: number): Obstacle | undefined {
  if (claim.waitMs > 0) return { waitMs: claim.waitMs };
  // One that is not of our log may stand among others that are.
  if (!claim.known) return count > 1 ? 'one-by-one' : 'foreign';
  return gap ? { waitMs: REPAIR_MS } : undefined;
}
