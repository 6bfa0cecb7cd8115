/** What Kafka, its client and whoever writes to it can do to the bus. */
import 'reflect-metadata';
import { createRequire } from 'node:module';
import { Controller, Module } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { EpisodesMessage } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { createHttpApp, Metrics, type PlatformConfig, PlatformModule, Readiness } from '@opsloop/platform';
import { connectDatabase, Database, PostgresModule } from '@opsloop/postgres';
import {
  createTestDatabase,
  deferred,
  eventually,
  KafkaBroker,
  testKafka,
  type TestDatabase,
  whereKafka,
} from '@opsloop/testing';
import type { Kafka, KafkaMessage } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { busMigrations } from '../bus.migrations.js';
import { BusModule } from '../bus.module.js';
import { Bus } from '../bus.service.js';
import { type BusContext, BusHandler } from '../bus.strategy.js';
import { busTurns, specKafka } from '../carriers.spec-kit.js';
import { connectBus } from '../connect-bus.js';
import type { BusMessage } from '../consumer.js';
import { kafkaClient } from './kafka-client.js';
import type { KafkaConfig } from './kafka.config.js';

const CONFIG: PlatformConfig = {
  host: '127.0.0.1',
  port: 0,
  publicUrl: 'http://127.0.0.1',
  serviceToken: 'service',
  urls: { ingest: '', decision: '', control: '', catalog: '' },
  embedded: true,
  logLevel: 'silent',
  httpAllow: [],
  tenant: 'default',
  version: '0',
};
const silent = { debug: () => undefined, warn: () => undefined, error: () => undefined };

type Message = BusMessage<EpisodesMessage>;
let made: TestDatabase;
let reader: Database;
const closing: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  made = await createTestDatabase({
    template: `kafka ${busMigrations.migrations.map((m) => m.name).join()}`,
    migrate: async (url) => {
      const db = await connectDatabase({ url, migrations: [busMigrations] }, silent);
      await db.query('CREATE TABLE seen (seq bigint GENERATED ALWAYS AS IDENTITY, n int)');
      await db.dataSource.destroy();
    },
  });
  reader = await connectDatabase({ url: made.url, migrations: [] }, silent);
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
  await reader.dataSource.destroy();
  await made.drop();
});

interface Started {
  app: NestFastifyApplication;
  ready(): Promise<string>;
  counter(name: string): Promise<number>;
}

async function start(kafka: KafkaConfig | undefined, controller?: new () => unknown): Promise<Started> {
  @Module({
    imports: [
      PlatformModule.forRoot(CONFIG),
      PostgresModule.forRoot({ url: made.url, poolMax: 10, migrations: [busMigrations] }),
      BusModule.forRoot(kafka === undefined ? {} : { kafka }),
    ],
    controllers: controller === undefined ? [] : [controller],
  })
  class SpecModule {}
  const app = await createHttpApp(SpecModule, { title: 'Spec', shutdownHooks: false });
  closing.push(() => app.close());
  await connectBus(app);
  const started = {
    app,
    ready: async () => {
      const { parts } = await app.get(Readiness).report();
      return parts.find((part) => part.name === 'bus')?.detail ?? 'ready';
    },
    counter: async (name: string) => {
      const metric = await app.get(Metrics).registry.getSingleMetric(name)?.get();
      return (metric?.values ?? []).reduce((sum, { value }) => sum + value, 0);
    },
  };
  await eventually(async () => expect(await started.ready()).toBe('ready'));
  return started;
}

/** Twelve keys, so that every partition has some. */
async function publish(from: number, to: number, state = 'open', db = reader): Promise<void> {
  await db.inTransaction('default', (tx) => {
    for (let n = from; n <= to; n += 1) {
      const body = { id: String(n), rule: 'r/r', resource: 'x', state, at: '2026-01-01T00:00:00.000Z' };
      tx.publish('episodes', { id: newId(), key: `k${n % 12}`, body });
    }
    return Promise.resolve();
  });
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const seen = async (): Promise<number[]> =>
  (await reader.query<{ n: number }>('SELECT n FROM seen ORDER BY seq')).map((row) => row.n);

/** Exactly these, each once, and in order among those of one key. */
async function sawAll(from: number, to: number, timeoutMs = 20_000): Promise<void> {
  const rows = await eventually(
    async () => {
      const found = await seen();
      expect(found.length).toBeGreaterThanOrEqual(to - from + 1);
      return found;
    },
    { timeoutMs },
  );
  expect(rows.toSorted((a, b) => a - b)).toEqual(numbers(from, to));
  for (let key = 0; key < 12; key += 1) {
    const ofKey = rows.filter((n) => n % 12 === key);
    expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b));
  }
}

@Controller()
class Recorder {
  @BusHandler('episodes', 'spec')
  async handle(message: Message, ctx: BusContext): Promise<void> {
    await ctx.tx.query('INSERT INTO seen (n) VALUES ($1)', [Number(message.body.id)]);
    // What a handler does with a body of another shape.
    if (message.body.state === 'shapeless') (message.body as unknown as { at: { getTime(): void } }).at.getTime();
  }
}

const relayed = (): Promise<void> =>
  eventually(async () => {
    const [row] = await reader.query<{ open: number }>(`SELECT count(*)::int AS open FROM bus.message m
      JOIN bus.cursor c ON c.grp = 'kafka-relay' AND c.topic = m.topic AND c.part = m.part AND m.id > c.position`);
    expect(row?.open).toBe(0);
  });

async function withAdmin<T>(config: KafkaConfig, fn: (kafka: Kafka) => Promise<T>): Promise<T> {
  return fn(kafkaClient(config, silent));
}

/** Everything that is on a topic. */
async function readTopic(config: KafkaConfig, topic: string, count: number): Promise<KafkaMessage[]> {
  const consumer = kafkaClient(config, silent).consumer({ groupId: `${config.prefix}reader`, maxWaitTimeInMs: 100 });
  const found: KafkaMessage[] = [];
  await consumer.connect();
  await consumer.subscribe({ topics: [config.prefix + topic], fromBeginning: true });
  await consumer.run({ eachMessage: ({ message }) => Promise.resolve(void found.push(message)) });
  await eventually(() => expect(found.length).toBeGreaterThanOrEqual(count));
  await consumer.disconnect();
  return found;
}

/** Removes from Kafka what nobody has read yet, as an unclean election or a retention that is too short would. */
async function loseAll(config: KafkaConfig): Promise<void> {
  await withAdmin(config, async (kafka) => {
    const admin = kafka.admin();
    await admin.connect();
    const topic = `${config.prefix}episodes`;
    const offsets = await admin.fetchTopicOffsets(topic);
    const partitions = offsets
      .filter(({ high }) => high !== '0')
      .map(({ partition, high }) => ({ partition, offset: high }));
    await admin.deleteTopicRecords({ topic, partitions });
    await admin.disconnect();
  });
}

test('a connection with nothing to send asks for no timer', () => {
  kafkaClient(specKafka('127.0.0.1:1'), silent);
  const load = createRequire(import.meta.url);
  const queue = load('kafkajs/src/network/requestQueue') as { prototype: { checkPendingRequests(): void } };
  const idle = { pending: [] as unknown[], throttledUntil: -1, throttleCheckTimeoutId: null };
  const connection = Object.assign(Object.create(queue.prototype) as typeof queue.prototype, idle);
  connection.checkPendingRequests();
  expect(connection).toMatchObject({ throttleCheckTimeoutId: null });
});

describe.each(await whereKafka())('over $name', () => {
  const config = async (timings: KafkaConfig['timings'] = {}): Promise<KafkaConfig> =>
    specKafka((await testKafka()).brokers, timings);

  test('a broker that is killed and comes back: publishers notice nothing, nothing is lost, and readiness tells', async () => {
    const user = { name: 'ops', password: 'of-the-spec' };
    const broker = await KafkaBroker.start({ user });
    closing.push(() => broker.close());
    const sasl = { mechanism: 'plain', username: user.name, password: user.password } as const;
    const kafka = { ...specKafka(broker.brokers, { awayMs: 200, sendMs: 1_000, silentMs: 2_000 }), sasl };
    const stranger = kafkaClient({ ...kafka, sasl: { ...sasl, password: 'guessed' } }, silent);
    await expect(stranger.admin().connect()).rejects.toThrow(/authentication/i);
    const { ready, app } = await start(kafka, Recorder);
    await publish(1, 200);
    await sawAll(1, 200);
    await broker.kill();
    const began = performance.now();
    await publish(201, 400, 'open', app.get(Database));
    expect(performance.now() - began).toBeLessThan(2_000);
    await eventually(async () => expect(await ready()).toMatch(/Kafka cannot be reached|does not consume/));
    await publish(401, 600, 'open', app.get(Database));
    await broker.start();
    await sawAll(1, 600, 60_000);
    await eventually(async () => expect(await ready()).toBe('ready'), { timeoutMs: 40_000 });
  }, 120_000);

  test('what is none of ours is put aside with its cause, exactly once, and stops nobody', async () => {
    const kafka = await config();
    const { counter } = await start(kafka, Recorder);
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', onWarning);
    await publish(1, 100);
    const valid = (seq: string): Record<string, string> => ({
      'opsloop-id': newId(),
      'opsloop-seq': seq,
      'opsloop-after': '0',
      'opsloop-part': '3',
      'opsloop-tenant': 'default',
      'opsloop-at': new Date().toISOString(),
    });
    const poison = [
      { value: 'hello' },
      { value: '{"no":"headers"}', headers: {} },
      { value: 'no json', headers: valid('1') },
      // Moving the group there would skip everything to come.
      { value: '{}', headers: valid('999999999999') },
      { value: Buffer.alloc(5 * 1024 * 1024, 'x') },
    ];
    await withAdmin(kafka, async (client) => {
      const topic = `${kafka.prefix}episodes`;
      const admin = client.admin();
      await admin.connect();
      const configEntries = [{ name: 'max.message.bytes', value: String(8 * 1024 * 1024) }];
      await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries }] });
      const producer = client.producer();
      await producer.connect();
      for (const message of poison) await producer.send({ topic, messages: [{ ...message, partition: 3 }] });
      await Promise.all([admin.disconnect(), producer.disconnect()]);
    });
    const since = performance.now();
    await publish(101, 120);
    await publish(121, 121, 'shapeless');
    await publish(122, 200);
    await eventually(
      async () => expect((await seen()).filter((n) => n > 100 && n !== 121 && n % 12 !== 1)).toHaveLength(92),
      { timeoutMs: 40_000 },
    );
    // Nobody but those behind the failing one, on its partition, waits for its retries.
    expect(performance.now() - since).toBeLessThan(5_000);
    await eventually(async () => expect(await reader.query('SELECT 1 FROM bus.dead')).toHaveLength(1));
    await eventually(async () => expect(await seen()).toHaveLength(199));
    const aside = await reader.query<{ cause: string; bytes: number; kept: number }>(
      'SELECT cause, bytes, length(value) AS kept FROM bus.unreadable ORDER BY "offset"',
    );
    expect(aside.map((row) => row.bytes)).toEqual([5, 16, 7, 2, 5 * 1024 * 1024]);
    expect(aside[2]?.cause).toContain('not a JSON object');
    expect(aside[3]?.cause).toContain('not in our log');
    expect(aside[4]?.kept).toBe(16 * 1024);
    const [dead] = await reader.query<{ cause: string; body: { id: string } }>('SELECT cause, body FROM bus.dead');
    expect(dead).toMatchObject({ body: { id: '121' }, cause: expect.stringContaining('TypeError') as string });
    const letters = await readTopic(kafka, 'dead', 6);
    expect(letters).toHaveLength(6);
    for (const { value } of letters)
      expect(JSON.parse(value!.toString())).toMatchObject({ group: 'spec', topic: 'episodes', cause: /\S/ });
    expect(await counter('opsloop_kafka_rebuilt_total')).toBe(0);
    expect(await counter('opsloop_kafka_repaired_total')).toBe(0);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  }, 60_000);

  test(
    'a handler that hangs: readiness tells, its consumer is made anew, and the work goes on, whoever comes and goes',
    async () => {
      const gate = deferred();
      let hung = 0;
      @Controller()
      class Hanging {
        @BusHandler('episodes', 'spec', { batch: true, workers: 1 })
        async handle(messages: Message[], ctx: BusContext): Promise<void> {
          if (hung === 0) {
            hung += 1;
            // Its transaction stays open until PostgreSQL ends it, 5 s later.
            await gate.promise;
          }
          for (const message of messages)
            await ctx.tx.query('INSERT INTO seen (n) VALUES ($1)', [Number(message.body.id)]);
        }
      }
      const kafka = config({ stalledMs: 1_000 });
      const { ready, counter } = await start(await kafka, Hanging);
      await publish(1, 30);
      await eventually(async () => expect(await ready()).toMatch(/has not moved|does not consume/));
      await sawAll(1, 30);
      expect(await counter('opsloop_kafka_rebuilt_total')).toBeGreaterThan(0);
      await eventually(async () => expect(await ready()).toBe('ready'));
      gate.resolve();
      // The one that hung wakes up to find everything done.
      let last = 30;
      const more = (): Promise<void> => publish(last + 1, (last += 30));
      await more();
      await sawAll(1, last);
      // Members that come and go all the time: each time the parts change hands in the middle of something.
      const members: Started[] = [];
      for (let turn = 0; turn < busTurns(); turn += 1) {
        await more();
        members.push(await start(await kafka, Recorder));
        await more();
        if (members.length > 1) await members.shift()!.app.get(Bus).stop();
      }
      await sawAll(1, last, 30_000);
      expect(await reader.query('SELECT 1 FROM bus.dead')).toEqual([]);
    },
    120_000 + busTurns() * 15_000,
  );

  test('what Kafka has lost comes from the log, in order', async () => {
    const kafka = await config({ stalledMs: 500 });
    const consuming = await start(kafka, Recorder);
    await publish(1, 50);
    await sawAll(1, 50);
    await consuming.app.get(Bus).stop();
    // Somebody relays while nobody consumes.
    await start(kafka);
    await publish(51, 100);
    await relayed();
    await loseAll(kafka);
    // In the middle: what follows shows the hole.
    await publish(101, 150);
    await relayed();
    const again = await start(kafka, Recorder);
    await sawAll(1, 150);
    expect(await again.counter('opsloop_kafka_repaired_total')).toBeGreaterThan(0);
    // At the end: nothing follows that could show it.
    await again.app.get(Bus).stop();
    await publish(151, 180);
    await relayed();
    await loseAll(kafka);
    await start(kafka, Recorder);
    await sawAll(1, 180);
  }, 60_000);

  test('what a relay has sent twice is done once, also where a batch ends in the middle of the repeat', async () => {
    const kafka = await config();
    // One part, and fewer messages than a batch takes: the first batch has all of them and the beginning of the repeat.
    const publishOne = (n: number): Promise<void> =>
      reader.inTransaction('default', (tx) => {
        const body = { id: String(n), rule: 'r/r', resource: 'x', state: 'open', at: '2026-01-01T00:00:00.000Z' };
        tx.publish('episodes', { id: newId(), key: 'same', body });
        return Promise.resolve();
      });
    for (const n of numbers(1, 50)) await publishOne(n);
    const relaying = await start(kafka);
    await relayed();
    await relaying.app.get(Bus).stop();
    await reader.query(`UPDATE bus.cursor SET position = 0 WHERE grp = 'kafka-relay' AND topic = 'episodes'`);
    await start(kafka);
    await relayed();
    await start(kafka, Recorder);
    await publishOne(51);
    await eventually(async () => expect(await seen()).toContain(51), { timeoutMs: 40_000 });
    expect(await seen()).toEqual(numbers(1, 51));
  }, 120_000);

  test('the carrier may change from one start to the next, either way', async () => {
    const kafka = await config();
    const onLog = await start(undefined, Recorder);
    await publish(1, 40);
    await sawAll(1, 40);
    await onLog.app.get(Bus).stop();
    await publish(41, 80);
    const onKafka = await start(kafka, Recorder);
    await publish(81, 120);
    await sawAll(1, 120);
    expect(await onKafka.counter('opsloop_kafka_repaired_total')).toBe(0);
    await onKafka.app.get(Bus).stop();
    await publish(121, 160);
    // Also while one process is still on the other carrier.
    await Promise.all([start(undefined, Recorder), start(kafka, Recorder)]);
    await publish(161, 240);
    await sawAll(1, 240);
  }, 60_000);

  test('a body larger than what a broker takes arrives as well', async () => {
    const sizes: number[] = [];
    @Controller()
    class Sizes {
      @BusHandler('episodes', 'spec')
      handle(message: Message): void {
        sizes.push(message.body.state.length);
      }
    }
    await start(await config(), Sizes);
    await publish(1, 1, 'x'.repeat(3 * 1024 * 1024));
    await publish(2, 2, 'y'.repeat(400 * 1024));
    await eventually(() => expect(sizes.toSorted((a, b) => a - b)).toEqual([400 * 1024, 3 * 1024 * 1024]));
  }, 60_000);
});
