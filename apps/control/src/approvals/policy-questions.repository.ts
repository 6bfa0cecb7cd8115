import { Injectable } from '@nestjs/common';
import type { Approvers, Initiator, OnTimeout } from '@opsloop/contracts';
import { approvalId } from '@opsloop/contracts/ids';
import type { Tx } from '@opsloop/postgres';
import { type ApprovedPlan, askedOf, planHash } from './policy-plan.pure.js';
import type { Asked } from '../policies/policy-verdict.pure.js';

/** A question that a policy asks before a start. */
export interface Question {
  /** Where it stands among the questions of its run. */
  path: string;
  policy: string;
  title: string;
  approvers: Approvers;
  onTimeout: OnTimeout;
  timeoutMs: number;
  remindMs?: number | undefined;
  escalateTo?: Approvers | undefined;
}

/** The same question stays while its policy does: a changed policy asks anew. */
export const questionPath = (kind: 'policy' | 'exception', policy: string, digest: string): string =>
  `${kind}/${policy}#${digest.slice(0, 8)}`;

interface QuestionRow {
  id: string;
  path: string;
  status: string;
  reason: string | null;
  plan: ApprovedPlan | null;
  by: string[];
}

/** SQL of what policies ask people. */
@Injectable()
export class PolicyQuestions {
  /** How the questions about a start stand. */
  async asked(tx: Tx, runId: string, plan: ApprovedPlan): Promise<(path: string) => Asked> {
    const rows = await tx.query<QuestionRow>({
      name: 'control.policy-questions',
      text: `SELECT q.id, q.path, q.status, q.reason, q.plan, ARRAY(SELECT w.person FROM control.approval_answer w WHERE w.tenant = q.tenant
          AND w.approval_id = q.id AND w.answer = 'approve' AND w.accepted_at IS NOT NULL ORDER BY w.at) AS by
        FROM control.approval q WHERE q.tenant = $1 AND q.run_id = $2::uuid AND q.policy IS NOT NULL`,
      values: [tx.tenant, runId],
    });
    const known = new Map(rows.map((r) => [r.path, r]));
    return (path) => {
      const row = known.get(path);
      return askedOf(row, row?.by ?? [], plan);
    };
  }

  /** Asks; sent, not awaited. A question that stands already is not asked twice. */
  open(
    tx: Tx,
    run: { id: string; flow: string; initiator: Initiator; incidentId?: string | undefined },
    plan: ApprovedPlan,
    q: Question,
  ): string {
    const id = approvalId(tx.tenant, run.id, q.path);
    tx.send({
      name: 'control.ask',
      text: `INSERT INTO control.approval (tenant, id, run_id, path, workflow_id, flow, title, details, approvers, on_timeout, initiator, status,
          opened_at, expires_at, policy, plan, plan_hash, remind_every, escalate_to)
        VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8, $9, $10, 'open', clock_timestamp(), clock_timestamp() + make_interval(secs => $11::double precision),
          $12, $13, $14, make_interval(secs => $15::double precision), $16) ON CONFLICT DO NOTHING`,
      values: [
        tx.tenant,
        id,
        run.id,
        q.path,
        run.flow,
        q.title,
        JSON.stringify({
          flow: `${plan.flow}@${plan.version}`,
          targets: plan.targets.slice(0, 100),
          // What people decide about one incident belongs together.
          ...(run.incidentId === undefined ? {} : { incident: run.incidentId }),
          steps: plan.outline,
        }),
        JSON.stringify(q.approvers),
        q.onTimeout,
        JSON.stringify(run.initiator),
        q.timeoutMs / 1_000,
        q.policy,
        JSON.stringify(plan),
        planHash(plan),
        q.remindMs === undefined ? null : q.remindMs / 1_000,
        q.escalateTo === undefined ? null : JSON.stringify(q.escalateTo),
      ],
    });
    return id;
  }
}
