import { isProblem } from '@opsloop/contracts';
import { problemOfFailure } from '@opsloop/temporal';
import { CancelledFailure } from '@temporalio/common';
import type { RunEnding } from './close-run.service.js';

/**
 * How a run ended whose workflow closed as Failed and whose report nobody got. Temporal closes a workflow as Canceled
 * only when somebody asked Temporal for it; one that cancels itself, since the cause of its approval has cleared,
 * closes as Failed with a cancellation as its failure, and is no failed run.
 */
export function endingOfFailure(cause: unknown): Pick<RunEnding, 'status' | 'problem'> {
  if (!(cause instanceof CancelledFailure)) return { status: 'failed', problem: problemOfFailure(cause) };
  const said = cause.details?.[0];
  return { status: 'cancelled', problem: isProblem(said) ? said : problemOfFailure(cause) };
}
