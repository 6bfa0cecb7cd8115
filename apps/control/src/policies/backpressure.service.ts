import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { TEMPORAL_NAMES, type Tier } from '@opsloop/contracts';
import { Logger, Metrics } from '@opsloop/platform';
import { type DueLoop, startDueLoop } from '@opsloop/postgres';
import { TemporalConnection } from '@opsloop/temporal';
import { backlogOf, behindText, type QueueLoad } from './backpressure.pure.js';

/** Often enough to see a queue grow, seldom enough to be nothing for Temporal: two calls. */
const EVERY_MS = 2_000;
const DEADLINE_MS = 2_000;
/** Temporal's two kinds of task queues. */
const WORKFLOW_QUEUE = 1;
const ACTIVITY_QUEUE = 2;

/** Looks at how far Temporal and the workers are behind; what is less urgent then waits with us, where it can be seen, moved and withdrawn. */
@Injectable()
export class BackpressureService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private loads: QueueLoad[] = [];
  private readonly backlog: ReturnType<Metrics['gauge']>;

  constructor(
    private readonly temporal: TemporalConnection,
    private readonly logger: Logger,
    metrics: Metrics,
  ) {
    this.backlog = metrics.gauge('opsloop_task_queue_backlog', 'Tasks that wait for a worker', ['queue']);
  }

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.backpressure',
      everyMs: EVERY_MS,
      logger: this.logger,
      run: () => this.look(),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** Why a start of this tier should wait; undefined: it should not. Answered from the last look. */
  behind(tier: Tier): string | undefined {
    return this.loads.length === 0 ? undefined : behindText(this.loads, tier);
  }

  private async look(): Promise<number> {
    const { connection, namespace } = this.temporal;
    const one = async (queue: string, type: number): Promise<QueueLoad> => {
      const answer = await connection.withDeadline(Date.now() + DEADLINE_MS, () =>
        connection.workflowService.describeTaskQueue({
          namespace,
          taskQueue: { name: queue },
          taskQueueType: type,
          reportStats: true,
        }),
      );
      return backlogOf(queue, answer);
    };
    try {
      this.loads = await Promise.all([
        one(TEMPORAL_NAMES.flowQueue, WORKFLOW_QUEUE),
        one(TEMPORAL_NAMES.atomQueue, ACTIVITY_QUEUE),
      ]);
      for (const { queue, backlog } of this.loads) this.backlog.set({ queue }, backlog);
    } catch {
      // A Temporal that does not answer has its own way to be seen; starts are tried again until it does.
      this.loads = [];
    }
    return 0;
  }
}
