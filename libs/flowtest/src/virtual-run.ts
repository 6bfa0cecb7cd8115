/** One run of a compiled flow on the virtual server, from its start to its closing report. */
import { TEMPORAL_NAMES, workflowIdOf } from '@opsloop/contracts';
import type {
  AtomCall,
  CompiledFlow,
  Json,
  JsonObject,
  Problem,
  RunContext,
  RunInput,
  RunOutcome,
  StepRecord,
} from '@opsloop/contracts';
import { defaultFailureConverter, defaultPayloadConverter } from '@temporalio/common';
import type { ActivityAnswer, ActivityCall } from './virtual/activity.js';
import type { Execution } from './virtual/execution.js';
import { fromPayload } from './virtual/payloads.js';
import type { Sandbox } from './virtual/sandbox.js';
import { VirtualTemporal } from './virtual/temporal.js';
import type { VirtualOptions } from './virtual/temporal.js';

export interface VirtualRunOptions extends Omit<VirtualOptions, 'answer' | 'onEnded'> {
  ir: CompiledFlow;
  input?: Json;
  config?: Record<string, JsonObject>;
  context?: Partial<RunContext>;
  /** State of an earlier Temporal run of this run. */
  carried?: JsonObject;
  /** Answers atoms; and the interpreter's own activities, where it does not give `undefined`. */
  answer: (call: ActivityCall) => ActivityAnswer | undefined;
  /** Called once, before the run begins. */
  begun?: (run: OpenRun) => void;
  /** Looked at after each activation while the run is open. */
  meanwhile?: (run: OpenRun) => void;
}

export interface OpenRun {
  readonly world: VirtualTemporal;
  readonly workflowId: string;
  /** Virtual milliseconds since the start. */
  readonly elapsedMs: number;
  steps(): StepRecord[];
}

/** A call of an atom, once per attempt. */
export interface AtomAttempt {
  step: string;
  atom: string;
  input: Json;
  attempt: number;
  key: string;
  fence?: string;
}

export interface VirtualResult {
  /** `stuck`: nothing is left that could ever happen, and the run has not ended. */
  status: 'succeeded' | 'failed' | 'cancelled' | 'stuck';
  output?: Json;
  problem?: Problem;
  /** The closing report. */
  outcome?: RunOutcome;
  attempts: AtomAttempt[];
  emitted: { step: string; type: string; subject?: string; data?: Json }[];
  /** Steps as they stood at the end, also of a run that is stuck. */
  steps: StepRecord[];
  /** Virtual milliseconds from start to end. */
  tookMs: number;
  /** Times that the workflow went on in a new Temporal run. */
  continued: number;
}

/** A constant, so that keys and paths are the same each time. */
const RUN_ID = '00000000-0000-4000-8000-000000000001';

/** Runs the flow until nothing is left to do. Synchronous: nothing in it waits for anything real. */
export function runVirtually(sandbox: Sandbox, options: VirtualRunOptions): VirtualResult {
  const { run, finish } = openVirtually(sandbox, options);
  run.world.run();
  return finish();
}

/** Starts the flow without running it: whoever wants to look at it at every moment steps its world on. */
export function openVirtually(
  sandbox: Sandbox,
  options: VirtualRunOptions,
): { run: OpenRun; finish: () => VirtualResult } {
  const { ir, meanwhile } = options;
  const result: VirtualResult = { status: 'stuck', attempts: [], emitted: [], steps: [], tookMs: 0, continued: 0 };
  let endedAt: number | undefined;
  const world: VirtualTemporal = new VirtualTemporal(sandbox, {
    ...options,
    answer: (call) => answerAny(call, options, result),
    onActivated: (execution) => {
      options.onActivated?.(execution);
      if (meanwhile !== undefined && root.latest().close === undefined) meanwhile(run);
    },
    onEnded: (execution) => {
      if (execution === root.latest()) endedAt = world.clock.now;
    },
  });
  const startMs = world.clock.now;
  const input = inputOf(options, startMs);
  const workflowId = workflowIdOf(ir.flow.name, input.context.run);
  const run: OpenRun = {
    world,
    workflowId,
    get elapsedMs() {
      return world.clock.now - startMs;
    },
    steps: () => world.query(workflowId, TEMPORAL_NAMES.stepsQuery) as unknown as StepRecord[],
  };
  const root = world.start(workflowId, ir.flow.name, [input]);
  options.begun?.(run);
  const finish = (): VirtualResult => {
    result.tookMs = (endedAt ?? world.clock.now) - startMs;
    const last = root.latest();
    result.continued = last.number - root.number;
    result.steps = result.outcome?.steps ?? (last.close === undefined ? run.steps() : []);
    for (const execution of world.open()) execution.end({ status: 'terminated' });
    return conclude(result, last);
  };
  return { run, finish };
}

function conclude(result: VirtualResult, { close }: Execution): VirtualResult {
  if (close?.status === 'completed') {
    result.status = 'succeeded';
    result.output = fromPayload(close.result) ?? null;
  } else if (close?.status === 'failed' && !close.failure.canceledFailureInfo) {
    result.status = 'failed';
    const error = defaultFailureConverter.failureToError(close.failure, defaultPayloadConverter);
    const [problem] = (error as { details?: Problem[] }).details ?? [];
    if (problem === undefined) throw error;
    result.problem = problem;
  } else if (close?.status === 'cancelled' || close?.status === 'failed') {
    // What withdraws itself ends as cancelled too.
    result.status = 'cancelled';
    if (result.outcome?.problem !== undefined) result.problem = result.outcome.problem;
  }
  return result;
}

function inputOf(options: VirtualRunOptions, startMs: number): RunInput {
  const { ir } = options;
  return {
    context: {
      run: RUN_ID,
      tenant: 'default',
      flow: ir.flow.name,
      version: ir.flow.version,
      tier: 'P3',
      initiator: { kind: 'user', name: 'tester' },
      targets: [],
      correlationId: RUN_ID,
      hops: 0,
      startedAt: new Date(startMs).toISOString(),
      ...options.context,
    },
    ir,
    input: options.input ?? {},
    config: options.config ?? {},
    ...(options.carried === undefined ? {} : { carried: options.carried }),
  };
}

/** The interpreter's own activities do what control and the interpreter's worker would do in a healthy system. */
function answerAny(call: ActivityCall, options: VirtualRunOptions, result: VirtualResult): ActivityAnswer {
  const own = call.type.startsWith('opsloop.');
  if (!own) result.attempts.push(attemptOf(call));
  const answer = options.answer(call);
  if (answer !== undefined) return noted(call, answer, result);
  if (!own) throw new Error(`nothing answers for the atom ${call.type}`);
  switch (call.type) {
    case TEMPORAL_NAMES.loadActivity:
      return { value: options.ir as unknown as Json };
    case TEMPORAL_NAMES.dryRunActivity:
      return { value: { output: {}, from: 'stub' } };
    case TEMPORAL_NAMES.claimActivity:
      return { value: { granted: true, fence: '1' } };
    default:
      return noted(call, { value: null }, result);
  }
}

/** Takes the closing report and the events, once they are accepted. */
function noted(call: ActivityCall, answer: ActivityAnswer, result: VirtualResult): ActivityAnswer {
  if (!('value' in answer)) return answer;
  if (call.type === TEMPORAL_NAMES.reportActivity)
    result.outcome = (call.argument as unknown as { outcome: RunOutcome }).outcome;
  if (call.type === TEMPORAL_NAMES.emitActivity) {
    const { context, type, subject, data } = call.argument as unknown as {
      context: { step: string };
      type: string;
      subject?: string;
      data?: Json;
    };
    result.emitted.push({
      step: context.step,
      type,
      ...(subject === undefined ? {} : { subject }),
      ...(data === undefined ? {} : { data }),
    });
  }
  return answer;
}

function attemptOf(call: ActivityCall): AtomAttempt {
  const { context, input } = call.argument as unknown as AtomCall;
  return {
    step: context.step,
    atom: call.type,
    input,
    attempt: call.attempt,
    key: context.key,
    ...(context.fence === undefined ? {} : { fence: context.fence }),
  };
}
