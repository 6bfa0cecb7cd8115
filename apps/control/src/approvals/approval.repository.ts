import { Injectable } from '@nestjs/common';
import type {
  ApprovalPerson,
  ApprovalReport,
  ApprovalStatus,
  Approvers,
  Initiator,
  Json,
  JsonObject,
  OnTimeout,
} from '@opsloop/contracts';
import { Database, type Tx } from '@opsloop/postgres';

/** A row of control.approval as pg gives it. */
export interface ApprovalRow {
  tenant: string;
  id: string;
  run_id: string;
  path: string;
  workflow_id: string;
  flow: string;
  title: string;
  details: Json | null;
  approvers: Approvers;
  form: JsonObject | null;
  on_timeout: OnTimeout;
  initiator: Initiator;
  status: ApprovalStatus;
  opened_at: Date;
  expires_at: Date;
  escalated_at: Date | null;
  closed_at: Date | null;
  reason: string | null;
  /** Set: a policy asks before the start; null: the flow asks while it runs. */
  policy: string | null;
  plan_hash: string | null;
  reminders: number;
}

export interface AnswerRow {
  approval_id: string;
  person: string;
  who: ApprovalPerson;
  answer: 'approve' | 'reject';
  reason: string | null;
  form: Json | null;
  at: Date;
  /** Null while the workflow does not have it. */
  accepted_at: Date | null;
}

export interface ListFilter {
  limit: number;
  status?: ApprovalStatus | undefined;
  run?: string | undefined;
  /** Only those that this person may answer and has not. */
  mine?: ApprovalPerson | undefined;
  after?: { at: string; id: string } | undefined;
}

type Reader = Pick<Tx, 'query'>;

/** The run has ended: nobody is asked any more. */
export function closeApprovalsOf(tx: Tx, runId: string): void {
  tx.send({
    name: 'control.close-approvals',
    text: `UPDATE control.approval SET status = 'cancelled', closed_at = clock_timestamp(), reason = coalesce(reason, 'the run has ended')
      WHERE tenant = $1 AND run_id = $2 AND status = 'open'`,
    values: [tx.tenant, runId],
  });
}

/** SQL of approvals and answers. */
@Injectable()
export class ApprovalRepository {
  constructor(private readonly db: Database) {}

  async get(tenant: string, id: string): Promise<ApprovalRow | undefined> {
    const [row] = await this.db.query<ApprovalRow>('SELECT * FROM control.approval WHERE tenant = $1 AND id = $2', [
      tenant,
      id,
    ]);
    return row;
  }

  list(tenant: string, f: ListFilter): Promise<ApprovalRow[]> {
    return this.db.query<ApprovalRow>(
      `SELECT * FROM control.approval a WHERE tenant = $1 AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR run_id = $3)
        AND ($4::text IS NULL OR (status = 'open'
          AND NOT (coalesce((approvers->>'excludeInitiator')::boolean, false) AND initiator->>'name' = $4 AND initiator->>'kind' = $5)
          AND ((jsonb_array_length(coalesce(approvers->'users', '[]')) = 0 AND jsonb_array_length(coalesce(approvers->'groups', '[]')) = 0)
            OR coalesce(approvers->'users', '[]') ? $4 OR coalesce(approvers->'groups', '[]') ?| $6::text[]
            OR ($7 AND jsonb_array_length(coalesce(approvers->'groups', '[]')) > 0))
          AND NOT EXISTS (SELECT 1 FROM control.approval_answer w WHERE w.tenant = a.tenant AND w.approval_id = a.id AND w.person = $4)))
        AND ($8::timestamptz IS NULL OR (opened_at, id) < ($8, $9::uuid))
        ORDER BY opened_at DESC, id DESC LIMIT $10`,
      [
        tenant,
        f.status ?? null,
        f.run ?? null,
        f.mine?.name ?? null,
        f.mine?.kind ?? null,
        f.mine?.groups ?? [],
        f.mine?.admin ?? false,
        f.after?.at ?? null,
        f.after?.id ?? null,
        f.limit,
      ],
    );
  }

  async answers(tenant: string, ids: readonly string[]): Promise<Map<string, AnswerRow[]>> {
    const byId = new Map<string, AnswerRow[]>(ids.map((id) => [id, []]));
    if (ids.length === 0) return byId;
    const rows = await this.db.query<AnswerRow>(
      'SELECT * FROM control.approval_answer WHERE tenant = $1 AND approval_id = ANY($2::uuid[]) ORDER BY at, person',
      [tenant, ids],
    );
    for (const row of rows) byId.get(row.approval_id)!.push(row);
    return byId;
  }

  /** What is asked right now, by run. */
  async openOf(
    tenant: string,
    runs: readonly string[],
  ): Promise<Map<string, { id: string; path: string; title: string }[]>> {
    const open = new Map<string, { id: string; path: string; title: string }[]>();
    if (runs.length === 0) return open;
    const rows = await this.db.query<{ run_id: string; id: string; path: string; title: string }>({
      name: 'control.open-approvals',
      text: `SELECT run_id, id, path, title FROM control.approval WHERE tenant = $1 AND run_id = ANY($2::uuid[]) AND status = 'open' ORDER BY opened_at`,
      values: [tenant, runs],
    });
    for (const { run_id, ...asked } of rows) open.set(run_id, [...(open.get(run_id) ?? []), asked]);
    return open;
  }

  /** Written once, whoever repeats it; of a run that has ended meanwhile as closed. */
  async opened(
    tx: Tx,
    a: {
      id: string;
      run: string;
      initiator: Initiator;
      ended: boolean;
      report: Extract<ApprovalReport, { change: 'opened' }>;
    },
  ): Promise<void> {
    const { report } = a;
    await tx.query(
      `INSERT INTO control.approval (tenant, id, run_id, path, workflow_id, flow, title, details, approvers, form, on_timeout, initiator, status,
          opened_at, expires_at, closed_at, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $15 THEN 'cancelled' ELSE 'open' END, $13, $14,
          CASE WHEN $15 THEN clock_timestamp() END, CASE WHEN $15 THEN 'the run has ended' END) ON CONFLICT DO NOTHING`,
      [
        tx.tenant,
        a.id,
        a.run,
        report.path,
        report.workflowId,
        report.flow,
        report.title,
        report.details === undefined ? null : JSON.stringify(report.details),
        JSON.stringify(report.approvers),
        report.form === undefined ? null : JSON.stringify(report.form),
        report.onTimeout,
        JSON.stringify(a.initiator),
        report.openedAt,
        report.expiresAt,
        a.ended,
      ],
    );
  }

  /** The question, when it was not escalated before. */
  async escalated(tx: Tx, id: string, expiresAt: string): Promise<ApprovalRow | undefined> {
    const [row] = await tx.query<ApprovalRow & { again: boolean }>(
      `UPDATE control.approval a SET expires_at = $3, escalated_at = coalesce(a.escalated_at, clock_timestamp())
        FROM (SELECT tenant, id, escalated_at IS NOT NULL AS again FROM control.approval WHERE tenant = $1 AND id = $2 FOR UPDATE) b
        WHERE a.tenant = b.tenant AND a.id = b.id AND a.status = 'open' RETURNING a.*, b.again`,
      [tx.tenant, id, expiresAt],
    );
    return row === undefined || row.again ? undefined : row;
  }

  /** The first word on how it ended stays. */
  async close(
    tx: Reader,
    tenant: string,
    id: string,
    c: { status: ApprovalStatus; at: Date; reason?: string | undefined },
  ): Promise<void> {
    await tx.query(
      `UPDATE control.approval SET reason = CASE WHEN status = 'open' THEN $5 ELSE coalesce(reason, $5) END,
          closed_at = coalesce(closed_at, $4), status = CASE WHEN status = 'open' THEN $3 ELSE status END WHERE tenant = $1 AND id = $2`,
      [tenant, id, c.status, c.at, c.reason ?? null],
    );
  }

  /** The answer of this person as it stands, and whether it is this one. */
  async answer(
    tenant: string,
    id: string,
    a: { who: ApprovalPerson; answer: 'approve' | 'reject'; reason: string; form?: Json | undefined; retryS: number },
  ): Promise<AnswerRow> {
    const [mine] = await this.db.query<AnswerRow>(
      `INSERT INTO control.approval_answer (tenant, approval_id, person, who, answer, reason, form, next_try_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8)) ON CONFLICT DO NOTHING RETURNING *`,
      [
        tenant,
        id,
        a.who.name,
        JSON.stringify(a.who),
        a.answer,
        a.reason,
        a.form === undefined ? null : JSON.stringify(a.form),
        a.retryS,
      ],
    );
    if (mine !== undefined) return mine;
    const [there] = await this.db.query<AnswerRow>(
      'SELECT * FROM control.approval_answer WHERE tenant = $1 AND approval_id = $2 AND person = $3',
      [tenant, id, a.who.name],
    );
    // Taken back in this moment, since the run refused it.
    return there ?? this.answer(tenant, id, a);
  }

  async accepted(tenant: string, id: string, person: string): Promise<void> {
    await this.db.query(
      'UPDATE control.approval_answer SET accepted_at = coalesce(accepted_at, clock_timestamp()) WHERE tenant = $1 AND approval_id = $2 AND person = $3',
      [tenant, id, person],
    );
  }

  async acceptAll(tx: Tx, id: string, persons: readonly string[]): Promise<void> {
    if (persons.length === 0) return;
    await tx.query(
      'UPDATE control.approval_answer SET accepted_at = coalesce(accepted_at, clock_timestamp()) WHERE tenant = $1 AND approval_id = $2 AND person = ANY($3)',
      [tx.tenant, id, persons],
    );
  }

  /** The run did not take it, so it was none. */
  async takeBack(tenant: string, id: string, person: string): Promise<void> {
    await this.db.query(
      'DELETE FROM control.approval_answer WHERE tenant = $1 AND approval_id = $2 AND person = $3 AND accepted_at IS NULL',
      [tenant, id, person],
    );
  }

  /** Answers that wait for their run, each tried again after twice the time, at most 64 s. */
  async pending(limit: number, retryS: number): Promise<(AnswerRow & { tenant: string })[]> {
    return this.db.query<AnswerRow & { tenant: string }>({
      name: 'control.pending-answers',
      text: `UPDATE control.approval_answer SET attempts = attempts + 1, next_try_at = clock_timestamp() + make_interval(secs => $2 * power(2, least(attempts, 4)))
        WHERE (tenant, approval_id, person) IN (SELECT tenant, approval_id, person FROM control.approval_answer
          WHERE accepted_at IS NULL AND next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *`,
      values: [limit, retryS],
    });
  }

  /** Open approvals of runs with a cause that nobody has asked about for a while. */
  async unchecked(limit: number, ageS: number): Promise<ApprovalRow[]> {
    return this.db.query<ApprovalRow>({
      name: 'control.unchecked-approvals',
      text: `UPDATE control.approval SET checked_at = clock_timestamp() WHERE (tenant, id) IN (
          SELECT a.tenant, a.id FROM control.approval a JOIN control.admission r ON r.tenant = a.tenant AND r.id = a.run_id AND r.request ? 'cause'
          WHERE a.tenant = 'default' AND a.status = 'open' AND a.checked_at < clock_timestamp() - make_interval(secs => $2)
          ORDER BY a.checked_at LIMIT $1 FOR UPDATE OF a SKIP LOCKED) RETURNING *`,
      values: [limit, ageS],
    });
  }
}
