/**
 * The servers under a running platform go away and come back: PostgreSQL without a checkpoint, for two seconds; Temporal
 * by kill -9, for longer than control looks away, while senders repeat themselves in any order.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JsonObject, TEMPORAL_NAMES } from '@opsloop/contracts';
import { type EmbeddedPostgres, freePort, isAlive, startEmbeddedPostgres } from '@opsloop/embedded';
import { defaultCacheDir, type EmbeddedTemporal, findTemporalBinary, startEmbeddedTemporal } from '@opsloop/temporal';
import { eventually } from '@opsloop/testing';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { longOutages, randomOf, seed, shuffled } from './config.js';
import { gather, ledger, type LockWatch, query, watchLocks } from './facts.js';
import { type Facts, violationsOf } from './ledger.pure.js';
import { type Sink, startSink } from './sink.js';
import { FaultStack } from './stack.js';
import {
  applyDocuments,
  DECISIONS,
  inParallel,
  pairEvent,
  post,
  postUntilAcked,
  REPORT_EVENT,
  type Sent,
  STEPS,
} from './workload.js';

const OUTAGES = longOutages ? 3 : 1;
const POSTGRES_AWAY_MS = 2_000;
const SENDERS = 3;
/** Events between two outages: enough that each of them hits work at every stage. */
const BETWEEN = 6;

/** Control lists what ended every 5 s, and what it began it has to get through. */
const TEMPORAL_AWAY_MS = longOutages ? 30_000 : 7_000;
const BEFORE = 6;
const MEANWHILE = 8;
/** So long that runs are in the middle of an effect when Temporal goes. */
const LONG_WORK_MS = 1_500;
const WORK_MS = 50;

const RESOURCES = longOutages ? 8 : 4;
const REPORTS = longOutages ? 8 : 6;
const COPIES_MAX = 4;
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

let dir: string;
let postgres: EmbeddedPostgres;
let temporal: EmbeddedTemporal;
let stack: FaultStack;
let sink: Sink;
let watch: LockWatch;
const random = randomOf(seed);
/** All that was acknowledged, from the first test on. */
const acked: Facts['acked'] = [];
const ack = (sent: readonly Sent[], decisions: number): void =>
  void acked.push(...sent.map(({ eventId }) => ({ eventId, decisions })));

const startPostgres = (port: number): Promise<EmbeddedPostgres> =>
  startEmbeddedPostgres({ dataDir: dir, port, log: () => undefined });

async function startTemporal(port: number): Promise<EmbeddedTemporal> {
  const { path: binary } = await findTemporalBinary(silent, defaultCacheDir({}));
  return startEmbeddedTemporal({ binary, dataDir: join(dir, 'temporal'), port, log: silent });
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-faults-away-'));
  // As root, PostgreSQL runs as another user, who must reach its directory.
  chmodSync(dir, 0o711);
  [postgres, temporal, sink] = await Promise.all([
    freePort().then(startPostgres),
    freePort().then(startTemporal),
    startSink(WORK_MS),
  ]);
  stack = await FaultStack.create({ DATABASE_URL: postgres.url, TEMPORAL_ADDRESS: temporal.address });
  await stack.start();
  await applyDocuments(stack, sink.url);
  watch = watchLocks(stack);
});
afterAll(async () => {
  await watch?.stop();
  await stack?.dispose();
  await temporal?.stop();
  await postgres?.stop();
  await sink?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function lasting(since: number, ms: number): Promise<void> {
  await eventually(() => expect(performance.now() - since).toBeGreaterThanOrEqual(ms), { timeoutMs: ms + 30_000 });
}

/** Immediate shutdown: no checkpoint, every session cut; what was committed asynchronously a moment ago is lost. */
async function outage(): Promise<void> {
  const { mark, port } = postgres;
  process.kill(mark.pid, 'SIGQUIT');
  await eventually(() => expect(isAlive(mark)).toBe(false));
  await lasting(performance.now(), POSTGRES_AWAY_MS);
  postgres = await startPostgres(port);
}

/** Judges all that happened so far; the platform's own process lived through it. */
async function holds(what: string): Promise<Facts> {
  const since = performance.now();
  const { facts, violations } = await ledger(stack, acked, sink, watch);
  console.log(
    `faults: seed ${seed}, ${what}: ${facts.acked.length} events, ${facts.runs.length} runs, all ended ` +
      `${((performance.now() - since) / 1000).toFixed(1)} s later`,
  );
  expect(violations, stack.tail()).toEqual([]);
  expect(stack.deaths).toBe(0);
  return facts;
}

test('restarts of PostgreSQL under load lose nothing, double nothing and end no process', async () => {
  const sent: Sent[] = [];
  let stopped = false;
  let count = 0;
  const sender = async (): Promise<void> => {
    while (!stopped) sent.push(await postUntilAcked(stack, pairEvent(`pg-${count++}`)));
  };
  const senders = Promise.all(Array.from({ length: SENDERS }, sender));
  for (let n = 0; n < OUTAGES; n += 1) {
    const enough = sent.length + BETWEEN + Math.floor(random() * BETWEEN);
    await eventually(() => expect(sent.length).toBeGreaterThanOrEqual(enough), { timeoutMs: 60_000 });
    await outage();
  }
  stopped = true;
  await senders;
  ack(sent, DECISIONS);
  await holds(`${OUTAGES} restart(s) of PostgreSQL`);
  expect(sent.filter((one) => one.tries > 1).length).toBeGreaterThan(0);
}, 180_000);

interface Run {
  id: string;
  state: string;
  claims: number;
}
const runs = () =>
  query<Run>(
    stack,
    `SELECT id, state, (SELECT count(*)::int FROM control.claim c WHERE c.run_id = a.id AND NOT c.releasing) AS claims
      FROM control.admission a WHERE kind = 'run' ORDER BY created_at`,
  );
const inState = async (state: string): Promise<string[]> =>
  (await runs()).filter((run) => run.state === state).map((run) => run.id);

/**
 * Runs that started minutes ago are those that control asks Temporal about, and gives up as lost when it says that there
 * are none: as if it had been away so long. One that takes silence for that answer frees their locks now.
 */
async function agedRunsAreLookedAt(): Promise<void> {
  // The second look begins when the first one has ended, with whatever it made of the silence.
  for (let look = 0; look < 2; look += 1) {
    await query(
      stack,
      `UPDATE control.admission SET started_at = started_at - interval '10 minutes', checked_at = checked_at - interval '10 minutes' WHERE state = 'started'`,
    );
    await eventually(
      async () => {
        const [open] = await query<{ unseen: number }>(
          stack,
          `SELECT count(*)::int AS unseen FROM control.admission WHERE state = 'started' AND checked_at < clock_timestamp() - interval '9 minutes'`,
        );
        expect(open).toEqual({ unseen: 0 });
      },
      { timeoutMs: 60_000 },
    );
  }
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const sendPairs = (name: string, count: number) =>
  inParallel(numbers(count), 4, (i) => postUntilAcked(stack, pairEvent(`${name}-${i}`)));

/** Report `n` of a resource: a second after the one before it, and a job of its own. */
function report(resource: number, n: number, since: number): JsonObject {
  return {
    specversion: '1.0',
    source: 'faults/disorder',
    id: `${resource}-${n}`,
    type: REPORT_EVENT,
    subject: `desk/${resource}`,
    time: new Date(since + n * 1000).toISOString(),
    data: { n, job: `job/${resource}/${n}` },
  };
}

test('a time without Temporal loses nothing, doubles nothing and frees no lock of a running run', async () => {
  sink.workMs = LONG_WORK_MS;
  const applied = sink.applied.length;
  ack(await sendPairs('before', BEFORE), DECISIONS);
  await eventually(() => expect(sink.applied.length).toBeGreaterThanOrEqual(applied + BEFORE / 2), {
    timeoutMs: 30_000,
  });
  const port = Number(temporal.address.split(':')[1]);
  const gone = performance.now();
  process.kill(temporal.pid, 'SIGKILL');
  await temporal.exited;
  const underWay = await inState('started');
  expect(underWay.length).toBeGreaterThan(0);

  ack(await sendPairs('meanwhile', MEANWHILE), DECISIONS);
  const since = Date.now() - 3_600_000;
  const events = numbers(RESOURCES).flatMap((r) => numbers(REPORTS).map((n) => report(r, n, since)));
  const copies = events.flatMap((event) => numbers(1 + Math.floor(random() * COPIES_MAX)).map(() => event));
  const answers = await inParallel(shuffled(copies, random), 8, (event) => postUntilAcked(stack, event));
  const reports = [...new Map(answers.map((one) => [one.id, one])).values()];
  // Every copy is told the id of the first one.
  expect(new Set(answers.map((one) => one.eventId)).size).toBe(events.length);
  ack(reports, 1);
  // Decided and admitted at once: each pair with one lock taken and one run queued behind it, each report with its own.
  const admitted = await eventually(
    async () => {
      const waiting = await inState('admitted');
      expect(waiting.length).toBeGreaterThanOrEqual(MEANWHILE + events.length);
      return waiting;
    },
    { timeoutMs: 60_000 },
  );
  await agedRunsAreLookedAt();
  await lasting(gone, TEMPORAL_AWAY_MS);

  const now = new Map((await runs()).map((run) => [run.id, run]));
  for (const id of underWay) expect(now.get(id)).toMatchObject({ state: 'started', claims: 1 });
  for (const id of admitted) expect(now.get(id)).toMatchObject({ state: 'admitted', claims: 1 });
  sink.workMs = WORK_MS;
  temporal = await startTemporal(port);
  await holds(
    `Temporal away for ${TEMPORAL_AWAY_MS / 1000} s, ${underWay.length} runs under way and ${admitted.length} admitted meanwhile, ` +
      `${copies.length} deliveries of ${events.length} reports`,
  );
  const states = await query<{ n: number; count: number }>(
    stack,
    `SELECT (state->>'n')::int AS n, count(*)::int AS count FROM decision.resource WHERE path LIKE 'desk/%' GROUP BY 1`,
  );
  expect(states).toEqual([{ n: REPORTS - 1, count: RESOURCES }]);
}, 240_000);

test('another content under a known id is refused, and changes nothing', async () => {
  const answer = await post(stack, { ...report(0, 0, 0), data: { n: 999, job: 'job/forged' } });
  expect({ status: answer.status, body: await answer.json() }).toMatchObject({
    status: 409,
    body: { code: 'event-conflict' },
  });
  await holds('a forgery');
}, 60_000);

test('the ledger sees a second workflow that somebody starts for a decision', async () => {
  const { decisions } = await gather(stack, acked, sink);
  const connection = await Connection.connect({ address: stack.temporalAddress });
  const forged = { workflowId: 'faults.forged', taskQueue: TEMPORAL_NAMES.flowQueue };
  const handle = await new Client({ connection }).workflow.start('noSuchFlow', {
    ...forged,
    memo: { decision: decisions[0]!.id },
  });
  await handle.terminate('it has been seen');
  await eventually(
    async () => {
      expect(violationsOf(await gather(stack, acked, sink), STEPS)).toEqual([
        `double start: decision ${decisions[0]!.id} has 2 executions`,
        'workflows: faults.forged belongs to no run',
      ]);
    },
    { timeoutMs: 30_000, everyMs: 200 },
  );
  await connection.close();
}, 60_000);
