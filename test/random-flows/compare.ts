/** One random flow on the real interpreter and on paper. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AtomCall, CompiledFlow, FlowDocument, FlowEvent, Json, PinnedAtom, StepRecord } from '@opsloop/contracts';
import {
  type ActivityAnswer,
  type ActivityCall,
  type OpenRun,
  type Sandbox,
  type VirtualResult,
  runVirtually,
} from '@opsloop/flowtest';
import { ATOMS, type RandomFlow, eventTypesOf, randomFlow } from './generate.js';
import type { RefResult } from './reference-terms.js';
import { predict } from './reference.js';
import { Seeded, hash } from './seed.js';
import { EVENTS_SENT, JOB_EVERY_MS, type Outcome, POLL_MS, RandomWorld } from './world.js';

/** What is done to the run besides running it. */
export interface Treatment {
  /** Length of history at which it must continue as new. */
  continueAsNewAt?: number;
  /** The worker forgets the run this often (share of activations) and replays it. */
  replays?: number;
  /** Somebody cancels it at this time. */
  cancelAt?: number;
}

export interface Verdict {
  kind: 'same' | 'ambiguous' | 'different';
  differences: string[];
  flow: RandomFlow;
  continued: number;
}

export function compiledRandom({ flow, flows }: RandomFlow): CompiledFlow {
  const compile = (one: FlowDocument, sub: Record<string, CompiledFlow>): CompiledFlow => ({
    ir: 1,
    flow: one,
    digest: one.name,
    atoms: pinnedAtoms(),
    flows: sub,
  });
  return compile(flow, Object.fromEntries(Object.entries(flows).map(([ref, one]) => [ref, compile(one, {})])));
}

function pinnedAtoms(): Record<string, PinnedAtom> {
  const atom = (ref: string, more: Partial<PinnedAtom> = {}): [string, PinnedAtom] => [
    ref,
    {
      name: ref.split('@')[0]!,
      version: '1.0.0',
      effect: ref.startsWith('r.') ? 'read' : 'mutate',
      idempotency: 'native',
      execution: 'activity',
      activity: ref.split('@')[0]!,
      retry: { maximumAttempts: 2, initialInterval: '50ms', backoffCoefficient: 2 },
      timeout: { startToClose: '1h' },
      ...more,
    },
  ];
  const undo = { compensate: { call: 'u.undo@1' } };
  const more: Record<(typeof ATOMS)[number], Partial<PinnedAtom>> = {
    'a.one@1': undo,
    'a.two@1': undo,
    // As a worker of others has it: what it answers is checked in ours.
    'a.bare@1': { queue: TEMPORAL_NAMES.atomQueue, output: { schema: { type: 'object' } } },
    'r.look@1': {},
    'j.job@1': { ...undo, job: { every: `${JOB_EVERY_MS}ms`, cancels: true } },
  };
  return Object.fromEntries([...ATOMS.map((ref) => atom(ref, more[ref])), atom('u.undo@1')]);
}

/** Compares one seed; throws nothing, whatever happens. */
export function compareSeed(sandbox: Sandbox, seed: number, treatment: Treatment = {}): Verdict {
  const flow = randomFlow(seed, isTimeless(treatment));
  return compareFlow(sandbox, flow, worldOf(seed), seed, treatment);
}

/** Leaving for a new run waits for what is under way, so that times differ. */
function isTimeless({ continueAsNewAt }: Treatment): boolean {
  return continueAsNewAt !== undefined;
}

export function worldOf(seed: number): RandomWorld {
  return new RandomWorld(seed, new Seeded(hash(`${seed} trouble`)).pick([0, 0.05, 0.15, 0.3]));
}

export function compareFlow(
  sandbox: Sandbox,
  flow: RandomFlow,
  world: RandomWorld,
  seed: number,
  treatment: Treatment,
): Verdict {
  const expected = predict(flow.flow, flow.flows, world, {
    cancelAt: treatment.cancelAt,
    timeless: isTimeless(treatment),
  });
  if (expected.ambiguous) return { kind: 'ambiguous', differences: [], flow, continued: 0 };
  let actual: VirtualResult;
  try {
    actual = runFor(sandbox, flow, world, seed, treatment);
  } catch (error) {
    return {
      kind: 'different',
      differences: [error instanceof Error ? (error.stack ?? error.message) : String(error)],
      flow,
      continued: 0,
    };
  }
  // Branches that take longer are undone later.
  const undone = isTimeless(treatment) ? [] : expected.undone;
  const differences = differencesOf({ ...expected, undone }, actual);
  return { kind: differences.length === 0 ? 'same' : 'different', differences, flow, continued: actual.continued };
}

export function runFor(
  sandbox: Sandbox,
  flow: RandomFlow,
  world: RandomWorld,
  seed: number,
  treatment: Treatment,
): VirtualResult {
  const random = new Seeded(hash(`${seed} kills`));
  let open: OpenRun | undefined;
  const { replays = 0, cancelAt, continueAsNewAt } = treatment;
  return runVirtually(sandbox, {
    ir: compiledRandom(flow),
    answer: (call) => answer(call, world, () => open!),
    ...(continueAsNewAt === undefined ? {} : { continueAsNewAt }),
    keepSteps: replays > 0,
    begun: (run) => {
      open = run;
      for (const type of eventTypesOf(flow)) {
        const at = world.event(type)?.ms;
        if (at === undefined) continue;
        const signal = { events: eventsOf(type) };
        run.world.clock.in(at, () => run.world.signal(run.workflowId, TEMPORAL_NAMES.eventsSignal, signal));
      }
      if (cancelAt !== undefined) run.world.clock.in(cancelAt, () => run.world.cancel(run.workflowId));
    },
    onActivated: (execution) => {
      if (replays > 0 && random.chance(replays)) execution.replay();
    },
  });
}

function answer(call: ActivityCall, world: RandomWorld, open: () => OpenRun): ActivityAnswer | undefined {
  if (call.type === TEMPORAL_NAMES.approvalActivity) {
    const { report } = call.argument as unknown as { report: { change: string; path: string; workflowId: string } };
    const given = report.change === 'opened' ? world.approval(report.path) : undefined;
    if (given === undefined) return undefined;
    const request = { path: report.path, answer: given.answer, person: { kind: 'user', name: 'anna', groups: [] } };
    const { world: server } = open();
    server.clock.in(given.ms, () =>
      server.update(report.workflowId, TEMPORAL_NAMES.approvalUpdate, [request], () => undefined),
    );
    return undefined;
  }
  if (call.type === TEMPORAL_NAMES.claimActivity) return { value: claimAnswer(world, String(call.argument['step'])) };
  if (call.type.startsWith('opsloop.')) return undefined;
  return toAnswer(outcomeOf(call, world));
}

/** What a try to take a lock answers. */
export function claimAnswer(world: RandomWorld, step: string): Json {
  return world.claim(step) ? { granted: true, fence: '1' } : { granted: false };
}

/** Enough events of a type for whoever waits for them. */
export function eventsOf(type: string): FlowEvent[] {
  return Array.from({ length: EVENTS_SENT }, (_, i) => {
    const id = `${type}#${i}`;
    return { eventId: id, id, source: 'world', type, time: '2026-01-01T00:00:00.000Z', data: null };
  });
}

function outcomeOf(call: ActivityCall, world: RandomWorld): Outcome {
  const { step } = (call.argument as unknown as AtomCall).context;
  const phase = /^j\.job\.(.+)$/.exec(call.type)?.[1];
  if (phase === 'cancel') return { ms: 1, ok: null };
  if (phase !== 'poll') {
    const outcome = world.call(step, call.attempt);
    return phase === 'start' && 'ok' in outcome ? { ms: outcome.ms, ok: { id: step } } : outcome;
  }
  // Asked whether it has stopped.
  if (call.activityId.endsWith('-stop')) return { ms: 1, code: 'atom/a.x/stopped', retryable: false };
  const { polls, end } = world.job(step);
  if (call.attempt < polls) return { ms: POLL_MS, code: 'not-yet', retryable: true };
  return 'ok' in end ? { ms: POLL_MS, ok: end.ok } : { ms: POLL_MS, code: end.code, retryable: false };
}

function toAnswer(outcome: Outcome): ActivityAnswer {
  if ('ok' in outcome) return { afterMs: outcome.ms, value: outcome.ok };
  const { code, retryable } = outcome;
  return {
    afterMs: outcome.ms,
    thrown: {
      type: code,
      message: code,
      nonRetryable: !retryable,
      details: [{ type: code, code, title: code, status: 500, retryable }],
    },
  };
}

/** How many records of steps a run takes along into a new Temporal run. */
const RECORDS_CARRIED = 200;
/** Verbs whose output is worth comparing. */
const COMPARED = new Set(['call', 'switch', 'loop', 'forEach', 'reconcile']);

export function differencesOf(
  expected: RefResult,
  actual: {
    status: string;
    output?: Json;
    problem?: { code: string };
    steps: StepRecord[];
    emitted: { step: string }[];
    continued?: number;
  },
): string[] {
  const found: string[] = [];
  const check = (what: string, a: unknown, b: unknown): void => {
    if (JSON.stringify(a) !== JSON.stringify(b))
      found.push(`${what}: expected ${JSON.stringify(a)}, got ${JSON.stringify(b)}`);
  };
  check('status', expected.status, actual.status);
  if (expected.status === 'succeeded') check('output', expected.output, actual.output);
  if (expected.status === 'failed') check('code', expected.code, actual.problem?.code);
  const { steps, eachs } = withoutBatches(actual.steps);
  const records = new Map(steps.map((step) => [step.path, step]));
  let left = leftBehind(expected, actual);
  for (const path of new Set([...expected.records.keys(), ...records.keys()])) {
    const want = expected.records.get(path);
    const is = records.get(path);
    const batches = eachs.find(({ inside }) => path.startsWith(inside));
    if (batches?.lost === true) continue;
    if (want !== undefined && is === undefined && left > 0) {
      left -= 1;
      continue;
    }
    check(`step ${path}`, want?.status, is?.status);
    if (want === undefined || is === undefined) continue;
    if (want.attempts !== undefined) check(`attempts of ${path}`, want.attempts, is.attempts);
    const shown = !path.endsWith('~undo') && batches === undefined;
    if (want.status === 'succeeded' && COMPARED.has(is.verb) && shown)
      check(`output of ${path}`, want.output, is.output);
  }
  check('emitted', [...expected.emitted].sort(), actual.emitted.map((event) => event.step).sort());
  found.push(...orderDifferences(expected.undone, actual.steps));
  return found;
}

/**
 * How many records of steps may be missing: a run that goes on in a new Temporal run takes its newest 200 along, so that
 * of more than those the oldest stand in the Temporal run before. That many are there at least, whatever came later.
 */
function leftBehind(
  { records }: RefResult,
  { continued = 0, steps }: { continued?: number; steps: unknown[] },
): number {
  return continued > 0 && steps.length >= RECORDS_CARRIED ? Math.max(0, records.size - RECORDS_CARRIED) : 0;
}

/**
 * A batch in a workflow of its own has a record that stands for no step. What it hands back of its steps is without their
 * outputs, and when it was cancelled or has failed nothing: that stands in its own workflow.
 */
function withoutBatches(all: readonly StepRecord[]): {
  steps: StepRecord[];
  eachs: { inside: string; lost: boolean }[];
} {
  const steps: StepRecord[] = [];
  const eachs: { inside: string; lost: boolean }[] = [];
  for (const step of all) {
    const inside = /^(.*\[)batch:\d+\]$/.exec(step.path)?.[1];
    if (inside === undefined) steps.push(step);
    else eachs.push({ inside, lost: step.status !== 'succeeded' });
  }
  return { steps, eachs: eachs.sort((a, b) => Number(b.lost) - Number(a.lost)) };
}

/** Undoing must begin in the order that follows from the times on paper. */
function orderDifferences(expected: RefResult['undone'], steps: readonly StepRecord[]): string[] {
  const began = new Map(
    steps
      .filter((step) => step.path.endsWith('~undo'))
      .map((step) => [step.path.slice(0, -5), Date.parse(step.startedAt)]),
  );
  const sorted = [...expected].sort((a, b) => a.at - b.at);
  return sorted.flatMap((one, i) => {
    const next = sorted[i + 1];
    if (next === undefined || next.at - one.at < 100) return [];
    const [a, b] = [began.get(one.path), began.get(next.path)];
    return a !== undefined && b !== undefined && a > b ? [`${next.path} was undone before ${one.path}`] : [];
  });
}
