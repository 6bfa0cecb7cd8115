/** control in a process of its own. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { BusModule, busMigrations, busOptionsFromEnv, connectBus } from '@opsloop/bus';
import { createHttpApp, platformConfigFromEnv, PlatformModule, databaseUrlFromEnv } from '@opsloop/platform';
import { PostgresModule } from '@opsloop/postgres';
import { TemporalModule, temporalConfigFromEnv } from '@opsloop/temporal';
import { controlConfigFromEnv, readEnvironment, VERSION } from './config.js';
import { ControlModule, controlMigrations } from './control.module.js';

const env = readEnvironment();
const platform = platformConfigFromEnv(env, VERSION);

@Module({
  imports: [
    PlatformModule.forRoot(platform),
    PostgresModule.forRoot({ url: databaseUrlFromEnv(env), migrations: [busMigrations, controlMigrations] }),
    TemporalModule.forRoot(temporalConfigFromEnv(env)),
    BusModule.forRoot(busOptionsFromEnv(env)),
    ControlModule.register(controlConfigFromEnv(env)),
  ],
})
class Main {}

const app = await createHttpApp(Main, { title: 'opsloop control' });
await connectBus(app);
await app.listen(platform.port, platform.host);
