import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { answerRefusal, neededOf, type TimelineEntry } from '@opsloop/contracts';
import { Clock, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';
import { ApprovalNotices } from './approval-notices.service.js';
import type { AnswerRow, ApprovalRow } from './approval.repository.js';

const EVERY_MS = 1_000;
/** Questions that come due together after an outage; the rest a second later. */
const BATCH = 32;

interface DueRow extends ApprovalRow {
  policy: string;
  escalate_to: ApprovalRow['approvers'] | null;
  reminders: number;
  lasts_s: number;
}

/** Answers to what policies ask before a start, and what happens when none comes. The turn of the start then decides. */
@Injectable()
export class PolicyApprovalsService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly notices: ApprovalNotices,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.policy-questions',
      everyMs: EVERY_MS,
      batch: BATCH,
      logger: this.logger,
      run: async () => (await this.expire()) + (await this.remind()),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** Counts an answer: one no is enough, so many yes as the policy wants are a quorum. */
  async count(row: ApprovalRow, mine: AnswerRow): Promise<void> {
    await this.db.inTransaction(row.tenant, async (tx) => {
      const [open] = await tx.query<ApprovalRow>(
        'SELECT * FROM control.approval WHERE tenant = $1 AND id = $2 FOR UPDATE',
        [row.tenant, row.id],
      );
      await tx.query(
        'UPDATE control.approval_answer SET accepted_at = coalesce(accepted_at, clock_timestamp()) WHERE tenant = $1 AND approval_id = $2 AND person = $3',
        [row.tenant, row.id, mine.person],
      );
      if (open === undefined || open.status !== 'open') return;
      const answers = await tx.query<AnswerRow>(
        'SELECT * FROM control.approval_answer WHERE tenant = $1 AND approval_id = $2 AND accepted_at IS NOT NULL',
        [row.tenant, row.id],
      );
      // Whom it was escalated to decides; who was asked before does not count any more.
      const counts = answers.filter((a) => answerRefusal(open.approvers, open.initiator, a.who) === undefined);
      const no = counts.find((a) => a.answer === 'reject');
      const yes = counts.filter((a) => a.answer === 'approve');
      if (no !== undefined) await this.close(tx, open, 'rejected', `rejected by ${no.person}: ${no.reason ?? ''}`);
      else if (yes.length >= neededOf(open.approvers))
        await this.close(tx, open, 'approved', `approved by ${yes.map((a) => a.person).join(', ')}`);
    });
  }

  /** The start goes back to its place in the queue; its turn reads the answer. */
  private async close(
    tx: Tx,
    row: ApprovalRow,
    status: 'approved' | 'rejected' | 'timed-out',
    reason: string,
  ): Promise<void> {
    await tx.query(
      `UPDATE control.approval SET status = $3, reason = $4, closed_at = clock_timestamp() WHERE tenant = $1 AND id = $2 AND status = 'open'`,
      [row.tenant, row.id, status, reason],
    );
    const entry: TimelineEntry = {
      at: this.clock.now().toISOString(),
      kind: 'approval',
      title: `"${row.title}" ${reason}`,
      ref: row.id,
    };
    // An exception that was refused changes nothing: it stays held until the freeze is over.
    await tx.query(
      `UPDATE control.admission SET state = CASE WHEN state = 'needs-approval' OR $5 THEN 'queued' ELSE state END,
          hold_until = CASE WHEN $5 THEN NULL ELSE hold_until END, next_try_at = '-infinity', due_at = NULL, history = history || $3::jsonb
        WHERE tenant = $1 AND id = $2 AND (state = 'needs-approval' OR (state = 'held' AND $4))`,
      [row.tenant, row.run_id, JSON.stringify([entry]), row.path.startsWith('exception/'), status === 'approved'],
    );
    tx.afterCommit(() => this.signals.emit('released'));
  }

  private async expire(): Promise<number> {
    const due = await this.db.query<DueRow>({
      name: 'control.due-questions',
      text: `SELECT *, extract(epoch FROM expires_at - coalesce(escalated_at, opened_at))::float AS lasts_s FROM control.approval
        WHERE tenant = 'default' AND status = 'open' AND policy IS NOT NULL AND expires_at <= clock_timestamp() ORDER BY expires_at LIMIT $1`,
      values: [BATCH],
    });
    for (const row of due) await this.db.inTransaction(row.tenant, (tx) => this.timedOut(tx, row));
    return due.length;
  }

  private async timedOut(tx: Tx, row: DueRow): Promise<void> {
    if (row.on_timeout === 'approve') return this.close(tx, row, 'approved', 'approved, since nobody answered in time');
    if (row.on_timeout !== 'escalate' || row.escalated_at !== null)
      return this.close(tx, row, 'timed-out', 'nobody decided in time');
    const entry: TimelineEntry = {
      at: this.clock.now().toISOString(),
      kind: 'approval',
      title: `"${row.title}" is escalated: nobody decided in time`,
      ref: row.id,
    };
    const changed = await tx.query(
      `UPDATE control.approval SET approvers = coalesce(escalate_to, approvers), escalated_at = clock_timestamp(),
          expires_at = clock_timestamp() + make_interval(secs => $3::double precision) WHERE tenant = $1 AND id = $2 AND status = 'open' AND escalated_at IS NULL RETURNING id`,
      [row.tenant, row.id, row.lasts_s],
    );
    if (changed.length === 0) return;
    const asked = { ...row, approvers: row.escalate_to ?? row.approvers };
    await this.notices.tell(tx, asked, 'escalated');
    await tx.query(
      `UPDATE control.admission SET valid_until = valid_until + make_interval(secs => $3::double precision), extended = true, history = history || $4::jsonb
        WHERE tenant = $1 AND id = $2`,
      [row.tenant, row.run_id, row.lasts_s, JSON.stringify([entry])],
    );
  }

  /** Says again that somebody waits: in the story, in the list of questions, in the log, and as an event. */
  private async remind(): Promise<number> {
    const due = await this.db.query<DueRow>({
      name: 'control.remind-questions',
      text: `UPDATE control.approval SET reminders = reminders + 1, reminded_at = clock_timestamp() WHERE (tenant, id) IN (SELECT tenant, id FROM control.approval
          WHERE tenant = 'default' AND status = 'open' AND remind_every IS NOT NULL AND coalesce(reminded_at, opened_at) + remind_every <= clock_timestamp()
          ORDER BY opened_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *, 0::float AS lasts_s`,
      values: [BATCH],
    });
    for (const row of due) {
      const entry: TimelineEntry = {
        at: this.clock.now().toISOString(),
        kind: 'approval',
        title: `"${row.title}" still waits for an answer (reminder ${row.reminders})`,
        ref: row.id,
      };
      await this.db.inTransaction(row.tenant, async (tx) => {
        await tx.query('UPDATE control.admission SET history = history || $3::jsonb WHERE tenant = $1 AND id = $2', [
          row.tenant,
          row.run_id,
          JSON.stringify([entry]),
        ]);
        await this.notices.tell(tx, row, 'reminder', String(row.reminders));
      });
      this.logger.warn('a start still waits for an approval', {
        approval: row.id,
        run: row.run_id,
        policy: row.policy,
        reminder: row.reminders,
      });
    }
    return due.length;
  }
}
