/** Failures in the form in which a server hands them to a workflow. */
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  type ProtoFailure,
  RetryState,
  TerminatedFailure,
  TimeoutFailure,
  type TimeoutType,
  defaultFailureConverter,
  defaultPayloadConverter,
} from '@temporalio/common';
import type { Json } from '@opsloop/contracts';

/** What an activity throws. */
export interface Thrown {
  type: string;
  message: string;
  nonRetryable?: boolean;
  details?: Json[];
  /** Overrides the pause that the retry policy asks for. */
  nextRetryDelayMs?: number;
}

function proto(error: Error, cause?: ProtoFailure): ProtoFailure {
  const failure = defaultFailureConverter.errorToFailure(error, defaultPayloadConverter);
  return cause === undefined ? failure : { ...failure, cause };
}

export function applicationFailure(thrown: Thrown): ProtoFailure {
  return proto(
    ApplicationFailure.create({
      type: thrown.type,
      message: thrown.message,
      nonRetryable: thrown.nonRetryable ?? false,
      ...(thrown.details === undefined ? {} : { details: thrown.details }),
    }),
  );
}

export function timeoutFailure(type: TimeoutType, cause?: ProtoFailure): ProtoFailure {
  return proto(new TimeoutFailure(`activity ${type} timeout`, undefined, type), cause);
}

export function cancelledFailure(): ProtoFailure {
  return proto(new CancelledFailure('cancelled'));
}

export function terminatedFailure(): ProtoFailure {
  return proto(new TerminatedFailure('terminated'));
}

export function activityFailure(
  of: { activityType: string; activityId: string },
  state: RetryState,
  cause: ProtoFailure,
): ProtoFailure {
  return proto(
    new ActivityFailure('Activity task failed', of.activityType, of.activityId, state, 'virtual', undefined),
    cause,
  );
}

export function childFailure(
  of: { workflowId: string; runId: string; workflowType: string },
  cause: ProtoFailure,
): ProtoFailure {
  const { workflowId, runId, workflowType } = of;
  const state = RetryState.RETRY_POLICY_NOT_SET;
  return proto(new ChildWorkflowFailure('default', { workflowId, runId }, workflowType, state, undefined), cause);
}
