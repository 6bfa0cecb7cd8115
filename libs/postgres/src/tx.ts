import type { Topic, TopicBodies } from '@opsloop/contracts';
import type { BatchingClient } from './batching-client.js';

/** A statement; with `name` it is prepared once per connection, which hot paths want. */
export interface Query {
  name?: string;
  text: string;
  values?: unknown[];
}

export interface OutMessage<T extends Topic = Topic> {
  /** UUID, the same on every redelivery of its cause. */
  id: string;
  /** Messages with one key keep the order of commit. */
  key: string;
  body: TopicBodies[T];
  /** True = need not wake the consumers: another message on the topic follows within milliseconds and brings this one along. */
  lazy?: boolean;
}

/** One transaction. Effects of a use case go through it alone, so that they happen all or not at all. */
export interface Tx {
  readonly tenant: string;
  query<R = Record<string, unknown>>(q: Query | string, values?: unknown[]): Promise<R[]>;
  /**
   * A statement whose answer nobody needs: sent at once, not waited for, so that it shares a round trip with the next
   * one. Its failure fails the transaction.
   */
  send(q: Query): void;
  /** Buffered; written as the last statement before COMMIT, since it locks the partitions until then. */
  publish<T extends Topic>(topic: T, message: OutMessage<T>): void;
  /** For SQL functions that call `bus.publish` themselves: wakes the consumers of the topic after the commit. */
  published(topic: Topic): void;
  /** Runs after a successful COMMIT, in order; must not throw and not wait. */
  afterCommit(fn: () => void): void;
}

const READ = /^\s*SELECT\b/i;

/** Parameters of one statement of 64 messages × 128 KB stay far below pg's 1 GB; above 1,000 rows we split. */
const PUBLISH_ROWS_MAX = 1_000;

export class PgTx implements Tx {
  private readonly outbox = new Map<Topic, OutMessage[]>();
  private readonly topics = new Set<Topic>();
  private readonly hooks: (() => void)[] = [];
  /** Statements of one transaction share a connection; using it after the end would join somebody else's. */
  private open = true;
  private begun = false;
  private readonly sent: Promise<unknown>[] = [];
  private failure: { error: unknown } | undefined;

  /** `begin` = the BEGIN on its way. */
  constructor(
    readonly tenant: string,
    private readonly client: BatchingClient,
    private readonly begin: Promise<unknown>,
  ) {
    // Whoever awaits it sees its failure.
    begin.then(
      () => (this.begun = true),
      () => undefined,
    );
  }

  async query<R = Record<string, unknown>>(q: Query | string, values?: unknown[]): Promise<R[]> {
    if (!this.open) throw new Error('The transaction has ended; await every query inside it');
    const query = typeof q === 'string' ? { text: q, values: values ?? [] } : q;
    if (this.begun) return (await this.client.query(query)).rows as R[];
    // A read may travel with the BEGIN; were that refused, the read alone would have run without a transaction.
    if (!READ.test(query.text)) await this.begin;
    const [result] = await Promise.all([this.client.query(query), this.begin]);
    return result.rows as R[];
  }

  send(q: Query): void {
    this.sent.push(this.query(q).catch((error: unknown) => (this.failure ??= { error })));
  }

  publish<T extends Topic>(topic: T, message: OutMessage<T>): void {
    if (!this.open) throw new Error('The transaction has ended; publish inside it');
    const messages = this.outbox.get(topic) ?? [];
    messages.push(message);
    this.outbox.set(topic, messages);
    if (message.lazy !== true) this.topics.add(topic);
  }

  published(topic: Topic): void {
    this.topics.add(topic);
  }

  afterCommit(fn: () => void): void {
    this.hooks.push(fn);
  }

  /** Topics in alphabetical order: every transaction takes the partition locks in the same order. */
  async flush(): Promise<void> {
    await this.begin;
    const all = [...this.outbox.keys()]
      .sort()
      .flatMap((topic) => this.outbox.get(topic)!.map((m) => ({ topic, ...m })));
    for (let at = 0; at < all.length; at += PUBLISH_ROWS_MAX) {
      const some = all.slice(at, at + PUBLISH_ROWS_MAX);
      this.send({
        name: 'bus.publish',
        text: 'SELECT bus.publish($1::text[], $2::text[], $3::uuid[], $4::text, $5::jsonb[])',
        values: [
          some.map((m) => m.topic),
          some.map((m) => m.key),
          some.map((m) => m.id),
          this.tenant,
          some.map((m) => JSON.stringify(m.body)),
        ],
      });
    }
  }

  /** Waits for what was sent; throws the first failure, which names the cause better than the COMMIT that follows it. */
  async settle(): Promise<void> {
    await Promise.all(this.sent);
    if (this.failure !== undefined) throw this.failure.error;
  }

  close(): void {
    this.open = false;
  }

  get publishedTopics(): Topic[] {
    return [...this.topics];
  }

  get commitHooks(): readonly (() => void)[] {
    return this.hooks;
  }
}
