import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { type DueLoop, startDueLoop } from '@opsloop/postgres';
import { ApprovalRepository } from './approval.repository.js';
import { ANSWER_RETRY_S, ApprovalsService } from './approvals.service.js';

const EVERY_MS = 1_000;
/** People answer a few questions a minute; after an outage some dozens wait. */
const ANSWERS_BATCH = 16;
/** An open question is looked at this often: who is asked in the night should not be asked for nothing. */
const RECHECK_EVERY_S = 10;
/** Each look may observe a target; 10 a second are 100 open questions in their time. */
const RECHECKS_BATCH = 10;

/** Hands over answers that a run did not take in time, and withdraws what nobody needs any more. */
@Injectable()
export class ApprovalsLoop implements OnApplicationBootstrap, OnApplicationShutdown {
  private loops: DueLoop[] = [];

  constructor(
    private readonly repository: ApprovalRepository,
    private readonly approvals: ApprovalsService,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    const loop = (name: string, run: () => Promise<void>): DueLoop =>
      startDueLoop({ name, everyMs: EVERY_MS, logger: this.logger, run: () => run().then(() => 0) });
    this.loops = [
      loop('control.pending-answers', () => this.handOver()),
      loop('control.recheck-approvals', () => this.recheck()),
    ];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  private async handOver(): Promise<void> {
    for (const answer of await this.repository.pending(ANSWERS_BATCH, ANSWER_RETRY_S)) {
      const row = await this.repository.get(answer.tenant, answer.approval_id);
      if (row === undefined) continue;
      await this.approvals.handOver(row, answer).catch((error: unknown) => {
        if (error instanceof OpsError && error.code !== 'unavailable')
          this.logger.info('an answer came too late', { approval: row.id, person: answer.person, why: error.detail });
        else this.logger.warn('an answer could not be handed over; it is tried again', { approval: row.id, error });
      });
    }
  }

  private async recheck(): Promise<void> {
    for (const row of await this.repository.unchecked(RECHECKS_BATCH, RECHECK_EVERY_S)) {
      await this.approvals
        .recheckOpen(row)
        .catch((error: unknown) =>
          this.logger.warn('an approval could not be withdrawn; it is tried again', { approval: row.id, error }),
        );
    }
  }
}
