import { Inject, Injectable } from '@nestjs/common';
import { AtomExecutor } from '@opsloop/atoms';
import { OpsError, type AtomCall, type Json } from '@opsloop/contracts';
import { Failpoint } from '@opsloop/platform';
import { toApplicationFailure } from '@opsloop/temporal';
import { Context } from '@temporalio/activity';
import { CancelledFailure } from '@temporalio/common';
import { HaltGate } from '../gate-steps/halt-gate.service.js';
import { callDeadlineMs, heartbeatEveryMs } from './atom-limits.pure.js';

/** Runs the atoms that need no worker of their own, as activity or local activity; the activity type is the atom's name. */
@Injectable()
export class RunAtom {
  constructor(
    @Inject(AtomExecutor) private readonly executor: AtomExecutor,
    @Inject(HaltGate) private readonly gate: HaltGate,
    @Inject(Failpoint) private readonly failpoint: Failpoint,
  ) {}

  async run(call: AtomCall): Promise<Json> {
    const { info, cancellationSignal, heartbeat } = boundContext();
    let progress: Json = null;
    const timer = info.isLocal
      ? undefined
      : setInterval(() => heartbeat(progress), heartbeatEveryMs(info.heartbeatTimeoutMs));
    try {
      if (call.gate !== undefined) await this.gate.check(call.gate).catch((error) => refusal(error, info.attempt));
      const output = await this.executor.execute(call, info.activityType, cancellationSignal, {
        timeoutMs: callDeadlineMs(info.startToCloseTimeoutMs),
        heartbeat: (details) => (progress = details),
      });
      this.failpoint.pass('atom.after-effect');
      return output;
    } catch (error) {
      if (cancellationSignal.aborted) throw new CancelledFailure('the step was cancelled');
      throw toApplicationFailure(error);
    } finally {
      clearInterval(timer);
    }
  }
}

/** A refusal says which attempt it met: only the first one proves that the target has seen nothing. */
function refusal(error: unknown, attempt: number): never {
  if (!(error instanceof OpsError) || error.code !== 'halted') throw error;
  throw new OpsError('halted', error.detail, {
    ...error.options,
    extensions: { ...error.options.extensions, attempt },
  });
}

function boundContext(): Pick<Context, 'info' | 'cancellationSignal'> & { heartbeat: (details: Json) => void } {
  const context = Context.current();
  return {
    info: context.info,
    cancellationSignal: context.cancellationSignal,
    heartbeat: (details) => context.heartbeat(details),
  };
}
