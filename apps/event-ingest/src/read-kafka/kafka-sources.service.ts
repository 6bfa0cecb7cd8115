import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { kafkaClient } from '@opsloop/bus';
import type { KafkaConfig } from '@opsloop/bus';
import { digestOf } from '@opsloop/contracts';
import type { SourceDocument } from '@opsloop/contracts';
import { Clock, Logger, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { startDueLoop } from '@opsloop/postgres';
import type { DueLoop } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import { BuryService } from '../dead-letters/bury.service.js';
import { SenderLimits } from '../limit-senders/sender-limits.service.js';
import { sizeOf } from '../limit-senders/token-bucket.pure.js';
import { SourceService } from '../manage-sources/source.service.js';
import { formatOf } from '../receive-hook/formats/formats.js';
import { readDelivery } from '../receive-hook/map-delivery.js';
import { SilenceService } from '../watch-silence/silence.service.js';
import { messageOf, placeOf } from './kafka-record.pure.js';
import type { KafkaRecord } from './kafka-record.pure.js';
import { TopicReader } from './topic-reader.js';

/** A new or changed source is read within this; the list is one small query. */
const LOOK_MS = 2_000;
/** Sources of this type that one process reads; each has connections of its own to a cluster of somebody else. */
const READERS_MAX = 50;

interface Running {
  digest: string;
  reader: TopicReader;
}

/** Topics that are sources. Processes share a topic's partitions, since they are members of one group. */
@Injectable()
export class KafkaSources implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly running = new Map<string, Running>();
  private loop: DueLoop | undefined;

  constructor(
    private readonly sources: SourceService,
    private readonly accepting: AcceptService,
    private readonly burying: BuryService,
    private readonly limits: SenderLimits,
    private readonly silence: SilenceService,
    private readonly clock: Clock,
    private readonly logger: Logger,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'kafka sources',
      everyMs: LOOK_MS,
      logger: this.logger,
      run: async () => {
        await this.look();
        return 0;
      },
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
    await Promise.all([...this.running.values()].map(({ reader }) => reader.stop()));
  }

  /** Starts, restarts and stops readers as the documents say. */
  private async look(): Promise<void> {
    const wanted = await this.sources.ofType(this.config.tenant, 'kafka', READERS_MAX);
    const names = new Set(wanted.map(({ name }) => name));
    for (const [name, { reader }] of this.running)
      if (!names.has(name)) {
        this.running.delete(name);
        await reader.stop();
      }
    for (const { name } of wanted) await this.keepReading(name);
  }

  private async keepReading(name: string): Promise<void> {
    const source = await this.sources.withSecrets(this.config.tenant, name);
    if (source?.kafka === undefined) return;
    const digest = digestOf(source);
    const known = this.running.get(name);
    if (known?.digest === digest) return;
    this.running.delete(name);
    await known?.reader.stop();
    this.running.set(name, { digest, reader: this.read(source) });
  }

  private read(source: SourceDocument): TopicReader {
    const { topic, from } = source.kafka!;
    return new TopicReader({
      kafka: kafkaClient(clientConfig(source), this.logger),
      // Of our own making, so that it takes nothing away from other readers of the topic.
      group: `opsloop-source-${this.config.tenant}-${source.name}`,
      topic,
      fromBeginning: from === 'earliest',
      take: (records) => this.take(source, records),
      logger: this.logger,
    });
  }

  /** Records of one partition, in order; those that nobody can read become dead letters and hold nothing up. */
  private async take(source: SourceDocument, records: KafkaRecord[]): Promise<void> {
    this.silence.heard(source, this.clock.now());
    if (source.limit !== undefined)
      this.limits.charge(`source "${source.name}"`, sizeOf(source.limit), records.length, 503);
    await Promise.all(records.map((record) => this.takeOne(source, record)));
  }

  private async takeOne(source: SourceDocument, record: KafkaRecord): Promise<void> {
    const { tenant } = this.config;
    const message = messageOf(record);
    const proof = { signed: createHash('sha256').update(placeOf(source.name, record)).digest('hex') };
    const now = this.clock.now();
    try {
      const { items } = readDelivery(source, formatOf(source)!, message, proof, now);
      const raw = { contentType: String(message.headers['content-type'] ?? ''), body: message.rawBody };
      await this.accepting.accept({ tenant, lane: source.name, items, raw });
    } catch (error) {
      await this.burying.bury(source, message, proof, now, error);
    }
  }
}

function clientConfig({ kafka, auth }: SourceDocument): KafkaConfig {
  return {
    brokers: kafka!.brokers,
    clientId: 'opsloop-source',
    prefix: '',
    partitions: 1,
    replication: 1,
    ...(kafka!.tls === true ? { tls: {} } : {}),
    ...(auth?.type === 'sasl'
      ? {
          sasl: {
            mechanism: auth.mechanism ?? 'scram-sha-512',
            username: auth.user,
            password: [auth.password].flat()[0]!,
          },
        }
      : {}),
  };
}
