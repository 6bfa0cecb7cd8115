import 'reflect-metadata';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connectDatabase, type Database, type Tx } from '@opsloop/postgres';
import { bundleChild, type ChildProgram, createTestDatabase, eventually, type TestDatabase } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busMigrations } from './bus.migrations.js';
import { busKills, carriers } from './carriers.spec-kit.js';

const KEYS = Array.from({ length: 40 }, (_, i) => `host/dc1/${i}`);
const GROUPS = ['one', 'two'];
/** Deaths and messages at least; `OPSLOOP_BUS_KILLS=100` is the size of a release. */
const KILLS = busKills();
const MESSAGES = 50 * KILLS;
const silent = { warn: () => undefined, error: () => undefined };

/** The publish function with its one planted fault: ids are drawn without the partition's lock. */
const PUBLISH_WITHOUT_LOCK = `
  CREATE OR REPLACE FUNCTION bus.publish(p_topics text[], p_keys text[], p_ids uuid[], p_tenant text, p_bodies jsonb[])
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO bus.message (topic, part, key, msg_id, tenant, body)
      SELECT u.t, bus.part(u.k), u.k, u.i, p_tenant, u.b
      FROM unnest(p_topics, p_keys, p_ids, p_bodies) WITH ORDINALITY u(t, k, i, b, o) ORDER BY o $$`;

let child: ChildProgram;
beforeAll(async () => {
  child = await bundleChild(new URL('../fixtures/consumer-child.mjs', import.meta.url));
});
afterAll(async () => {
  await child.close();
});

async function carrierDatabase(extraSql = ''): Promise<{ db: Database; made: TestDatabase }> {
  const made = await createTestDatabase();
  const db = await connectDatabase({ url: made.url, migrations: [busMigrations] }, silent);
  await db.query(`
    CREATE TABLE seen (seq bigint GENERATED ALWAYS AS IDENTITY, grp text, msg_id uuid, key text, n int);
    CREATE TABLE counter (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
    INSERT INTO counter (key) SELECT unnest('{${KEYS.join(',')}}'::text[]);
    -- Both groups exist before the first message.
    INSERT INTO bus.cursor (grp, topic, part) SELECT g, 'episodes', p FROM unnest('{one,two}'::text[]) g, generate_series(0, 15) p;
    ${extraSql}`);
  return { db, made };
}

/** One transaction: numbers per key are drawn under a row lock, so their order is the order of commit. */
async function publishSome(db: Database): Promise<void> {
  const keys = KEYS.filter(() => Math.random() < 2 / KEYS.length).sort();
  const rollback = Math.random() < 0.1;
  await db
    .inTransaction('default', async (tx) => {
      const bodies: string[] = [];
      for (const key of keys) {
        const [row] = await tx.query<{ n: number }>('UPDATE counter SET n = n + 1 WHERE key = $1 RETURNING n', [key]);
        bodies.push(JSON.stringify({ n: row!.n }));
      }
      const ids = keys.map(() => randomUUID());
      await tx.query('SELECT bus.publish($1, $2, $3, $4, $5)', [
        keys.map(() => 'episodes'),
        keys,
        ids,
        'default',
        bodies,
      ]);
      // The time between drawing an id and its commit is where messages could be overtaken.
      await tx.query('SELECT pg_sleep(random() * 0.1)');
      if (rollback) throw new Error('rolled back');
    })
    .catch((error: Error) => {
      if (error.message !== 'rolled back') throw error;
    });
  await db.query(`SELECT pg_notify('bus', 'spec episodes')`);
}

interface Verdict {
  messages: number;
  lost: number;
  twice: number;
  outOfOrder: number;
}

/** Per group and key exactly 1, 2, …, n must have been seen, in this order. */
async function judge(db: Database): Promise<Verdict> {
  const counters = await db.query<{ key: string; n: number }>('SELECT key, n FROM counter');
  const seen = await db.query<{ grp: string; key: string; n: number }>('SELECT grp, key, n FROM seen ORDER BY seq');
  const verdict = { messages: counters.reduce((sum, c) => sum + c.n, 0), lost: 0, twice: 0, outOfOrder: 0 };
  for (const group of GROUPS) {
    for (const { key, n } of counters) {
      const numbers = seen.filter((s) => s.grp === group && s.key === key).map((s) => s.n);
      const distinct = new Set(numbers);
      verdict.lost += n - distinct.size;
      verdict.twice += numbers.length - distinct.size;
      verdict.outOfOrder += numbers.filter((value, i) => i > 0 && value < numbers[i - 1]!).length;
    }
  }
  return verdict;
}

/** Every cursor stands at the end of its partition. */
async function drained(db: Database): Promise<void> {
  const [row] = await db.query<{ open: number }>(`SELECT count(*)::int AS open FROM bus.cursor c
    JOIN bus.message m ON m.topic = c.topic AND m.part = c.part AND m.id > c.position`);
  expect(row?.open).toBe(0);
}

/** Ends what a test has started; the others go on beside it. */
async function end(children: Iterable<ChildProcess>): Promise<void> {
  const alive = [...children].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
  const ends = alive.map((one) => once(one, 'exit'));
  for (const one of alive) one.kill('SIGKILL');
  await Promise.all(ends);
}

/**
 * Runs consumer processes of which so many die and are replaced: in turns inside a transaction, after some messages, and
 * between a commit and everything that follows it, such as telling Kafka.
 */
function consumersUnderFire(
  url: string,
  options: string,
  count: number,
  kills: number,
): { kills(): number; end(): Promise<void> } {
  const all = new Set<ChildProcess>();
  let doomed = 0;
  let killed = 0;
  const launch = (): void => {
    const mortal = doomed < kills;
    const afterCommit = mortal && doomed % 2 === 1;
    if (mortal) doomed += 1;
    const commits = afterCommit ? 1 + Math.floor(Math.random() * 5) : 0;
    const process_: ChildProcess = child.start(url, '0.05', options, String(commits));
    all.add(process_);
    let left = 1 + Math.floor(Math.random() * 20);
    process_.stdout?.on('data', (dots: Buffer) => {
      left -= dots.length;
      if (mortal && !afterCommit && left <= 0) process_.kill('SIGKILL');
    });
    process_.once('exit', () => {
      if (!mortal) return;
      killed += 1;
      launch();
    });
  };
  for (let i = 0; i < count; i += 1) launch();
  return { kills: () => killed, end: () => end(all) };
}

async function publishUntil(db: Database, enough: () => Promise<boolean>): Promise<void> {
  let done = false;
  const publisher = async (): Promise<void> => {
    while (!done) await publishSome(db);
  };
  const publishers = [publisher(), publisher(), publisher(), publisher()];
  await eventually(async () => expect(await enough()).toBe(true), { timeoutMs: 120_000, everyMs: 100 }).finally(() => {
    done = true;
  });
  await Promise.all(publishers);
}

async function messageCount(db: Database): Promise<number> {
  const [row] = await db.query<{ count: number }>('SELECT count(*)::int AS count FROM bus.message');
  return row?.count ?? 0;
}

describe.each(carriers)('over $name every message comes once and in order to every group', (carrier) => {
  // Beside each other: the second spends its time waiting for PostgreSQL to end a session.
  test.concurrent(
    'while consumers are killed -9, handlers fail and publishers roll back',
    async () => {
      const { db, made } = await carrierDatabase();
      const fire = consumersUnderFire(made.url, JSON.stringify(await carrier.options()), 3, KILLS);
      await publishUntil(db, async () => fire.kills() >= KILLS && (await messageCount(db)) >= MESSAGES);
      await eventually(() => drained(db), { timeoutMs: 60_000 });
      const verdict = await judge(db);
      expect(verdict).toMatchObject({ lost: 0, twice: 0, outOfOrder: 0 });
      expect(verdict.messages).toBeGreaterThanOrEqual(MESSAGES);
      expect(await db.query('SELECT * FROM bus.dead')).toEqual([]);
      await fire.end();
      await db.dataSource.destroy();
      await made.drop();
    },
    240_000,
  );

  test.concurrent(
    'a consumer that is stopped in a transaction lets go after 5 s, and another takes over',
    async () => {
      const { db, made } = await carrierDatabase();
      const options = JSON.stringify(await carrier.options());
      const stopped = child.start(made.url, '0', options);
      const inside = new Promise<void>((resolve) => {
        stopped.stdout?.once('data', () => {
          stopped.kill('SIGSTOP');
          resolve();
        });
      });
      await db.query(
        `SELECT bus.publish(ARRAY['episodes'], ARRAY['a'], ARRAY[gen_random_uuid()], 'default', ARRAY['{"n":1}'::jsonb])`,
      );
      await inside;
      const other = child.start(made.url, '0', options);
      // Nobody but PostgreSQL could make it let go.
      await eventually(() => drained(db), { timeoutMs: 60_000 });
      await end([stopped, other]);
      expect(await db.query('SELECT grp, count(*)::int AS count FROM seen GROUP BY grp ORDER BY grp')).toEqual([
        { grp: 'one', count: 1 },
        { grp: 'two', count: 1 },
      ]);
      await db.dataSource.destroy();
      await made.drop();
    },
    120_000,
  );
});

describe('the log', () => {
  /**
   * Two transactions publish to one partition; the one that drew its id first commits last, after everybody has read
   * the other one. With the lock this order cannot come about: the second waits.
   */
  async function overtake(db: Database): Promise<void> {
    const [pair] = await db.query<{ a: string; b: string }>(
      `SELECT min(key) AS a, max(key) AS b FROM counter GROUP BY bus.part(key) HAVING count(*) > 1 LIMIT 1`,
    );
    const publishOne = async (tx: Tx, key: string): Promise<void> => {
      await tx.query('UPDATE counter SET n = n + 1 WHERE key = $1', [key]);
      await tx.query('SELECT bus.publish($1, $2, $3, $4, $5)', [
        ['episodes'],
        [key],
        [randomUUID()],
        'default',
        ['{"n":1}'],
      ]);
    };
    await db.inTransaction('default', async (first) => {
      await publishOne(first, pair!.a);
      await db.inTransaction('default', async (second) => {
        // Instead of waiting for ever for the transaction around it.
        await second.query(`SET LOCAL lock_timeout = '200ms'`);
        await publishOne(second, pair!.b);
      });
      await eventually(async () => expect(await db.query('SELECT 1 FROM seen')).toHaveLength(GROUPS.length));
    });
  }

  test('no id can be overtaken: a second publisher of a partition waits for the first', async () => {
    const { db, made } = await carrierDatabase();
    await expect(overtake(db)).rejects.toMatchObject({ code: '55P03' });
    await db.dataSource.destroy();
    await made.drop();
  });

  test('the same check finds what goes wrong without the lock in publish', { timeout: 60_000 }, async () => {
    const { db, made } = await carrierDatabase(PUBLISH_WITHOUT_LOCK);
    const consumer = child.start(made.url, '0');
    // The consumer is up once it has handled something: nothing below depends on its speed.
    await eventually(async () => expect(await db.query(`SELECT 1 FROM bus.subscriber`)).toHaveLength(2));
    await overtake(db);
    await eventually(() => drained(db));
    expect(await judge(db)).toMatchObject({ messages: 2, lost: GROUPS.length });
    await end([consumer]);
    await db.dataSource.destroy();
    await made.drop();
  });
});
