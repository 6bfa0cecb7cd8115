import { Injectable } from '@nestjs/common';
import type { HaltView, TimelineEntry } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { publishRuns, runsBase } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { dropCharges } from '../policies/budget.repository.js';
import { Signals } from '../signals.service.js';

/** Takes back what was admitted just before a halt: it gives up its claims and keeps its place. */
@Injectable()
export class HoldService {
  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  async hold(row: AdmissionRow, halt: HaltView): Promise<void> {
    const now = this.clock.now();
    const reason = `held by halt ${halt.id}: ${halt.reason}`;
    const entry: TimelineEntry = { at: now.toISOString(), kind: 'admission', title: reason, ref: halt.id };
    await this.db.inTransaction(row.tenant, async (tx) => {
      const changed = await tx.query(
        `UPDATE control.admission SET state = 'held', reason = $3, fence = NULL, claimed_until = NULL, history = history || $4::jsonb
          WHERE tenant = $1 AND id = $2 AND state = 'admitted' RETURNING id`,
        [tx.tenant, row.id, reason, JSON.stringify([entry])],
      );
      if (changed.length === 0) return;
      await tx.query('DELETE FROM control.claim WHERE tenant = $1 AND run_id = $2', [tx.tenant, row.id]);
      if (row.charged) dropCharges(tx, row.id);
      publishRuns(
        tx,
        {
          ...runsBase(row, now),
          kind: 'verdict',
          verdict: 'held',
          consulted: [{ policy: 'halts', saw: reason, said: 'hold' }],
          reason,
        },
        String(row.history.length),
      );
      tx.afterCommit(() => this.signals.emit('released'));
    });
  }
}
