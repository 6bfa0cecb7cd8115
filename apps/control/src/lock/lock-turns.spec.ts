/** Locks of people over HTTP, in two processes' worth of control on one database. */
import { randomUUID } from 'node:crypto';
import type { Claim } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Answer,
  type ControlApp,
  type Peers,
  shared,
  type Shared,
  startControl,
  startPeers,
} from '../control-app.spec-kit.js';
import { LockTurns, type LockWish } from './lock-turns.service.js';

let s: Shared;
let peers: Peers;
let a: ControlApp;
let b: ControlApp;

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  [a, b] = [await startControl(s, peers, { worker: false }), await startControl(s, peers, { worker: false })];
});
afterAll(async () => {
  await Promise.all([a?.close(), b?.close()]);
  await Promise.all([s.drop(), peers.close()]);
});

const path = (): string => `host/${randomUUID()}`;
const x = (...paths: string[]) => paths.map((p) => ({ path: p, mode: 'exclusive' }));
const take = (app: ControlApp, owner: string, claims: unknown, more: object = {}): Promise<Answer> =>
  app.call('POST', '/v1/locks', { claims, owner, ...more });

const queued = (on: string): Promise<void> =>
  eventually(async () =>
    expect(await a.db.query('SELECT 1 FROM control.waiter WHERE path = $1', [on])).toHaveLength(1),
  );

test('a waiter is answered when the lock comes free, in its own process and in another', async () => {
  for (const app of [a, b]) {
    const claims = x(path());
    const first = await take(a, 'first', claims);
    const began = performance.now();
    const waiting = take(app, 'second', claims, { wait: '30s', longPoll: '10s' });
    await queued(claims[0]!.path);
    await a.call('DELETE', `/v1/locks/${first.body.fence}`);
    const second = await waiting;
    // Well before the end of the long poll: somebody told it.
    expect([second.status, performance.now() - began < 5_000]).toEqual([201, true]);
    expect(BigInt(second.body.fence)).toBeGreaterThan(BigInt(first.body.fence));
  }
});

test('the queue is first come, first served, and nobody passes who conflicts with an earlier one', async () => {
  const [one, two] = [path(), path()];
  const held = await take(a, 'holder', x(one));
  const order: string[] = [];
  const wait = async (owner: string, claims: unknown): Promise<void> => {
    const before = await a.db.query('SELECT 1 FROM control.lock_request');
    const granted = take(a, owner, claims, { wait: '30s', longPoll: '10s' }).then(async (answer) => {
      order.push(owner);
      await a.call('DELETE', `/v1/locks/${answer.body.fence}`);
    });
    done.push(granted);
    await eventually(async () =>
      expect((await a.db.query('SELECT 1 FROM control.lock_request')).length).toBe(before.length + 1),
    );
  };
  const done: Promise<void>[] = [];
  await wait('both', x(one, two));
  await wait('later', x(two));
  // Nobody holds it, but an earlier one waits for it.
  expect((await take(a, 'barging', x(two))).status).toBe(409);
  expect((await take(a, 'other', x(path()))).status).toBe(201);
  await a.call('DELETE', `/v1/locks/${held.body.fence}`);
  await Promise.all(done);
  expect(order).toEqual(['both', 'later']);
});

test('of two that wait the one with the earlier rank is woken, whichever was written down first', async () => {
  const turns = a.app.get(LockTurns);
  const on = path();
  const now = Date.now();
  const wish = (owner: string, rank: number): LockWish => {
    const holder = `spec ${owner} ${on}`;
    const claims: Claim[] = [{ path: on, mode: 'exclusive' }];
    const [ttlMs, waitMs, rankAt] = [60_000, 60_000, new Date(rank)];
    return { tenant: 'default', claims, holder, owner, principal: 'spec', ttlMs, waitMs, rankAt };
  };
  const held = await turns.ask(wish('holder', now));
  const granted: string[] = [];
  const waits = async (owner: string, rank: number, place: number): Promise<void> => {
    // Longer than the test waits: nobody is granted because it asks once more.
    void turns.wait(wish(owner, rank), 60_000).then(({ fence }) => {
      granted.push(owner);
      return turns.release('default', fence!, 'spec');
    });
    await eventually(async () =>
      expect(await a.db.query('SELECT 1 FROM control.waiter WHERE path = $1', [on])).toHaveLength(place),
    );
  };
  await waits('later', now, 1);
  await waits('earlier', now - 1_000, 2);
  await turns.release('default', held.fence!, 'spec');
  await eventually(() => expect(granted).toEqual(['earlier', 'later']));
});

test('shared ones are granted together; an exclusive one waits for all of them', async () => {
  const p = path();
  const shares = await Promise.all(
    ['r1', 'r2', 'r3'].map((owner) => take(a, owner, [{ path: `${p}/disk`, mode: 'shared' }])),
  );
  expect(shares.map((r) => r.status)).toEqual([201, 201, 201]);
  const writer = take(a, 'writer', x(p), { wait: '30s', longPoll: '10s' });
  await queued(p);
  expect((await take(a, 'r4', [{ path: p, mode: 'shared' }])).status).toBe(409);
  for (const one of shares) await a.call('DELETE', `/v1/locks/${one.body.fence}`);
  expect((await writer).status).toBe(201);
});

test('a lease that ends by the clock wakes who waits for it', async () => {
  const claims = x(path());
  await take(a, 'short', claims, { ttl: '1s' });
  const next = await take(b, 'next', claims, { wait: '30s', longPoll: '10s' });
  expect(next.status).toBe(201);
});

test('only its owner renews and gives back a lock; others break it, and that is written down', async () => {
  const { fence } = (await take(a, 'me', x(path()))).body as { fence: string };
  await a.db.query(`UPDATE control.claim SET principal = 'anna' WHERE fence = $1`, [fence]);
  const renewed = await a.call('POST', `/v1/locks/${fence}/renew`, {});
  const released = await a.call('DELETE', `/v1/locks/${fence}`);
  expect([renewed.status, renewed.body.code, released.status]).toEqual([403, 'authorization', 403]);
  expect((await a.call('POST', `/v1/locks/${fence}/break`, {})).status).toBe(400);
  expect((await a.call('POST', `/v1/locks/${fence}/break`, { reason: 'anna is away' })).status).toBe(200);
  expect(await a.db.query('SELECT made_by, reason FROM control.act WHERE ref = $1', [fence])).toEqual([
    { made_by: 'admin', reason: 'anna is away' },
  ]);
});

test('a lock for work outside: waits with its heartbeat, is granted at once, renewed and given back', async () => {
  const claims = x(path());
  const outside = (app: ControlApp, owner: string, more: object = {}) =>
    app.call('POST', '/v1/admissions', { start: false, claims, owner, ttl: '60s', ...more });
  const first = (await outside(a, 'cron')).body;
  expect([first.state, new Date(first.expiresAt).getTime() > Date.now()]).toEqual(['admitted', true]);
  const silent = (await outside(a, 'gone', { heartbeat: '5s' })).body;
  const second = (await outside(b, 'ansible', { heartbeat: '5m' })).body;
  expect(second).toMatchObject({
    state: 'queued',
    position: 2,
    blockedBy: [{ owner: expect.stringContaining('cron') }, {}],
  });
  expect((await a.call('POST', `/v1/locks/${first.fence}/renew`, { ttl: '2m' })).status).toBe(200);
  // The one that is silent is passed, though it came before.
  await a.db.query(`UPDATE control.admission SET alive_until = clock_timestamp() WHERE id = $1`, [silent.id]);
  const waiting = b.call('GET', `/v1/admissions/${second.id}?wait=20s`);
  expect((await a.call('DELETE', `/v1/admissions/${first.id}`)).status).toBe(204);
  const granted = (await waiting).body;
  // With its lease: a lock that is granted at its turn ends by the clock as well.
  expect([granted.state, new Date(granted.expiresAt).getTime() > Date.now()]).toEqual(['admitted', true]);
  expect((await a.call('GET', `/v1/admissions/${silent.id}`)).body).toMatchObject({ state: 'expired' });
  expect((await a.call('POST', `/v1/locks/${first.fence}/renew`, {})).body.code).toBe('lock-lost');
  expect((await a.call('GET', `/v1/admissions/not-one`)).status).toBe(404);
  expect((await outside(a, 'x', { heartbeat: '1s' })).body.errors[0].pointer).toBe('/heartbeat');
});

test('a grant reads what is in its way, however much is held elsewhere', async () => {
  class Undone extends Error {}
  let read = Number.NaN;
  const work = a.db.inTransaction('default', async (tx) => {
    const rowsRead = async (): Promise<number> => {
      const [row] = await tx.query<{ n: string }>(
        `SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS n FROM pg_stat_xact_user_tables WHERE relid = 'control.claim'::regclass`,
      );
      return Number(row!.n);
    };
    await tx.query(
      `INSERT INTO control.claim (tenant, path, fence, exclusive, holder, owner, run_id, expires_at)
        SELECT 'default', 'elsewhere/' || n, -n, true, 'x', 'x', gen_random_uuid(), 'infinity' FROM generate_series(1, 1000) n`,
    );
    const before = await rowsRead();
    await tx.query(
      `SELECT * FROM control.try_grant('default', ARRAY['host/mine'], ARRAY[true], 'h', 'o', NULL, gen_random_uuid(), NULL, NULL, now(), 5)`,
    );
    read = (await rowsRead()) - before;
    throw new Undone();
  });
  await expect(work).rejects.toThrow(Undone);
  expect(read).toBeLessThan(20);
});

test('a lock is granted, found and given back by its keys, however much is held and waited for elsewhere', async () => {
  class Undone extends Error {}
  const read: Record<string, number> = {};
  const QUEUED = 50;
  const work = a.db.inTransaction('default', async (tx) => {
    /** Pages that a statement touched, those of the functions it calls included. */
    const pages = async (statement: string): Promise<number> => {
      const [row] = await tx.query<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
        `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${statement}`,
      );
      const { Plan: plan } = row!['QUERY PLAN'][0];
      return plan['Shared Hit Blocks']! + plan['Shared Read Blocks']!;
    };
    const turn = (path: string, fences = '{}', by = '{}'): string =>
      `SELECT * FROM control.lock_turn('default', '{${path}}', '{host}', '${fences}', '${by}', '{me}', '{me}', '{me}', '{30}', '{30}', 15,
        ARRAY[now()], '{1}', '{true}', '{1}', '{1}', '{${path}}', '{true}', ARRAY[E'host\\n${path}'], '{1}')`;
    const steps = {
      grant: turn('host/one'),
      'find again': turn('host/one'),
      'give back': `SELECT * FROM control.lock_free('default', true, (SELECT fence FROM control.claim WHERE holder = 'me'), 'me')`,
      'who may go on': `SELECT * FROM control.ready('default', 10)`,
    };
    // Plans are made now, with nearly nothing there, and kept.
    for (const statement of Object.values(steps)) await pages(statement);
    await tx.query(
      `INSERT INTO control.claim (tenant, path, fence, exclusive, holder, owner, expires_at)
        SELECT 'default', 'elsewhere/' || n, -n, true, 'x' || n, 'x', 'infinity' FROM generate_series(1, 10000) n`,
    );
    await tx.query(
      `INSERT INTO control.waiter (tenant, path, ticket, exclusive, rank_at, owner, alive_until)
        SELECT 'default', 'elsewhere/' || n, -n, true, now(), 'x', 'infinity' FROM generate_series(1, 10000) n`,
    );
    await tx.query(
      `INSERT INTO control.admission (tenant, id, kind, state, request, flow, targets, tier, initiator, ticket, rank_at, valid_until)
        SELECT 'default', gen_random_uuid(), 'run', 'queued', '{}', 'x', '{}', 'P2', '{}', -n, now(), now() FROM generate_series(1, $1::int) n`,
      [QUEUED],
    );
    for (const [name, statement] of Object.entries(steps)) read[name] = await pages(statement);
    read['who may go on']! /= QUEUED;
    throw new Undone();
  });
  await expect(work).rejects.toThrow(Undone);
  // About twice what they need. All claims of one index are 100 pages more, half of the waiters 30.
  const most = { grant: 50, 'find again': 25, 'give back': 80, 'who may go on': 20 };
  expect(Object.keys(read)).toEqual(Object.keys(most));
  for (const [name, bound] of Object.entries(most)) expect(read[name], name).toBeLessThan(bound);
});
