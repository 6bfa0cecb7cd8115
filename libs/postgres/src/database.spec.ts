import 'reflect-metadata';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { newId } from '@opsloop/contracts/ids';
import { createTestDatabase, deferred, eventually, type TestDatabase } from '@opsloop/testing';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectDatabase } from './connect.js';
import type { Database } from './database.service.js';
import { startDueLoop } from './due-loop.js';

const silent = { warn: () => undefined, error: () => undefined };

/** The part of the bus that a transaction writes to; the real one is tested with the bus. */
class CreateOutbox1700000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE bus.message (id bigint GENERATED ALWAYS AS IDENTITY, topic text, key text, tenant text, body jsonb);
      CREATE FUNCTION bus.publish(text[], text[], uuid[], text, jsonb[]) RETURNS void LANGUAGE sql AS $$
        INSERT INTO bus.message (topic, key, tenant, body) SELECT t, k, $4, b FROM unnest($1, $2, $5) u(t, k, b) $$`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION bus.publish; DROP TABLE bus.message');
  }
}
class CreateAccount1700000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    // Slow on purpose: processes that start together meet here.
    await runner.query(`CREATE TABLE spec.account (id int PRIMARY KEY, amount int NOT NULL); SELECT pg_sleep(0.2)`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE spec.account');
  }
}
const MIGRATIONS = [
  { schema: 'bus', migrations: [CreateOutbox1700000000001] },
  { schema: 'spec', migrations: [CreateAccount1700000000002] },
];

let made: TestDatabase;
let db: Database;
const others: Database[] = [];

beforeAll(async () => {
  made = await createTestDatabase();
  // Four processes start at once on an empty database.
  const opened = await Promise.all(
    [0, 1, 2, 3].map(() => connectDatabase({ url: made.url, poolMax: 4, migrations: MIGRATIONS }, silent)),
  );
  db = opened[0]!;
  others.push(...opened);
});
afterAll(async () => {
  await Promise.all(others.map((other) => other.dataSource.destroy()));
  await made.drop();
});

const published = (): Promise<{ topic: string; key: string }[]> =>
  db.query('SELECT topic, key FROM bus.message ORDER BY id');

function episode(key: string): { id: string; key: string; body: never } {
  return { id: newId(), key, body: { n: 1 } as never };
}

test('migrations run once, whoever starts at the same time', async () => {
  const rows = await db.query<{ name: string }>('SELECT name FROM opsloop_migration ORDER BY name');
  expect(rows.map((row) => row.name)).toEqual(['CreateAccount1700000000002', 'CreateOutbox1700000000001']);
});

describe('inTransaction', () => {
  test('publishes at the end, topics in order, and announces after the commit', async () => {
    const heard: string[][] = [];
    const off = db.onPublished((topics) => heard.push(topics));
    const order: string[] = [];
    await db.inTransaction('default', async (tx) => {
      tx.afterCommit(() => order.push('committed'));
      tx.publish('starts', episode('s'));
      tx.publish('events', episode('e'));
      expect(await tx.query('SELECT 1 FROM bus.message')).toEqual([]);
      expect(await tx.query(`SELECT current_setting('transaction_isolation') AS level`)).toEqual([
        { level: 'read committed' },
      ]);
      order.push('done');
    });
    off();
    expect(order).toEqual(['done', 'committed']);
    expect(heard).toEqual([['starts', 'events']]);
    expect(await published()).toEqual([
      { topic: 'events', key: 'e' },
      { topic: 'starts', key: 's' },
    ]);
  });

  test('a rollback publishes nothing, announces nothing and frees the connection', async () => {
    const before = (await published()).length;
    const heard: unknown[] = [];
    const off = db.onPublished((topics) => heard.push(topics));
    for (let i = 0; i < 10; i += 1) {
      const failing = db.inTransaction('default', async (tx) => {
        tx.afterCommit(() => heard.push('hook'));
        tx.publish('events', episode('never'));
        await tx.query('INSERT INTO spec.account VALUES (1000, 1)');
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
    }
    off();
    expect(heard).toEqual([]);
    expect(await published()).toHaveLength(before);
    expect(await db.query('SELECT 1 FROM spec.account WHERE id = 1000')).toEqual([]);
    expect(db.pool.waitingCount).toBe(0);
  });

  test('a swallowed failure of a statement is not reported as success', async () => {
    const swallowing = db.inTransaction('default', async (tx) => {
      await tx.query('SELECT * FROM nowhere').catch(() => undefined);
    });
    await expect(swallowing).rejects.toMatchObject({ code: 'internal' });
  });

  test('using a transaction after its end fails', async () => {
    const kept = await db.inTransaction('default', async (tx) => tx);
    await expect(kept.query('SELECT 1')).rejects.toThrow('has ended');
    expect(() => kept.publish('events', episode('late'))).toThrow('has ended');
  });

  test('a deadlock is repeated until both transactions are through', async () => {
    await db.query('INSERT INTO spec.account VALUES (1, 0), (2, 0)');
    let entered = 0;
    let attempts = 0;
    const both = deferred();
    const transfer = (first: number, second: number): Promise<void> =>
      db.inTransaction('default', async (tx) => {
        attempts += 1;
        tx.publish('events', episode(`deadlock ${first}`));
        await tx.query('UPDATE spec.account SET amount = amount + 1 WHERE id = $1', [first]);
        if (++entered === 2) both.resolve();
        await both.promise;
        await tx.query('UPDATE spec.account SET amount = amount + 1 WHERE id = $1', [second]);
      });
    await Promise.all([transfer(1, 2), transfer(2, 1)]);
    // The loser tries again; on a busy machine both may lose once.
    expect(attempts).toBeGreaterThanOrEqual(3);
    expect(await db.query('SELECT amount FROM spec.account WHERE id IN (1, 2)')).toEqual([
      { amount: 2 },
      { amount: 2 },
    ]);
    // The repeated attempt published once.
    expect((await published()).filter((m) => m.key.startsWith('deadlock'))).toHaveLength(2);
  });

  test('a failure that repeats itself is given up after four attempts', async () => {
    let attempts = 0;
    const hopeless = db.inTransaction('default', async () => {
      attempts += 1;
      throw Object.assign(new Error('could not serialize'), { code: '40001' });
    });
    await expect(hopeless).rejects.toThrow('could not serialize');
    expect(attempts).toBe(4);
  });
});

describe('a lost connection', () => {
  const killOthers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'opsloop'`;

  test('is unavailable, and the pool recovers by itself', async () => {
    const killer = others[1]!;
    const entered = deferred();
    const killed = deferred();
    const victim = db.inTransaction('default', async (tx) => {
      await tx.query('INSERT INTO spec.account VALUES (7, 7)');
      entered.resolve();
      await killed.promise;
      await tx.query('SELECT 1');
    });
    await entered.promise;
    await killer.query(killOthers);
    killed.resolve();
    await expect(victim).rejects.toMatchObject({ code: 'unavailable' });
    await eventually(async () => expect(await db.query('SELECT 1 AS x')).toEqual([{ x: 1 }]));
    expect(await db.query('SELECT 1 FROM spec.account WHERE id = 7')).toEqual([]);
    const [row] = await db.inTransaction('default', (tx) => tx.query<{ x: number }>('SELECT 2 AS x'));
    expect(row).toEqual({ x: 2 });
    expect(db.pool.totalCount).toBeLessThanOrEqual(4);
  });

  test('a server that cannot be reached is unavailable until it is back', async () => {
    const target = new URL(made.url);
    const sockets = new Set<Socket>();
    const proxy = createServer((socket) => {
      const upstream = connect(Number(target.port), target.hostname);
      socket.pipe(upstream).pipe(socket);
      for (const end of [socket, upstream]) end.on('error', () => end.destroy());
      sockets.add(socket);
    });
    const open = (port: number): Promise<void> => new Promise((resolve) => proxy.listen(port, '127.0.0.1', resolve));
    await open(0);
    const { port } = proxy.address() as AddressInfo;
    const url = new URL(made.url);
    url.port = String(port);
    const other = await connectDatabase({ url: url.href, migrations: [] }, silent);

    const closed = new Promise((resolve) => proxy.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
    await expect(other.query('SELECT 1')).rejects.toMatchObject({ code: 'unavailable' });
    await expect(other.inTransaction('default', async () => 1)).rejects.toMatchObject({ code: 'unavailable' });

    await open(port);
    await eventually(async () => expect(await other.query('SELECT 1 AS x')).toEqual([{ x: 1 }]));
    await other.dataSource.destroy();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => proxy.close(resolve));
  });

  test('a listener comes back and says that it may have missed something', async () => {
    const heard: string[] = [];
    const stop = await db.listen('spec', (payload) => heard.push(payload));
    await db.query(`SELECT pg_notify('spec', 'one')`);
    await eventually(() => expect(heard).toEqual(['one']));
    await db.query(killOthers.replace(`'opsloop'`, `'opsloop listen'`));
    await eventually(() => expect(heard).toEqual(['one', '']));
    await db.query(`SELECT pg_notify('spec', 'two')`);
    await eventually(() => expect(heard).toEqual(['one', '', 'two']));
    await stop();
  });
});

describe('startDueLoop', () => {
  test('runs again at once while batches are full, on a poke, and not after stop', async () => {
    const runs: number[] = [];
    let due = 5;
    const loop = startDueLoop({
      name: 'spec',
      everyMs: 60_000,
      batch: 2,
      logger: silent,
      run: async (batch) => {
        const done = Math.min(batch, due);
        due -= done;
        runs.push(done);
        return done;
      },
    });
    loop.poke();
    await eventually(() => expect(runs).toEqual([2, 2, 1]));
    due = 1;
    loop.poke();
    await eventually(() => expect(runs).toEqual([2, 2, 1, 1]));
    await loop.stop();
    loop.poke();
    expect(runs).toHaveLength(4);
  });

  test('survives a failing run', async () => {
    let runs = 0;
    const loop = startDueLoop({
      name: 'spec',
      everyMs: 5,
      logger: silent,
      run: () => (++runs === 1 ? Promise.reject(new Error('once')) : Promise.resolve(0)),
    });
    await eventually(() => expect(runs).toBeGreaterThan(2));
    await loop.stop();
  });
});
