import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type Trial, type TrialOutcome, verifyAtom, type VerifyCheck } from '@opsloop/atoms';
import { type AtomDocument, OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import { InternalClient } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { TemporalConnection } from '@opsloop/temporal';
import type { TryRequest } from '@opsloop/workflows';

/** The workflow around an attempt, on top of the attempt's own time. */
const AROUND_MS = 30_000;
/** TASK_QUEUE_TYPE_ACTIVITY of Temporal's API. */
const ACTIVITY_QUEUE = 2;
/** Whoever verifies watches; more at a time would be somebody's mistake. */
const AT_ONCE_MAX = 5;

export interface VerifyAnswer {
  atom: string;
  version: string;
  passed: boolean;
  checks: VerifyCheck[];
}

/** Tries atoms on their own workers, outside of any run and under nobody's lock. */
@Injectable()
export class VerifyService {
  private underWay = 0;

  constructor(
    private readonly db: Database,
    private readonly internal: InternalClient,
    private readonly temporal: TemporalConnection,
  ) {}

  async verify(name: string, version: string | undefined): Promise<VerifyAnswer> {
    if (this.underWay >= AT_ONCE_MAX)
      throw new OpsError('overload', `${AT_ONCE_MAX} atoms are verified already`, { retryAfterSec: 10 });
    this.underWay += 1;
    try {
      const atom = await this.resolve(version === undefined ? name : `${name}@${version}`);
      const { configs } = await this.internal.call('POST /internal/catalog/configs', {});
      const checks = await verifyAtom(atom, {
        attempt: (trial) => this.attempt(trial),
        pollers: (queue) => this.pollers(queue),
        resolve: (ref) => this.resolve(ref),
        fence: () => this.fence(),
        newKey: () => `ops-verify-${randomUUID()}`,
        config: configs,
      });
      return { atom: atom.name, version: atom.version, passed: checks.every((c) => c.status !== 'failed'), checks };
    } finally {
      this.underWay -= 1;
    }
  }

  private resolve(ref: string): Promise<AtomDocument> {
    return this.internal.call('POST /internal/catalog/atom', { ref });
  }

  private attempt({
    activity,
    taskQueue,
    call,
    startToCloseMs,
    heartbeatMs,
    cancelAfterMs,
  }: Trial): Promise<TrialOutcome> {
    const request: TryRequest = {
      activity,
      taskQueue,
      argument: call as unknown as TryRequest['argument'],
      startToCloseMs,
      ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
      ...(cancelAfterMs === undefined ? {} : { cancelAfterMs }),
    };
    return this.temporal.client.workflow.execute<(request: TryRequest) => Promise<TrialOutcome>>(
      TEMPORAL_NAMES.tryWorkflow,
      {
        taskQueue: TEMPORAL_NAMES.flowQueue,
        workflowId: `opsloop.verify.${randomUUID()}`,
        args: [request],
        workflowExecutionTimeout: startToCloseMs + AROUND_MS,
        staticSummary: `Verify ${call.atom?.name ?? activity}`.slice(0, 200),
      },
    );
  }

  private async pollers(taskQueue: string): Promise<number> {
    const { pollers } = await this.temporal.client.workflowService.describeTaskQueue({
      namespace: this.temporal.namespace,
      taskQueue: { name: taskQueue },
      taskQueueType: ACTIVITY_QUEUE,
    });
    return pollers?.length ?? 0;
  }

  /** From the sequence of all locks, so that a target never refuses a real holder for what it saw here. */
  private async fence(): Promise<string> {
    const [row] = await this.db.query<{ fence: string }>(`SELECT nextval('control.fence')::text AS fence`);
    return row!.fence;
  }
}
