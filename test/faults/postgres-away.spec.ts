/** PostgreSQL is stopped in the middle of everything, without a checkpoint, and comes back two seconds later. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmbeddedPostgres, isAlive, startEmbeddedPostgres } from '@opsloop/embedded';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomOf, seed } from './config.js';
import { ledger, type LockWatch, watchLocks } from './facts.js';
import { type Sink, startSink } from './sink.js';
import { FaultStack, freePortBlock } from './stack.js';
import { applyDocuments, pairEvent, postUntilAcked, type Sent } from './workload.js';

const OUTAGES = 3;
const AWAY_MS = 2_000;
const SENDERS = 3;
/** Events between two outages: enough that each of them hits work at every stage. */
const BETWEEN = 12;

let dir: string;
let postgres: EmbeddedPostgres;
let stack: FaultStack;
let sink: Sink;
let watch: LockWatch;

async function startPostgres(port: number): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir: dir, port, log: () => undefined });
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-faults-pg-'));
  // As root, PostgreSQL runs as another user, who must reach its directory.
  chmodSync(dir, 0o711);
  postgres = await startPostgres(await freePortBlock());
  [sink, stack] = await Promise.all([startSink(50), FaultStack.create({ DATABASE_URL: postgres.url })]);
  await stack.start();
  await applyDocuments(stack, sink.url);
  watch = watchLocks(stack);
});
afterAll(async () => {
  await watch?.stop();
  await stack?.dispose();
  await postgres?.stop();
  await sink?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Immediate shutdown: no checkpoint, every session cut; what was committed asynchronously a moment ago is lost. */
async function outage(): Promise<void> {
  const { mark, port } = postgres;
  process.kill(mark.pid, 'SIGQUIT');
  await eventually(() => expect(isAlive(mark)).toBe(false));
  const since = performance.now();
  await eventually(() => expect(performance.now() - since).toBeGreaterThanOrEqual(AWAY_MS));
  postgres = await startPostgres(port);
}

test('three restarts of PostgreSQL under load lose nothing, double nothing and end no process', async () => {
  const random = randomOf(seed);
  const sent: Sent[] = [];
  let stopped = false;
  let count = 0;
  const sender = async (): Promise<void> => {
    while (!stopped) sent.push(await postUntilAcked(stack, pairEvent(`pg-${count++}`)));
  };
  const senders = Promise.all(Array.from({ length: SENDERS }, sender));
  for (let n = 0; n < OUTAGES; n += 1) {
    const enough = sent.length + BETWEEN + Math.floor(random() * BETWEEN);
    await eventually(() => expect(sent.length).toBeGreaterThanOrEqual(enough), { timeoutMs: 30_000 });
    await outage();
  }
  stopped = true;
  await senders;
  const back = performance.now();
  const { facts, violations } = await ledger(stack, sent, 2, sink, watch);
  console.log(
    `faults: seed ${seed}, ${OUTAGES} restarts of PostgreSQL, ${facts.acked.length} events, ${facts.runs.length} runs, ` +
      `all ended ${((performance.now() - back) / 1000).toFixed(1)} s after the last`,
  );
  expect(violations, stack.tail()).toEqual([]);
  expect(stack.deaths).toBe(0);
  expect(sent.filter((one) => one.tries > 1).length).toBeGreaterThan(0);
}, 120_000);
