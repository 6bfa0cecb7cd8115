/** A real service-catalog on a real database, and documents to play with, for specs. */
import 'reflect-metadata';
import { BusModule, busMigrations, connectBus } from '@opsloop/bus';
import type { JsonObject } from '@opsloop/contracts';
import { createHttpApp, PlatformModule } from '@opsloop/platform';
import { Database, PostgresModule } from '@opsloop/postgres';
import { createTestDatabase, freePort } from '@opsloop/testing';
import { ServiceCatalogModule, serviceCatalogConfigFromEnv, serviceCatalogMigrations } from './index.js';

export const ADMIN = 'ops_spec_admin-key-of-this-spec';
export const SERVICE = 'ops_spec_service-key-of-this-spec';

/** Members of answers that specs look at, whatever the route. */
export interface AnswerBody {
  items: { name: string; [member: string]: unknown }[];
  errors: { pointer: string; message: string }[];
  findings: { code: string; severity: string; pointer: string; step?: string }[];
  nextCursor?: string;
  [member: string]: unknown;
}

export interface Answer {
  status: number;
  body: AnswerBody;
}

export interface CatalogApp {
  url: string;
  database: Database;
  /** With the admin's token; a string body is sent as it is. */
  call(method: string, path: string, body?: unknown, token?: string): Promise<Answer>;
  /** With the service token. */
  internal(path: string, body: unknown): Promise<Answer>;
  close(): Promise<void>;
}

/** Without a decorator: files outside the build are compiled without decorator support. */
class SpecModule {}

/** `shared`: the database of another one, to run two processes of the app on the same tables. */
export async function startCatalog(
  shared?: string,
  /** Where the keys are: a data directory of an embedded stack, or what a cluster is configured with. */
  keys: { dataDir?: string; env?: Record<string, string> } = {},
  /** Address of control; without one it is away. */
  control?: string,
): Promise<CatalogApp & { databaseUrl: string }> {
  const { url: databaseUrl, drop } =
    shared === undefined ? await createTestDatabase() : { url: shared, drop: () => Promise.resolve() };
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
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
          urls: { ingest: url, decision: url, control: control ?? url, catalog: url },
          embedded: true,
          logLevel: 'silent',
          httpAllow: [],
          ownPorts: [port],
          ...(keys.dataDir === undefined ? {} : { dataDir: keys.dataDir }),
          tenant: 'default',
          version: '0.0.0',
        }),
        PostgresModule.forRoot({ url: databaseUrl, poolMax: 8, migrations: [busMigrations, serviceCatalogMigrations] }),
        BusModule.forRoot(),
        ServiceCatalogModule.register(serviceCatalogConfigFromEnv(keys.env ?? {})),
      ],
    },
    { title: 'service-catalog', shutdownHooks: false },
  );
  await connectBus(app);
  await app.listen(port, '127.0.0.1');
  const call = async (method: string, path: string, body?: unknown, token = ADMIN): Promise<Answer> => {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(text === undefined ? {} : { body: text }),
    });
    const answer = await response.text();
    return { status: response.status, body: (answer === '' ? {} : JSON.parse(answer)) as AnswerBody };
  };
  return {
    url,
    databaseUrl,
    database: app.get(Database),
    call,
    internal: (path, body) => call('POST', `/internal/catalog/${path}`, body, SERVICE),
    close: async () => {
      await app.close();
      await drop();
    },
  };
}

/** An http atom of a team. */
export function atom(name: string, version = '1.0.0', more: JsonObject = {}): JsonObject {
  return {
    dsl: 'opsloop/v1',
    kind: 'atom',
    name,
    version,
    title: `Atom ${name}`,
    owner: 'team-fleet',
    effect: 'mutate',
    idempotency: 'native',
    targets: ['${input.host}'],
    input: { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string' } } } },
    http: { method: 'POST', url: 'http://127.0.0.1:1/${input.host}' },
    timeout: { startToClose: '10s' },
    ...more,
  };
}

/** A flow of one step over `input.host`. */
export function flow(name: string, version = '1.0.0', more: JsonObject = {}): JsonObject {
  return {
    dsl: 'opsloop/v1',
    kind: 'flow',
    name,
    version,
    title: `Flow ${name}`,
    owner: 'team-fleet',
    input: { schema: { type: 'object', required: ['host'], properties: { host: { type: 'string' } } } },
    targets: '${input.host}',
    do: [{ id: 'act', call: 'fleet.host.restart@1', with: { host: '${input.host}' } }],
    ...more,
  };
}
