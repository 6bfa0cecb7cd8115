import { failureParts, isProblem, problem, type Problem } from '@opsloop/contracts';
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  TemporalFailure,
  TerminatedFailure,
  TimeoutFailure,
} from '@temporalio/common';

/** Deepest chain of causes that is followed; Temporal nests child → activity → application, and a chain could be a ring. */
const CAUSES_MAX = 16;

/**
 * The failure that an activity throws for an error: type = short name of the code, `nonRetryable` from the table of
 * codes, `details[0]` = the problem. Cancellation passes unchanged, since Temporal must see it as such.
 */
export function toApplicationFailure(error: unknown): ApplicationFailure | CancelledFailure {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const parts = failureParts(error);
  return ApplicationFailure.create({
    message: parts.message,
    type: parts.type,
    nonRetryable: parts.nonRetryable,
    details: [parts.problem],
    ...(parts.retryAfterMs === undefined ? {} : { nextRetryDelay: parts.retryAfterMs }),
  });
}

/** The problem behind what a Temporal client threw: the innermost failure that says what happened. */
export function problemOfFailure(error: unknown): Problem {
  let current: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && current instanceof Error; depth += 1) {
    if (current instanceof ApplicationFailure) return ofApplicationFailure(current);
    if (current instanceof TimeoutFailure) {
      return problem('timeout', current.message, { retryable: false, timeoutType: current.timeoutType });
    }
    if (current instanceof CancelledFailure) return problem('cancelled', current.message);
    if (current instanceof TerminatedFailure) return problem('cancelled', current.message, { title: 'Terminated' });
    const wraps =
      current instanceof ActivityFailure ||
      current instanceof ChildWorkflowFailure ||
      !(current instanceof TemporalFailure);
    if (!wraps || current.cause === undefined) break;
    current = current.cause;
  }
  return failureParts(current).problem;
}

function ofApplicationFailure(failure: ApplicationFailure): Problem {
  const first = failure.details?.[0];
  if (isProblem(first)) return first;
  const foreign = failure.type ?? 'runtime';
  return problem('runtime', failure.message, { retryable: failure.nonRetryable !== true, failureType: foreign });
}
