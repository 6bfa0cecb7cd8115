import { busMigrations } from '@opsloop/bus';
import { type Claim } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { connectDatabase, type Database } from '@opsloop/postgres';
import { createTestDatabase, eventually, type TestDatabase } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdmissionRepository } from '../admit/admission.repository.js';
import { controlMigrations } from '../index.js';
import { conflicts, coverPaths, rankOf } from './lock.pure.js';

const silent = { warn: () => undefined, error: () => undefined };
const CLIENTS = 10;
const ROUNDS = 60;

interface Held {
  fence: bigint;
  claims: Claim[];
  /** From before the grant was asked for commit until after the release: what the database itself ordered. */
  got: bigint;
  gone: bigint;
}

async function open(url: string): Promise<Database> {
  return connectDatabase({ url, poolMax: CLIENTS + 2, migrations: [busMigrations, controlMigrations] }, silent);
}

function randomClaims(): Claim[] {
  const segment = (): string => 'abc'[Math.floor(Math.random() * 3)]!;
  return Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => ({
    path: Array.from({ length: 1 + Math.floor(Math.random() * 3) }, segment).join('/'),
    mode: Math.random() < 0.5 ? ('shared' as const) : ('exclusive' as const),
  }));
}

/** Many clients take and give back random sets; every hold is written down with ticks drawn inside its transactions. */
async function contend(db: Database, kill: boolean): Promise<{ held: Held[]; deadlocks: number; lost: number }> {
  await db.query('CREATE SEQUENCE IF NOT EXISTS control.tick');
  const repository = new AdmissionRepository();
  const held: Held[] = [];
  let deadlocks = 0;
  let lost = 0;
  const client = async (): Promise<void> => {
    for (let i = 0; i < ROUNDS; i += 1) {
      const claims = randomClaims();
      try {
        const got = await db.inTransaction('default', async (tx) => {
          await repository.take(tx, coverPaths(claims.map((c) => c.path)));
          const grant = await repository.grant(tx, {
            claims,
            holder: `user:${newId()}`,
            owner: 'spec',
            principal: 'spec',
            ttlMs: 60_000,
          });
          if (grant.fence === null) return undefined;
          const [row] = await tx.query<{ t: string }>(`SELECT nextval('control.tick') AS t`);
          return { fence: BigInt(grant.fence), got: BigInt(row!.t) };
        });
        if (got === undefined) continue;
        const gone = await db.inTransaction('default', async (tx) => {
          const [row] = await tx.query<{ t: string }>(`SELECT nextval('control.tick') AS t`);
          await tx.query('DELETE FROM control.claim WHERE fence = $1', [got.fence.toString()]);
          return BigInt(row!.t);
        });
        held.push({ ...got, gone, claims });
      } catch (error) {
        if ((error as { code?: string }).code === '40P01') deadlocks += 1;
        else if (kill) lost += 1;
        else throw error;
      }
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, client));
  if (kill) {
    let done = false;
    void clients.finally(() => (done = true));
    await eventually(
      async () => {
        await db
          .query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%control.take%' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`,
          )
          .catch(() => undefined);
        expect(done).toBe(true);
      },
      { timeoutMs: 40_000, everyMs: 20 },
    );
  }
  await clients;
  return { held, deadlocks, lost };
}

/** Conflicting holds that were current at the same time, and fences that went back on overlapping paths. */
function violations(held: readonly Held[]): { overlaps: number; backwards: number } {
  let overlaps = 0;
  let backwards = 0;
  for (const [i, a] of held.entries()) {
    for (const b of held.slice(i + 1)) {
      if (!a.claims.some((x) => b.claims.some((y) => conflicts(x, y)))) continue;
      if (a.got < b.gone && b.got < a.gone) overlaps += 1;
      if (a.got < b.got !== a.fence < b.fence) backwards += 1;
    }
  }
  return { overlaps, backwards };
}

describe('the mutex on PostgreSQL', () => {
  let made: TestDatabase;
  let db: Database;
  beforeAll(async () => {
    made = await createTestDatabase();
    db = await open(made.url);
  });
  afterAll(async () => {
    await db.dataSource.destroy();
    await made.drop();
  });

  test('random overlapping sets: no conflicting overlap, no deadlock, fences grow', async () => {
    const { held, deadlocks } = await contend(db, false);
    expect(held.length).toBeGreaterThan(50);
    expect({ ...violations(held), deadlocks }).toEqual({ overlaps: 0, backwards: 0, deadlocks: 0 });
  });

  test('the same while backends are terminated in the middle', async () => {
    const { held } = await contend(db, true);
    // What a killed transaction took went with it; what was lost after its commit is still there, and current.
    expect(violations(held)).toEqual({ overlaps: 0, backwards: 0 });
    await db.query('DELETE FROM control.claim');
  });

  test('the checker catches the planted bug: no advisory locks', async () => {
    const broken = await createTestDatabase();
    const bad = await open(broken.url);
    await bad.query(
      `CREATE OR REPLACE FUNCTION control.take(p_tenant text, p_own text[], p_keys text[]) RETURNS void LANGUAGE sql AS $$ SELECT $$`,
    );
    // Between the look and the insert, so that two clients meet there.
    await bad.query(
      `CREATE FUNCTION control.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$`,
    );
    await bad.query(
      'CREATE TRIGGER slow BEFORE INSERT ON control.claim FOR EACH STATEMENT EXECUTE FUNCTION control.slow()',
    );
    const { held } = await contend(bad, false);
    const found = violations(held);
    await bad.dataSource.destroy();
    await broken.drop();
    expect(found.overlaps).toBeGreaterThan(0);
  });

  test('refuses any isolation but READ COMMITTED', async () => {
    const client = await db.pool.connect();
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await expect(client.query(`SELECT control.take('default', '{a}', '{}')`)).rejects.toThrow(/READ COMMITTED/);
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
  });

  test('an exclusive waiter gets in under a stream of shared ones', async () => {
    const repository = new AdmissionRepository();
    const grant = (mode: Claim['mode'], rankAt: Date, ticket: string) =>
      db.inTransaction('default', async (tx) => {
        await repository.take(tx, ['host/starve']);
        return repository.grant(tx, {
          claims: [{ path: 'host/starve', mode }],
          holder: newId(),
          owner: mode,
          principal: 'p',
          ttlMs: 60_000,
          rankAt,
          ticket,
        });
      });
    const now = new Date();
    const first = await grant('shared', rankOf('P2', now), '1001');
    expect(first.fence).not.toBeNull();
    const waiter = await grant('exclusive', rankOf('P2', now), '1002');
    expect(waiter.fence).toBeNull();
    await db.inTransaction('default', (tx) =>
      repository.insertWaiters(tx, {
        ticket: '1002',
        rankAt: rankOf('P2', now),
        owner: 'x',
        claims: [{ path: 'host/starve', mode: 'exclusive' }],
      }),
    );
    // Later shared requests do not pass it, though nobody but shared ones hold the path.
    expect((await grant('shared', rankOf('P2', new Date(now.getTime() + 1)), '1003')).ahead).toHaveLength(1);
    await db.query('DELETE FROM control.claim WHERE fence = $1', [first.fence]);
    expect((await grant('exclusive', rankOf('P2', now), '1002')).fence).not.toBeNull();
  });
});
