import { OpsError, durationMs } from '@opsloop/contracts';
import type { CallTimeout, FlowDocument, PinnedAtom, Problem, RetryPolicy } from '@opsloop/contracts';
import { codeOf, isRetryable } from './problems.pure.js';

/** A retry policy with every field set, times in milliseconds. */
export interface FullRetry {
  initialMs: number;
  coefficient: number;
  maximumMs: number;
  /** 0 = unlimited. */
  attempts: number;
  nonRetryable: string[];
}

/** Used when nobody says anything; never Temporal's own default, which retries for ever. */
export const SYSTEM_RETRY: FullRetry = {
  initialMs: 1_000,
  coefficient: 2,
  maximumMs: 60_000,
  attempts: 5,
  nonRetryable: [],
};

function full(policy: RetryPolicy): FullRetry {
  return {
    initialMs: policy.initialInterval === undefined ? SYSTEM_RETRY.initialMs : durationMs(policy.initialInterval),
    coefficient: policy.backoffCoefficient ?? SYSTEM_RETRY.coefficient,
    maximumMs: policy.maximumInterval === undefined ? SYSTEM_RETRY.maximumMs : durationMs(policy.maximumInterval),
    attempts: policy.maximumAttempts ?? SYSTEM_RETRY.attempts,
    nonRetryable: policy.nonRetryableErrorTypes ?? [],
  };
}

/** A policy in place, or the one in `use.retries` that the name stands for. */
export function namedRetry(policy: RetryPolicy | string, flow: FlowDocument): FullRetry {
  if (typeof policy !== 'string') return full(policy);
  const named = flow.use?.retries?.[policy];
  if (named === undefined) throw new OpsError('configuration', `use.retries has no policy "${policy}"`);
  return full(named);
}

/**
 * The first that is set of step, flow `defaults`, atom manifest, system default. An atom that cannot repeat safely
 * (`idempotency: none`) gets one attempt unless the step itself says otherwise.
 */
export function callRetry(step: RetryPolicy | string | undefined, flow: FlowDocument, atom: PinnedAtom): FullRetry {
  if (step !== undefined) return namedRetry(step, flow);
  const policy =
    flow.defaults?.retry !== undefined
      ? namedRetry(flow.defaults.retry, flow)
      : atom.retry !== undefined
        ? full(atom.retry)
        : SYSTEM_RETRY;
  return atom.idempotency === 'none' ? { ...policy, attempts: 1 } : policy;
}

/** Pause before attempt n + 1 (n ≥ 1). */
export function backoffMs(retry: FullRetry, attempt: number): number {
  return Math.min(retry.maximumMs, Math.round(retry.initialMs * retry.coefficient ** (attempt - 1)));
}

/** Whether a block that failed at attempt n is tried again. */
export function triesAgain(retry: FullRetry, attempt: number, problem: Problem, trustTable: boolean): boolean {
  if (retry.attempts !== 0 && attempt >= retry.attempts) return false;
  if (retry.nonRetryable.includes(codeOf(problem))) return false;
  return trustTable ? isRetryable(problem) : true;
}

/** The policy as the SDK takes it; it knows "unlimited" only as an absent maximum. */
export function temporalRetry(retry: FullRetry): {
  initialInterval: number;
  backoffCoefficient: number;
  maximumInterval: number;
  maximumAttempts?: number;
  nonRetryableErrorTypes?: string[];
} {
  return {
    initialInterval: Math.max(1, retry.initialMs),
    backoffCoefficient: retry.coefficient,
    maximumInterval: Math.max(1, retry.initialMs, retry.maximumMs),
    ...(retry.attempts === 0 ? {} : { maximumAttempts: retry.attempts }),
    ...(retry.nonRetryable.length === 0 ? {} : { nonRetryableErrorTypes: retry.nonRetryable }),
  };
}

/** Timeouts of one call in milliseconds. */
export interface CallTimeoutsMs {
  startToCloseTimeout?: number;
  scheduleToCloseTimeout?: number;
  scheduleToStartTimeout?: number;
  heartbeatTimeout?: number;
}

/** Nobody said how long one attempt may take: a minute, so that a dead worker is noticed soon. */
const START_TO_CLOSE_MS = 60_000;
/** A queue that nobody polls becomes `no-worker` after this instead of waiting for ever. */
const SCHEDULE_TO_START_MS = 600_000;

/** Field by field the first that is set: step, flow `defaults`, atom manifest, defaults above. */
export function callTimeouts(
  step: string | CallTimeout | undefined,
  defaults: CallTimeout | undefined,
  atom: CallTimeout | undefined,
): CallTimeoutsMs {
  const own: CallTimeout = typeof step === 'string' ? { scheduleToClose: step } : (step ?? {});
  const pick = (key: keyof CallTimeout): number | undefined => {
    const text = own[key] ?? defaults?.[key] ?? atom?.[key];
    return text === undefined ? undefined : durationMs(text);
  };
  const scheduleToClose = pick('scheduleToClose');
  const heartbeat = pick('heartbeat');
  const startToClose = pick('startToClose') ?? (scheduleToClose === undefined ? START_TO_CLOSE_MS : scheduleToClose);
  return {
    startToCloseTimeout: startToClose,
    ...(scheduleToClose === undefined ? {} : { scheduleToCloseTimeout: scheduleToClose }),
    scheduleToStartTimeout: pick('scheduleToStart') ?? SCHEDULE_TO_START_MS,
    ...(heartbeat === undefined ? {} : { heartbeatTimeout: heartbeat }),
  };
}
