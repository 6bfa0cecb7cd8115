/** The virtual server must be a server: every construct ends there as it does on Temporal, step by step. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AtomCall, Json, JsonObject, RunOutcome, StepRecord } from '@opsloop/contracts';
import { Harness, type Stub, compiled } from '../../workflows/test/harness.js';
import { SCENARIOS, type Scenario } from '../../../test/replay/scenarios.js';
import { interpreterSandbox } from './sandbox-cache.js';
import type { ActivityAnswer, ActivityCall } from './virtual/activity.js';
import type { Sandbox } from './virtual/sandbox.js';
import { runVirtually } from './virtual-run.js';
import type { OpenRun, VirtualResult } from './virtual-run.js';

let h: Harness;
let sandbox: Sandbox;
beforeAll(async () => {
  [h, sandbox] = await Promise.all([Harness.start(), interpreterSandbox(join(tmpdir(), 'opsloop-flowtest-spec'))]);
});
afterAll(async () => h?.stop());

/** What a scenario does from outside, as the virtual run sees it: once a step stands so, that happens. */
const ACTS: Record<string, (run: OpenRun) => boolean> = {
  cancel: ({ world, workflowId, steps }) => is(steps(), 't/w', 'waiting') && world.cancel(workflowId),
  halt: ({ world, workflowId, steps }) =>
    is(steps(), 'act', 'paused') && world.signal(workflowId, TEMPORAL_NAMES.haltSignal, {}),
  'foreign-queue': ({ world, workflowId, steps }) =>
    is(steps(), 'far', 'paused') && world.signal(workflowId, TEMPORAL_NAMES.haltSignal, {}),
};

function is(steps: StepRecord[], path: string, status: string): boolean {
  return steps.find((s) => s.path === path)?.status === status;
}

/** The harness' way of answering, without its server. */
function stubbed(scenario: Scenario): (call: ActivityCall) => ActivityAnswer | undefined {
  const stubs = new Map<string, Stub>();
  const counts = new Map<string, number>();
  scenario.stub?.({ on: (type: string, stub: Stub) => void stubs.set(type, stub) } as unknown as Harness);
  return ({ type, argument }) => {
    const n = (counts.get(type) ?? 0) + 1;
    counts.set(type, n);
    const stub = stubs.get(type);
    if (stub === undefined) return type.startsWith('opsloop.') ? undefined : { value: { ok: true } };
    try {
      return { value: stub(argument as AtomCall & JsonObject, n) as Json };
    } catch (err) {
      if (!(err instanceof ApplicationFailure)) throw err;
      const thrown = { type: err.type ?? 'Error', message: err.message, nonRetryable: err.nonRetryable ?? false };
      return { thrown };
    }
  };
}

function virtually(name: string, scenario: Scenario): VirtualResult {
  const act = ACTS[name];
  let done = false;
  const { input, context, config, carried, atoms, flows } = scenario.options ?? {};
  return runVirtually(sandbox, {
    ir: compiled(scenario.doc, { ...(atoms && { atoms }), ...(flows && { flows }) }),
    ...(input === undefined ? {} : { input }),
    ...(context === undefined ? {} : { context }),
    ...(config === undefined ? {} : { config }),
    ...(carried === undefined ? {} : { carried }),
    answer: stubbed(scenario),
    ...(act === undefined ? {} : { meanwhile: (run) => void (done ||= act(run)) }),
  });
}

/** Without times and ids of the run, in the order of paths: branches of a region end in any order. */
function comparable(outcome: RunOutcome, id: string): unknown {
  const text = JSON.stringify(outcome).replaceAll(id, '<run>');
  const copy = JSON.parse(text, (key, value: unknown) =>
    key === 'startedAt' || key === 'endedAt' ? '<time>' : value,
  ) as RunOutcome;
  copy.steps.sort((a, b) => (a.path < b.path ? -1 : 1));
  return copy;
}

/** Looks of a goal loop follow real time, of which a busy machine has more: only their first and last are compared. */
const TIMED = new Set(['reconcile']);

describe('a virtual server', () => {
  it.each(Object.entries(SCENARIOS))('ends "%s" as Temporal does', async (name, scenario) => {
    h.reset();
    scenario.stub?.(h);
    h.on(TEMPORAL_NAMES.loadActivity, () => compiled(scenario.doc, scenario.options ?? {}));
    const run = await h.run(scenario.doc, scenario.options);
    await scenario.meanwhile?.(run, h);
    const real = await run.end();
    const virtual = virtually(name, scenario);
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
    expect(virtual.attempts.map((a) => `${a.atom}:${a.step}`).sort()).toEqual(run.calls().sort());
  });
});
