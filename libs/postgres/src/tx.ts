import type { Topic, TopicBodies } from '@opsloop/contracts';
import type pg from 'pg';

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
}

/** One transaction. Effects of a use case go through it alone, so that they happen all or not at all. */
export interface Tx {
  readonly tenant: string;
  query<R = Record<string, unknown>>(q: Query | string, values?: unknown[]): Promise<R[]>;
  /** Buffered; written as the last statement before COMMIT, since it locks the partitions until then. */
  publish<T extends Topic>(topic: T, message: OutMessage<T>): void;
  /** For SQL functions that call `bus.publish` themselves: wakes the consumers of the topic after the commit. */
  published(topic: Topic): void;
  /** Runs after a successful COMMIT, in order; must not throw and not wait. */
  afterCommit(fn: () => void): void;
}

/** Parameters of one statement of 64 messages × 128 KB stay far below pg's 1 GB; above 1,000 rows we split. */
const PUBLISH_ROWS_MAX = 1_000;

export class PgTx implements Tx {
  private readonly outbox = new Map<Topic, OutMessage[]>();
  private readonly topics = new Set<Topic>();
  private readonly hooks: (() => void)[] = [];
  /** Statements of one transaction share a connection; using it after the end would join somebody else's. */
  private open = true;

  constructor(
    readonly tenant: string,
    private readonly client: pg.PoolClient,
  ) {}

  async query<R = Record<string, unknown>>(q: Query | string, values?: unknown[]): Promise<R[]> {
    if (!this.open) throw new Error('The transaction has ended; await every query inside it');
    const result = await this.client.query(typeof q === 'string' ? { text: q, values: values ?? [] } : q);
    return result.rows as R[];
  }

  publish<T extends Topic>(topic: T, message: OutMessage<T>): void {
    if (!this.open) throw new Error('The transaction has ended; publish inside it');
    const messages = this.outbox.get(topic) ?? [];
    messages.push(message);
    this.outbox.set(topic, messages);
    this.topics.add(topic);
  }

  published(topic: Topic): void {
    this.topics.add(topic);
  }

  afterCommit(fn: () => void): void {
    this.hooks.push(fn);
  }

  /** Topics in alphabetical order: every transaction takes the partition locks in the same order. */
  async flush(): Promise<void> {
    for (const topic of [...this.outbox.keys()].sort()) {
      const messages = this.outbox.get(topic)!;
      for (let at = 0; at < messages.length; at += PUBLISH_ROWS_MAX) {
        const some = messages.slice(at, at + PUBLISH_ROWS_MAX);
        await this.query({
          name: 'bus.publish',
          text: 'SELECT bus.publish($1::text, $2::text[], $3::uuid[], $4::text, $5::jsonb[])',
          values: [
            topic,
            some.map((m) => m.key),
            some.map((m) => m.id),
            this.tenant,
            some.map((m) => JSON.stringify(m.body)),
          ],
        });
      }
    }
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
