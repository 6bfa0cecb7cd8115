/** event-ingest in a process of its own. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { BusModule, busMigrations, busOptionsFromEnv, connectBus } from '@opsloop/bus';
import { createHttpApp, platformConfigFromEnv, PlatformModule, databaseUrlFromEnv } from '@opsloop/platform';
import { PostgresModule } from '@opsloop/postgres';
import { readEnvironment, eventIngestConfigFromEnv, VERSION } from './config.js';
import { EventIngestModule, eventIngestMigrations } from './event-ingest.module.js';

const env = readEnvironment();
const platform = platformConfigFromEnv(env, VERSION);

@Module({
  imports: [
    PlatformModule.forRoot(platform),
    PostgresModule.forRoot({ url: databaseUrlFromEnv(env), migrations: [busMigrations, eventIngestMigrations] }),
    // It consumes hints for its caches alone; senders are not to be turned away for those.
    BusModule.forRoot({ ...busOptionsFromEnv(env), readyWithoutKafka: true }),
    EventIngestModule.register(eventIngestConfigFromEnv(env)),
  ],
})
class Main {}

const app = await createHttpApp(Main, { title: 'opsloop event-ingest' });
await connectBus(app);
await app.listen(platform.port, platform.host);
