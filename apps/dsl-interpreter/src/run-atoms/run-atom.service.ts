import { Inject, Injectable } from '@nestjs/common';
import { AtomExecutor, fittingLines, pollOnce, ReadCache, StepLog, type PollContext } from '@opsloop/atoms';
import { isProblem, OpsError, type AtomCall, type Json } from '@opsloop/contracts';
import { Failpoint } from '@opsloop/platform';
import { toApplicationFailure } from '@opsloop/temporal';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { HaltGate } from '../gate-steps/halt-gate.service.js';
import { callDeadlineMs, heartbeatEveryMs } from './atom-limits.pure.js';
import { LogSender } from './log-sender.service.js';

/** Runs the atoms that need no worker of their own, as activity or local activity; the activity type is the atom's name. */
@Injectable()
export class RunAtom {
  constructor(
    @Inject(AtomExecutor) private readonly executor: AtomExecutor,
    @Inject(HaltGate) private readonly gate: HaltGate,
    @Inject(Failpoint) private readonly failpoint: Failpoint,
    @Inject(ReadCache) private readonly cache: ReadCache,
    @Inject(LogSender) private readonly log: LogSender,
  ) {}

  async run(call: AtomCall): Promise<Json> {
    const { info, cancellationSignal, heartbeat, details } = boundContext();
    const { run, step } = call.context;
    const log = new StepLog({ run, step, attempt: info.attempt, sink: this.log.sink });
    // The heartbeat of a poll holds what the next poll has to know.
    let progress: Json = call.job?.phase === 'poll' ? ((details as Json | undefined) ?? null) : null;
    const timer = info.isLocal
      ? undefined
      : setInterval(() => heartbeat(progress), heartbeatEveryMs(info.heartbeatTimeoutMs));
    const execute = (): Promise<Json> =>
      this.executor.execute(call, info.activityType, isStart(call) ? undefined : cancellationSignal, {
        timeoutMs: callDeadlineMs(info.startToCloseTimeoutMs),
        heartbeat: (said) => (progress = said),
        log,
      });
    try {
      if (call.gate !== undefined) await this.gate.check(call.gate, run).catch((error) => refusal(error, info.attempt));
      const output = await this.answer(call, execute, { heartbeatDetails: details, heartbeat });
      this.failpoint.pass('atom.after-effect');
      return output;
    } catch (error) {
      if (cancellationSignal.aborted) throw new CancelledFailure('the step was cancelled');
      throw withLines(toApplicationFailure(error), log);
    } finally {
      clearInterval(timer);
      await log.close();
    }
  }

  private async answer(call: AtomCall, execute: () => Promise<Json>, context: PollContext): Promise<Json> {
    if (call.job?.phase === 'poll') return pollOnce(context, call.job.attempts, execute);
    if (call.cache === undefined) return execute();
    const { key, ttlMs } = call.cache;
    return (await this.cache.through(key, ttlMs, execute)) as unknown as Json;
  }
}

/** A start that is broken off may have started a job that nobody knows: it is short, and ends by itself. */
function isStart(call: AtomCall): boolean {
  return call.job?.phase === 'start';
}

/** The last lines of a step that failed, in its problem. */
function withLines(
  failure: ApplicationFailure | CancelledFailure,
  log: StepLog,
): ApplicationFailure | CancelledFailure {
  const lines = fittingLines(log.last());
  if (lines.length === 0 || !(failure instanceof ApplicationFailure)) return failure;
  const [problem, ...rest] = failure.details ?? [];
  if (!isProblem(problem)) return failure;
  return ApplicationFailure.create({
    message: failure.message,
    ...(failure.type == null ? {} : { type: failure.type }),
    nonRetryable: failure.nonRetryable === true,
    details: [{ ...problem, log: lines }, ...rest],
    ...(failure.nextRetryDelay == null ? {} : { nextRetryDelay: failure.nextRetryDelay }),
  });
}

/** A refusal says which attempt it met: only the first one proves that the target has seen nothing. */
function refusal(error: unknown, attempt: number): never {
  if (!(error instanceof OpsError) || error.code !== 'halted') throw error;
  throw new OpsError('halted', error.detail, {
    ...error.options,
    extensions: { ...error.options.extensions, attempt },
  });
}

function boundContext(): Pick<Context, 'info' | 'cancellationSignal'> & {
  heartbeat: (details: Json) => void;
  details: unknown;
} {
  const context = Context.current();
  return {
    info: context.info,
    cancellationSignal: context.cancellationSignal,
    heartbeat: (details) => context.heartbeat(details),
    details: context.info.heartbeatDetails as unknown,
  };
}
