/** Decision, control, catalog and event-ingest as they are, on a database in virtual time and a virtual Temporal. */
import { type DynamicModule, Module } from '@nestjs/common';
import type { AtomExecutor } from '@opsloop/atoms';
import { Bus, BusModule, busMigrations, connectBus } from '@opsloop/bus';
import { ControlModule, controlConfigFromEnv, controlMigrations } from '@opsloop/control';
import { DecisionModule, decisionConfigFromEnv, decisionMigrations } from '@opsloop/decision';
import { EventIngestModule, eventIngestConfigFromEnv, eventIngestMigrations } from '@opsloop/event-ingest';
import type { VirtualTemporal } from '@opsloop/flowtest';
import { createHttpApp, InternalClient, PlatformModule, type PlatformConfig } from '@opsloop/platform';
import { Database, PostgresModule } from '@opsloop/postgres';
import { ServiceCatalogModule, serviceCatalogConfigFromEnv, serviceCatalogMigrations } from '@opsloop/service-catalog';
import { TemporalConnection } from '@opsloop/temporal';
import { VERSION } from '../version.js';
import { virtualConnection } from './virtual-connection.js';

const HOST = '127.0.0.1';
const KEY = 'ops_playplay_the-admin-of-a-world-that-lives-for-one-test';

@Module({})
class PlayModule {}

@Module({})
class VirtualTemporalModule {}

export interface PlayStack {
  database: Database;
  bus: Bus;
  client: InternalClient;
  platform: PlatformConfig;
  call(
    method: string,
    path: string,
    body?: unknown,
    type?: string,
    token?: string,
  ): Promise<{ status: number; body: unknown }>;
  close(): Promise<void>;
}

export async function startPlayStack(options: {
  databaseUrl: string;
  port: number;
  world: () => VirtualTemporal;
  atoms: Pick<AtomExecutor, 'execute'>;
}): Promise<PlayStack> {
  const { port, databaseUrl } = options;
  const url = `http://${HOST}:${port}`;
  const platform: PlatformConfig = {
    host: HOST,
    port,
    publicUrl: url,
    adminKey: KEY,
    serviceToken: `${KEY}-service`,
    urls: { ingest: url, decision: url, control: url, catalog: url },
    embedded: true,
    logLevel: 'fatal',
    httpAllow: [],
    ownPorts: [port],
    tenant: 'default',
    version: VERSION,
  };
  const app = await createHttpApp(moduleOf(platform, databaseUrl, options), { title: 'play', shutdownHooks: false });
  await app.listen(port, HOST);
  await connectBus(app);
  const call: PlayStack['call'] = async (method, path, body, type = 'application/json', token = KEY) => {
    const answer = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': type }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) };
  };
  return {
    database: app.get(Database),
    bus: app.get(Bus),
    client: app.get(InternalClient),
    platform,
    call,
    close: () => app.close(),
  };
}

function moduleOf(
  platform: PlatformConfig,
  databaseUrl: string,
  { world, atoms }: { world: () => VirtualTemporal; atoms: Pick<AtomExecutor, 'execute'> },
): DynamicModule {
  const migrations = [
    busMigrations,
    eventIngestMigrations,
    decisionMigrations,
    controlMigrations,
    serviceCatalogMigrations,
  ];
  return {
    module: PlayModule,
    imports: [
      PlatformModule.forRoot(platform),
      PostgresModule.forRoot({ url: databaseUrl, poolMax: 10, migrations }),
      {
        module: VirtualTemporalModule,
        global: true,
        providers: [{ provide: TemporalConnection, useValue: virtualConnection(world) }],
        exports: [TemporalConnection],
      },
      BusModule.forRoot({ acrossProcesses: false }),
      EventIngestModule.register(eventIngestConfigFromEnv({})),
      // The play says when goals are looked at; a look by real time could come before the event of its moment.
      DecisionModule.register({ ...decisionConfigFromEnv({ OPSLOOP_RESYNC: '1h' }), atoms }),
      ControlModule.register(controlConfigFromEnv({})),
      ServiceCatalogModule.register(serviceCatalogConfigFromEnv({})),
    ],
  };
}
