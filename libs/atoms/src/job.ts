import { failureParts, type FailureParts, type Json, type StepProgress } from '@opsloop/contracts';
import { ApplicationFailure, ApplicationFailureCategory, CancelledFailure } from '@temporalio/common';

export type Progress = StepProgress;

/** How a job stands when it is asked. */
export type JobState<O = Json> = { done: false; percent?: number; message?: string } | { done: true; output: O };

/** The job goes on; the server asks again after the atom's `every`. */
export class NotYet extends Error {
  override readonly name = 'NotYet';
  constructor(readonly progress: Progress = {}) {
    super('the job has not ended yet');
  }
}

/** What of an activity's context a poll needs. */
export interface PollContext {
  /** Details of the last heartbeat of the attempts before. */
  heartbeatDetails: unknown;
  heartbeat(details: Json): void;
}

/** Details of a poll's heartbeat: progress, and how many polls in a row have failed. */
interface PollDetails extends Progress {
  failures?: number;
}

/**
 * One poll of a job. `NotYet` becomes the failure that the server repeats, silently; the heartbeat keeps the progress
 * for whoever looks. Real failures are counted over the attempts, since for the server each poll is one: after
 * `attempts` in a row the step fails.
 */
export async function pollOnce(
  context: PollContext,
  attempts: number | undefined,
  poll: () => Promise<Json>,
): Promise<Json> {
  const before = detailsOf(context.heartbeatDetails);
  try {
    return await poll();
  } catch (error) {
    if (error instanceof NotYet) {
      context.heartbeat({ ...error.progress });
      throw ApplicationFailure.create({
        type: 'not-yet',
        message: error.progress.message ?? error.message,
        details: [{ ...error.progress }],
        // An answer and no fault: nothing to log, nothing to count.
        category: ApplicationFailureCategory.BENIGN,
      });
    }
    if (error instanceof CancelledFailure || error instanceof ApplicationFailure) throw error;
    const parts = failureParts(error);
    const failures = (before.failures ?? 0) + 1;
    context.heartbeat({ ...before, failures });
    throw failureOfParts(parts, attempts !== undefined && attempts !== 0 && failures >= attempts, failures);
  }
}

function detailsOf(value: unknown): PollDetails {
  return value !== null && typeof value === 'object' ? (value as PollDetails) : {};
}

function failureOfParts(parts: FailureParts, last: boolean, failures: number): ApplicationFailure {
  return ApplicationFailure.create({
    type: parts.type,
    message: parts.message,
    nonRetryable: parts.nonRetryable || last,
    // `retryable` stays: the step is given up, but whether the job goes on is not known.
    details: [{ ...parts.problem, ...(last ? { attempt: failures } : {}) }],
    ...(parts.retryAfterMs === undefined ? {} : { nextRetryDelay: parts.retryAfterMs }),
  });
}
