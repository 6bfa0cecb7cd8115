/** Attempts, retries and timeouts of one activity, as a server (or Core, for a local one) makes them. */
import { type Payload, type ProtoFailure, RetryState, TimeoutType } from '@temporalio/common';
import type { Json, JsonObject } from '@opsloop/contracts';
import type { Alarm, VirtualClock } from './clock.js';
import { activityFailure, applicationFailure, cancelledFailure, timeoutFailure } from './failures.js';
import type { Thrown } from './failures.js';
import { msOf } from './protocol.js';
import type { Resolution, ScheduleActivity } from './protocol.js';
import { fromPayloads, toPayload } from './payloads.js';

/** One attempt of one activity, as its worker sees it. */
export interface ActivityCall {
  type: string;
  argument: JsonObject;
  attempt: number;
  local: boolean;
  taskQueue: string;
  activityId: string;
  workflowId: string;
  /** Virtual time. */
  at: number;
}

/** How an attempt ends, and when. */
export type ActivityAnswer = { afterMs?: number; ignoresCancel?: boolean } & (
  | { value: Json | undefined }
  | { thrown: Thrown }
  /** It never ends: a timeout or a cancel has to end it. */
  | { hangs: true }
  /** Nobody polls the queue. */
  | { unpolled: true }
  /** Somebody real is asked meanwhile; time must stand still until `done` is called. */
  | { asked: (done: (answer: ActivityAnswer) => void) => void }
);

/** An attempt that says nothing else takes this long: one tick, so that start and end differ. */
const ATTEMPT_MS = 1;
const INTERVAL_MS = 1_000;

export class VirtualActivity {
  private readonly scheduledAt: number;
  private readonly deadline: number;
  private attempt = 0;
  private alarm: Alarm | undefined;
  private running: ActivityAnswer | undefined;
  private lastFailure: ProtoFailure | undefined;
  private ended = false;
  private cancelAsked = false;

  constructor(
    private readonly host: {
      clock: VirtualClock;
      workflowId: string;
      answer: (call: ActivityCall) => ActivityAnswer;
      end: (resolution: Resolution) => void;
    },
    private readonly task: ScheduleActivity,
    private readonly local: boolean,
  ) {
    this.scheduledAt = host.clock.now;
    this.deadline = this.scheduledAt + (msOf(task.scheduleToCloseTimeout) || Infinity);
  }

  start(): void {
    this.attempt += 1;
    const { clock, workflowId, answer } = this.host;
    const { task } = this;
    const running = answer({
      type: task.activityType,
      argument: fromPayloads(task.arguments)[0] as JsonObject,
      attempt: this.attempt,
      local: this.local,
      taskQueue: task.taskQueue ?? '',
      activityId: task.activityId,
      workflowId,
      at: clock.now,
    });
    this.running = running;
    this.take(running);
  }

  private take(running: ActivityAnswer): void {
    const { task } = this;
    const { clock } = this.host;
    if ('asked' in running) {
      const attempt = this.attempt;
      running.asked((answer) => {
        if (!this.ended && attempt === this.attempt) this.take((this.running = answer));
      });
      return;
    }
    if ('unpolled' in running) {
      const ms = Math.min(msOf(task.scheduleToStartTimeout) || Infinity, this.deadline - clock.now);
      this.later(ms, () => this.fail(timeoutFailure(TimeoutType.SCHEDULE_TO_START), RetryState.TIMEOUT));
      return;
    }
    const takes = 'hangs' in running ? Infinity : (running.afterMs ?? ATTEMPT_MS);
    const startToClose = msOf(task.startToCloseTimeout) || Infinity;
    const left = this.deadline - clock.now;
    if (takes <= Math.min(startToClose, left)) this.later(takes, () => this.settle(running));
    else if (left <= startToClose) this.later(left, () => this.late());
    else this.later(startToClose, () => this.failed(timeoutFailure(TimeoutType.START_TO_CLOSE), undefined));
  }

  /** The workflow has asked for the cancel of the activity. */
  cancel(): void {
    if (this.ended) return;
    this.cancelAsked = true;
    const waits = this.task.cancellationType === 1;
    if (waits && this.running !== undefined && this.running.ignoresCancel === true) return;
    this.stop();
    const end = (): void =>
      this.resolve({ cancelled: { failure: this.wrap(cancelledFailure(), RetryState.CANCEL_REQUESTED) } });
    if (waits && this.running !== undefined) this.later(ATTEMPT_MS, end);
    else this.later(0, end);
  }

  /** The workflow has ended: nobody waits for the result. */
  drop(): void {
    this.ended = true;
    this.stop();
  }

  private settle(running: ActivityAnswer): void {
    if ('thrown' in running) this.failed(applicationFailure(running.thrown), running.thrown);
    else if ('value' in running) this.resolve({ completed: { result: toPayload(running.value) as Payload } });
  }

  private late(): void {
    this.fail(timeoutFailure(TimeoutType.SCHEDULE_TO_CLOSE, this.lastFailure), RetryState.TIMEOUT);
  }

  /** One attempt has failed. */
  private failed(failure: ProtoFailure, thrown: Thrown | undefined): void {
    this.running = undefined;
    this.lastFailure = failure;
    const policy = this.task.retryPolicy ?? {};
    const types = policy.nonRetryableErrorTypes ?? [];
    if (this.cancelAsked) return this.fail(failure, RetryState.CANCEL_REQUESTED);
    if (thrown?.nonRetryable === true || (thrown !== undefined && types.includes(thrown.type)))
      return this.fail(failure, RetryState.NON_RETRYABLE_FAILURE);
    const most = policy.maximumAttempts ?? 0;
    if (most > 0 && this.attempt >= most) return this.fail(failure, RetryState.MAXIMUM_ATTEMPTS_REACHED);
    const initial = msOf(policy.initialInterval) ?? INTERVAL_MS;
    const longest = msOf(policy.maximumInterval) || 100 * initial;
    const pause =
      thrown?.nextRetryDelayMs ?? Math.min(longest, initial * (policy.backoffCoefficient ?? 2) ** (this.attempt - 1));
    if (this.host.clock.now + pause >= this.deadline) return this.fail(failure, RetryState.TIMEOUT);
    this.later(pause, () => this.start());
  }

  private fail(failure: ProtoFailure, state: RetryState): void {
    this.resolve({ failed: { failure: this.wrap(failure, state) } });
  }

  /** A local activity fails with the bare cause. */
  private wrap(failure: ProtoFailure, state: RetryState): ProtoFailure {
    return this.local ? failure : activityFailure(this.task, state, failure);
  }

  private resolve(resolution: Resolution): void {
    if (this.ended) return;
    this.ended = true;
    this.stop();
    this.host.end(resolution);
  }

  private later(ms: number, act: () => void): void {
    if (ms === Infinity) return;
    this.alarm = this.host.clock.in(ms, act);
  }

  private stop(): void {
    if (this.alarm !== undefined) this.alarm.off = true;
  }
}
