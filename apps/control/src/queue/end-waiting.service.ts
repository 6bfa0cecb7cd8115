import { Injectable } from '@nestjs/common';
import type { TimelineEntry } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { AdmissionRepository, publishRuns, runsBase } from '../admit/admission.repository.js';
import { type AdmissionRow, WAITING_STATES } from '../admit/admission-row.js';
import { closeApprovalsOf } from '../approvals/approval.repository.js';
import { BudgetRepository } from '../policies/budget.repository.js';
import { Signals } from '../signals.service.js';

export type WaitingEnd = 'withdrawn' | 'expired' | 'cancelled';

/** Ends work that has not begun. Whatever has begun is not touched: that is closeRun's. */
@Injectable()
export class EndWaitingService {
  constructor(
    private readonly repository: AdmissionRepository,
    private readonly budgets: BudgetRepository,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /** The row as it was, when it was waiting; undefined when there was nothing to end. */
  async end(tx: Tx, id: string, verdict: WaitingEnd, reason: string, by?: string): Promise<AdmissionRow | undefined> {
    const now = this.clock.now();
    const entry: TimelineEntry = {
      at: now.toISOString(),
      kind: by === undefined ? 'admission' : 'operator',
      title: by === undefined ? `${verdict}: ${reason}` : `${verdict} by ${by}: ${reason}`,
    };
    const [row] = await tx.query<AdmissionRow>({
      name: 'control.end-waiting',
      text: `UPDATE control.admission SET state = $3, reason = $4, ended_at = clock_timestamp(), history = history || $5::jsonb
        WHERE tenant = $1 AND id = $2 AND state = ANY($6) RETURNING *`,
      values: [tx.tenant, id, verdict, reason, JSON.stringify([entry]), WAITING_STATES],
    });
    if (row === undefined) return undefined;
    await this.repository.dropWaiters(tx, row.ticket);
    if (row.facts !== null) {
      this.budgets.unwait(tx, row.ticket);
      closeApprovalsOf(tx, id);
    }
    if (row.kind === 'run') {
      const said = verdict === 'expired' ? 'validFor' : verdict === 'withdrawn' ? 'recheck' : 'operator';
      publishRuns(
        tx,
        {
          ...runsBase(row, now),
          kind: 'verdict',
          verdict,
          consulted: [{ policy: said, saw: reason, said: verdict }],
          reason,
        },
        String(row.history.length),
      );
    }
    tx.afterCommit(() => {
      this.signals.emit('ended', id);
      // Others may have waited behind it.
      this.signals.emit('released');
    });
    return row;
  }
}
