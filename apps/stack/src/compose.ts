import { type DynamicModule, Module } from '@nestjs/common';
import { BusModule, busMigrations, busOptionsFromEnv } from '@opsloop/bus';
import { ControlModule, controlConfigFromEnv, controlMigrations } from '@opsloop/control';
import { DecisionModule, decisionConfigFromEnv, decisionMigrations } from '@opsloop/decision';
import { DslInterpreterModule, dslInterpreterConfigFromEnv } from '@opsloop/dsl-interpreter';
import { EventIngestModule, eventIngestConfigFromEnv, eventIngestMigrations } from '@opsloop/event-ingest';
import { PlatformModule, type PlatformConfig } from '@opsloop/platform';
import { PostgresModule } from '@opsloop/postgres';
import { ServiceCatalogModule, serviceCatalogConfigFromEnv, serviceCatalogMigrations } from '@opsloop/service-catalog';
import { TemporalModule, type TemporalConfig } from '@opsloop/temporal';

/** PostgreSQL connections of the whole process; an embedded server accepts 60, and two cores keep no more busy. */
const POOL_MAX = 20;

export interface StackConfig {
  platform: PlatformConfig;
  temporal: TemporalConfig;
  databaseUrl: string;
  env: NodeJS.ProcessEnv;
}

@Module({})
class StackModule {}

/** The five apps in one process: one pool, one Temporal connection, one origin. */
export function stackModule({ platform, temporal, databaseUrl, env }: StackConfig): DynamicModule {
  const migrations = [
    busMigrations,
    eventIngestMigrations,
    decisionMigrations,
    controlMigrations,
    serviceCatalogMigrations,
  ];
  return {
    module: StackModule,
    imports: [
      PlatformModule.forRoot(platform),
      PostgresModule.forRoot({ url: databaseUrl, poolMax: POOL_MAX, migrations }),
      TemporalModule.forRoot(temporal),
      // One process: a poke after commit wakes every consumer, so nobody has to be notified through the database.
      BusModule.forRoot({ acrossProcesses: false, ...busOptionsFromEnv(env) }),
      EventIngestModule.register(eventIngestConfigFromEnv(env)),
      DecisionModule.register(decisionConfigFromEnv(env)),
      ControlModule.register(controlConfigFromEnv(env)),
      ServiceCatalogModule.register(serviceCatalogConfigFromEnv(env)),
      DslInterpreterModule.register(dslInterpreterConfigFromEnv(env)),
    ],
  };
}
