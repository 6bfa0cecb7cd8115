/** The virtual server must be a server: every construct ends there as it does on Temporal, step by step. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import type { WorkflowHandle } from '@temporalio/client';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AtomCall, Json, JsonObject, RunOutcome, SteerAct, StepRecord } from '@opsloop/contracts';
import { Harness, type Run, type Stub, compiled } from '../../workflows/test/harness.js';
import type { Scenario } from '../../../test/replay/scenario.js';
import { SCENARIOS } from '../../../test/replay/scenarios.js';
import { interpreterSandbox } from './sandbox-cache.js';
import type { ActivityAnswer, ActivityCall } from './virtual/activity.js';
import type { Sandbox } from './virtual/sandbox.js';
import { openVirtually } from './virtual-run.js';
import type { OpenRun, VirtualResult } from './virtual-run.js';

let whole: Harness;
let sandbox: Sandbox;
beforeAll(async () => {
  [whole, sandbox] = await Promise.all([Harness.start(), interpreterSandbox(join(tmpdir(), 'opsloop-flowtest-spec'))]);
});
afterAll(async () => whole?.stop());

/** The harness' way of answering, without its server. */
function stubbed(scenario: Scenario): (call: ActivityCall) => ActivityAnswer | undefined {
  const stubs = new Map<string, Stub>();
  const counts = new Map<string, number>();
  const harness = { on: (type: string, stub: Stub) => (stubs.set(type, stub), harness) };
  scenario.stub?.(harness as unknown as Harness);
  return ({ type, argument }) => {
    const n = (counts.get(type) ?? 0) + 1;
    counts.set(type, n);
    const stub = stubs.get(type);
    if (stub === undefined) return type.startsWith('opsloop.') ? undefined : { value: { ok: true } };
    try {
      const value = stub(argument as AtomCall & JsonObject, n);
      // Nobody ever answers.
      return value instanceof Promise ? { hangs: true } : { value: value as Json };
    } catch (err) {
      if (!(err instanceof ApplicationFailure)) throw err;
      const thrown = { type: err.type ?? 'Error', message: err.message, nonRetryable: err.nonRetryable ?? false };
      return { thrown };
    }
  };
}

/** Time passes only while nobody outside has anything to do: so long a look of `eventually` may take. */
const LOOK_MS = 60;

async function virtually(scenario: Scenario): Promise<VirtualResult> {
  const { input, context, config, carried, atoms, flows } = scenario.options ?? {};
  const { run, finish } = openVirtually(sandbox, {
    ir: compiled(scenario.doc, { ...(atoms && { atoms }), ...(flows && { flows }) }),
    ...(input === undefined ? {} : { input }),
    ...(context === undefined ? {} : { context }),
    ...(config === undefined ? {} : { config }),
    ...(carried === undefined ? {} : { carried }),
    answer: stubbed(scenario),
  });
  if (scenario.meanwhile === undefined) run.world.run();
  else {
    let busy = true;
    const client = { workflow: { getHandle: (id: string) => handleOf(run, id) } };
    const acting = scenario
      .meanwhile(seenFromOutside(run), { client } as unknown as Harness)
      .finally(() => (busy = false));
    do {
      // What was done from outside is answered before time passes.
      do {
        run.world.runWoken();
        if (busy) await setTimeout(LOOK_MS);
      } while (run.world.isAwake);
    } while (run.world.step());
    await acting;
  }
  return finish();
}

/** A virtual run in the harness' words. */
function seenFromOutside(run: OpenRun): Run {
  const steps = async (): Promise<StepRecord[]> => run.steps();
  const handle = handleOf(run, run.workflowId);
  let acts = 0;
  return {
    id: 'virtual',
    handle,
    steps,
    // Here no run is asked to leave before Temporal would ask it; the real one of the same scenario has left by then.
    continued: async () => Infinity,
    step: async (path: string) => run.steps().find((s) => s.path === path),
    steer: (act: SteerAct) =>
      handle.executeUpdate(TEMPORAL_NAMES.steerUpdate, {
        args: [{ ...act, id: `act-${(acts += 1)}`, by: 'anna', reason: 'test', at: '2026-01-02T00:00:00.000Z' }],
      }),
  } as unknown as Run;
}

function handleOf({ world }: OpenRun, workflowId: string): WorkflowHandle {
  return {
    workflowId,
    cancel: async () => world.cancel(workflowId),
    signal: async (name: string, ...args: unknown[]) => world.signal(workflowId, name, ...args),
    query: async (name: string) => world.query(workflowId, name),
    executeUpdate: (name: string, { args }: { args: unknown[] }) =>
      new Promise((resolve, reject) => {
        world.update(workflowId, name, args, ({ rejected, completed }) =>
          rejected === undefined ? resolve(completed) : reject(new Error(rejected)),
        );
      }),
  } as unknown as WorkflowHandle;
}

const TIMES = new Set(['startedAt', 'endedAt', 'openedAt', 'expiresAt', 'at', 'startedMs', 'metSince']);

/** Without times and ids of the run, in the order of paths: branches of a region end in any order. */
function comparable(outcome: RunOutcome, id: string): unknown {
  const text = JSON.stringify(outcome)
    .replaceAll(id, '<run>')
    .replaceAll(/nobody decided by [^"]*Z/g, 'nobody decided by <time>');
  const copy = JSON.parse(text, (key, value: unknown) =>
    TIMES.has(key) || key.endsWith('@due') ? '<time>' : value,
  ) as RunOutcome;
  copy.steps.sort((a, b) => (a.path < b.path ? -1 : 1));
  return copy;
}

/** Looks of a goal loop follow real time, of which a busy machine has more: only their first and last are compared. */
const TIMED = new Set(['reconcile']);

/** The same flow is looked at once, whichever of its Temporal runs the history of a scenario is. */
const FLOWS = Object.entries(SCENARIOS).filter(([, { keepFirst, ofTasks }]) => !keepFirst && !ofTasks);

describe('a virtual server', () => {
  // Beside each other, since Temporal is waited for most of the time.
  it.concurrent.each(FLOWS)('ends "%s" as Temporal does', async (name, scenario) => {
    const h = whole.part();
    scenario.stub?.(h);
    h.on(TEMPORAL_NAMES.loadActivity, () => compiled(scenario.doc, scenario.options ?? {}));
    const run = await h.run(scenario.doc, scenario.options);
    await scenario.meanwhile?.(run, h);
    const real = await run.end();
    const virtual = await virtually(scenario);
    expect(virtual.status).toBe(real.status);
    expect(virtual.output).toEqual(real.output);
    const there = comparable(run.outcome(), run.id) as RunOutcome;
    const here = comparable(virtual.outcome!, '00000000-0000-4000-8000-000000000001') as RunOutcome;
    if (TIMED.has(name)) {
      expect({ ...here, steps: [] }).toEqual({ ...there, steps: [] });
      expect(here.steps[0]).toEqual(there.steps[0]);
      return;
    }
    expect(here).toEqual(there);
    // How often a job is polled depends on the time.
    const calls = virtual.attempts.map((a) => `${a.atom}:${a.step}`);
    expect([...new Set(calls)].sort()).toEqual([...new Set(run.calls())].sort());
  });
});
