/** Repeats and disorder, as senders and networks bring them. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { JsonObject } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomOf, seed, shuffled } from './config.js';
import { gather, ledger, type LockWatch, query, watchLocks } from './facts.js';
import { violationsOf } from './ledger.pure.js';
import { type Sink, startSink } from './sink.js';
import { FaultStack } from './stack.js';
import { applyDocuments, inParallel, post, postUntilAcked, REPORT_EVENT, type Sent, STEPS } from './workload.js';

const RESOURCES = 20;
const REPORTS = 15;
const COPIES_MAX = 4;
const SENDERS = 8;

let stack: FaultStack;
let sink: Sink;
let watch: LockWatch;
let sent: Sent[];

beforeAll(async () => {
  [sink, stack] = await Promise.all([startSink(5), FaultStack.create()]);
  await stack.start();
  await applyDocuments(stack, sink.url);
  watch = watchLocks(stack);
});
afterAll(async () => {
  await watch?.stop();
  await stack?.dispose();
  await sink?.close();
});

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

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('300 events, each delivered 1–4 times in any order, are one decision each; the newest state wins', async () => {
  const random = randomOf(seed);
  const since = Date.now() - 3_600_000;
  const events = numbers(RESOURCES).flatMap((r) => numbers(REPORTS).map((n) => report(r, n, since)));
  const copies = events.flatMap((event) => numbers(1 + Math.floor(random() * COPIES_MAX)).map(() => event));
  const began = performance.now();
  const answers = await inParallel(shuffled(copies, random), SENDERS, (event) => postUntilAcked(stack, event));
  sent = [...new Map(answers.map((one) => [one.id, one])).values()];
  // Every copy is told the id of the first one.
  expect(new Set(answers.map((one) => one.eventId)).size).toBe(events.length);
  const { facts, violations } = await ledger(stack, sent, 1, sink, watch);
  console.log(
    `faults: seed ${seed}, ${copies.length} deliveries of ${events.length} events, ${facts.decisions.length} decisions, ` +
      `${facts.executions.length} workflows, ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
  expect(violations, stack.tail()).toEqual([]);
  expect(facts.decisions).toHaveLength(events.length);
  const states = await query<{ n: number; count: number }>(
    stack,
    `SELECT (state->>'n')::int AS n, count(*)::int AS count FROM decision.resource WHERE path LIKE 'desk/%' GROUP BY 1`,
  );
  expect(states).toEqual([{ n: REPORTS - 1, count: RESOURCES }]);
}, 90_000);

test('another content under a known id is refused, and changes nothing', async () => {
  const answer = await post(stack, { ...report(0, 0, 0), data: { n: 999, job: 'job/forged' } });
  expect({ status: answer.status, body: await answer.json() }).toMatchObject({
    status: 409,
    body: { code: 'event-conflict' },
  });
  expect((await ledger(stack, sent, 1, sink, watch)).violations).toEqual([]);
});

test('the ledger sees a second workflow that somebody starts for a decision', async () => {
  const acked = sent.map(({ eventId }) => ({ eventId, decisions: 1 }));
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
    { timeoutMs: 40_000, everyMs: 200 },
  );
  await connection.close();
}, 60_000);
