import type { Claim, Initiator, JsonObject, ResourceView, StartRequest, Tier } from '@opsloop/contracts';
import { TIERS } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Database } from '@opsloop/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AdmissionRow } from '../admit/admission-row.js';
import { AdmitService } from '../admit/admit.service.js';
import { verdictOfState } from '../admit/admit.pure.js';
import { type AdmissionFacts, decideVerdict } from '../admit/verdict.pure.js';
import { type ControlApp, type Peers, shared, type Shared, startControl, startPeers } from '../control-app.spec-kit.js';
import { EndWaitingService } from '../queue/end-waiting.service.js';
import { CloseRunService } from '../runs/close-run.service.js';
import type { RoomFacts } from './policy-verdict.pure.js';

/** 10,000 take some eight minutes; two hundred find a race that is there within a second or two. */
const ADMISSIONS = Number(process.env['OPSLOOP_SPEC_ADMISSIONS'] ?? 200);
const SEED = Number(process.env['OPSLOOP_SPEC_SEED'] ?? 7);
const WHO: Initiator[] = [
  { kind: 'rule', name: 'fleet/down', team: 'fleet' },
  { kind: 'rule', name: 'web/slow', team: 'web' },
  { kind: 'token', name: 'ci' },
  { kind: 'user', name: 'ann' },
  { kind: 'schedule', name: 'fleet/nightly', team: 'fleet' },
];
/** Of each of the five: enough that every queue is long at times. */
const OPEN_MAX = 12;
/** And as long as its admission took: on a busy machine as many are at work at once as on an idle one. */
const HOLD_MS = 30;
/** The shortest window of a rate. It is the rates that the test waits for: with windows five times as long it takes five times as long. */
const WINDOW_MS = 40;

/** mulberry32: the same seed, the same policies and starts. */
function randomOf(seed: number): (n: number) => number {
  let a = seed;
  return (n) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * n);
  };
}

const HOSTS = Array.from({ length: 60 }, (_, i): ResourceView => {
  const rack = `r${i % 6}`;
  const labels = { rack, service: ['pay', 'web', 'batch'][i % 3]! };
  return { path: `host/${rack}/h${i}`, kind: 'host', labels, state: {}, stateAt: {}, memberOf: [], dependsOn: [] };
});

let s: Shared;
let peers: Peers;
let a: ControlApp;
let db: Database;

beforeAll(async () => {
  [s, peers] = await Promise.all([shared(), startPeers()]);
  peers.resources = HOSTS;
  a = await startControl(s, peers, { worker: false });
  ({ db } = a);
  await db.query(
    `CREATE TABLE public.charge_log (n bigint GENERATED ALWAYS AS IDENTITY, counter text, unit text, run uuid, delta int, at timestamptz)`,
  );
  await db.query(`CREATE FUNCTION public.log_charge() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF tg_op = 'INSERT' THEN INSERT INTO public.charge_log (counter, unit, run, delta, at) VALUES (new.counter, new.unit, new.run_id, 1, new.at);
      ELSIF tg_op = 'DELETE' THEN
        IF old.live_until = 'infinity' THEN INSERT INTO public.charge_log (counter, unit, run, delta, at) VALUES (old.counter, old.unit, old.run_id, -1, clock_timestamp()); END IF;
      ELSIF old.live_until = 'infinity' AND new.live_until <> 'infinity' THEN
        INSERT INTO public.charge_log (counter, unit, run, delta, at) VALUES (new.counter, new.unit, new.run_id, -1, clock_timestamp());
      END IF;
      RETURN NULL;
    END $$`);
  await db.query(
    `CREATE TRIGGER log_charge AFTER INSERT OR UPDATE OR DELETE ON control.charge FOR EACH ROW EXECUTE FUNCTION public.log_charge()`,
  );
});
afterAll(async () => {
  await a?.close();
  await Promise.all([s.drop(), peers.close()]);
});

function randomPolicies(random: (n: number) => number): JsonObject[] {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const match = (): JsonObject => ({
    targets: pick(['host/*', 'host/r0/*', ['host/r1/*', 'host/r2/*'], 'host/r3/*']),
    ...(random(3) === 0 ? { labels: { service: pick(['pay', 'web', 'batch']) } } : {}),
    ...(random(4) === 0 ? { initiator: { kind: pick(['rule', 'token', 'user']) } } : {}),
    ...(random(4) === 0 ? { tier: [pick(TIERS), pick(TIERS)].filter((t, i, all) => all.indexOf(t) === i) } : {}),
  });
  const by = (): JsonObject =>
    random(4) === 0
      ? {}
      : {
          by: pick([
            '${resource.labels.rack}',
            '${resource.labels.service}',
            '${initiator.kind}',
            '${tier}',
            '${initiator.team}',
            '${resource.path}',
          ]),
        };
  const kinds: (() => JsonObject)[] = [
    () => ({ type: 'quota', match: match(), ...by(), runs: 2 + random(6) }),
    () => ({
      type: 'quota',
      match: match(),
      ...by(),
      windows: [
        { runs: 4 + random(8), within: `${WINDOW_MS + random(3 * WINDOW_MS)}ms` },
        { runs: 60 + random(40), within: `${15 * WINDOW_MS}ms` },
      ],
    }),
    () => ({
      type: 'quota',
      match: match(),
      ...by(),
      runs: 3 + random(4),
      within: `${2 * WINDOW_MS}ms`,
      onConflict: 'reject',
    }),
    () => ({ type: 'blast-radius', match: match(), by: '${resource.labels.rack}', max: 3 + random(4) }),
    () => ({
      type: 'blast-radius',
      match: { targets: 'host/*' },
      by: '${resource.labels.service}',
      percent: 20 + random(40),
    }),
    () => ({ type: 'mutex', match: match(), locks: [{ path: 'service/${resource.labels.service}', mode: 'shared' }] }),
  ];
  return Array.from({ length: 10 }, (_, i) => ({
    dsl: 'opsloop/v1',
    kind: 'policy',
    name: `spec/p${i}`,
    ...kinds[i % kinds.length]!(),
  }));
}

/** Starts that wait for their verdict: one statement looks for all of them, so that the test is not the load. */
const waiting = new Map<string, (state: string) => void>();
const settled = (id: string): Promise<string> => new Promise((resolve) => waiting.set(id, resolve));
const LOOK_MS = 10;

async function look(until: () => boolean): Promise<void> {
  while (!until()) {
    const rows = await db.query<{ id: string; state: string }>({
      name: 'spec.settled',
      text: `SELECT id, state FROM control.admission WHERE tenant = 'default' AND id = ANY($1::uuid[]) AND state <> 'queued'`,
      values: [[...waiting.keys()]],
    });
    for (const { id, state } of rows) {
      waiting.get(id)!(state);
      waiting.delete(id);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

interface Tally {
  granted: number;
  ended: number;
  longestMs: number;
}

/** One of the five: asks, works for a moment when it is let, gives back, and changes its mind at times. */
async function initiator(who: Initiator, count: number, random: (n: number) => number, tally: Tally): Promise<void> {
  const admission = a.app.get(AdmitService);
  const closing = a.app.get(CloseRunService);
  const ends = a.app.get(EndWaitingService);
  const open = new Set<Promise<void>>();
  const work = async (id: string, cancels: boolean, holdMs: number): Promise<void> => {
    const since = Date.now();
    if (cancels) {
      await db.inTransaction('default', (tx) => ends.end(tx, id, 'cancelled', 'changed its mind', who.name));
    }
    const state = await settled(id);
    tally.longestMs = Math.max(tally.longestMs, Date.now() - since);
    if (state !== 'admitted') return void (tally.ended += 1);
    tally.granted += 1;
    await new Promise((resolve) => setTimeout(resolve, holdMs));
    await closing.close('default', id, { status: 'succeeded', clean: true, by: 'the spec' });
  };
  for (let i = 0; i < count; i++) {
    while (open.size >= OPEN_MAX) await Promise.race(open);
    const id = newId();
    const hosts = [...new Set(Array.from({ length: 1 + random(3) }, () => HOSTS[random(HOSTS.length)]!.path))];
    const claims = hosts.map((path): Claim => ({ path, mode: 'exclusive' }));
    const tier = TIERS[random(TIERS.length)] as Tier;
    const [cancels, holdMs] = [random(12) === 0, random(HOLD_MS)];
    const request: StartRequest = {
      id,
      tenant: 'default',
      ref: `outside/work-${random(3)}@1`,
      input: {},
      targets: hosts,
      tier,
      initiator: who,
      coalesce: false,
      correlationId: id,
      hops: 0,
      at: new Date().toISOString(),
    };
    const began = Date.now();
    const prepared = await admission.prepare({ request, kind: 'lock', claims, ttlMs: 600_000 });
    await db.inTransaction('default', (tx) => admission.admit(tx, [prepared]));
    const done: Promise<void> = work(id, cancels, holdMs + Date.now() - began).finally(() => open.delete(done));
    open.add(done);
  }
  await Promise.all(open);
}

interface Logged {
  counter: string;
  unit: string;
  run: string;
  delta: number;
  at: Date;
}

/** The most that a counter ever had at once, and within a time. */
function peaks(log: readonly Logged[], room: Pick<RoomFacts, 'withinMs'>): number {
  let most = 0;
  if (room.withinMs === undefined) {
    const held = new Map<string, number>();
    for (const { unit, delta } of log) {
      const n = (held.get(unit) ?? 0) + delta;
      if (n === 0) held.delete(unit);
      else held.set(unit, n);
      most = Math.max(most, held.size);
    }
    return most;
  }
  const begun = log.filter((l) => l.delta === 1);
  for (const last of begun) {
    const within = begun.filter((l) => l.at <= last.at && l.at.getTime() > last.at.getTime() - room.withinMs! + 2);
    most = Math.max(most, new Set(within.map((l) => l.unit)).size);
  }
  return most;
}

test(`seed ${SEED}: ${ADMISSIONS} admissions of five at once under random policies break no limit, and every verdict follows from its facts`, async () => {
  const random = randomOf(SEED);
  for (const policy of randomPolicies(random)) {
    const answer = await a.call('PUT', `/v1/policies/${policy['name'] as string}`, policy);
    expect(answer.body).toMatchObject({ change: 'created' });
  }
  const tally: Tally = { granted: 0, ended: 0, longestMs: 0 };
  const each = Math.ceil(ADMISSIONS / WHO.length);
  const began = Date.now();
  let over = false;
  const all = Promise.all(WHO.map((who, i) => initiator(who, each, randomOf(SEED * 100 + i), tally)));
  await Promise.all([all.finally(() => (over = true)), look(() => over)]);
  const tookMs = Date.now() - began;

  const rows = await db.query<AdmissionRow>("SELECT * FROM control.admission WHERE flow LIKE 'outside/work-%'");
  expect(rows).toHaveLength(each * WHO.length);
  // Nobody was left behind: everything was let or refused, nothing ran out of time.
  expect(new Set(rows.map((r) => r.state))).toEqual(
    new Set(['closed', 'rejected', 'cancelled'].filter((x) => rows.some((r) => r.state === x))),
  );

  const limits = new Map<string, RoomFacts[]>();
  let judged = 0;
  for (const row of rows) {
    const facts = row.facts as unknown as AdmissionFacts | null;
    if (facts === null) continue;
    for (const b of facts.policies?.budgets ?? []) limits.set(b.counter, b.rooms);
    if (row.state === 'cancelled') continue;
    const verdict = JSON.parse(JSON.stringify(decideVerdict(facts))) as ReturnType<typeof decideVerdict>;
    judged += 1;
    expect(verdict.verdict).toBe(verdictOfState(row.state));
    expect(row.consulted.filter((c) => c.policy !== 'recheck')).toEqual(verdict.consulted);
  }
  const log = await db.query<Logged>('SELECT counter, unit, run, delta, at FROM public.charge_log ORDER BY n');
  const byCounter = new Map<string, Logged[]>();
  for (const l of log) {
    const list = byCounter.get(l.counter);
    if (list === undefined) byCounter.set(l.counter, [l]);
    else list.push(l);
  }
  let full = 0;
  for (const [counter, rooms] of limits)
    for (const room of rooms) {
      const most = peaks(byCounter.get(counter) ?? [], room);
      expect(most, `${counter} within ${room.withinMs ?? 0} ms`).toBeLessThanOrEqual(room.max);
      if (most === room.max) full += 1;
    }
  // Limits that were never reached would prove nothing; on a busy machine a few hundred reach few.
  expect(full).toBeGreaterThan(ADMISSIONS >= 5_000 ? 5 : 0);
  expect(tally.granted).toBeGreaterThan(ADMISSIONS / 3);
  expect(await db.query("SELECT * FROM control.charge WHERE live_until = 'infinity'")).toEqual([]);
  expect(await db.query('SELECT * FROM control.budget_wait')).toEqual([]);
  console.info(
    `${rows.length} admissions in ${tookMs} ms: ${tally.granted} let, ${tally.ended} refused or cancelled, ${judged} verdicts repeated, ${limits.size} counters of which ${full} limits were full, longest wait ${tally.longestMs} ms`,
  );
}, 900_000);
