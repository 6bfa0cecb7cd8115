import { Injectable } from '@nestjs/common';
import {
  answerRefusal,
  type ApprovalPerson,
  type ApprovalReport,
  type ApprovalStatus,
  type ApprovalView,
  type Json,
  OpsError,
  type Page,
} from '@opsloop/contracts';
import { approvalId, messageId } from '@opsloop/contracts/ids';
import { Clock, encodeCursor, InternalClient, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import { type AdmissionRow, WAITING_STATES } from '../admit/admission-row.js';
import { haltsOn, subjectOf } from '../halts/halt-scope.pure.js';
import { EndWaitingService } from '../queue/end-waiting.service.js';
import { requireRunId } from '../runs/internal-runs.service.js';
import { cursorOf } from '../runs/run-reader.service.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { PolicyApprovalsService } from './policy-approvals.service.js';
import { ApprovalNotices } from './approval-notices.service.js';
import { approvalView, checkedForm, personOf } from './approval.pure.js';
import { type AnswerRow, ApprovalRepository, type ApprovalRow } from './approval.repository.js';

const TENANT = 'default';
/** Looking at a target that answers slowly; a person waits for it. */
const RECHECK_TIMEOUT_MS = 10_000;
/** The first try is made at once by whoever took the answer; afterwards it is anybody's. */
export const ANSWER_RETRY_S = 6;
const OPSLOOP: ApprovalPerson = { kind: 'service', name: 'opsloop', groups: [] };

export interface AnswerBody {
  answer: 'approve' | 'reject';
  reason: string;
  form?: Json | undefined;
}

/** Questions of flows to people, and their answers. The workflow decides; here is who is asked what and who said what. */
@Injectable()
export class ApprovalsService {
  constructor(
    private readonly db: Database,
    private readonly approvals: ApprovalRepository,
    private readonly admissions: AdmissionRepository,
    private readonly workflows: WorkflowClient,
    private readonly internal: InternalClient,
    private readonly clock: Clock,
    private readonly ofPolicies: PolicyApprovalsService,
    private readonly ends: EndWaitingService,
    private readonly notices: ApprovalNotices,
  ) {}

  /** A flow asks, escalates, or has stopped asking. Idempotent by run and path. */
  async report(run: string, report: ApprovalReport): Promise<{ id: string }> {
    requireRunId(run);
    const id = approvalId(TENANT, run, report.path);
    await this.db.inTransaction(TENANT, async (tx) => {
      if (report.change === 'escalated') {
        const row = await this.approvals.escalated(tx, id, report.expiresAt);
        return row && this.notices.tell(tx, row, 'escalated');
      }
      if (report.change === 'closed') {
        // The run may have taken an answer whose caller got none in time.
        await this.approvals.acceptAll(tx, id, report.answered ?? []);
        return this.approvals.close(tx, TENANT, id, { ...report, at: new Date(report.at) });
      }
      const row = await this.admissions.lockRow(tx, run);
      if (row === undefined) throw new OpsError('not-found', `There is no run ${run}`);
      const ended = row.state !== 'admitted' && row.state !== 'started';
      return this.approvals.opened(tx, { id, run, initiator: row.initiator, ended, report });
    });
    return { id };
  }

  async list(
    principal: Principal,
    f: {
      limit: number;
      cursor?: string | undefined;
      status?: ApprovalStatus | undefined;
      run?: string | undefined;
      mine?: boolean | undefined;
    },
  ): Promise<Page<ApprovalView>> {
    if (f.run !== undefined) requireRunId(f.run);
    const rows = await this.approvals.list(principal.tenant, {
      limit: f.limit + 1,
      status: f.status,
      run: f.run,
      mine: f.mine === true ? personOf(principal) : undefined,
      after: f.cursor === undefined ? undefined : cursorOf(f.cursor),
    });
    const page = rows.slice(0, f.limit);
    const last = page.at(-1);
    const answers = await this.approvals.answers(
      principal.tenant,
      page.map((row) => row.id),
    );
    return {
      items: page.map((row) => approvalView(row, answers.get(row.id)!)),
      ...(rows.length <= f.limit || last === undefined
        ? {}
        : { nextCursor: encodeCursor([last.opened_at.toISOString(), last.id]) }),
    };
  }

  async get(tenant: string, id: string): Promise<ApprovalView> {
    return this.view(await this.row(tenant, id));
  }

  /** Takes an answer once per person, after a look at whether there is still a reason to act. */
  async answer(principal: Principal, id: string, body: AnswerBody): Promise<ApprovalView> {
    const row = await this.row(principal.tenant, id);
    const who = personOf(principal);
    const why = answerRefusal(row.approvers, row.initiator, who);
    if (why !== undefined) throw new OpsError('authorization', `You may not answer this: ${why}`);
    const before = (await this.approvals.answers(row.tenant, [id])).get(id)!.find((a) => a.person === who.name);
    if (before !== undefined && before.answer !== body.answer) throw answered(before);
    if (before !== undefined && before.accepted_at !== null) return this.view(row);
    if (row.status !== 'open') throw closed(row);
    const form = checkedForm(row, body.answer, body.form);
    if (body.answer === 'approve') await this.check(row);
    const mine = await this.approvals.answer(row.tenant, id, { ...body, who, form, retryS: ANSWER_RETRY_S });
    if (mine.answer !== body.answer) throw answered(mine);
    if (mine.accepted_at === null) await this.handOver(row, mine);
    return this.get(row.tenant, id);
  }

  /** Hands an answer to the workflow that asks. What it refuses was no answer; what it did not hear stays pending. */
  async handOver(row: ApprovalRow, mine: AnswerRow): Promise<void> {
    if (row.policy !== null) return this.ofPolicies.count(row, mine);
    try {
      const { status } = await this.workflows.answerApproval(
        row.workflow_id,
        {
          path: row.path,
          answer: mine.answer,
          person: mine.who,
          ...(mine.reason === null ? {} : { reason: mine.reason }),
          ...(mine.form === null ? {} : { form: mine.form }),
        },
        messageId('answer', row.tenant, row.id, mine.person),
      );
      await this.approvals.accepted(row.tenant, row.id, mine.person);
      if (status !== 'open') await this.approvals.close(this.db, row.tenant, row.id, { status, at: this.clock.now() });
    } catch (error) {
      if (error instanceof OpsError && error.code !== 'unavailable')
        await this.approvals.takeBack(row.tenant, row.id, mine.person);
      throw error;
    }
  }

  /** Before anybody approves: is there still a reason to act, and may it? */
  private async check(row: ApprovalRow): Promise<void> {
    const run = await this.run(row);
    if (run === undefined) throw closed(row);
    const db = { tenant: row.tenant, query: this.db.query.bind(this.db) };
    const [halt] = haltsOn(await this.admissions.liveHalts(db), subjectOf(run));
    // A question before a start may be answered under a halt: the start is held by it all the same.
    if (halt !== undefined && row.policy === null)
      throw new OpsError('halted', `Halt ${halt.id} stops this run (${halt.reason}); lift it first`);
    const standing = await this.recheck(run);
    if (standing.verdict === 'stands') return;
    if (standing.verdict === 'unknown')
      throw new OpsError('unavailable', `Nobody can say whether it is still needed: ${standing.reason}; try again`, {
        retryAfterSec: 5,
      });
    await this.withdraw(row, standing.reason);
    throw new OpsError('conflict', `It is no longer needed and was withdrawn: ${standing.reason}`);
  }

  /** Open approvals whose cause has cleared end with their run; ignorance withdraws nothing. */
  async recheckOpen(row: ApprovalRow): Promise<void> {
    const run = await this.run(row);
    if (run === undefined || run.request.cause === undefined) return;
    const standing = await this.recheck(run);
    if (standing.verdict === 'cleared') await this.withdraw(row, standing.reason);
  }

  private async withdraw(row: ApprovalRow, reason: string): Promise<void> {
    if (row.policy !== null)
      return this.db.inTransaction(row.tenant, async (tx) => {
        await this.approvals.close(tx, row.tenant, row.id, { status: 'withdrawn', at: this.clock.now(), reason });
        await this.ends.end(tx, row.run_id, 'withdrawn', reason);
      });
    try {
      await this.workflows.answerApproval(
        row.workflow_id,
        { path: row.path, answer: 'withdraw', person: OPSLOOP, reason },
        messageId('answer', row.tenant, row.id, 'withdraw'),
      );
    } catch (error) {
      // Somebody decided in this moment, or the run has ended.
      if (error instanceof OpsError && (error.code === 'conflict' || error.code === 'run-closed')) return;
      throw error;
    }
    await this.approvals.close(this.db, row.tenant, row.id, { status: 'withdrawn', at: this.clock.now(), reason });
  }

  private async recheck(run: AdmissionRow): Promise<{ verdict: 'stands' | 'cleared' | 'unknown'; reason: string }> {
    const { cause } = run.request;
    if (cause === undefined) return { verdict: 'stands', reason: 'started by a person' };
    return this.internal
      .call(
        'POST /internal/decision/recheck',
        { id: run.id, cause, targets: run.targets },
        {},
        { timeoutMs: RECHECK_TIMEOUT_MS },
      )
      .catch(() => ({ verdict: 'unknown' as const, reason: 'decision does not answer' }));
  }

  /** The run while it is open. */
  private async run(row: ApprovalRow): Promise<AdmissionRow | undefined> {
    const [run] = await this.db.query<AdmissionRow>(
      'SELECT * FROM control.admission WHERE tenant = $1 AND id = $2 AND state = ANY($3)',
      [row.tenant, row.run_id, row.policy === null ? ['admitted', 'started'] : WAITING_STATES],
    );
    return run;
  }

  private async row(tenant: string, id: string): Promise<ApprovalRow> {
    const row = UUID.test(id) ? await this.approvals.get(tenant, id) : undefined;
    if (row === undefined) throw new OpsError('not-found', `There is no approval ${id.slice(0, 100)}`);
    return row;
  }

  private async view(row: ApprovalRow): Promise<ApprovalView> {
    return approvalView(row, (await this.approvals.answers(row.tenant, [row.id])).get(row.id)!);
  }
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const closed = (row: ApprovalRow): OpsError =>
  new OpsError('conflict', `It is ${row.status === 'open' ? 'over' : row.status} already`);
const answered = (a: AnswerRow): OpsError =>
  new OpsError('conflict', `You have answered ${a.answer} at ${a.at.toISOString()}; an answer stands`);
