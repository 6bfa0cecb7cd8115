/** Temporal is killed -9 and stays away for half a minute; the platform keeps running. */
import { join } from 'node:path';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type EmbeddedTemporal, findTemporalBinary, startEmbeddedTemporal, defaultCacheDir } from '@opsloop/temporal';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ledger, type LockWatch, query, watchLocks } from './facts.js';
import { type Sink, startSink } from './sink.js';
import { FaultStack, freePortBlock } from './stack.js';
import { applyDocuments, inParallel, pairEvent, postUntilAcked } from './workload.js';

const AWAY_MS = 30_000;
const BEFORE = 8;
const MEANWHILE = 12;
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

let dir: string;
let temporal: EmbeddedTemporal;
let stack: FaultStack;
let sink: Sink;
let watch: LockWatch;

async function startTemporal(port: number): Promise<EmbeddedTemporal> {
  const { path: binary } = await findTemporalBinary(silent, defaultCacheDir({}));
  return startEmbeddedTemporal({ binary, dataDir: join(dir, 'temporal'), port, log: silent });
}

const portOf = (one: EmbeddedTemporal): number => Number(one.address.split(':')[1]);
const numbered = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name}-${i}`);
const send = (ids: string[]) => inParallel(ids, 4, (id) => postUntilAcked(stack, pairEvent(id)));

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

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'opsloop-faults-temporal-'));
  temporal = await startTemporal(await freePortBlock());
  [sink, stack] = await Promise.all([
    // So long that runs are in the middle of an effect when Temporal goes.
    startSink(1_500),
    FaultStack.create({ TEMPORAL_ADDRESS: temporal.address }),
  ]);
  await stack.start();
  await applyDocuments(stack, sink.url);
  watch = watchLocks(stack);
});
afterAll(async () => {
  await watch?.stop();
  await stack?.dispose();
  await temporal?.stop();
  await sink?.close();
  rmSync(dir, { recursive: true, force: true });
});

test('half a minute without Temporal loses nothing, doubles nothing and frees no lock of a running run', async () => {
  const before = await send(numbered('before', BEFORE));
  await eventually(() => expect(sink.applied.length).toBeGreaterThanOrEqual(BEFORE / 2));
  const port = portOf(temporal);
  const gone = performance.now();
  process.kill(temporal.pid, 'SIGKILL');
  await temporal.exited;
  const underWay = (await runs()).filter((run) => run.state === 'started').map((run) => run.id);
  expect(underWay.length).toBeGreaterThan(0);

  const meanwhile = await send(numbered('meanwhile', MEANWHILE));
  // Decided and admitted at once, each pair with one lock taken and one run queued behind it.
  const admitted = await eventually(
    async () => {
      const waiting = (await runs()).filter((run) => run.state === 'admitted');
      expect(waiting.length).toBeGreaterThanOrEqual(MEANWHILE);
      return waiting.map((run) => run.id);
    },
    { timeoutMs: 40_000 },
  );
  await eventually(() => expect(performance.now() - gone).toBeGreaterThanOrEqual(AWAY_MS), {
    timeoutMs: AWAY_MS + 5_000,
    everyMs: 250,
  });

  const now = new Map((await runs()).map((run) => [run.id, run]));
  for (const id of underWay) expect(now.get(id)).toMatchObject({ state: 'started', claims: 1 });
  for (const id of admitted) expect(now.get(id)).toMatchObject({ state: 'admitted', claims: 1 });
  temporal = await startTemporal(port);
  const back = performance.now();
  const { facts, violations } = await ledger(stack, [...before, ...meanwhile], 2, sink, watch);
  console.log(
    `faults: Temporal away for ${AWAY_MS / 1000} s, ${facts.runs.length} runs, ${underWay.length} of them under way and ` +
      `${admitted.length} admitted meanwhile, all ended ${((performance.now() - back) / 1000).toFixed(1)} s after it was back`,
  );
  expect(violations, stack.tail()).toEqual([]);
  expect(stack.deaths).toBe(0);
}, 150_000);
