/** One attempt of one activity, for whoever wants to know how a worker behaves; no flow, no run. */
import { problem } from '@opsloop/contracts';
import type { Json, Problem } from '@opsloop/contracts';
import {
  ActivityCancellationType,
  ActivityFailure,
  CancellationScope,
  TimeoutFailure,
  isCancellation,
  scheduleActivity,
  sleep,
} from '@temporalio/workflow';
import { failureOf } from './engine/failures.js';

export interface TryRequest {
  activity: string;
  taskQueue: string;
  argument: Json;
  startToCloseMs: number;
  heartbeatMs?: number;
  /** Cancels the attempt after this. */
  cancelAfterMs?: number;
}

export type TryOutcome = ({ ok: true; output: Json } | { ok: false; problem: Problem }) & {
  /** Of a cancelled attempt: from the cancel to its end. */
  tookMs: number;
};

/** Somebody who polls takes a task at once. */
const SCHEDULE_TO_START_MS = 10_000;

export async function tryActivity(request: TryRequest): Promise<TryOutcome> {
  const { activity, taskQueue, argument, startToCloseMs, heartbeatMs, cancelAfterMs } = request;
  const scope = new CancellationScope({ cancellable: true });
  let from = Date.now();
  const attempt = scope.run(() =>
    scheduleActivity<Json>(activity, [argument], {
      taskQueue,
      startToCloseTimeout: startToCloseMs,
      scheduleToStartTimeout: SCHEDULE_TO_START_MS,
      ...(heartbeatMs === undefined ? {} : { heartbeatTimeout: heartbeatMs }),
      retry: { maximumAttempts: 1 },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }),
  );
  if (cancelAfterMs !== undefined)
    void sleep(cancelAfterMs).then(() => {
      from = Date.now();
      scope.cancel();
    });
  try {
    return { ok: true, output: (await attempt) ?? null, tookMs: Date.now() - from };
  } catch (err) {
    return { ok: false, problem: problemOf(err, activity), tookMs: Date.now() - from };
  }
}

function problemOf(err: unknown, activity: string): Problem {
  if (isCancellation(err)) return problem('cancelled', 'the attempt was cancelled');
  if (err instanceof ActivityFailure && err.cause instanceof TimeoutFailure)
    return failureOf(err, { instance: activity, step: activity })!.problem;
  return failureOf(err, { instance: activity, step: activity })?.problem ?? problem('runtime', String(err));
}
