import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import type { JsonObject } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import type { ApprovalRow } from './approval.repository.js';

const EVERY_MS = 1_000;
const BATCH = 32;
/** Whoever has not looked for this long has not seen it; of a question that is short, half of its time. */
const LONG = '10 minutes';

/** Why people are told of a question that is open. */
export type Waits = 'long' | 'reminder' | 'escalated';

/** Tells of questions that wait: once when nobody has answered for long, at each reminder, and when one is escalated. */
@Injectable()
export class ApprovalNotices implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly notices: NoticeService,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.waiting-questions',
      everyMs: EVERY_MS,
      batch: BATCH,
      logger: this.logger,
      run: (batch) => this.tellLong(batch),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** `which`: what makes it one and the same telling. */
  tell(tx: Tx, row: ApprovalRow, waits: Waits, which = ''): Promise<void> {
    const { groups, users } = row.approvers;
    const data: JsonObject = {
      approval: row.id,
      run: row.run_id,
      flow: row.flow,
      title: row.title,
      waits,
      approvers: { ...row.approvers } as JsonObject,
      openedAt: row.opened_at.toISOString(),
      expiresAt: row.expires_at.toISOString(),
      next: `opsloop approvals show ${row.id}`,
    };
    // Who answers for it: the group that is asked, so that one route serves this and everything else.
    const owner = groups?.[0] ?? users?.[0];
    return this.notices.tell(tx, {
      type: 'opsloop.approval.waiting',
      subject: `approval/${row.id}`,
      key: `${row.id} ${waits} ${which}`,
      data: { ...data, ...(owner === undefined ? {} : { owner }) },
    });
  }

  private tellLong(batch: number): Promise<number> {
    return this.db.inTransaction('default', async (tx) => {
      const rows = await tx.query<ApprovalRow>(
        `UPDATE control.approval SET waiting_told = true WHERE (tenant, id) IN (SELECT tenant, id FROM control.approval
          WHERE tenant = $1 AND status = 'open' AND NOT waiting_told
            AND opened_at + least(interval '${LONG}', (expires_at - opened_at) / 2) <= clock_timestamp()
          ORDER BY opened_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING *`,
        [tx.tenant, batch],
      );
      for (const row of rows) await this.tell(tx, row, 'long');
      return rows.length;
    });
  }
}
