/** A real event-ingest on a real database, for specs. */
import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { BusModule, busMigrations, connectBus } from '@opsloop/bus';
import type { EventMessage } from '@opsloop/contracts';
import { PlatformModule, createHttpApp } from '@opsloop/platform';
import { Database, PostgresModule } from '@opsloop/postgres';
import { createTestDatabase, freePort, startHttpTarget } from '@opsloop/testing';
import type { HttpTarget } from '@opsloop/testing';
import { EventIngestModule, eventIngestConfigFromEnv, eventIngestMigrations } from './index.js';

export const ADMIN = 'ops_spec_admin-key-of-this-spec';
export const SERVICE = 'ops_spec_service-key-of-this-spec';

/** The members of answers that specs look at, whatever the route. */
export interface AnswerBody {
  items: { id: string; eventId: string; duplicate: boolean; [member: string]: unknown }[];
  errors: { pointer: string; message: string }[];
  nextCursor?: string;
  [member: string]: unknown;
}

export interface Answer {
  status: number;
  body: AnswerBody;
  headers: Headers;
}

export interface IngestApp {
  url: string;
  app: NestFastifyApplication;
  database: Database;
  /** Values in the secret store, by name. */
  secrets: Map<string, { value: string; version: number }>;
  /** A request with the admin's token unless the headers say otherwise; an object body is sent as JSON. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Messages on the topic `events`, in order. */
  messages(): Promise<EventMessage[]>;
  close(): Promise<void>;
}

/** Without a decorator: files outside the build are compiled without decorator support. */
class SpecModule {}

/** Plays the secret store of service-catalog. */
async function startSecretStore(secrets: IngestApp['secrets']): Promise<HttpTarget> {
  return startHttpTarget(({ path, body }) => {
    const asked = body as { name: string; value: string; names: string[] };
    if (path.endsWith('/keep')) {
      const version = (secrets.get(asked.name)?.version ?? 0) + 1;
      secrets.set(asked.name, { value: asked.value, version });
      return { body: { name: asked.name, version } };
    }
    if (path.endsWith('/forget')) return { body: { forgotten: secrets.delete(asked.name) } };
    const found = asked.names.flatMap((name) => (secrets.has(name) ? [{ name, ...secrets.get(name)! }] : []));
    return { body: { secrets: found } };
  });
}

/** `peers` is the origin of decision and service-catalog. */
export async function startIngest(peers?: string): Promise<IngestApp> {
  const { url: databaseUrl, drop } = await createTestDatabase();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const other = peers ?? url;
  const secrets: IngestApp['secrets'] = new Map();
  const store = await startSecretStore(secrets);
  const app = await createHttpApp(
    {
      module: SpecModule,
      imports: [
        PlatformModule.forRoot({
          host: '127.0.0.1',
          port,
          publicUrl: url,
          adminKey: ADMIN,
          serviceToken: SERVICE,
          urls: { ingest: url, decision: other, control: other, catalog: peers ?? store.url },
          embedded: true,
          logLevel: 'silent',
          httpAllow: [],
          ownPorts: [port],
          tenant: 'default',
          version: '0.0.0',
        }),
        PostgresModule.forRoot({ url: databaseUrl, poolMax: 8, migrations: [busMigrations, eventIngestMigrations] }),
        BusModule.forRoot(),
        EventIngestModule.register(eventIngestConfigFromEnv({})),
      ],
    },
    { title: 'event-ingest', shutdownHooks: false },
  );
  await connectBus(app);
  await app.listen(port, '127.0.0.1');
  const database = app.get(Database);
  return {
    url,
    app,
    database,
    secrets,
    call: async (method, path, body, headers = {}) => {
      const text =
        body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
      const response = await fetch(url + path, {
        method,
        headers: {
          authorization: `Bearer ${ADMIN}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(text === undefined ? {} : { body: text as string }),
      });
      const answer = await response.text();
      return {
        status: response.status,
        body: (answer === '' ? {} : JSON.parse(answer)) as AnswerBody,
        headers: response.headers,
      };
    },
    messages: async () =>
      (
        await database.query<{ body: EventMessage }>(`SELECT body FROM bus.message WHERE topic = 'events' ORDER BY id`)
      ).map((row) => row.body),
    close: async () => {
      await app.close();
      await store.close();
      await drop();
    },
  };
}
