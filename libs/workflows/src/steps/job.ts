/**
 * Jobs: work that goes on at the target after the call that started it.
 *
 * The start is an activity of its own, so the job's id stands in the history before anything else happens: a worker
 * that dies later attaches to the job again. The wait is one activity that fails with `not-yet` and is tried again by
 * the server: a job of hours costs the 12 events of these two, however often it is polled (a durable timer per poll
 * would cost 11 events each, and reach the limit of a history after 4,600 polls), and holds no slot of a worker in
 * between (a heartbeating activity would).
 */
import { TEMPORAL_NAMES, durationMs } from '@opsloop/contracts';
import type { AtomCall, Json } from '@opsloop/contracts';
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  TimeoutFailure,
  isCancellation,
  scheduleActivity,
} from '@temporalio/workflow';
import type { Engine } from '../engine/engine.js';
import { fail } from '../engine/errors.js';
import { failureOf } from '../engine/failures.js';
import { temporalRetry } from '../engine/retry.pure.js';
import type { CallTimeoutsMs, FullRetry } from '../engine/retry.pure.js';
import { OWN_HEARTBEAT_MS } from './limits.js';
import type { Invocation } from './call.js';

/** A job whose atom and step name no end is given up after this: every wait has a bound. */
const JOB_MS_MAX = 24 * 3_600_000;
/** One call of a job is short; the job's own time is `scheduleToClose`. */
const JOB_CALL_MS = 60_000;
/** How long the target is asked to stop a job before a person has to look. */
const JOB_CANCEL_MS = 60_000;
/** How long the step waits for a job that was told to stop: its lock must not be freed while it still acts. */
const JOB_STOP_MS = 60_000;
/** What a target calls its job; ids of 1,000 characters are URLs already. */
const ID_CHARS_MAX = 1_000;

export interface JobPlan {
  argument: AtomCall;
  retry: FullRetry;
  taskQueue: string;
  activityId: string;
  title: string;
  timeouts: CallTimeoutsMs;
  /** Whether one call has a time limit of its own; else `startToClose` stands for the whole job. */
  callLimit: boolean;
}

/** Starts the job, or attaches to the one that was started, waits for its end and gives its output. */
export async function runJob(engine: Engine, call: Invocation, plan: JobPlan): Promise<Json> {
  const { atom, handle } = call;
  // Under the step's own path, so that both are carried over a continue-as-new and dropped with the end of the step.
  const began = engine.cursor(handle.path).startedAt;
  const totalMs = plan.timeouts.scheduleToCloseTimeout ?? JOB_MS_MAX;
  const left = (): number => Math.max(1, totalMs - (Date.now() - began));
  let id = engine.remembered.get(handle.path);
  if (id === undefined) {
    const answer = await start(call, plan, left());
    // In a dry run the start says what would happen, and there is no job.
    if (plan.argument.context.dryRun && atom.effect !== 'read') return answer;
    id = jobId(answer);
    engine.remembered.set(handle.path, id);
  }
  handle.record.jobId = id as string;
  return follow(engine, call, plan, id as string, left());
}

function start({ atom, step }: Invocation, plan: JobPlan, leftMs: number): Promise<Json> {
  const { argument, timeouts, retry } = plan;
  return scheduleActivity<Json>(activityOf(atom, 'start'), [{ ...argument, job: { phase: 'start' } }], {
    ...common(plan),
    activityId: plan.activityId,
    summary: plan.title,
    retry: temporalRetry(retry),
    scheduleToCloseTimeout: leftMs,
    ...(timeouts.scheduleToStartTimeout === undefined
      ? {}
      : { scheduleToStartTimeout: timeouts.scheduleToStartTimeout }),
    // Whether the job exists is known only when the call has ended.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    ...(step.priority === undefined ? {} : { priority: { priorityKey: step.priority } }),
  });
}

/** Waits for the end of the job; a step that ends before its job takes the job along. */
async function follow(engine: Engine, call: Invocation, plan: JobPlan, id: string, leftMs: number): Promise<Json> {
  try {
    return await poll(call, plan, id, leftMs, '');
  } catch (err) {
    if (call.atom.job!.cancels && mayGoOn(engine, call, err)) await stop(engine, call, plan, id);
    if (!isOutOfTime(err)) throw err;
    const where = engine.where(call.path, call.step.id);
    throw fail('timeout', `the job ${id.slice(0, 100)} did not end in time`, { ...where, retryable: true });
  }
}

/** Where no further poll fits into the time that is left, the server ends the wait with what the last one said. */
function isOutOfTime(err: unknown): boolean {
  return err instanceof ActivityFailure && err.cause instanceof ApplicationFailure && err.cause.type === 'not-yet';
}

/** A failed job has ended; after a cancel, a lack of time, or polls without an answer it may still be going on. */
function mayGoOn(engine: Engine, { path, step }: Invocation, err: unknown): boolean {
  if (isCancellation(err)) return true;
  if (err instanceof ActivityFailure && err.cause instanceof TimeoutFailure) return true;
  return failureOf(err, engine.where(path, step.id))?.problem.retryable === true;
}

function poll({ atom }: Invocation, plan: JobPlan, id: string, leftMs: number, suffix: string): Promise<Json> {
  const { argument, retry } = plan;
  const everyMs = durationMs(atom.job!.every);
  return scheduleActivity<Json>(
    activityOf(atom, 'poll'),
    [{ ...argument, gate: undefined, job: { phase: 'poll', id, attempts: retry.attempts } }],
    {
      ...common(plan),
      activityId: `${plan.activityId}/poll${suffix}`,
      summary: `${plan.title.slice(0, 60)}: ${id.slice(0, 30)}`,
      // Not yet is an attempt for the server; how many real failures end the step is counted by the activity.
      retry: {
        initialInterval: everyMs,
        backoffCoefficient: 1,
        maximumInterval: everyMs,
        ...(retry.nonRetryable.length === 0 ? {} : { nonRetryableErrorTypes: retry.nonRetryable }),
      },
      scheduleToCloseTimeout: leftMs,
      // A poll changes nothing: nobody waits for its answer.
      cancellationType: ActivityCancellationType.TRY_CANCEL,
    },
  );
}

/** Tells the target to stop the job and waits a moment for its end; what fails here never hides why. */
async function stop(engine: Engine, call: Invocation, plan: JobPlan, id: string): Promise<void> {
  const { atom, path, step } = call;
  await CancellationScope.nonCancellable(async () => {
    try {
      await scheduleActivity(
        activityOf(atom, 'cancel'),
        [{ ...plan.argument, gate: undefined, job: { phase: 'cancel', id } }],
        {
          ...common(plan),
          activityId: `${plan.activityId}/cancel`,
          summary: `Stop ${plan.title.slice(0, 60)}: ${id.slice(0, 30)}`,
          retry: { initialInterval: 1_000, backoffCoefficient: 2, maximumInterval: 10_000 },
          scheduleToCloseTimeout: JOB_CANCEL_MS,
        },
      );
    } catch (err) {
      const failure = failureOf(err, engine.where(path, step.id));
      if (failure === undefined) throw err;
      engine.suppressed.push(failure.problem);
      return;
    }
    try {
      await poll(call, plan, id, JOB_STOP_MS, '-stop');
    } catch (err) {
      // Failed is how a stopped job ends; gone or silent is as good as we will know.
      if (failureOf(err, engine.where(path, step.id)) === undefined) throw err;
    }
  });
}

function jobId(answer: Json): string {
  const id = answer === null || typeof answer !== 'object' || Array.isArray(answer) ? undefined : answer['id'];
  const text = typeof id === 'number' ? String(id) : id;
  if (typeof text === 'string' && text !== '' && text.length <= ID_CHARS_MAX) return text;
  throw fail('configuration', `the start of a job gives { "id": text } of 1 to ${ID_CHARS_MAX} characters`);
}

function activityOf(atom: Invocation['atom'], phase: string): string {
  return atom.manifest === undefined ? `${atom.activity}.${phase}` : atom.activity;
}

function common(plan: JobPlan): { taskQueue: string; startToCloseTimeout: number; heartbeatTimeout?: number } {
  const { taskQueue } = plan;
  const { startToCloseTimeout, heartbeatTimeout = OWN_HEARTBEAT_MS } = plan.timeouts;
  return {
    taskQueue,
    // Calls of others are short and do not beat.
    ...(taskQueue === TEMPORAL_NAMES.atomQueue ? { heartbeatTimeout } : {}),
    startToCloseTimeout: plan.callLimit && startToCloseTimeout !== undefined ? startToCloseTimeout : JOB_CALL_MS,
  };
}
