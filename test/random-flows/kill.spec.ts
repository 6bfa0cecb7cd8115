/**
 * Random flows on a real Temporal, whose worker is killed again and again: every run ends, as on paper, and no step was
 * known under two keys. Few of them here; `RANDOM_FLOWS=1000 RANDOM_KILLS=100 npx vitest run test/random-flows/kill.spec.ts`
 * is the whole proof and takes the better part of an hour.
 */
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TEMPORAL_NAMES, workflowIdOf } from '@opsloop/contracts';
import type { AtomCall, Json, RunInput, RunOutcome } from '@opsloop/contracts';
import { interpreterPreload, interpreterWorkflows, workflowBundle } from '@opsloop/temporal';
import {
  type ChildProgram,
  type HttpTarget,
  bundleChild,
  eventually,
  startHttpTarget,
  testTemporal,
} from '@opsloop/testing';
import { compiledRandom, differencesOf } from './compare.js';
import { type RandomFlow, randomFlow } from './generate.js';
import { predict } from './reference.js';
import { killsFromEnv } from './random.config.js';
import { Seeded, hash } from './seed.js';
import { type Outcome, RandomWorld } from './world.js';

const { from, count, kills } = killsFromEnv({ count: 8, kills: 1 });
/** Runs at a time: enough that each kill hits some in the middle of something. */
const OPEN_MAX = 40;
/** The flows' own times are for virtual ones; here a wait of 9 s takes 90 ms. */
const FASTER = 0.01;
/** A killed call is noticed after 15 s without a heartbeat, and a run may be hit several times. */
const RUN_MS_MAX = 300_000;
const ALL_MS_MAX = RUN_MS_MAX + count * 1_000 + kills * 30_000;

/** What the world does may not depend on the attempt: nobody knows whether the answer of a killed one arrived. */
class SteadyWorld extends RandomWorld {
  override call(step: string): Outcome {
    const outcome = super.call(step, 1);
    return 'ok' in outcome ? outcome : { ...outcome, retryable: false };
  }
}

interface Started {
  seed: number;
  flow: RandomFlow;
  world: SteadyWorld;
  outcome?: RunOutcome;
  emitted: { step: string }[];
  keys: Map<string, Set<string>>;
}

const runs = new Map<string, Started>();
let target: HttpTarget;
let program: ChildProgram;
let client: Client;
let connection: Connection;
let start: () => Promise<{ kill: () => void }>;

beforeAll(async () => {
  const { address } = await testTemporal();
  connection = await Connection.connect({ address });
  const namespace = `kill-${randomUUID().slice(0, 8)}`;
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
  });
  client = new Client({ connection, namespace });
  target = await startHttpTarget(async ({ body }) => ({ body: await answer(body as Asked) }));
  program = await bundleChild(new URL('./killed-worker.ts', import.meta.url));
  const silent = (): void => undefined;
  const { codePath } = await workflowBundle({
    workflowsPath: interpreterWorkflows(),
    preload: [interpreterPreload()],
    cacheDir: join(tmpdir(), 'opsloop-random-flows'),
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  start = async () => {
    const child = program.start(address, namespace, codePath, target.url);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    return { kill: () => void child.kill('SIGKILL') };
  };
  await eventually(async () => void (await client.workflow.count()), { timeoutMs: 30_000 });
});
afterAll(async () => {
  await program?.close();
  await target?.close();
  await connection?.close();
});

interface Asked {
  type: string;
  argument: AtomCall & { run?: string; outcome?: RunOutcome; report?: Report };
}

interface Report {
  change: string;
  path: string;
  workflowId: string;
}

async function answer({ type, argument }: Asked): Promise<Json> {
  const run = runs.get(argument.context?.run ?? argument.run ?? '');
  if (run === undefined) return { value: null };
  if (type === TEMPORAL_NAMES.reportActivity) run.outcome = argument.outcome!;
  if (type === TEMPORAL_NAMES.emitActivity && !run.emitted.some((one) => one.step === argument.context.step))
    run.emitted.push({ step: argument.context.step });
  if (type === TEMPORAL_NAMES.approvalActivity) decide(run, argument.report!);
  if (type.startsWith('opsloop.')) return { value: null };
  const { step, key } = argument.context;
  run.keys.set(step, (run.keys.get(step) ?? new Set()).add(key));
  const outcome = run.world.call(step);
  await new Promise((resolve) => setTimeout(resolve, outcome.ms));
  return 'ok' in outcome ? { value: outcome.ok } : { code: outcome.code };
}

function decide(run: Started, { change, path, workflowId }: Report): void {
  const given = change === 'opened' ? run.world.approval(path) : undefined;
  if (given === undefined) return;
  const request = { path, answer: given.answer, person: { kind: 'user', name: 'anna', groups: [] } };
  // Told twice by a killed worker, it is answered twice; the second answer is refused, or changes nothing.
  void client.workflow
    .getHandle(workflowId)
    .executeUpdate(TEMPORAL_NAMES.approvalUpdate, { args: [request] })
    .catch(() => undefined);
}

/** The flow with shorter times and without retries of single calls: lost attempts count as attempts. */
function quickened(flow: RandomFlow): RandomFlow {
  const text = JSON.stringify(flow, (key, value: unknown) => {
    if (typeof value !== 'object' || value === null || !('call' in value)) return value;
    const { retry: _retry, ...rest } = value as { retry?: unknown };
    return rest;
  });
  const faster = text.replaceAll(
    /"(\d{1,5})ms"/g,
    (_all, ms: string) => `"${Math.max(1, Math.round(Number(ms) * FASTER))}ms"`,
  );
  return JSON.parse(faster) as RandomFlow;
}

async function begin(seed: number): Promise<string> {
  const flow = quickened(randomFlow(seed, true));
  const trouble = new Seeded(hash(`${seed} trouble`)).pick([0, 0.05, 0.15]);
  const id = randomUUID();
  runs.set(id, { seed, flow, world: new SteadyWorld(seed, trouble, 60), emitted: [], keys: new Map() });
  const ir = compiledRandom(flow);
  const retry = { maximumAttempts: 100, initialInterval: '50ms', maximumInterval: '1s' };
  for (const one of [ir, ...Object.values(ir.flows)]) for (const atom of Object.values(one.atoms)) atom.retry = retry;
  const input: RunInput = {
    context: {
      run: id,
      tenant: 'default',
      flow: ir.flow.name,
      version: ir.flow.version,
      tier: 'P3',
      initiator: { kind: 'user', name: 'tester' },
      targets: [],
      correlationId: id,
      hops: 0,
      startedAt: new Date().toISOString(),
    },
    ir,
    input: {},
    config: {},
  };
  await client.workflow.start(ir.flow.name, {
    taskQueue: TEMPORAL_NAMES.flowQueue,
    workflowId: workflowIdOf(ir.flow.name, id),
    args: [input],
    // A task that was killed is given to the next worker after this, instead of 10 s.
    workflowTaskTimeout: '5s',
  });
  return id;
}

/** What went otherwise than on paper; undefined when paper cannot tell. */
function judge({ seed, flow, world, outcome, emitted, keys }: Started): string[] | undefined {
  const expected = predict(flow.flow, flow.flows, world, { timeless: true });
  if (expected.ambiguous) return undefined;
  const twice = [...keys].filter(([, set]) => set.size > 1).map(([step]) => `${step} has had several keys`);
  const differences = differencesOf({ ...expected, undone: [] }, { ...outcome!, emitted } as never);
  return [...twice, ...differences].map((line) => `seed ${seed}: ${line}`);
}

it(
  `${count} runs end as on paper while their worker is killed ${kills} times`,
  async () => {
    let worker = await start();
    const random = new Seeded(from);
    const open = new Set<string>();
    const different: string[] = [];
    let compared = 0;
    let killed = 0;
    let next = from;
    const between = Math.max(1, Math.floor(count / kills));
    while (next < from + count || open.size > 0) {
      while (next < from + count && open.size < OPEN_MAX) open.add(await begin(next++));
      await new Promise((resolve) => setTimeout(resolve, random.int(20, 120)));
      for (const id of [...open]) {
        const run = runs.get(id)!;
        if (run.outcome === undefined) continue;
        open.delete(id);
        const found = judge(run);
        different.push(...(found ?? []));
        if (found !== undefined) compared += 1;
      }
      const ended = next - from - open.size;
      // Only after some progress: kills in a row would keep everything waiting for heartbeats that never come.
      if (killed < kills && ended >= killed * between) {
        worker.kill();
        killed += 1;
        worker = await start();
      }
      if (Date.now() - startedAt > ALL_MS_MAX)
        expect.fail(
          `after ${killed} kills seeds ${[...open].map((id) => runs.get(id)!.seed).join(', ')} have not ended`,
        );
    }
    expect(different.slice(0, 20)).toEqual([]);
    expect(killed).toBe(kills);
    expect(compared).toBeGreaterThan(count / 2);
  },
  ALL_MS_MAX + 60_000,
);

const startedAt = Date.now();
