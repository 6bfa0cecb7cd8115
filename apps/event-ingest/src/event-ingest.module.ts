import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { AtomExecutor, HttpGuard, ScriptRunner, StoredSecrets } from '@opsloop/atoms';
import { InternalClient, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { Database, DocumentStore } from '@opsloop/postgres';
import type { MigrationSet } from '@opsloop/postgres';
import { AcceptController } from './accept/accept.controller.js';
import { AcceptService } from './accept/accept.service.js';
import { EventRepository } from './accept/event.repository.js';
import { INGEST_CONFIG } from './config.js';
import type { EventIngestConfig } from './config.js';
import { BuryService } from './dead-letters/bury.service.js';
import { DeadLettersController } from './dead-letters/dead-letters.controller.js';
import { DeadLettersService } from './dead-letters/dead-letters.service.js';
import { DeadLetterRepository } from './dead-letters/dead-letter.repository.js';
import { SenderLimits } from './limit-senders/sender-limits.service.js';
import { SourceController } from './manage-sources/source.controller.js';
import { SourceCache } from './manage-sources/source-cache.service.js';
import { SourceRepository } from './manage-sources/source.repository.js';
import { SourceService } from './manage-sources/source.service.js';
import { SourceSecrets } from './manage-sources/source-secrets.service.js';
import { CreateIngest1700000001000 } from './migrations/1700000001000-create-ingest.js';
import { IndexPollAge1700000001001 } from './migrations/1700000001001-index-poll-age.js';
import { MoveSourceSecrets1700000001010 } from './migrations/1700000001010-move-source-secrets.js';
import { AcceptNew1700000001050 } from './migrations/1700000001050-accept-new.js';
import { PartitionEvents1700000001110 } from './migrations/1700000001110-partition-events.js';
import { AcceptPacked1700000003100 } from './migrations/1700000003100-accept-packed.js';
import { WatchSenders1700000001100 } from './migrations/1700000001100-watch-senders.js';
import { DocumentsConsumer } from './poll/documents.consumer.js';
import { PollRepository } from './poll/poll.repository.js';
import { PollService } from './poll/poll.service.js';
import { RemoteCache } from './poll/remote-cache.js';
import { EventReader } from './read-events/event-reader.service.js';
import { EventsController, InternalEventsController } from './read-events/events.controller.js';
import { EnqueueController, HookController } from './receive-hook/hook.controller.js';
import { HookService } from './receive-hook/hook.service.js';
import { TestDeliveryController } from './receive-hook/test-delivery.controller.js';
import { TestDeliveryService } from './receive-hook/test-delivery.service.js';
import { KafkaSources } from './read-kafka/kafka-sources.service.js';
import { RetainService } from './retain/retain.service.js';
import { SilenceRepository } from './watch-silence/silence.repository.js';
import { SilenceService } from './watch-silence/silence.service.js';

const SCHEMA = 'ingest';

export const eventIngestMigrations: MigrationSet = {
  schema: SCHEMA,
  migrations: [
    CreateIngest1700000001000,
    IndexPollAge1700000001001,
    MoveSourceSecrets1700000001010,
    AcceptNew1700000001050,
    WatchSenders1700000001100,
    PartitionEvents1700000001110,
    AcceptPacked1700000003100,
  ],
};

/** Where events come in: verified, de-duplicated, normalised, stored; then on the bus. */
@Module({})
export class EventIngestModule {
  static register(config: EventIngestConfig): DynamicModule {
    return {
      module: EventIngestModule,
      controllers: [
        AcceptController,
        EventsController,
        InternalEventsController,
        HookController,
        EnqueueController,
        DeadLettersController,
        SourceController,
        TestDeliveryController,
        DocumentsConsumer,
      ],
      providers: [
        { provide: INGEST_CONFIG, useValue: config },
        { provide: DocumentStore, inject: [Database], useFactory: (db: Database) => new DocumentStore(db, SCHEMA) },
        { provide: AtomExecutor, inject: [PLATFORM_CONFIG, INGEST_CONFIG, InternalClient], useFactory: pollExecutor },
        EventRepository,
        AcceptService,
        EventReader,
        HookService,
        TestDeliveryService,
        DeadLetterRepository,
        DeadLettersService,
        BuryService,
        KafkaSources,
        SenderLimits,
        SilenceRepository,
        SilenceService,
        SourceCache,
        SourceRepository,
        SourceSecrets,
        SourceService,
        PollRepository,
        RemoteCache,
        PollService,
        RetainService,
      ],
    };
  }
}

/** Polls call out under the same rules as actions do. */
function pollExecutor(platform: PlatformConfig, config: EventIngestConfig, internal: InternalClient): AtomExecutor {
  const { embedded } = platform;
  return new AtomExecutor({
    guard: new HttpGuard({ allow: platform.httpAllow, embedded, ownPorts: platform.ownPorts ?? [platform.port] }),
    embedded,
    scripts: new ScriptRunner({ ...config.scripts, embedded }),
    secrets: new StoredSecrets((name) => internal.secret(name)),
    resolveResources: (query) => internal.call('POST /internal/decision/resources', query),
  });
}
