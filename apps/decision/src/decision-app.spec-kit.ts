/** A real decision on a real database with the real bus, for specs. Control is played by the spec. */
import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { BusModule, busMigrations, connectBus } from '@opsloop/bus';
import type { EventMessage, JsonObject, RunsMessage, StartRequest, StartsMessage, Topic } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { createHttpApp, PlatformModule } from '@opsloop/platform';
import { Database, PostgresModule } from '@opsloop/postgres';
import { createTestDatabase, eventually, freePort } from '@opsloop/testing';
import { DecisionModule, decisionConfigFromEnv, decisionMigrations } from './index.js';

export const ADMIN = 'ops_spec_admin-key-of-this-spec';
export const SERVICE = 'ops_spec_service-key-of-this-spec';

export interface AnswerBody {
  [member: string]: unknown;
  items: { [member: string]: unknown }[];
  text: string;
  errors: { pointer: string; message: string }[];
}

export interface DecisionApp {
  app: NestFastifyApplication;
  database: Database;
  call(method: string, path: string, body?: unknown, token?: string): Promise<{ status: number; body: AnswerBody }>;
  putRule(rule: object): Promise<void>;
  /** Publishes events in one transaction and answers them. */
  events(...events: Partial<EventMessage>[]): Promise<EventMessage[]>;
  runs(...messages: RunsMessage[]): Promise<void>;
  documents(body: { kind: string; name: string; change: 'created' | 'lifted'; body?: JsonObject }): Promise<void>;
  starts(): Promise<StartRequest[]>;
  withdrawn(): Promise<string[]>;
  /** Waits until every message on the bus was handled. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** Without a decorator: files outside the build are compiled without decorator support. */
class SpecModule {}

/** `others`: address of whoever plays the other apps; without it there are none. */
export async function startDecision(env: Record<string, string> = {}, others?: string): Promise<DecisionApp> {
  const { url: databaseUrl, drop } = await createTestDatabase();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const urls = { ingest: url, decision: url, control: others ?? url, catalog: others ?? url };
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
          urls,
          embedded: true,
          logLevel: 'silent',
          httpAllow: [],
          ownPorts: [port],
          tenant: 'default',
          version: '0.0.0',
        }),
        PostgresModule.forRoot({ url: databaseUrl, poolMax: 10, migrations: [busMigrations, decisionMigrations] }),
        BusModule.forRoot(),
        DecisionModule.register(decisionConfigFromEnv({ PATH: '/usr/bin:/bin', OPSLOOP_RESYNC: '1h', ...env })),
      ],
    },
    { title: 'decision', shutdownHooks: false },
  );
  await connectBus(app);
  await app.listen(port, '127.0.0.1');
  const database = app.get(Database);

  const publish = (topic: Topic, messages: { id: string; key: string; body: unknown }[]): Promise<void> =>
    database.inTransaction('default', async (tx) => {
      for (const message of messages) tx.publish(topic, message as never);
    });
  const call: DecisionApp['call'] = async (method, path, body, token = ADMIN) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as AnswerBody };
  };
  const startsMessages = async (): Promise<StartsMessage[]> =>
    (
      await database.query<{ body: StartsMessage }>(`SELECT body FROM bus.message WHERE topic = 'starts' ORDER BY id`)
    ).map((row) => row.body);

  return {
    app,
    database,
    call,
    putRule: async (rule) => {
      const { name } = rule as { name: string };
      const answer = await call('PUT', `/v1/rules/${name}`, rule);
      if (answer.status >= 300) throw new Error(JSON.stringify(answer));
    },
    events: async (...partial) => {
      const events = partial.map(eventOf);
      await publish(
        'events',
        events.map((event) => ({ id: event.eventId, key: event.subject ?? '', body: event })),
      );
      return events;
    },
    runs: (...messages) =>
      publish(
        'runs',
        messages.map((body) => ({ id: newId(), key: body.id, body })),
      ),
    documents: (body) => publish('documents', [{ id: newId(), key: `${body.kind}/${body.name}`, body }]),
    starts: async () => (await startsMessages()).flatMap((m) => (m.kind === 'start' ? [m.start] : [])),
    withdrawn: async () => (await startsMessages()).flatMap((m) => (m.kind === 'withdraw' ? [m.id] : [])),
    settled: async () => {
      await eventually(async () => {
        const [row] = await database.query<{ open: string }>(
          `SELECT count(*) open FROM bus.message m JOIN bus.cursor c ON c.topic = m.topic AND c.part = m.part WHERE m.id > c.position`,
        );
        if (row!.open !== '0') throw new Error(`${row!.open} messages are not handled yet`);
      });
    },
    close: async () => {
      await app.close();
      await drop();
    },
  };
}

/** A state event of now about a host, unless it says otherwise. */
export function eventOf(partial: Partial<EventMessage>): EventMessage {
  const eventId = partial.eventId ?? newId();
  const now = new Date().toISOString();
  const data = partial.data ?? { state: 'down' };
  const type = partial.type ?? 'fleet.service.state';
  return {
    eventId,
    source: '/spec',
    id: eventId,
    type,
    subject: 'host/dc1/r1/a',
    time: now,
    receivedAt: now,
    data,
    correlationId: eventId,
    hops: 0,
    ...(type.endsWith('.state') ? { state: data as JsonObject } : {}),
    ...partial,
  };
}

type RunsInput = Partial<RunsMessage> & Pick<RunsMessage, 'kind'>;

/** A message of control about a start. */
export function runsOf(start: StartRequest, message: RunsInput): RunsMessage {
  const base = {
    id: start.id,
    decisionId: start.id,
    flow: start.ref,
    targets: start.targets,
    tier: start.tier,
    cause: start.cause,
    at: new Date().toISOString(),
  };
  const defaults =
    message.kind === 'verdict'
      ? { consulted: [], ...(message.verdict === 'admitted' ? { exclusive: start.targets } : {}) }
      : message.kind === 'started'
        ? { workflowId: `w.${start.id}` }
        : { outcome: [] };
  return { ...base, ...defaults, ...message } as RunsMessage;
}
