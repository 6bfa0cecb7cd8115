import { Inject, Injectable, type OnApplicationShutdown, Optional } from '@nestjs/common';
import { type Topic, TOPICS } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Logger, Metrics, Readiness } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import {
  CLEAN_BATCH,
  cleanSql,
  dropGoneGroupsSql,
  lagSql,
  readySql,
  RELAY_GROUP,
  retentionLockSql,
  seenSql,
  subscribeSql,
} from './bus.sql.js';
import { Consumer, type ConsumerObserver, type Subscription } from './consumer.js';
import { KafkaCarrier } from './kafka/kafka-carrier.js';
import { type KafkaConfig, kafkaConfigFromEnv } from './kafka/kafka.config.js';
import { dropUnreadableSql } from './kafka/kafka.sql.js';
import { RELAYED_TOPICS } from './kafka/relay.js';

/** The net under the wake-ups: a lost one costs a quarter of a second. */
const POLL_MS = 250;
/** Wake-ups across processes are collected for 5 ms: at most 200 notifications per second, whatever the load. */
const NOTIFY_MS = 5;
const RETENTION_MS = 10_000;
/** Groups say hourly that they exist; they are dropped after a week, and only by a process that has run for an hour. */
const SEEN_MS = 3_600_000;
/** Standstills are measured in tens of seconds. */
const WATCH_MS = 1_000;
const CHANNEL = 'bus';

export const BUS_OPTIONS = Symbol('BUS_OPTIONS');
export interface BusOptions {
  /** False when all apps live in this process: nobody else needs notifications. Default true. */
  acrossProcesses?: boolean;
  /** Messages travel over Kafka; absent: PostgreSQL is the carrier. */
  kafka?: KafkaConfig;
  /**
   * True = this process is ready without Kafka as well: what it is there for does not consume, and taking it away from
   * its callers would lose more than its caches miss. Default false.
   */
  readyWithoutKafka?: boolean;
  /** How often the log is looked at without a wake-up; only specs change it. Default 250. */
  pollMs?: number;
}

/** The carrier that the environment asks for. */
export function busOptionsFromEnv(env: Record<string, string | undefined>): BusOptions {
  const kafka = kafkaConfigFromEnv(env);
  return kafka === undefined ? {} : { kafka };
}

export interface BusLag {
  group: string;
  topic: Topic;
  messages: number;
  oldestSec: number;
  attempts: number;
}

/** Consumes the log for the groups of this process, and wakes them as soon as something is committed. */
@Injectable()
export class Bus implements OnApplicationShutdown {
  private readonly consumers: Consumer[] = [];
  private readonly instance = newId();
  private readonly announced = new Set<Topic>();
  private started = false;
  private startedAt = 0;
  private seenAt = 0;
  private notifyTimer: NodeJS.Timeout | undefined;
  private stops: (() => Promise<void> | void)[] = [];
  private carrier: KafkaCarrier | undefined;

  constructor(
    private readonly db: Database,
    private readonly logger: Logger,
    private readonly readiness: Readiness,
    private readonly metrics: Metrics,
    @Optional() @Inject(BUS_OPTIONS) private readonly options: BusOptions = {},
  ) {}

  /** Declares a consumer; before `start`. Two for one (topic, group) would each get a part of the messages: refused. */
  subscribe(subscription: Subscription): void {
    const { topic, group } = subscription;
    if (this.started) throw new Error('Subscribe before the bus starts');
    if (this.consumers.some((c) => c.subscription.topic === topic && c.subscription.group === group)) {
      throw new Error(`Two bus handlers for topic "${topic}" and group "${group}"; give one another group`);
    }
    this.consumers.push(new Consumer(subscription, this.db, this.logger, this.observer(topic, group)));
  }

  async start(): Promise<void> {
    if (this.started) return;
    this.started = true;
    this.startedAt = this.seenAt = Date.now();
    for (const { subscription } of this.consumers) {
      for (const statement of subscribeSql(subscription.group, subscription.topic)) await this.db.query(statement);
    }
    if (this.options.kafka !== undefined) await this.startKafka(this.options.kafka);
    this.stops.push(this.db.onPublished((topics) => this.onCommitted(topics)) as () => void);
    // Over Kafka whoever publishes also relays; the poll finds what a dead process has left.
    if (this.options.acrossProcesses !== false && this.carrier === undefined) {
      this.stops.push(await this.db.listen(CHANNEL, (payload) => this.onNotified(payload)));
    }
    this.stops.push(...this.startLoops().map((loop) => () => loop.stop()));
    if (this.carrier === undefined) for (const consumer of this.consumers) consumer.wake();
  }

  /** Finishes what is in hand and takes nothing new. */
  async stop(): Promise<void> {
    if (!this.started) return;
    this.started = false;
    await Promise.all(this.stops.splice(0).map((stop) => stop()));
    clearTimeout(this.notifyTimer);
    await this.carrier?.stop();
    await Promise.all(this.consumers.map((consumer) => consumer.stop()));
  }

  /** Wakes the consumers of a topic in this process. */
  poke(topic: Topic): void {
    for (const consumer of this.consumers) if (consumer.subscription.topic === topic) consumer.published();
  }

  /** What each group of this process has not handled yet. */
  async lag(): Promise<BusLag[]> {
    return this.db.query<BusLag>(lagSql(...this.groupsAndTopics()));
  }

  async onApplicationShutdown(): Promise<void> {
    await this.stop();
  }

  private async startKafka(config: KafkaConfig): Promise<void> {
    const { db, logger, metrics, consumers } = this;
    const observer = (topic: string, group: string): ConsumerObserver => this.observer(topic, group);
    this.carrier = new KafkaCarrier({ config, db, logger, metrics, observer, fromLog: consumers });
    await this.carrier.start();
  }

  private onCommitted(topics: Topic[]): void {
    if (this.carrier !== undefined) return this.carrier.published(topics);
    for (const topic of topics) {
      this.poke(topic);
      this.announced.add(topic);
    }
    if (this.options.acrossProcesses === false || this.notifyTimer !== undefined) return;
    this.notifyTimer = setTimeout(() => {
      this.notifyTimer = undefined;
      const payload = `${this.instance} ${[...this.announced].join(',')}`;
      this.announced.clear();
      // Lost notifications are only late: the others poll.
      this.db.query('SELECT pg_notify($1, $2)', [CHANNEL, payload]).catch(() => undefined);
    }, NOTIFY_MS);
  }

  private onNotified(payload: string): void {
    const [from, topics] = payload.split(' ', 2);
    if (from === this.instance) return;
    // An empty payload says that the connection was new: anything may have been missed.
    const names = topics === undefined ? TOPICS : topics.split(',');
    for (const topic of names) this.poke(topic as Topic);
  }

  private startLoops(): DueLoop[] {
    const { pollMs = POLL_MS } = this.options;
    let polledAt = Date.now();
    const poll = async (): Promise<number> => {
      const ready = await this.db.query<{ group: string; topic: Topic }>(readySql(...this.polled()));
      polledAt = Date.now();
      if (this.carrier !== undefined && ready.length > 0) this.carrier.published(ready.map(({ topic }) => topic));
      for (const { group, topic } of ready) {
        this.consumers.find((c) => c.subscription.topic === topic && c.subscription.group === group)?.wake();
      }
      return 0;
    };
    this.readiness.register('bus', () => {
      if (!this.started) throw new Error('not started');
      // Twenty polls missed in a row.
      if (Date.now() - polledAt > 20 * pollMs) throw new Error('cannot read the log');
      if (this.options.readyWithoutKafka !== true) this.carrier?.check();
    });
    const { logger } = this;
    return [
      startDueLoop({ name: 'bus.poll', everyMs: pollMs, batch: 1, logger, run: poll }),
      startDueLoop({
        name: 'bus.retention',
        everyMs: RETENTION_MS,
        batch: CLEAN_BATCH,
        logger,
        run: () => this.clean(),
      }),
      ...this.watchKafka(),
    ];
  }

  private watchKafka(): DueLoop[] {
    const { carrier, logger } = this;
    if (carrier === undefined) return [];
    const run = async (): Promise<number> => {
      await carrier.watch();
      return 0;
    };
    return [startDueLoop({ name: 'bus.watch', everyMs: WATCH_MS, batch: 1, logger, run })];
  }

  /** One round of retention; answers how many messages went. Runs by itself each 10 s. */
  async clean(): Promise<number> {
    const seenDue = Date.now() - this.seenAt > SEEN_MS;
    const count = await this.db.inTransaction(
      'default',
      async (tx) => {
        if (seenDue) for (const [group, topic] of this.cursors()) await tx.query(seenSql(group, topic));
        const [lock] = await tx.query<{ mine: boolean }>(retentionLockSql);
        if (lock?.mine !== true) return 0;
        if (Date.now() - this.startedAt > SEEN_MS) await tx.query(dropGoneGroupsSql);
        if (this.carrier !== undefined) await tx.query(dropUnreadableSql);
        const [cleaned] = await tx.query<{ count: number }>(cleanSql);
        return cleaned?.count ?? 0;
      },
      { durable: false },
    );
    if (seenDue) this.seenAt = Date.now();
    const gauge = this.metrics.gauge('opsloop_bus_lag', 'Messages not handled yet', ['group', 'topic']);
    for (const { group, topic, messages } of await this.lag()) gauge.set({ group, topic }, messages);
    return count;
  }

  private groupsAndTopics(): [string[], string[]] {
    const all = this.cursors();
    return [all.map(([group]) => group), all.map(([, topic]) => topic)];
  }

  /** What this process looks for in the log: work of its own groups, or what is to be relayed. */
  private polled(): [string[], string[]] {
    if (this.carrier === undefined) return this.groupsAndTopics();
    return [RELAYED_TOPICS.map(() => RELAY_GROUP), [...RELAYED_TOPICS]];
  }

  /** Group and topic of each cursor that this process moves. */
  private cursors(): [string, string][] {
    const relays = this.carrier === undefined ? [] : RELAYED_TOPICS.map((t): [string, string] => [RELAY_GROUP, t]);
    return [...relays, ...this.consumers.map((c): [string, string] => [c.subscription.group, c.subscription.topic])];
  }

  private observer(topic: string, group: string): ConsumerObserver {
    const names = ['topic', 'group'];
    const labels = { topic, group };
    const handled = this.metrics.counter('opsloop_bus_handled_total', 'Messages handled', names);
    const seconds = this.metrics.histogram('opsloop_bus_batch_seconds', 'Time of one batch, commit included', names);
    const failures = this.metrics.counter('opsloop_bus_failures_total', 'Failed deliveries', names);
    const dead = this.metrics.counter('opsloop_bus_dead_total', 'Messages put aside', names);
    return {
      handled: (count, time) => {
        handled.inc(labels, count);
        seconds.observe(labels, time);
      },
      failed: () => failures.inc(labels),
      dead: () => dead.inc(labels),
    };
  }
}
