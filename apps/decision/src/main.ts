/** decision in a process of its own. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { BusModule, busMigrations, busOptionsFromEnv, connectBus } from '@opsloop/bus';
import { createHttpApp, platformConfigFromEnv, PlatformModule, databaseUrlFromEnv } from '@opsloop/platform';
import { PostgresModule } from '@opsloop/postgres';
import { decisionConfigFromEnv, readEnvironment, VERSION } from './config.js';
import { DecisionModule } from './decision.module.js';
import { decisionMigrations } from './migrations/index.js';

const env = readEnvironment();
const platform = platformConfigFromEnv(env, VERSION);

@Module({
  imports: [
    PlatformModule.forRoot(platform),
    PostgresModule.forRoot({ url: databaseUrlFromEnv(env), migrations: [busMigrations, decisionMigrations] }),
    BusModule.forRoot(busOptionsFromEnv(env)),
    DecisionModule.register(decisionConfigFromEnv(env)),
  ],
})
class Main {}

const app = await createHttpApp(Main, { title: 'opsloop decision' });
await connectBus(app);
await app.listen(platform.port, platform.host);
