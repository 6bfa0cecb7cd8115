/** A finished run → the flow test that it would pass. */
import type { FlowDocument, Json, JsonObject, RunView, Step, StepRecord, TimelineEntry } from '@opsloop/contracts';
import { stepsOf } from '@opsloop/dsl';
import { compensatedOf, pathOf } from './expectations.pure.js';
import type { Expectation, FlowTest, MockAnswer, MockProblem, TestApproval, TestEvent } from './flowtest.js';
import { staticPath } from './paths.pure.js';

/** The record holds outputs up to 4 KB; a mock without one has to be filled in. */
export interface Recorded {
  test: FlowTest;
  /** What the run does not tell any more. */
  notes: string[];
}

export interface RecordedFrom {
  run: RunView;
  flow: FlowDocument;
  timeline: readonly TimelineEntry[];
  name?: string;
}

/** Calls answer as they did, people and events come as they came; the ends are what is expected. */
export function recordTest({ run, flow, timeline, name }: RecordedFrom): Recorded {
  const steps = run.steps ?? [];
  const notes: string[] = [];
  const mocks = mocksOf(steps, flow, notes);
  const events = eventsOf(steps, flow);
  const approvals = answersOf(steps);
  const operator = timeline.filter((entry) => entry.kind === 'operator');
  if (operator.length > 0)
    notes.push(`${operator.length} acts of operators are not part of the test; add them under "operator"`);
  const expect: Expectation = {
    ...(run.status === 'succeeded' || run.status === 'failed' || run.status === 'cancelled'
      ? { status: run.status }
      : {}),
    ...(run.output === undefined || run.status !== 'succeeded' ? {} : { output: run.output }),
    ...(run.problem === undefined || run.status !== 'failed' ? {} : { problem: { type: run.problem.code } }),
    path: sequential(flow) ? pathOf(steps) : [],
    compensated: compensatedOf(steps),
  };
  // Branches that run side by side begin in another order each time.
  if (!sequential(flow)) {
    delete expect.path;
    expect.steps = Object.fromEntries(
      steps.filter((step) => step.verb === 'call').map((step) => [step.path, { status: step.status } as JsonObject]),
    );
  }
  if (expect.compensated?.length === 0) delete expect.compensated;
  return {
    test: shortPaths({
      dsl: 'opsloop/v1',
      kind: 'flowtest',
      name: name ?? `${run.flow} as it went in run ${run.id}`,
      flow: `${run.flow}@${run.version}`,
      ...(run.input === undefined ? {} : { input: run.input }),
      ...(run.startedAt === undefined ? {} : { start: { at: run.startedAt, by: run.initiator.name, tier: run.tier } }),
      mocks,
      ...(events.length === 0 ? {} : { events }),
      ...(approvals.length === 0 ? {} : { approvals }),
      expect,
    }),
    notes,
  };
}

function mocksOf(steps: readonly StepRecord[], flow: FlowDocument, notes: string[]): Record<string, MockAnswer[]> {
  const reshaped = new Set(
    [...stepsOf(flow)].filter(({ step }) => step.output !== undefined).map(({ step }) => step.id),
  );
  const mocks: Record<string, MockAnswer[]> = {};
  for (const step of steps) {
    if (step.atom === undefined || step.verb !== 'call' || step.status === 'skipped') continue;
    if (reshaped.has(step.id) && step.status === 'succeeded')
      notes.push(`${step.path} reshapes its output: write what the atom answered, not what the step gave`);
    if (step.problem === undefined && step.output === undefined && step.status === 'succeeded')
      notes.push(`${step.path} has no output in the record; null stands in for it`);
    const last: MockAnswer =
      step.status === 'failed' && step.problem !== undefined
        ? { problem: problemMock(step) }
        : { result: step.output ?? null };
    // Failed attempts before the last one are known only by their number.
    const before = step.status === 'succeeded' ? Math.min(step.attempts - 1, 100) : 0;
    mocks[step.path] = [
      ...Array.from({ length: before }, (): MockAnswer => ({ problem: { type: 'communication', retryable: true } })),
      { ...last, ...delayOf(step) },
    ];
  }
  return mocks;
}

/** Longer than this a call's time may matter for what the flow does meanwhile. */
const DELAY_FROM_MS = 1_000;

function delayOf(step: StepRecord): { delay?: string } {
  if (step.endedAt === undefined || step.attempts > 1) return {};
  const ms = Date.parse(step.endedAt) - Date.parse(step.startedAt);
  return ms >= DELAY_FROM_MS ? { delay: `${ms}ms` } : {};
}

function problemMock({ problem }: StepRecord): MockProblem {
  const { code, detail, retryable, status } = problem!;
  return {
    type: code,
    status,
    ...(detail === undefined ? {} : { detail }),
    ...(retryable === undefined ? {} : { retryable }),
  };
}

/** A wait that got its event tells it in its output, unless the step reshapes it. */
function eventsOf(steps: readonly StepRecord[], flow: FlowDocument): TestEvent[] {
  const waits = new Map<string, Step>();
  for (const { step } of stepsOf(flow)) if ('waitForEvent' in step) waits.set(step.id, step);
  return steps.flatMap((record) => {
    if (!waits.has(record.id) || record.output === undefined) return [];
    return eventsIn(record.output).map((event): TestEvent => {
      const ms = record.endedAt === undefined ? 0 : Date.parse(record.endedAt) - Date.parse(record.startedAt);
      return { during: record.path, ...(ms > 0 ? { delay: `${ms}ms` } : {}), event };
    });
  });
}

function eventsIn(value: Json): TestEvent['event'][] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(eventsIn);
  const { type, source, subject, data, eventId } = value;
  if (typeof type !== 'string' || typeof eventId !== 'string') return Object.values(value).flatMap(eventsIn);
  return [
    {
      type,
      ...(typeof source === 'string' ? { source } : {}),
      ...(typeof subject === 'string' ? { subject } : {}),
      ...(data === undefined ? {} : { data }),
    },
  ];
}

interface GivenAnswer {
  by: string;
  answer: string;
  at: string;
  reason?: string;
  form?: Json;
}

/** An approval tells its answers in its output, or in the problem that it ended with. */
function answersOf(steps: readonly StepRecord[]): TestApproval[] {
  return steps.flatMap((step) => {
    if (step.verb !== 'approval') return [];
    const told = ((step.output ?? step.problem) as { answers?: GivenAnswer[] } | undefined)?.answers ?? [];
    return told.map(({ by, answer, at, reason, form }): TestApproval => ({
      step: step.path,
      by,
      answer: answer === 'reject' ? 'reject' : 'approve',
      delay: `${Math.max(1, Date.parse(at) - Date.parse(step.startedAt))}ms`,
      ...(reason === undefined ? {} : { reason }),
      ...(form === undefined ? {} : { form }),
    }));
  });
}

/** Whether the order of the steps is the same each time. */
function sequential(flow: FlowDocument): boolean {
  return [...stepsOf(flow)].every(({ step }) => {
    if ('parallel' in step) return false;
    return !('forEach' in step) || step.forEach.concurrency === undefined || step.forEach.concurrency === 1;
  });
}

/** A step that was reached once is named as in the document, without items and turns. */
function shortPaths(test: FlowTest): FlowTest {
  const keys = Object.keys(test.mocks ?? {});
  const once = keys.filter((key) => keys.filter((other) => staticPath(other) === staticPath(key)).length === 1);
  const mocks = Object.fromEntries(
    Object.entries(test.mocks ?? {}).map(([key, answers]) => [once.includes(key) ? staticPath(key) : key, answers]),
  );
  return { ...test, mocks };
}
