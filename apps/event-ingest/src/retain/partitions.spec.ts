import { busMigrations } from '@opsloop/bus';
import { connectDatabase } from '@opsloop/postgres';
import type { Database } from '@opsloop/postgres';
import { createTestDatabase } from '@opsloop/testing';
import type { TestDatabase } from '@opsloop/testing';
import { v7 } from 'uuid';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventIngestMigrations } from '../event-ingest.module.js';

const SILENT = { warn: () => undefined, error: () => undefined };
const DAY_MS = 86_400_000;
const NOW = Date.now();
const PARTITIONING = eventIngestMigrations.migrations.findIndex((one) => one.name.startsWith('PartitionEvents'));

let test: TestDatabase;
let db: Database;
const open = async (migrations: typeof eventIngestMigrations.migrations) =>
  connectDatabase({ url: test.url, poolMax: 2, migrations: [busMigrations, { schema: 'ingest', migrations }] }, SILENT);
const idAt = (ms: number) => v7({ msecs: ms });
const insert = (at: number, table = 'event') =>
  table === 'event'
    ? db.query(
        `INSERT INTO ingest.event (tenant, event_id, source, id, type, received_at, bytes, message) VALUES ('default', $1, 's', $2, 't', $3, 1, '{}')`,
        [idAt(at), String(at), new Date(at).toISOString()],
      )
    : db.query(`INSERT INTO ingest.delivery VALUES ('default', $1, $2, 'x', '')`, [
        idAt(at),
        new Date(at).toISOString(),
      ]);
const places = async () =>
  (
    await db.query<{ place: string; n: number }>(
      `SELECT tableoid::regclass::text AS place, count(*)::int AS n FROM ingest.event GROUP BY 1 ORDER BY 1`,
    )
  ).map(({ place, n }) => `${place.replace('ingest.', '')} ${n}`);
const roll = async (ahead: number, oldest: number) =>
  (
    await db.query<{ done: string[] }>('SELECT ingest.roll($1, $2) AS done', [
      new Date(ahead).toISOString(),
      new Date(oldest).toISOString(),
    ])
  )[0]!.done;
const dayName = (ms: number) => `event_${new Date(ms).toISOString().slice(0, 10).replaceAll('-', '')}`;

beforeAll(async () => {
  test = await createTestDatabase();
  db = await open(eventIngestMigrations.migrations.slice(0, PARTITIONING));
});
afterAll(async () => {
  await db.dataSource.destroy();
  await test.drop();
});

it('what stands there stays, is known, and comes back on the way back', async () => {
  for (const [i, at] of [NOW - 20 * DAY_MS, NOW - DAY_MS, NOW].entries())
    await db.query(
      `INSERT INTO ingest.event (tenant, event_id, source, id, type, received_at, digest, bytes, message)
       VALUES ('default', $1, '/s', $2, 't', $3, $4, 1, '{"a": 1}')`,
      [idAt(at), `id-${i}`, new Date(at).toISOString(), 'ab'.repeat(32)],
    );
  await db.dataSource.destroy();
  db = await open(eventIngestMigrations.migrations);
  expect(await places()).toEqual(['event_first 3']);
  const known = await db.query<{ digest: string }>(
    `SELECT encode(digest, 'hex') AS digest FROM ingest.identity WHERE key = ingest.identity_key('/s', 'id-1')`,
  );
  expect(known).toEqual([{ digest: 'ab'.repeat(32) }]);
  // The old table's indexes serve the new one: none was built anew.
  expect(
    await db.query(`SELECT 1 FROM pg_indexes WHERE schemaname = 'ingest' AND tablename = 'event_first'`),
  ).toHaveLength(4);
  const undone = eventIngestMigrations.migrations.length - PARTITIONING;
  for (let i = 0; i < undone; i++) await db.dataSource.undoLastMigration();
  expect(await db.query('SELECT id, digest FROM ingest.event ORDER BY event_id')).toEqual(
    ['id-0', 'id-1', 'id-2'].map((id) => ({ id, digest: 'ab'.repeat(32) })),
  );
  await db.dataSource.runMigrations();
  expect(await places()).toEqual(['event_first 3']);
});

it('makes days ahead, takes back what came before its day was there, and drops days whole', async () => {
  const [tomorrow, late] = [NOW + DAY_MS, NOW + 10 * DAY_MS];
  await insert(tomorrow);
  await insert(late);
  expect(await places()).toEqual([`${dayName(tomorrow)} 1`, 'event_first 3', 'event_rest 1']);
  const made = await roll(late + DAY_MS, 0);
  expect(made.length).toBeGreaterThanOrEqual(2 * 7);
  expect(await places()).toEqual([`${dayName(tomorrow)} 1`, `${dayName(late)} 1`, 'event_first 3']);
  expect(await roll(late + DAY_MS, 0)).toEqual([]);
  // Also what stood there before there were days, once all of it is old.
  const dropped = await roll(late, NOW + 2 * DAY_MS);
  expect(dropped).toEqual(expect.arrayContaining(['-event_first', `-${dayName(tomorrow)}`, '-delivery_first']));
  expect(await places()).toEqual([`${dayName(late)} 1`]);
});

it('does not wait long for a lock, since writers would wait behind it', async () => {
  const blocker = await db.pool.connect();
  try {
    await blocker.query('BEGIN; LOCK TABLE ingest.event IN ACCESS SHARE MODE');
    await expect(roll(NOW, NOW + 30 * DAY_MS)).rejects.toThrow(/lock timeout/);
  } finally {
    await blocker.query('ROLLBACK');
    blocker.release();
  }
  expect((await roll(NOW, NOW + 30 * DAY_MS)).length).toBeGreaterThan(0);
});
