import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { BlockedBy, Claim } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';
import { conflicts, coverPaths, keysOf, LOCK_KEYS_MAX, prefixesOf } from './lock.pure.js';

/** A waiter that does not repeat its request within this is taken for dead and passed. */
export const HEARTBEAT_MS = 15_000;
/** Statements at a time: one that waits for somebody's advisory lock must not keep the others for longer than this. */
const TURNS_MAX = 4;
const TURN_PATIENCE_MS = 20;
/** With two at once 64 clients got half as many locks again; with three no more. */
const SIDE_BY_SIDE = 2;
/** Below it, what waits for one path is freed and granted in one statement, and cutting it in two would cost. */
const SIDE_BY_SIDE_MIN = 12;
/** More go together. */
const FREE_ONE_BY_ONE = 1;
/** Requests of one statement: a few milliseconds of work, and the keys' bound is met first as a rule. */
const BATCH_MAX = 64;
/** Answers that are kept back until there is a grant: a few hundred bytes each. Above it, waiters ask again as without. */
const PARKED_MAX = 2_000;
/** Locks whose claims are remembered, to know at their end who can have them: some 200 bytes each. */
const KNOWN_MAX = 50_000;
/**
 * A lock that ends this soon by itself is given back without waiting for the disk: should PostgreSQL crash within the
 * half second before it is written, the lock stands until its lease ends, and nobody works beside anybody. Grants wait.
 */
const SOON_MS = 120_000;
const CHANNEL = 'control_locks';
/** A notice to the other processes at most this often: each is a commit of its own. */
const NOTICE_MS = 10;

/** One request of a person, as the mutex takes it. */
export interface LockWish {
  tenant: string;
  claims: readonly Claim[];
  holder: string;
  owner: string;
  principal: string;
  ttlMs: number;
  waitMs: number;
  rankAt: Date;
}

export interface LockTurn {
  status: 200 | 201 | 202 | 409;
  fence?: string;
  expires?: Date;
  ticket?: string;
  /** Of one that waits: its place is by this, then by its ticket. */
  rankAt?: Date;
  holders: BlockedBy[];
  ahead: BlockedBy[];
  /** How often waiters had been woken when it was asked for. */
  mark: number;
}

export type Released = 'gone' | 'of-run' | 'of-another';

interface Row {
  n: number;
  status: number;
  fence: string | null;
  expires: Date | null;
  ticket: string | null;
  rank: Date | null;
  holders: BlockedBy[] | string[] | null;
  /** Of a release: whether a run waits there (true), or a person alone (false). */
  ahead: BlockedBy[] | boolean | null;
}

/** Answered now, with who is in its way; kept back if it has to wait; or kept back already, and woken. */
export type AskMode = 'now' | 'keep' | 'again';
const MODES: readonly AskMode[] = ['now', 'keep', 'again'];

interface Asked {
  wish: LockWish;
  mode: AskMode;
  /** Its keys, once. */
  own: string[];
  up: string[];
  resolve(turn: LockTurn): void;
  reject(error: unknown): void;
}

interface Freed {
  /** Whether this process granted it, and so knows its claims; and that it would end soon by itself. */
  known: boolean;
  soon: boolean;
  tenant: string;
  fence: string;
  by: string;
  resolve(released: Released): void;
  reject(error: unknown): void;
}

/** A request whose answer is kept back. */
interface Parked {
  wish: LockWish;
  turn: LockTurn;
  /** Asked again just now; `missed`: woken once more meanwhile. */
  asking: boolean;
  missed: boolean;
  /** Its time is over, or its client has gone; it ends with the answer that is under way. */
  over: 'late' | 'gone' | undefined;
  end(turn: LockTurn): void;
}

/** As PostgreSQL orders waiters. Of two requests in statements side by side the later one may have the lower ticket. */
function byPlace(a: LockTurn, b: LockTurn): number {
  const ranks = a.rankAt!.getTime() - b.rankAt!.getTime();
  return ranks === 0 ? (BigInt(a.ticket!) < BigInt(b.ticket!) ? -1 : 1) : ranks;
}

const exclusive = (path: string): Claim => ({ path, mode: 'exclusive' });

/**
 * Requests for locks of people go to PostgreSQL together: while one statement is under way the next gathers. Waiters
 * whose answer is kept back are tried again in the very statement that frees what they wait for.
 */
@Injectable()
export class LockTurns implements OnApplicationBootstrap, OnApplicationShutdown {
  private asked: Asked[] = [];
  private freed: Freed[] = [];
  private running = 0;
  private mark = 0;
  /** Statements that were begun. */
  private turns = 0;
  private patience: NodeJS.Timeout | undefined;
  private readonly parked = new Map<string, Parked>();
  private readonly known = new Map<string, LockWish>();
  private readonly offs: (() => unknown)[] = [];
  private readonly me = newId();
  private notice: NodeJS.Timeout | undefined;

  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    // Ends of runs and places given up: not by whom nor where, so everybody who waits here looks.
    this.offs.push(
      this.signals.on('released', () => {
        this.wakeAll();
        this.tellOthers();
      }),
    );
    this.offs.push(
      await this.db.listen(CHANNEL, (from) => {
        if (from === this.me) return;
        this.wakeAll();
        this.signals.emit('freed');
      }),
    );
  }

  async onApplicationShutdown(): Promise<void> {
    clearTimeout(this.notice);
    clearTimeout(this.patience);
    for (const one of [...this.parked.values()]) one.end(one.turn);
    for (const off of this.offs) await off();
  }

  ask(wish: LockWish, mode: AskMode = 'now'): Promise<LockTurn> {
    const paths = wish.claims.map((c) => c.path);
    const own = coverPaths(paths);
    return new Promise((resolve, reject) => {
      this.asked.push({ wish, mode, own, up: own.flatMap(prefixesOf), resolve, reject });
      this.go();
    });
  }

  release(tenant: string, fence: string, by: string): Promise<Released> {
    const known = this.known.get(fence);
    return new Promise((resolve, reject) => {
      const soon = known !== undefined && known.ttlMs <= SOON_MS;
      this.freed.push({ tenant, fence, by, known: known !== undefined, soon, resolve, reject });
      this.go();
    });
  }

  /** Asks, and keeps the answer back for at most `ms` while the request has to wait. */
  async wait(wish: LockWish, ms: number, gone?: AbortSignal): Promise<LockTurn> {
    if (ms <= 0) return this.ask(wish);
    const turn = await this.park(wish, await this.ask(wish, 'keep'), ms, gone);
    // Time is over: now it is told who is in its way.
    return turn.status === 202 && gone?.aborted !== true ? this.ask(wish) : turn;
  }

  /** Asks again as soon as it may be its turn; the last answer when `ms` are over or the client is gone. */
  private park(wish: LockWish, first: LockTurn, ms: number, gone?: AbortSignal): Promise<LockTurn> {
    if (first.status !== 202 || this.parked.size >= PARKED_MAX || gone?.aborted === true) return Promise.resolve(first);
    return new Promise((resolve) => {
      const entry: Parked = {
        wish,
        turn: first,
        asking: false,
        missed: false,
        over: undefined,
        end: (turn) => {
          clearTimeout(timer);
          gone?.removeEventListener('abort', onGone);
          if (this.parked.get(wish.holder) === entry) this.parked.delete(wish.holder);
          resolve(turn);
        },
      };
      const leave = (why: 'late' | 'gone'): void => {
        entry.over = why;
        if (!entry.asking) entry.end(entry.turn);
      };
      const onGone = (): void => leave('gone');
      const timer = setTimeout(() => leave('late'), ms);
      gone?.addEventListener('abort', onGone);
      // A second connection with the same request takes the place of the first, which has its answer.
      const before = this.parked.get(wish.holder);
      if (before !== undefined && !before.asking) before.end(before.turn);
      this.parked.set(wish.holder, entry);
      // What was freed between its question and now has not woken it.
      if (first.mark !== this.mark) this.wake(entry);
    });
  }

  private wake(entry: Parked): void {
    if (entry.asking) return void (entry.missed = true);
    entry.asking = true;
    this.ask(entry.wish, 'again').then(
      (next) => {
        // Who was in its way is not looked up again, only whether somebody is.
        const { ticket = entry.turn.ticket!, rankAt = entry.turn.rankAt! } = next;
        entry.turn = next.status === 202 ? { ...entry.turn, ticket, rankAt } : next;
        entry.asking = false;
        if (next.status !== 202 || entry.over !== undefined) {
          // Granted to a client that has hung up: nobody would give it back before its time is over.
          if (next.status === 201 && entry.over === 'gone' && this.parked.get(entry.wish.holder) === entry)
            void this.release(entry.wish.tenant, next.fence!, entry.wish.principal).catch(() => undefined);
          return entry.end(entry.turn);
        }
        if (this.parked.get(entry.wish.holder) !== entry) return entry.end(entry.turn);
        if (!entry.missed) return;
        entry.missed = false;
        this.wake(entry);
      },
      // The client asks again, and is told what is wrong then.
      () => entry.end(entry.turn),
    );
  }

  private wakeAll(): void {
    this.mark += 1;
    for (const one of this.parked.values()) this.wake(one);
  }

  /** Those that may have it now, in the order of the queue: who conflicts with an earlier one has to wait for it anyway. */
  private wakeFor(claims: readonly Claim[]): void {
    this.mark += 1;
    const meets = (one: Parked, others: readonly Claim[]): boolean =>
      one.wish.claims.some((c) => others.some((o) => conflicts(c, o)));
    const before: Claim[] = [];
    const inOrder = [...this.parked.values()].filter((p) => meets(p, claims)).sort((a, b) => byPlace(a.turn, b.turn));
    for (const one of inOrder) {
      if (!meets(one, before)) this.wake(one);
      before.push(...one.wish.claims);
    }
  }

  private go(): void {
    if (this.asked.length + this.freed.length === 0) return;
    if (this.running === 0) {
      this.running += 1;
      // After what has arrived together with it.
      setImmediate(() => this.turn());
      return;
    }
    // So many wait that a second statement is worth its beginning while the first is written to disk.
    if (this.running < SIDE_BY_SIDE && this.asked.length + this.freed.length >= SIDE_BY_SIDE_MIN) {
      this.running += 1;
      this.turn();
      return;
    }
    this.patience ??= setTimeout(() => {
      this.patience = undefined;
      if (this.running >= TURNS_MAX) return;
      this.running += 1;
      this.turn();
    }, TURN_PATIENCE_MS);
  }

  private turn(): void {
    // In the order of their fences, as every process has it.
    const freed = this.freed.splice(0, BATCH_MAX).sort((a, b) => (BigInt(a.fence) < BigInt(b.fence) ? -1 : 1));
    for (const { fence } of freed) {
      const wish = this.known.get(fence);
      this.known.delete(fence);
      // They ask at once, and so in this very statement.
      if (wish !== undefined) this.wakeFor(wish.claims);
    }
    const batch = this.batch();
    this.run(freed, batch)
      .catch((error: unknown) => {
        for (const one of [...freed, ...batch]) one.reject(error);
      })
      .finally(() => {
        this.running -= 1;
        this.go();
      });
  }

  /** As many requests as fit under the bound of keys, in their order. */
  private batch(): Asked[] {
    const keys = new Set<string>();
    const batch: Asked[] = [];
    const tenant = this.asked[0]?.wish.tenant;
    while (batch.length < BATCH_MAX) {
      const next = this.asked[0];
      if (next === undefined || next.wish.tenant !== tenant) break;
      const more = keysOf(next.own);
      if (batch.length > 0 && new Set([...keys, ...more]).size > LOCK_KEYS_MAX) break;
      for (const key of more) keys.add(key);
      batch.push(this.asked.shift()!);
    }
    return batch;
  }

  private async run(freed: readonly Freed[], batch: readonly Asked[]): Promise<void> {
    if (freed.length + batch.length === 0) return;
    const began = (this.turns += 1);
    const beside = this.running > 1;
    // Another turn was under way meanwhile: who asked in it may have seen what this one frees as taken, and is asked again.
    const met = (): boolean => beside || this.turns !== began;
    if (batch.length === 0 && freed.length <= FREE_ONE_BY_ONE) return this.free(freed, met);
    const claims = batch.flatMap((a) => a.wish.claims);
    const ends: number[] = [];
    for (const a of batch) ends.push((ends.at(-1) ?? 0) + a.wish.claims.length);
    const { mark } = this;
    // One tenant: others have their own turn.
    const tenant = (batch[0]?.wish ?? freed[0]!).tenant;
    const rows = await this.db.query<Row>({
      name: 'control.lock-turn',
      text: `SELECT * FROM control.lock_turn($1, $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[], $10::float8[], $11,
        $12::timestamptz[], $13::int[], $14::boolean[], $15::int[], $16::int[], $17::text[], $18::boolean[], $19::text[], $20::int[])`,
      values: [
        tenant,
        batch.flatMap((a) => a.own),
        batch.flatMap((a) => a.up),
        freed.map((f) => f.fence),
        freed.map((f) => f.by),
        batch.map((a) => a.wish.holder),
        batch.map((a) => a.wish.owner),
        batch.map((a) => a.wish.principal),
        batch.map((a) => a.wish.ttlMs / 1_000),
        batch.map((a) => a.wish.waitMs / 1_000),
        HEARTBEAT_MS / 1_000,
        batch.map((a) => a.wish.rankAt),
        batch.map((a) => MODES.indexOf(a.mode)),
        aloneOf(batch),
        batch.map((a, i) => ends[i]! - a.wish.claims.length + 1),
        ends,
        claims.map((c) => c.path),
        claims.map((c) => c.mode === 'exclusive'),
        claims.map((c) => [...prefixesOf(c.path), c.path].join('\n')),
        batch.flatMap((a, i) => a.wish.claims.map(() => i + 1)),
      ],
    });
    for (const row of rows) this.answer(row, freed, batch, { mark, met: met() });
  }

  /** Nobody asks for anything meanwhile: a light statement for each, in the order of their fences. */
  private async free(freed: readonly Freed[], met: () => boolean): Promise<void> {
    for (const [i, one] of freed.entries()) {
      const [row] = await this.db.query<Pick<Row, 'status' | 'holders' | 'ahead'>>({
        name: 'control.lock-free',
        text: 'SELECT * FROM control.lock_free($1, $2, $3::bigint, $4)',
        values: [one.tenant, one.soon, one.fence, one.by],
      });
      this.answer({ n: -i - 1, fence: one.fence, expires: null, ticket: null, rank: null, ...row! }, freed, [], {
        mark: this.mark,
        met: met(),
      });
    }
  }

  private answer(
    row: Row,
    freed: readonly Freed[],
    batch: readonly Asked[],
    { mark, met }: { mark: number; met: boolean },
  ): void {
    if (row.n < 0) {
      const one = freed[-row.n - 1]!;
      if (row.ahead !== null) this.tellOthers();
      // Granted by another process, or before this one began: only now it is known where.
      if (row.holders !== null && (met || !one.known)) this.wakeFor((row.holders as string[]).map(exclusive));
      if (row.ahead === true) this.signals.emit('freed');
      return one.resolve(row.status === 409 ? 'of-run' : row.status === 403 ? 'of-another' : 'gone');
    }
    const one = batch[row.n - 1]!;
    if (row.fence !== null) this.remember(row.fence, one.wish);
    one.resolve({
      status: row.status as LockTurn['status'],
      ...(row.fence === null ? {} : { fence: row.fence }),
      ...(row.expires === null ? {} : { expires: row.expires }),
      ...(row.ticket === null ? {} : { ticket: row.ticket }),
      ...(row.rank === null ? {} : { rankAt: row.rank }),
      holders: row.holders as BlockedBy[],
      ahead: row.ahead as BlockedBy[],
      mark,
    });
  }

  private remember(fence: string, wish: LockWish): void {
    if (this.known.size >= KNOWN_MAX) this.known.delete(this.known.keys().next().value!);
    this.known.set(fence, wish);
  }

  /** Outside the transaction that freed: a notification inside would serialise every commit of the server. */
  private tellOthers(): void {
    this.notice ??= setTimeout(() => {
      this.notice = undefined;
      this.db
        .query(`SELECT pg_notify('${CHANNEL}', $1)`, [this.me])
        .catch((error: unknown) => this.logger.debug('nobody was told of a release', { error }));
    }, NOTICE_MS);
  }
}

/** Below it the one statement for all costs more to begin than it saves. */
const TOGETHER_MIN = 4;

/**
 * Which requests of a turn meet no other of it, so that it does not matter who comes first. Each claim is noted under
 * its path and looked up under its prefixes: linear in the claims, where pairs would be thousands.
 */
function aloneOf(batch: readonly Asked[]): boolean[] {
  if (batch.length < TOGETHER_MIN) return batch.map(() => false);
  const on = new Map<string, Set<number>>();
  const below = new Map<string, Set<number>>();
  const note = (map: Map<string, Set<number>>, path: string, i: number): void =>
    void (map.get(path) ?? map.set(path, new Set()).get(path)!).add(i);
  batch.forEach((a, i) => {
    for (const { path } of a.wish.claims) {
      note(on, path, i);
      for (const up of prefixesOf(path)) note(below, up, i);
    }
  });
  const meets = (others: Set<number> | undefined, i: number): boolean =>
    others !== undefined && (others.size > 1 || !others.has(i));
  return batch.map((a, i) => {
    // Woken ones have a place already, which is looked at one by one.
    if (a.mode === 'again') return false;
    return !a.wish.claims.some(
      ({ path }) =>
        meets(on.get(path), i) || meets(below.get(path), i) || prefixesOf(path).some((up) => meets(on.get(up), i)),
    );
  });
}
