/** service-catalog in a process of its own. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { BusModule, busMigrations, busOptionsFromEnv, connectBus } from '@opsloop/bus';
import { createHttpApp, platformConfigFromEnv, PlatformModule, databaseUrlFromEnv } from '@opsloop/platform';
import { PostgresModule } from '@opsloop/postgres';
import { readEnvironment, serviceCatalogConfigFromEnv, VERSION } from './config.js';
import { ServiceCatalogModule, serviceCatalogMigrations } from './service-catalog.module.js';

const env = readEnvironment();
const platform = platformConfigFromEnv(env, VERSION);

@Module({
  imports: [
    PlatformModule.forRoot(platform),
    PostgresModule.forRoot({ url: databaseUrlFromEnv(env), migrations: [busMigrations, serviceCatalogMigrations] }),
    BusModule.forRoot(busOptionsFromEnv(env)),
    ServiceCatalogModule.register(serviceCatalogConfigFromEnv(env)),
  ],
})
class Main {}

const app = await createHttpApp(Main, { title: 'opsloop service-catalog' });
await connectBus(app);
await app.listen(platform.port, platform.host);
