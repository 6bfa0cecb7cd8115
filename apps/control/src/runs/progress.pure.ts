import type { StepProgress, StepRecord } from '@opsloop/contracts';

/** An activity under way, as Temporal describes it. */
export interface PendingActivity {
  /** Instance path and what follows its `#`. */
  activityId: string;
  attempt: number;
  /** Details of the last heartbeat. */
  details?: unknown;
  failure?: { message: string; type?: string };
  nextAttemptAt?: Date;
}

/** A message of an atom is one line. */
const MESSAGE_CHARS = 200;

/** Running calls with what their last heartbeats said, and why they are tried again. */
export function withProgress(steps: readonly StepRecord[], pending: readonly PendingActivity[]): StepRecord[] {
  const byPath = new Map(pending.map((one) => [one.activityId.slice(0, one.activityId.lastIndexOf('#')), one]));
  return steps.map((step) => {
    const one = step.status === 'running' ? byPath.get(step.path) : undefined;
    if (one === undefined) return step;
    const progress = progressOf(one.details);
    // A poll that finds its job at work is no attempt that failed.
    const failure = one.failure?.type === 'not-yet' ? undefined : one.failure;
    return {
      ...step,
      ...(failure === undefined ? {} : { attempts: one.attempt }),
      ...(progress === undefined ? {} : { progress }),
      ...(failure === undefined
        ? {}
        : {
            retrying: {
              why: failure.message.slice(0, MESSAGE_CHARS),
              ...(one.nextAttemptAt === undefined ? {} : { nextAt: one.nextAttemptAt.toISOString() }),
            },
          }),
    };
  });
}

function progressOf(details: unknown): StepProgress | undefined {
  if (details === null || typeof details !== 'object') return undefined;
  const { percent, message } = details as Record<string, unknown>;
  const known = {
    ...(typeof percent === 'number' && Number.isFinite(percent) ? { percent } : {}),
    ...(typeof message === 'string' ? { message: message.slice(0, MESSAGE_CHARS) } : {}),
  };
  return Object.keys(known).length === 0 ? undefined : known;
}
