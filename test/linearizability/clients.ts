/** Clients that take and give back random sets of locks, as people in two processes and as admission does, and what they saw. */
import { busMigrations } from '@opsloop/bus';
import { type Claim, pathsOverlap } from '@opsloop/contracts';
import type { Logger } from '@opsloop/platform';
import { connectDatabase, type Database } from '@opsloop/postgres';
import { AdmissionRepository } from '../../apps/control/src/admit/admission.repository.js';
import { controlMigrations } from '../../apps/control/src/index.js';
import { withGroups } from '../../apps/control/src/lock/groups.pure.js';
import { coverPaths } from '../../apps/control/src/lock/lock.pure.js';
import { LockTurns, type LockWish } from '../../apps/control/src/lock/lock-turns.service.js';
import { Signals } from '../../apps/control/src/signals.service.js';
import { END_OF_TIME, type History, type Op } from './history.js';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const TENANT = 'default';
/** Longer than any run: time is no part of the model. */
const TTL_MS = 600_000;
const POOL = 6;

export async function openDatabase(url: string): Promise<Database> {
  return connectDatabase({ url, poolMax: POOL, migrations: [busMigrations, controlMigrations] }, silent);
}

/** One control as far as locks of people go. */
export async function openTurns(url: string): Promise<{ db: Database; turns: LockTurns; close(): Promise<void> }> {
  const db = await openDatabase(url);
  const turns = new LockTurns(db, new Signals(), silent as unknown as Logger);
  await turns.onApplicationBootstrap();
  return {
    db,
    turns,
    close: async () => {
      await turns.onApplicationShutdown();
      await db.dataSource.destroy();
    },
  };
}

/** Three roots, up to three levels: small enough that half of all requests meet somebody. */
export const PATHS = ['a', 'b', 'c'].flatMap((root) => [
  root,
  ...['x', 'y'].flatMap((mid) => [`${root}/${mid}`, `${root}/${mid}/1`, `${root}/${mid}/2`]),
]);

/** With two groups, one of which is a member of the other. */
export const GROUPED = [...PATHS, 'g', 'h'];
const GROUPS: Readonly<Record<string, readonly string[]>> = { 'a/x': ['g', 'h'], b: ['g', 'h'], g: ['h'] };
export const MEMBERS = Object.entries(GROUPS).flatMap(([member, groups]) =>
  groups.map((group): [number, number] => [GROUPED.indexOf(member), GROUPED.indexOf(group)]),
);

/** The claims as they are asked for by who knows of the groups. */
export const grouped = (claims: readonly Claim[]): Claim[] =>
  withGroups(claims, (path) => [
    ...new Set(Object.keys(GROUPS).flatMap((member) => (pathsOverlap(member, path) ? GROUPS[member]! : []))),
  ]);

/** A party that knows of no groups, for the planted bug. */
export const blind = (claims: readonly Claim[]): Claim[] => [...claims];

export interface Party {
  acquire(holder: string, claims: Claim[], waitMs: number): Promise<Pick<Op, 'result' | 'fence'>>;
  release(fence: number): Promise<void>;
  holds(fence: number, path: string): Promise<boolean>;
}

export const wishOf = (holder: string, claims: readonly Claim[], waitMs: number): LockWish => ({
  tenant: TENANT,
  claims,
  holder,
  owner: holder,
  principal: 'spec',
  ttlMs: TTL_MS,
  waitMs,
  rankAt: new Date(),
});

const holds =
  (db: Database) =>
  async (fence: number, path: string): Promise<boolean> => {
    const held = await db.query<{ path: string }>(
      'SELECT path FROM control.claim WHERE tenant = $1 AND fence = $2 AND expires_at > clock_timestamp()',
      [TENANT, fence],
    );
    return held.some((h) => path === h.path || path.startsWith(`${h.path}/`));
  };

export const person = (db: Database, turns: LockTurns, groups = grouped): Party => ({
  acquire: async (holder, claims, waitMs) => {
    const wish = wishOf(holder, groups(claims), waitMs);
    const turn = await turns.wait(wish, waitMs);
    if (turn.fence !== undefined) return { result: 'granted', fence: Number(turn.fence) };
    return { result: turn.status === 202 ? 'waiting' : 'busy', fence: 0 };
  },
  release: async (fence) => void (await turns.release(TENANT, String(fence), 'spec')),
  holds: holds(db),
});

/** As a start is admitted: under the locks first whether it was before, then the grant. */
export function admission(db: Database): Party {
  const repository = new AdmissionRepository();
  return {
    acquire: (holder, asked) =>
      db.inTransaction(TENANT, async (tx): Promise<Pick<Op, 'result' | 'fence'>> => {
        const claims = grouped(asked);
        await repository.take(tx, coverPaths(claims.map((c) => c.path)));
        const [old] = await tx.query<{ fence: string }>(
          'SELECT fence FROM control.claim WHERE tenant = $1 AND holder = $2',
          [TENANT, holder],
        );
        if (old !== undefined) return { result: 'granted', fence: Number(old.fence) };
        const rank = { rankAt: new Date(), ticket: '9007199254740991' };
        const { fence } = await repository.grant(tx, { claims, holder, owner: holder, ttlMs: TTL_MS, ...rank });
        return fence === null ? { result: 'busy', fence: 0 } : { result: 'granted', fence: Number(fence) };
      }),
    release: (fence) =>
      db.inTransaction(TENANT, async (tx) => {
        await tx.query('DELETE FROM control.claim WHERE tenant = $1 AND fence = $2', [TENANT, fence]);
      }),
    holds: holds(db),
  };
}

export interface RecordOptions {
  ops: number;
  random: () => number;
  parties: readonly Party[];
  clients: number;
  /** Some stand in the queue; then a lock may be refused that nobody holds. */
  queue: boolean;
}

/** Runs clients until there are so many operations; what is unknown is asked again, as every client does. */
export async function record({ ops: count, random, parties, clients, queue }: RecordOptions): Promise<History> {
  const ops: Op[] = [];
  const zero = process.hrtime.bigint();
  const now = (): number => Number(process.hrtime.bigint() - zero);
  const pick = (n: number): number => Math.floor(random() * n);
  let holders = 0;

  const noted = async (op: Omit<Op, 'call' | 'return' | 'result'>, act: () => Promise<Partial<Op>>): Promise<Op> => {
    const call = now();
    const answer: Partial<Op> = await act().catch((error: unknown) => {
      if (!isLost(error)) throw error;
      // A backend that says good-bye has committed or never will; one that only fell silent may still be at it.
      return { result: 'unknown', ...(isOver(error) ? {} : { return: END_OF_TIME }) } as const;
    });
    const done = { ...op, call, return: now(), ...answer } as Op;
    ops.push(done);
    return done;
  };
  const known = async (act: () => Promise<Op>): Promise<Op> => {
    for (;;) {
      const op = await act();
      if (op.result !== 'unknown') return op;
    }
  };
  const client = async (id: number): Promise<void> => {
    const party = parties[id % parties.length]!;
    // A client that is unknown to the checker stays one client: an operation without an end overlaps all that follow.
    let lane = id;
    while (ops.length < count) {
      const holder = (holders += 1);
      const claims = [...new Set([pick(GROUPED.length), ...(random() < 0.4 ? [pick(GROUPED.length)] : [])])].map(
        (p) => ({
          path: p,
          x: random() < 0.5,
        }),
      );
      const asClaims = claims.map((c): Claim => ({ path: GROUPED[c.path]!, mode: c.x ? 'exclusive' : 'shared' }));
      const waitMs = queue && random() < 0.5 ? 200 : 0;
      const base = { client: (lane = lane + clients), holder, claims, fence: 0 };
      const got = await known(() =>
        noted({ ...base, client: (lane += clients), op: 'acquire' }, () =>
          party.acquire(`h${holder}`, asClaims, waitMs),
        ),
      );
      if (got.result !== 'granted') continue;
      const { fence } = got;
      if (random() < 0.3) {
        const asked = random() < 0.5 ? claims[0]!.path : pick(GROUPED.length);
        const about = { ...base, claims: [{ path: asked, x: false }], fence, op: 'assert' as const };
        await noted({ ...about, client: (lane += clients) }, async () => ({
          result: (await party.holds(fence, GROUPED[asked]!)) ? 'current' : 'stale',
        }));
      }
      await known(() =>
        noted({ ...base, client: (lane += clients), op: 'release', fence }, async () => {
          await party.release(fence);
          return { result: 'released' };
        }),
      );
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, id) => client(id)));
  return { paths: GROUPED, members: MEMBERS, strictBusy: !queue, ops };
}

/** The connection went away under it: whether it happened cannot be told. */
function isLost(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'unavailable' || code === '57P01';
}

const isOver = (error: unknown): boolean =>
  [error, (error as Error).cause].some((e) => (e as { code?: string } | undefined)?.code === '57P01');

/** Ends a random connection of the platform every few milliseconds until told to stop. */
export function terminateBackends(db: Database, everyMs: number): { stop(): Promise<number> } {
  let stopped = false;
  let count = 0;
  const loop = (async () => {
    while (!stopped) {
      await new Promise((resolve) => setTimeout(resolve, everyMs));
      const ended = await db
        .query(
          `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'opsloop'
            AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1) s`,
        )
        .catch(() => []);
      count += ended.length;
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await loop;
      return count;
    },
  };
}
