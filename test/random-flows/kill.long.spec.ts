/**
 * Random flows on a real Temporal, whose worker is killed again and again: every run ends, as on paper, no step was known
 * under two keys, and no lock is left behind. Few of them here; `RANDOM_FLOWS=1000 RANDOM_KILLS=100 npx vitest run
 * test/random-flows/kill.long.spec.ts` is the whole proof.
 */
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection, type WorkflowHandle, WorkflowUpdateFailedError } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TEMPORAL_NAMES, workflowIdOf } from '@opsloop/contracts';
import type { CompiledFlow, FlowDocument } from '@opsloop/contracts';
import { interpreterPreload, interpreterWorkflows, workflowBundle } from '@opsloop/temporal';
import {
  type ChildProgram,
  type HttpTarget,
  bundleChild,
  createTestNamespace,
  eventually,
  startHttpTarget,
  testRunInput,
} from '@opsloop/testing';
import { compiledRandom, eventsOf } from './compare.js';
import { type RandomFlow, eventTypesOf, randomFlow } from './generate.js';
import { type Answered, type Asked, KilledRun, type Report, SteadyWorld } from './killed-world.js';
import { killsFromEnv } from './random.config.js';
import { Seeded, hash } from './seed.js';

const { from, count, kills } = killsFromEnv({ count: 8, kills: 1 });
/** Runs at a time: each kill hits many of them, which then wait until their heartbeat is missed. */
const OPEN_MAX = 100;
/** The flows' own times are for virtual ones; here a wait of 9 s takes 90 ms. */
const FASTER = 0.01;
/** A killed call is noticed after this without a heartbeat, instead of 15 s; the worker beats each second. */
const HEARTBEAT = '3s';
/** A run may be hit several times, and of 100 others at a time each has its share of the machine. */
const RUN_MS_MAX = 300_000;
// 200 runs under 20 kills took 478 s on two busy cores: some of them are nested loops that take minutes alone.
const ALL_MS_MAX = RUN_MS_MAX + count * 3_000 + kills * 5_000;
/** A long run says how far it is; a usual test is over before. */
const SAYS_EVERY_MS = 10_000;

const runs = new Map<string, Pick<KilledRun, 'answer'>>();
let target: HttpTarget;
let program: ChildProgram;
let client: Client;
let connection: Connection;
let workers: Workers;

/** A worker that stands ready asks anew after this: an answer that takes 300 s is given up by `fetch`. */
const TURN_ANSWER_MS = 60_000;

interface Prepared {
  child: ChildProcess;
  begin: () => void;
}

/** The worker that works, and one that stands ready to take over: starting one takes seconds of a busy machine. */
class Workers {
  private working: ChildProcess | undefined;
  private ready: Promise<Prepared>;
  private readonly asking = new Map<number, { arrived: () => void; begun: Promise<unknown> }>();

  constructor(private readonly start: () => ChildProcess) {
    this.ready = this.prepare();
  }

  /** kill -9 of the one that works; the next one begins, and another gets ready. */
  async next(): Promise<void> {
    const { child, begin } = await this.ready;
    this.working?.kill('SIGKILL');
    this.working = child;
    begin();
    this.ready = this.prepare();
  }

  /** A worker is ready and asks whether it may begin: true, or false when it has to ask again. */
  turn(pid: number): Promise<Answered> {
    const { arrived, begun } = this.asking.get(pid)!;
    arrived();
    return Promise.race([begun.then(() => ({ value: true })), delay(TURN_ANSWER_MS, { value: false }, { ref: false })]);
  }

  private prepare(): Promise<Prepared> {
    const child = this.start();
    let begin!: () => void;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    return new Promise((resolve) => this.asking.set(child.pid!, { arrived: () => resolve({ child, begin }), begun }));
  }
}

beforeAll(async () => {
  const { address, namespace } = await createTestNamespace('kill');
  connection = await Connection.connect({ address });
  client = new Client({ connection, namespace });
  target = await startHttpTarget(async ({ body }) => {
    // What was asked is a thousand runs of some dozen calls; nobody looks at it.
    target.calls.length = 0;
    return { body: await answer(body as Asked & { pid?: number }) };
  });
  program = await bundleChild(new URL('./killed-worker.ts', import.meta.url));
  const silent = (): void => undefined;
  const { codePath } = await workflowBundle({
    workflowsPath: interpreterWorkflows(),
    preload: [interpreterPreload()],
    cacheDir: join(tmpdir(), 'opsloop-random-flows'),
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  workers = new Workers(() => program.start(address, namespace, codePath, target.url));
});
afterAll(async () => {
  await program?.close();
  await target?.close();
  await connection?.close();
});

async function answer(asked: Asked & { pid?: number }): Promise<Answered> {
  const { type, argument, pid } = asked;
  if (type === 'turn') return workers.turn(pid!);
  const run = runs.get(argument.context?.run ?? argument.run ?? '');
  return run === undefined ? { value: null } : run.answer(asked);
}

function decide({ path, workflowId }: Report, given: 'approve' | 'reject'): void {
  const request = { path, answer: given, person: { kind: 'user', name: 'anna', groups: [] } };
  const handle = client.workflow.getHandle(workflowId);
  // Told twice by a killed worker, it is answered twice; the second answer is refused, or changes nothing.
  const answers = async (): Promise<void> => {
    try {
      await handle.executeUpdate(TEMPORAL_NAMES.approvalUpdate, { args: [request] });
    } catch (error) {
      // An answer that was lost on its way to a killed worker is told to who gave it; people then answer again.
      if (error instanceof WorkflowUpdateFailedError || error instanceof WorkflowNotFoundError) return;
      const { message, cause } = error as Error;
      process.stderr.write(
        `the answer to ${path} of ${workflowId} is given again after ${message}: ${String(cause)}\n`,
      );
      // As a person would: not in the same moment.
      await delay(500);
      await answers();
    }
  };
  void answers();
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

async function begin(seed: number): Promise<[id: string, run: KilledRun]> {
  const flow = quickened(randomFlow(seed, true));
  const trouble = new Seeded(hash(`${seed} trouble`)).pick([0, 0.05, 0.15]);
  const id = randomUUID();
  const world = new SteadyWorld(seed, trouble, 60);
  const run = new KilledRun(seed, flow, world, decide);
  runs.set(id, run);
  const ir = compiledRandom(flow);
  const retry = { maximumAttempts: 100, initialInterval: '50ms', maximumInterval: '1s' };
  for (const one of [ir, ...Object.values(ir.flows)])
    for (const atom of Object.values(one.atoms))
      Object.assign(atom, { retry, timeout: { ...atom.timeout, heartbeat: HEARTBEAT } });
  const handle = await startRun(id, ir);
  for (const type of eventTypesOf(flow)) {
    const at = world.event(type)?.ms;
    if (at === undefined) continue;
    const send = (): void =>
      // A run that has ended needs no events.
      void handle.signal(TEMPORAL_NAMES.eventsSignal, { events: eventsOf(type) }).catch(() => undefined);
    setTimeout(send, at * FASTER);
  }
  return [id, run];
}

function startRun(id: string, ir: CompiledFlow): Promise<WorkflowHandle> {
  return client.workflow.start(ir.flow.name, {
    taskQueue: TEMPORAL_NAMES.flowQueue,
    workflowId: workflowIdOf(ir.flow.name, id),
    args: [testRunInput(ir, id)],
    // A task that was killed is given to the next worker after this, instead of 10 s.
    workflowTaskTimeout: '3s',
  });
}

/** What stands still, for whoever has to find out why. */
async function stuck(open: Iterable<[string, KilledRun]>): Promise<string> {
  const lines = [...open].slice(0, 5).map(async ([id, { seed, flow }]) => {
    const handle = client.workflow.getHandle(workflowIdOf(flow.flow.name, id));
    const { events } = await handle.fetchHistory();
    const task = (events ?? []).findLast((event) => event.workflowTaskFailedEventAttributes);
    const failed = task?.workflowTaskFailedEventAttributes?.failure?.message ?? '';
    const steps = await handle
      .query<{ path: string; status: string }[]>(TEMPORAL_NAMES.stepsQuery)
      .catch((error: unknown) => [{ path: `${String(error)} ${String((error as Error).cause)}`, status: '?' }]);
    const at = steps.filter(({ status }) => !['succeeded', 'skipped', 'failed'].includes(status));
    const { raw } = await handle.describe();
    const pending = (raw.pendingActivities ?? []).map(
      ({ activityId, activityType, attempt, state, lastStartedTime, lastFailure }) =>
        `${activityType?.name} ${activityId} attempt ${attempt} ${state} since ${String(lastStartedTime?.seconds)} ${lastFailure?.message ?? ''}`,
    );
    const children = (raw.pendingChildren ?? []).map((child) => `child ${child.workflowId}`);
    return `seed ${seed} ${[...pending, ...children].join('; ')}: ${at.map(({ path, status }) => `${path} ${status}`).join(', ')} ${failed}`;
  });
  return (await Promise.all(lines)).join('\n');
}

/** Runs the seeds while workers are killed; gives what was otherwise than on paper, and how much was compared. */
class Proof {
  readonly different: string[] = [];
  readonly startedAt = Date.now();
  compared = 0;
  killed = 0;
  private readonly open = new Map<string, KilledRun>();
  private readonly random = new Seeded(from);
  private readonly between = Math.max(1, Math.floor(count / kills));
  private next = from;
  private again = 0;
  private saidAt = this.startedAt;

  async run(): Promise<void> {
    while (this.next < from + count || this.open.size > 0) {
      while (this.next < from + count && this.open.size < OPEN_MAX) this.open.set(...(await begin(this.next++)));
      await delay(this.random.int(20, 120));
      for (const [id, run] of [...this.open]) if (run.outcome !== undefined) this.take(id, run);
      // Only after some progress: kills in a row would keep everything waiting for heartbeats that never come.
      if (this.killed < kills && this.ended >= this.killed * this.between) {
        await workers.next();
        this.killed += 1;
      }
      if (Date.now() - this.saidAt > SAYS_EVERY_MS) {
        this.say();
        if (this.next === from + count && this.open.size <= 3) process.stderr.write(`${await stuck(this.open)}\n`);
      }
      if (Date.now() - this.startedAt > ALL_MS_MAX)
        expect.fail(`after ${this.killed} kills ${this.open.size} runs have not ended\n${await stuck(this.open)}`);
    }
    if (this.saidAt !== this.startedAt) this.say();
  }

  private get ended(): number {
    return this.next - from - this.open.size;
  }

  private take(id: string, run: KilledRun): void {
    this.open.delete(id);
    runs.delete(id);
    this.again += run.again;
    const found = run.differences();
    if (found === undefined) return;
    this.compared += 1;
    this.different.push(...found);
    for (const line of found.slice(0, 3)) process.stderr.write(`${line}\n`);
  }

  private say(): void {
    this.saidAt = Date.now();
    const secs = Math.round((this.saidAt - this.startedAt) / 1_000);
    process.stderr.write(
      `${secs} s: ${this.ended} of ${count} runs have ended (${this.compared} compared, ${this.different.length} ` +
        `differences), ${this.killed} of ${kills} kills, ${this.again} calls came again\n`,
    );
  }
}

it(
  `${count} runs end as on paper while their worker is killed ${kills} times`,
  async () => {
    await workers.next();
    const proof = new Proof();
    await proof.run();
    expect(proof.different.slice(0, 20)).toEqual([]);
    expect(proof.killed).toBe(kills);
    expect(proof.compared).toBeGreaterThan(count / 2);
  },
  ALL_MS_MAX + 60_000,
);

it('a person’s answer that was accepted is not lost with its worker', async () => {
  const id = randomUUID();
  const ask = { title: 'go on?', approvers: {}, timeout: '1h' };
  const doc: FlowDocument = {
    ...{ dsl: 'opsloop/v1', kind: 'flow', name: 'test/asks', version: '1.0.0' },
    do: [{ id: 'ask', approval: ask }],
    output: '${steps.ask.output.by}',
  };
  let opened = false;
  /** Whether the answer stood in the history when its end was told, each time. */
  const kept: boolean[] = [];
  const accepted = async (): Promise<boolean> => {
    const { events = [] } = await handle.fetchHistory();
    return events!.some((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
  };
  runs.set(id, {
    answer: async ({ type, argument }) => {
      if (type !== TEMPORAL_NAMES.approvalActivity) return { value: null };
      if (argument.report!.change === 'opened') opened = true;
      else {
        kept.push(await accepted());
        // Accepted, and nothing of it is in any journal: its worker is gone before it hears that it was told.
        if (kept.length === 1) {
          await workers.next();
          return new Promise(() => undefined);
        }
      }
      return { value: null };
    },
  });
  const handle = await startRun(id, compiledRandom({ flow: doc, flows: {} }));
  await eventually(() => expect(opened).toBe(true), { timeoutMs: 30_000 });
  const request = { path: 'ask', answer: 'approve', person: { kind: 'user', name: 'anna', groups: [] } };
  expect(await handle.executeUpdate(TEMPORAL_NAMES.approvalUpdate, { args: [request] })).toMatchObject({
    status: 'approved',
  });
  expect(await handle.result()).toEqual(['anna']);
  expect(kept).toEqual([true, true]);
}, 120_000);
