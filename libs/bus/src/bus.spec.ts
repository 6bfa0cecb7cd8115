import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { type EpisodesMessage, OpsError } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { createHttpApp, type PlatformConfig, PlatformModule, Readiness } from '@opsloop/platform';
import { connectDatabase, Database, PostgresModule } from '@opsloop/postgres';
import { createTestDatabase, deferred, eventually, type TestDatabase } from '@opsloop/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { busMigrations } from './bus.migrations.js';
import { BusModule } from './bus.module.js';
import { Bus, type BusOptions } from './bus.service.js';
import { type BusContext, BusHandler } from './bus.strategy.js';
import { carriers } from './carriers.spec-kit.js';
import { connectBus } from './connect-bus.js';
import type { BusMessage } from './consumer.js';
import { reactionTo } from './failure.pure.js';

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

type Message = BusMessage<EpisodesMessage>;
let made: TestDatabase;
let options: BusOptions;
const apps: NestFastifyApplication[] = [];

/** A whole app around the given handlers, started the way the apps start. */
async function start(
  ...controllers: (new (...args: never[]) => unknown)[]
): Promise<{ app: NestFastifyApplication; db: Database }> {
  @Module({
    imports: [
      PlatformModule.forRoot(CONFIG),
      PostgresModule.forRoot({ url: made.url, poolMax: 8, migrations: [busMigrations] }),
      BusModule.forRoot(options),
    ],
    controllers: controllers as never[],
  })
  class SpecModule {}
  const app = await createHttpApp(SpecModule, { title: 'Spec', shutdownHooks: false });
  apps.push(app);
  await connectBus(app);
  // Over Kafka a consumer has to join its group first.
  await eventually(async () => expect(await app.get(Readiness).report()).toMatchObject({ ready: true }));
  return { app, db: app.get(Database) };
}

function bodyOf(n: number, state = 'open'): EpisodesMessage {
  return { id: String(n), rule: 'r/r', resource: 'x', state, at: '2026-01-01T00:00:00.000Z' };
}

async function publish(db: Database, key: string, bodies: EpisodesMessage[]): Promise<void> {
  await db.inTransaction('default', async (tx) => {
    for (const body of bodies) tx.publish('episodes', { id: newId(), key, body });
  });
}

const record = (message: Message, ctx: BusContext, handled = 1): Promise<unknown> =>
  ctx.tx.query('INSERT INTO seen (key, n, handled) VALUES ($1, $2, $3)', [
    message.key,
    Number(message.body.id),
    handled,
  ]);

const seen = (db: Database): Promise<{ key: string; n: number; handled: number }[]> =>
  db.query('SELECT key, n, handled FROM seen ORDER BY seq');

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** How often a handler was given what no repeat can heal. */
let refused = 0;

@Controller()
class OneByOne {
  @BusHandler('episodes', 'spec')
  async handle(message: Message, ctx: BusContext): Promise<void> {
    await record(message, ctx);
    if (message.body.state === 'poison') throw new Error('cannot digest this');
    if (message.body.state === 'invalid') {
      refused += 1;
      throw new OpsError('validation', 'nor this');
    }
  }
}

@Controller()
class InBatches {
  @BusHandler('episodes', 'spec', { batch: true, durable: false })
  async handle(messages: Message[], ctx: BusContext): Promise<void> {
    for (const message of messages) await record(message, ctx, messages.length);
  }
}

@Controller()
class Patient {
  @BusHandler('episodes', 'spec-patient', { patient: true })
  async handle(message: Message, ctx: BusContext): Promise<void> {
    await record(message, ctx, 2);
  }
}

describe.each(carriers)('over $name', (carrier) => {
  beforeAll(async () => {
    // A broker that has to start first is no part of any time below.
    await carrier.options();
  }, 120_000);
  beforeEach(async () => {
    options = await carrier.options();
    made = await createTestDatabase({
      template: `bus ${busMigrations.migrations.map((m) => m.name).join()}`,
      migrate: async (url) => {
        const db = await connectDatabase({ url, migrations: [busMigrations] }, console);
        await db.query('CREATE TABLE seen (seq bigint GENERATED ALWAYS AS IDENTITY, key text, n int, handled int)');
        await db.dataSource.destroy();
      },
    });
  });
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await made.drop();
  });

  describe('delivery', () => {
    test('a patient group gets everything as well', async () => {
      const { db } = await start(OneByOne, Patient);
      await publish(db, 'a', [bodyOf(1)]);
      await publish(db, 'a', [bodyOf(2)]);
      await eventually(async () =>
        expect((await seen(db)).filter((s) => s.handled === 2).map((s) => s.n)).toEqual([1, 2]),
      );
    });

    test('in order, in batches of one transaction', async () => {
      const { db } = await start(InBatches);
      await publish(
        db,
        'k',
        numbers(1, 100).map((n) => bodyOf(n)),
      );
      const rows = await eventually(async () => {
        const found = await seen(db);
        expect(found).toHaveLength(100);
        return found;
      });
      expect(rows.map((row) => row.n)).toEqual(numbers(1, 100));
      expect(rows[0]?.handled).toBe(64);
    });

    test('a transaction that rolls back publishes nothing', async () => {
      const { db, app } = await start(OneByOne);
      const failing = db.inTransaction('default', async (tx) => {
        tx.publish('episodes', { id: newId(), key: 'k', body: bodyOf(1) });
        throw new Error('changed my mind');
      });
      await expect(failing).rejects.toThrow('changed my mind');
      await publish(db, 'k', [bodyOf(2)]);
      await eventually(async () => expect((await seen(db)).map((row) => row.n)).toEqual([2]));
      const lag = (await app.get(Bus).lag()).find((l) => l.group === 'spec');
      expect(lag).toMatchObject({ topic: 'episodes', messages: 0 });
    });

    test('starts at once after the commit, and across processes too', async () => {
      // Nobody looks by itself within the time of this test: only a wake-up brings anything.
      options = { ...options, pollMs: 600_000 };
      const { db } = await start(OneByOne);
      const { db: other } = await start();
      for (const [n, from] of [db, other, db, other].entries()) {
        await publish(from, 'k', [bodyOf(n)]);
        await eventually(async () => expect(await seen(db)).toHaveLength(n + 1), { everyMs: 5 });
      }
    });

    test('what was published before the first start of a topic is not lost; a later group starts at the head', async () => {
      const before = await connectDatabase({ url: made.url, migrations: [busMigrations] }, console);
      await publish(before, 'k', [bodyOf(1)]);
      const { db } = await start(OneByOne);
      await eventually(async () => expect((await seen(db)).map((row) => row.n)).toEqual([1]));

      @Controller()
      class Later {
        @BusHandler('episodes', 'later')
        async handle(message: Message, ctx: BusContext): Promise<void> {
          await record(message, ctx, 1_000);
        }
      }
      await start(Later);
      await publish(before, 'k', [bodyOf(2)]);
      await eventually(async () => {
        const later = (await seen(db)).filter((row) => row.handled === 1_000);
        expect(later.map((row) => row.n)).toEqual([2]);
      });
      await before.dataSource.destroy();
    });
  });

  describe('a message that cannot be handled', () => {
    test('goes to bus.dead within its bound, others pass, order is kept', async () => {
      const { db } = await start(OneByOne);
      const published = performance.now();
      const bodies = numbers(1, 70).map((n) => bodyOf(n, n === 40 ? 'poison' : 'open'));
      await publish(db, 'k', bodies);
      await publish(db, 'elsewhere', [bodyOf(999)]);
      const dead = await eventually(async () => {
        const rows = await db.query<{ body: EpisodesMessage; cause: string; grp: string }>('SELECT * FROM bus.dead');
        expect(rows).toHaveLength(1);
        return rows[0]!;
      });
      expect(performance.now() - published).toBeGreaterThan(1_400);
      expect(dead).toMatchObject({ grp: 'spec', body: { id: '40' } });
      expect(dead.cause).toContain('cannot digest this');
      // The two keys are in partitions of their own: neither says anything about when the other is through.
      await eventually(async () => expect(await seen(db)).toHaveLength(70));
      const order = (await seen(db)).filter((row) => row.key === 'k').map((row) => row.n);
      expect(order).toEqual(numbers(1, 70).filter((n) => n !== 40));
      expect((await seen(db)).filter((row) => row.key === 'elsewhere')).toHaveLength(1);
    });

    test('goes there at once when no repeat can heal it', async () => {
      const { db } = await start(OneByOne);
      refused = 0;
      await publish(db, 'k', [bodyOf(1, 'invalid')]);
      await eventually(async () => expect(await db.query('SELECT 1 FROM bus.dead')).toHaveLength(1));
      // What may heal is given five times.
      expect(refused).toBe(1);
      expect(await seen(db)).toEqual([]);
    });
  });

  describe('start and stop', () => {
    test('two handlers for one topic and group are refused at boot', async () => {
      @Controller()
      class Twin {
        @BusHandler('episodes', 'spec')
        handle(): void {}
      }
      await expect(start(OneByOne, Twin)).rejects.toThrow('Two bus handlers for episodes/spec');
    });

    test('a stop waits for the transaction in flight and takes nothing new', async () => {
      const gate = deferred();
      const entered = deferred();
      @Controller()
      class Slow {
        @BusHandler('episodes', 'spec', { workers: 1 })
        async handle(message: Message, ctx: BusContext): Promise<void> {
          entered.resolve();
          await gate.promise;
          await record(message, ctx);
        }
      }
      const { app } = await start(Slow);
      const watching = await connectDatabase({ url: made.url, migrations: [] }, console);
      await publish(watching, 'k', [bodyOf(1)]);
      await entered.promise;
      const stopping = app.get(Bus).stop();
      await publish(watching, 'k', [bodyOf(2)]);
      expect(await seen(watching)).toEqual([]);
      gate.resolve();
      await stopping;
      expect((await seen(watching)).map((row) => row.n)).toEqual([1]);
      await watching.dataSource.destroy();
    });

    test('readiness follows the bus', async () => {
      const { app } = await start(OneByOne);
      const part = async (): Promise<boolean | undefined> =>
        (await app.get(Readiness).report()).parts.find((p) => p.name === 'bus')?.ok;
      expect(await part()).toBe(true);
      await app.get(Bus).stop();
      expect(await part()).toBe(false);
    });
  });

  test('retention deletes what everybody has handled an hour ago, and nothing else', async () => {
    const { db, app } = await start(OneByOne);
    await publish(db, 'k', [bodyOf(1), bodyOf(2)]);
    await eventually(async () => expect(await seen(db)).toHaveLength(2));
    await app.get(Bus).stop();
    await publish(db, 'k', [bodyOf(3)]);
    await db.query(`UPDATE bus.message SET at = at - interval '2 hours' WHERE (body->>'id')::int IN (1, 3)`);
    const cleaned = await app.get(Bus).clean();
    expect(cleaned).toBe(1);
    expect(await db.query(`SELECT (body->>'id')::int AS n FROM bus.message ORDER BY id`)).toEqual([{ n: 2 }, { n: 3 }]);
  });
});

describe('what follows a failure', () => {
  test.each([
    ['a batch is redone one by one', new Error('x'), 2, 0, { do: 'single' }],
    ['also when no repeat can heal it', new OpsError('validation', 'x'), 64, 0, { do: 'single' }],
    ['first failure', new Error('x'), 1, 0, { do: 'retry', delayMs: 100 }],
    ['fourth failure', new Error('x'), 1, 3, { do: 'retry', delayMs: 800 }],
    ['fifth failure', new Error('x'), 1, 4, { do: 'dead' }],
    ['no repeat can heal it', new OpsError('not-found', 'x'), 1, 0, { do: 'dead' }],
    ['a part is away for long', new OpsError('unavailable', 'x'), 1, 400, { do: 'retry', delayMs: 1_000 }],
    ['thrown text', 'x', 1, 4, { do: 'dead', cause: 'x' }],
  ])('%s', (_name, error, batch, attempts, reaction) => {
    expect(reactionTo(error, batch, attempts)).toMatchObject(reaction);
  });
});
