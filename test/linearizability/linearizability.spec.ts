/** Locks behave as if every request took effect at one moment between its call and its answer. */
import type { Claim } from '@opsloop/contracts';
import type { Database } from '@opsloop/postgres';
import { createTestDatabase, eventually, type TestDatabase } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomOf } from '../faults/config.js';
import { isLinearizable } from './checker.pure.js';
import { type Checker, ownChecker, porcupine } from './check.js';
import {
  admission,
  blind,
  openDatabase,
  openTurns,
  PATHS,
  type Party,
  person,
  record,
  terminateBackends,
  wishOf,
} from './clients.js';
import { firstSeed, opsOfSeed, seeds } from './config.js';
import type { History, Op } from './history.js';

const CLIENTS = 12;
/** Some hundred kills in the full size; each makes a few answers unknown. */
const KILL_MS = 200;

type Turns = Awaited<ReturnType<typeof openTurns>>;

let made: TestDatabase;
let admin: Database;
let a: Turns;
let b: Turns;
let checkers: Checker[];

beforeAll(async () => {
  made = await createTestDatabase();
  admin = await openDatabase(made.url);
  [a, b] = [await openTurns(made.url), await openTurns(made.url)];
  const go = porcupine();
  console.log(`linearizability: ${go?.name ?? 'no Go here: own checker alone'}`);
  // Small histories are judged by both, which tests each of them; large ones by the faster.
  checkers = go === undefined ? [ownChecker] : opsOfSeed <= 1_000 ? [go, ownChecker] : [go];
});
afterAll(async () => {
  await Promise.all([a?.close(), b?.close()]);
  await admin?.dataSource.destroy();
  await made?.drop();
});

const parties = (): Party[] => [person(a.db, a.turns), person(b.db, b.turns), admission(a.db)];
const verdicts = (history: History): Promise<boolean[]> => Promise.all(checkers.map((c) => c.check(history)));
const yes = (): boolean[] => checkers.map(() => true);

async function deadlocks(db: Database): Promise<number> {
  const [row] = await db.query<{ n: string }>(
    'SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()',
  );
  return Number(row!.n);
}

describe('the checkers', () => {
  const op = (o: Partial<Op>): Op => ({
    client: 0,
    call: 0,
    return: 1,
    op: 'acquire',
    holder: 1,
    claims: [{ path: 0, x: true }],
    fence: 1,
    result: 'granted',
    ...o,
  });
  const other = { client: 1, holder: 2, fence: 2 };
  const cases: [string, boolean, Op[], boolean?][] = [
    [
      'one after the other',
      true,
      [op({}), op({ op: 'release', call: 2, return: 3, result: 'released' }), op({ ...other, call: 4, return: 5 })],
    ],
    ['two at once', false, [op({}), op({ ...other, call: 2, return: 3 })]],
    [
      'a release under way explains the second',
      true,
      [op({}), op({ op: 'release', call: 2, return: 9, result: 'released' }), op({ ...other, call: 3, return: 4 })],
    ],
    ['above and below', false, [op({}), op({ ...other, call: 2, return: 3, claims: [{ path: 1, x: false }] })]],
    [
      'shared ones together',
      true,
      [op({ claims: [{ path: 0, x: false }] }), op({ ...other, call: 2, return: 3, claims: [{ path: 1, x: false }] })],
    ],
    [
      'a fence that goes back',
      false,
      [
        op({ fence: 5 }),
        op({ op: 'release', fence: 5, call: 2, return: 3, result: 'released' }),
        op({ ...other, call: 4, return: 5 }),
      ],
    ],
    ['refused though free', false, [op({ result: 'busy' })]],
    ['refused behind a waiter', true, [op({ result: 'busy' })], false],
    [
      'an unknown one may have it',
      true,
      [op({ result: 'unknown', return: 99 }), op({ ...other, call: 2, return: 3, result: 'busy' })],
    ],
    ['or may not', true, [op({ result: 'unknown', return: 99 }), op({ ...other, call: 2, return: 3 })]],
    [
      'but not both',
      false,
      [
        op({ result: 'unknown', return: 99 }),
        op({ ...other, call: 2, return: 3 }),
        op({ call: 4, return: 5, fence: 3 }),
      ],
    ],
    [
      'current after its end',
      false,
      [
        op({}),
        op({ op: 'release', call: 2, return: 3, result: 'released' }),
        op({ op: 'assert', call: 4, return: 5, result: 'current' }),
      ],
    ],
  ];
  const [below, group, above] = [
    { path: 1, x: true },
    { path: 2, x: false },
    { path: 3, x: true },
  ];
  cases.push(
    ['a member and its group', false, [op({ claims: [below] }), op({ ...other, call: 2, return: 3, claims: [group] })]],
    ['what lies below a member', false, [op({}), op({ ...other, call: 2, return: 3, claims: [group] })]],
    ['a group of groups', false, [op({ claims: [below] }), op({ ...other, call: 2, return: 3, claims: [above] })]],
    [
      'a member and its group, both shared',
      true,
      [op({ claims: [{ path: 1, x: false }] }), op({ ...other, call: 2, return: 3, claims: [group] })],
    ],
  );
  test.each(cases)('%s: %s', async (_what, legal, ops, strictBusy = true) => {
    const members: [number, number][] = [
      [1, 2],
      [1, 3],
      [2, 3],
    ];
    const history = { paths: ['a', 'a/x', 'g', 'h'], members, strictBusy, ops };
    expect([isLinearizable(history), ...(await verdicts(history))]).toEqual([legal, ...checkers.map(() => legal)]);
  });
});

describe('the mutex', () => {
  test.each(Array.from({ length: seeds }, (_, i) => firstSeed + i))(
    'is linearizable, also while backends are terminated: seed %i',
    { timeout: 300_000 },
    async (seed) => {
      // Half of the seeds with queues; every second pair without kills.
      const [queue, kill] = [seed % 2 === 0, seed % 4 < 2];
      const killer = kill ? terminateBackends(admin, KILL_MS) : undefined;
      const history = await record({
        ops: opsOfSeed,
        random: randomOf(seed),
        parties: parties(),
        clients: CLIENTS,
        queue,
      });
      const kills = (await killer?.stop()) ?? 0;
      const count = (result: Op['result']): number => history.ops.filter((o) => o.result === result).length;
      const began = performance.now();
      expect(await verdicts(history)).toEqual(yes());
      console.log(
        `linearizability: seed ${seed}, ${history.ops.length} ops, ${count('granted')} granted, ${count('busy')} busy, ${count('unknown')} unknown, ` +
          `${kills} kills, queue ${queue}: Ok in ${((performance.now() - began) / 1_000).toFixed(1)} s`,
      );
      expect(count('granted')).toBeGreaterThan(opsOfSeed / 20);
      expect(await deadlocks(admin)).toBe(0);
      // Nothing is left behind by whom nobody knows.
      expect(await admin.query('SELECT path FROM control.claim')).toEqual([]);
    },
  );

  /** Two clients meet at the wrong place in nearly every history; ten without it would be a checker that sees nothing. */
  const HISTORIES_MAX = 10;
  const slow = `CREATE FUNCTION control.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON control.claim FOR EACH STATEMENT EXECUTE FUNCTION control.slow();`;
  const planted: [string, (db: Database) => Promise<void>, typeof blind?][] = [
    ['when one process knows of no groups', () => Promise.resolve(), blind],
    ['without the advisory locks', (db) => without(db, /pg_advisory_xact_lock\w*\((r\.)?k\)/g)],
    [
      'under REPEATABLE READ',
      async (db) => {
        await without(db, /RAISE EXCEPTION 'control\.\w+ needs READ COMMITTED[^;]*/g);
        await db.query(
          `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database()); END $$`,
        );
      },
    ],
  ];
  test.each(planted)('%s it is not, and the checkers say so', async (_what, plant, groups) => {
    const broken = await createTestDatabase();
    const first = await openDatabase(broken.url);
    // Between the look and the insert, so that two clients meet there.
    await first.query(slow);
    await plant(first);
    await first.dataSource.destroy();
    const [c, d] = [await openTurns(broken.url), await openTurns(broken.url)];
    let found = false;
    for (let seed = firstSeed; !found && seed < firstSeed + HISTORIES_MAX; seed += 1) {
      const history = await record({
        ops: 250,
        random: randomOf(seed),
        parties: [person(c.db, c.turns), person(d.db, d.turns, groups)],
        clients: CLIENTS,
        queue: false,
      });
      const said = await verdicts(history);
      found = said.includes(false);
      if (found) expect(said).toEqual(yes().map(() => false));
    }
    await Promise.all([c.close(), d.close()]);
    await broken.drop();
    expect(found).toBe(true);
  });
});

/** Takes statements out of the functions of the mutex. */
async function without(db: Database, what: RegExp): Promise<void> {
  for (const name of ['take', 'lock_turn']) {
    const [row] = await db.query<{ def: string }>(`SELECT pg_get_functiondef('control.${name}'::regproc) AS def`);
    const changed = row!.def.replace(what, 'NULL');
    expect(changed).not.toBe(row!.def);
    await db.query(changed);
  }
}

describe('the queue', () => {
  const x = (path: string): Claim[] => [{ path, mode: 'exclusive' }];

  test('is fair: with ten equal contenders nobody waits three times as long as the middle one', async () => {
    const waits: number[] = [];
    /** Grants to others while it waited: the length of a wait without the moods of the machine. */
    const passed: number[] = [];
    let grants = 0;
    const contender = async (n: number): Promise<void> => {
      const { turns } = n % 2 === 0 ? a : b;
      for (let i = 0; i < 12; i += 1) {
        const wish = wishOf(`fair-${n}-${i}`, x('fair'), 60_000);
        const [began, before] = [performance.now(), grants];
        const turn = await turns.wait(wish, 10_000);
        expect(turn.fence).toBeDefined();
        waits.push(performance.now() - began);
        passed.push(grants - before);
        grants += 1;
        await turns.release('default', turn.fence!, 'spec');
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, n) => contender(n)));
    // The first round finds the queue empty, and the last finds it emptying.
    const ends = (all: number[]): [number, number] => {
      const sorted = all.slice(10).sort((p, q) => p - q);
      return [sorted[Math.floor(sorted.length / 2)]!, sorted.at(-1)!];
    };
    const [median, max] = ends(waits);
    console.log(
      `linearizability: waits p50 ${median.toFixed(1)} ms, max ${max.toFixed(1)} ms, ratio ${(max / median).toFixed(2)}`,
    );
    const [middle, most] = ends(passed);
    expect(most / middle).toBeLessThanOrEqual(3);
  });

  test('starves nobody: an exclusive waiter gets in under a continual stream of shared ones', async () => {
    let stop = false;
    let passed = 0;
    let waiting = false;
    const reader = async (n: number): Promise<void> => {
      for (let i = 0; !stop; i += 1) {
        const wish = wishOf(`reader-${n}-${i}`, [{ path: `stream/${n}`, mode: 'shared' }], 60_000);
        const before = waiting;
        const turn = await a.turns.wait(wish, 10_000);
        // Came after the waiter and was granted before it.
        if (before && !stop) passed += 1;
        await a.turns.release('default', turn.fence!, 'spec');
      }
    };
    const held = await a.turns.ask(wishOf('holds', [{ path: 'stream/0', mode: 'shared' }], 0));
    const readers = Array.from({ length: 8 }, (_, n) => reader(n));
    const wish = wishOf('writer', x('stream'), 60_000);
    const granted = b.turns.wait(wish, 10_000);
    await eventually(async () =>
      expect(await admin.query(`SELECT 1 FROM control.waiter WHERE path = 'stream'`)).toHaveLength(1),
    );
    waiting = true;
    await a.turns.release('default', held.fence!, 'spec');
    const turn = await granted;
    stop = true;
    expect(turn.fence).toBeDefined();
    await b.turns.release('default', turn.fence!, 'spec');
    await Promise.all(readers);
    expect(passed).toBe(0);
  });

  test('ten thousand random sets of 32 clients: no deadlock, every one granted', { timeout: 900_000 }, async () => {
    const count = opsOfSeed > 1_000 ? 10_000 : 200;
    const random = randomOf(firstSeed);
    let left = count;
    const ends = { granted: 0, late: 0, again: 0 };
    const client = async (n: number): Promise<void> => {
      const { turns } = n % 2 === 0 ? a : b;
      while (left > 0) {
        left -= 1;
        const claims = [
          ...new Set(
            Array.from({ length: 1 + Math.floor(random() * 4) }, () => PATHS[Math.floor(random() * PATHS.length)]!),
          ),
        ].map((path): Claim => ({ path, mode: random() < 0.5 ? 'exclusive' : 'shared' }));
        const wish = wishOf(`many-${left}`, claims, 60_000);
        // As every client does: who has waited so long asks again, and keeps its place.
        let turn = await turns.wait(wish, 10_000);
        for (let again = 0; turn.fence === undefined && again < 3; again += 1) {
          ends.again += 1;
          turn = await turns.wait(wish, 10_000);
        }
        if (turn.fence === undefined) ends.late += 1;
        else {
          ends.granted += 1;
          await turns.release('default', turn.fence, 'spec');
        }
      }
    };
    await Promise.all(Array.from({ length: 32 }, (_, n) => client(n)));
    // A waiter that is not told of a release is granted when it asks again, after ten seconds.
    console.log(`linearizability: ${count} sets, ${ends.again} asked again`);
    expect(ends).toMatchObject({ granted: count, late: 0 });
    expect(await deadlocks(admin)).toBe(0);
  });
});
