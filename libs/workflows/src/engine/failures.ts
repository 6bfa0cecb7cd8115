/** Problems ⇄ Temporal failures, as flow-language section 3 maps them. */
import { OpsError } from '@opsloop/contracts';
import type { Problem } from '@opsloop/contracts';
import {
  ActivityFailure,
  ApplicationFailure,
  ChildWorkflowFailure,
  TerminatedFailure,
  TimeoutFailure,
  isCancellation,
} from '@temporalio/workflow';
import { StepFailure } from './errors.js';
import { codeOf, problemOf } from './problems.pure.js';

/** Longest chain of causes that is kept: a problem must stay under 2 KB. */
const CAUSES_MAX = 3;

export type Where = {
  /** Full instance path. */
  instance: string;
  step: string;
};

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

function cutCauses(p: Problem, depth: number): Problem {
  if (p.cause === undefined) return p;
  const { cause, ...rest } = p;
  return depth >= CAUSES_MAX ? rest : { ...rest, cause: cutCauses(cause, depth + 1) };
}

function ofApplication(failure: ApplicationFailure, where: Where): Problem {
  const sent = failure.details?.[0];
  const code = failure.type ?? 'runtime';
  const base = isProblem(sent)
    ? sent
    : problemOf(code === 'Error' || code === 'TypeError' ? 'runtime' : code, failure.message);
  return cutCauses(
    { instance: where.instance, step: where.step, retryable: !(failure.nonRetryable ?? false), ...base },
    0,
  );
}

function ofTimeout(failure: TimeoutFailure, where: Where): Problem {
  const type = String(failure.timeoutType).replace('TIMEOUT_TYPE_', '');
  if (type === 'SCHEDULE_TO_START') {
    return problemOf('no-worker', 'no worker took the step from its queue in time', { ...where, retryable: true });
  }
  const cause = failure.cause instanceof ApplicationFailure ? ofApplication(failure.cause, where) : undefined;
  return problemOf('timeout', `the step timed out (${type.toLowerCase().replaceAll('_', '-')})`, {
    ...where,
    timeoutType: type,
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Problem of whatever a command of Temporal failed with. */
function ofCause(cause: unknown, where: Where): Problem {
  if (cause instanceof ApplicationFailure) return ofApplication(cause, where);
  if (cause instanceof TimeoutFailure) return ofTimeout(cause, where);
  if (cause instanceof TerminatedFailure) return problemOf('runtime', 'the sub-flow was terminated', { ...where });
  const text = cause instanceof Error ? cause.message : String(cause);
  return problemOf('runtime', text, { ...where });
}

/**
 * The failure that a thrown value stands for; `undefined` for what is none: a cancellation, `return`, and a bug of
 * the interpreter itself, which must stay a workflow task failure and be retried after a deploy.
 */
export function failureOf(err: unknown, where: Where): StepFailure | undefined {
  if (err instanceof StepFailure) {
    return err.problem.instance === undefined ? new StepFailure({ ...err.problem, ...where }) : err;
  }
  if (err instanceof OpsError) {
    return new StepFailure({ ...problemOf(err.code, err.detail, { ...where }), ...err.options.extensions });
  }
  if (isCancellation(err)) return undefined;
  if (err instanceof ActivityFailure) return new StepFailure(ofCause(err.cause, where));
  // A local activity fails with the bare cause.
  if (err instanceof ApplicationFailure || err instanceof TimeoutFailure) return new StepFailure(ofCause(err, where));
  if (err instanceof ChildWorkflowFailure) {
    const child = ofCause(err.cause, where);
    return new StepFailure(cutCauses({ ...child, step: where.step, cause: child }, 0));
  }
  return undefined;
}

/** Our worker refused the step because of a halt: it never touched its target. */
export function isHaltRefusal(err: unknown): boolean {
  const cause = err instanceof ActivityFailure ? err.cause : err;
  return cause instanceof ApplicationFailure && cause.type === 'halted';
}

/** Whether a refusal met the first attempt; without a word about it, an earlier attempt may have reached the target. */
export function isFirstAttempt(refusal: unknown): boolean {
  const cause = refusal instanceof ActivityFailure ? refusal.cause : refusal;
  const sent: unknown = cause instanceof ApplicationFailure ? cause.details?.[0] : undefined;
  return isProblem(sent) && sent.attempt === 1;
}

/** The failure that ends a workflow with a problem. */
export function workflowFailure(p: Problem): ApplicationFailure {
  return ApplicationFailure.create({
    type: codeOf(p),
    message: p.detail ?? p.title,
    nonRetryable: true,
    details: [p],
  });
}
