import { setTimeout as delay } from 'node:timers/promises';
import { OpsError, type Topic } from '@opsloop/contracts';
import type { Logger } from '@opsloop/platform';
import type pg from 'pg';
import type { DataSource } from 'typeorm';
import { asUnavailable, isConnectionFailure, isRepeatable } from './errors.pure.js';
import { listen } from './listener.js';
import { BatchingClient } from './batching-client.js';
import { PgTx, type Query, type Tx } from './tx.js';

/** Deadlocks and serialization failures are rare by lock order; after three more tries something is wrong. */
const REPEATS_MAX = 3;
/**
 * The loser of a deadlock waits up to 20, 40, 80 ms: at once, it can take the freed row again before the winner has
 * woken up, and meet it in the same deadlock.
 */
const REPEAT_DELAY_MS = 20;

// READ COMMITTED is set explicitly: under REPEATABLE READ a wait for a lock is followed by reads of the past.
const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED';
// One round trip. Only for work whose loss in a crash is repaired by redelivery with the same ids.
const BEGIN_NOT_DURABLE = `${BEGIN}; SET LOCAL synchronous_commit = off`;

export interface TransactionOptions {
  /** Default true; false = `synchronous_commit` off. */
  durable?: boolean;
}

/** The one door to PostgreSQL: transactions with buffered messages, plain reads, and notifications. */
export class Database {
  private readonly publishListeners = new Set<(topics: Topic[]) => void>();

  constructor(
    readonly dataSource: DataSource,
    readonly pool: pg.Pool,
    private readonly url: string,
    private readonly logger: Pick<Logger, 'warn' | 'error'>,
  ) {}

  /**
   * Runs `fn` in one READ COMMITTED transaction. `fn` may run up to four times (deadlock, serialization failure), so
   * it must have no effect but through `tx`. A lost connection is `unavailable`; whether a commit in flight then
   * counted is unknown, so callers retry with the same ids.
   */
  async inTransaction<T>(tenant: string, fn: (tx: Tx) => Promise<T>, opts: TransactionOptions = {}): Promise<T> {
    for (let repeat = 0; ; repeat += 1) {
      try {
        return await this.attempt(tenant, fn, opts);
      } catch (error) {
        if (!isRepeatable(error) || repeat >= REPEATS_MAX) throw asUnavailable(error);
        await delay(REPEAT_DELAY_MS * 2 ** repeat * (0.5 + Math.random() / 2));
      }
    }
  }

  /** One statement outside a transaction. */
  async query<R = Record<string, unknown>>(q: Query | string, values?: unknown[]): Promise<R[]> {
    try {
      const result = await this.pool.query(typeof q === 'string' ? { text: q, values: values ?? [] } : q);
      return result.rows as R[];
    } catch (error) {
      throw asUnavailable(error);
    }
  }

  /** LISTEN on a connection of its own that reconnects; `fn` also gets '' after each reconnect, since notices may be lost. */
  listen(channel: string, fn: (payload: string) => void): Promise<() => Promise<void>> {
    return listen({ url: this.url, channel, fn, logger: this.logger });
  }

  /** Called with the topics of each committed transaction; the bus wakes consumers with it. */
  onPublished(fn: (topics: Topic[]) => void): () => void {
    this.publishListeners.add(fn);
    return () => this.publishListeners.delete(fn);
  }

  /** Wakes the consumers of topics that were published outside `inTransaction`. */
  announce(topics: Topic[]): void {
    for (const listener of this.publishListeners) listener(topics);
  }

  private async attempt<T>(tenant: string, fn: (tx: Tx) => Promise<T>, opts: TransactionOptions): Promise<T> {
    const client = await this.pool.connect();
    let broken: Error | undefined;
    // Without a listener an error of an idle checked-out connection would end the process.
    const onError = (error: Error): void => void (broken = error);
    client.on('error', onError);
    const connection = new BatchingClient(client);
    const tx = new PgTx(tenant, connection, connection.query(opts.durable === false ? BEGIN_NOT_DURABLE : BEGIN));
    try {
      const result = await fn(tx);
      await tx.flush();
      tx.close();
      // On its way before the last statements have answered: after a failed one it is a ROLLBACK.
      const ending = connection.query('COMMIT');
      await Promise.all([tx.settle(), ending]);
      const end = await ending;
      // COMMIT of a failed transaction answers ROLLBACK without an error: `fn` swallowed one.
      if (end.command === 'ROLLBACK')
        throw new OpsError('internal', 'A statement failed and the failure was swallowed');
      this.afterCommit(tx);
      return result;
    } catch (error) {
      tx.close();
      if (isConnectionFailure(error)) broken ??= error as Error;
      if (broken === undefined) await client.query('ROLLBACK').catch((e: Error) => void (broken = e));
      // The statement saw "terminated" while the socket already knew why.
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  private afterCommit(tx: PgTx): void {
    for (const hook of tx.commitHooks) {
      try {
        hook();
      } catch (error) {
        // The transaction stands; a failing hook must not look like a failed transaction.
        this.logger.error('a hook after commit failed', { error });
      }
    }
    // After the hooks: an admitted run is started before others read about it.
    const { publishedTopics } = tx;
    if (publishedTopics.length > 0) this.announce(publishedTopics);
  }
}
