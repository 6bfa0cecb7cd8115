import { Injectable } from '@nestjs/common';
import { type BlockedBy, type Initiator, type Tier, TIERS } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import type { AdmissionFacts } from '../admit/verdict.pure.js';
import type { ApprovedPlan } from '../approvals/policy-plan.pure.js';
import { PolicyQuestions, questionPath } from '../approvals/policy-questions.repository.js';
import { Signals } from '../signals.service.js';
import { BackpressureService } from './backpressure.service.js';
import { BudgetRepository, type Place } from './budget.repository.js';
import { type BudgetDemand, type Demand, NO_DEMAND } from './demand.pure.js';
import { decidePolicies, type PolicyFacts, type PolicyVerdict, type PreemptFacts } from './policy-verdict.pure.js';
import { StormRepository } from './storm.repository.js';

/** A start that waits for something else than room is looked at again after this, should nothing else wake it. */
const ASK_AGAIN_MS = 5_000;
/** Who gives way ends its step first: this often is looked whether it has. */
const PREEMPT_EVERY_MS = 2_000;
/** What opens a room wakes who waits for it; the inventory grows and policies change without that. */
const NET_MS = 60_000;

/** A start as the gate sees it. */
export interface AtGate extends Place {
  flow: string;
  tier: Tier;
  initiator: Initiator;
  incidentId?: string | undefined;
  plan: ApprovedPlan;
  /** It comes for the first time: it counts as a sign of trouble. */
  isNew: boolean;
}

/** Where the wishes of policies meet the facts: under the locks of the counters, in the transaction of the verdict. */
@Injectable()
export class PolicyGate {
  constructor(
    private readonly budgets: BudgetRepository,
    private readonly storms: StormRepository,
    private readonly questions: PolicyQuestions,
    private readonly pressure: BackpressureService,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /** What a start has to pass besides its claims; undefined: nothing, and nothing is looked at. */
  demandOf(demand: Demand | undefined, limits: readonly BudgetDemand[], tier: Tier): Demand | undefined {
    const behind = this.pressure.behind(tier);
    if (limits.length === 0 && behind === undefined) return demand;
    const d = demand ?? NO_DEMAND;
    return { ...d, budgets: [...d.budgets, ...limits], ...(behind === undefined ? {} : { behind }) };
  }

  async look(tx: Tx, demand: Demand, at: AtGate): Promise<PolicyFacts> {
    const { refused, unknown, later, behind } = demand;
    const asks = demand.approvals.length > 0 || demand.freezes.some((f) => f.exceptions !== undefined);
    const asked =
      asks && !at.isNew ? await this.questions.asked(tx, at.id, at.plan) : () => ({ state: 'none' as const });
    const storms = await this.storms.look(tx, demand.storms, at.id, at.isNew);
    const budgets = await this.budgets.look(tx, demand.budgets, at);
    return {
      refused,
      unknown,
      later,
      budgets,
      storms,
      freezes: demand.freezes.map((f) =>
        f.exceptions === undefined ? f : { ...f, asked: asked(questionPath('exception', f.policy, f.digest)) },
      ),
      approvals: demand.approvals.map((a) => ({ ...a, asked: asked(questionPath('policy', a.policy, a.digest)) })),
      ...(behind === undefined ? {} : { behind }),
    };
  }

  /** Runs of lower tiers that hold the locks and are asked to give way: all who hold them, or nobody. */
  async preempt(
    tx: Tx,
    demand: Demand | undefined,
    tier: Tier,
    holders: readonly BlockedBy[],
  ): Promise<PreemptFacts | undefined> {
    if (demand?.preempt === undefined || holders.length === 0) return undefined;
    const ids = holders.map((h) => h.runId);
    if (ids.includes(undefined)) return undefined;
    const rows = await tx.query<{ id: string; tier: Tier; state: string }>({
      name: 'control.preemptable',
      text: `SELECT id, tier, state FROM control.admission WHERE tenant = $1 AND id = ANY($2::uuid[]) AND kind = 'run' AND state IN ('admitted', 'started')`,
      values: [tx.tenant, [...new Set(ids)]],
    });
    const lower = rows.filter((r) => TIERS.indexOf(r.tier) > TIERS.indexOf(tier));
    if (lower.length < new Set(ids).size) return undefined;
    return { policy: demand.preempt, tier, runs: lower.map(({ id, tier: t }) => ({ id, tier: t })) };
  }

  /** Writes what the verdict came to; sent, not awaited. */
  settle(tx: Tx, demand: Demand, facts: AdmissionFacts, at: AtGate, state: string): void {
    const { policies, preempt } = facts;
    const verdict = policies === undefined ? undefined : decidePolicies(policies);
    const charged = state === 'admitted' && demand.budgets.length > 0;
    if (charged) this.budgets.charge(tx, at.id, demand.budgets);
    if (state === 'queued' && policies !== undefined) this.budgets.wait(tx, at, policies.budgets);
    else this.budgets.unwait(tx, at.ticket);
    const asked = policies === undefined ? undefined : this.ask(tx, policies, at, state);
    const { dueAt, holdUntil } = this.timesOf(verdict, policies, state, preempt);
    const extendTo = asked?.until ?? holdUntil;
    tx.send({
      name: 'control.settle',
      // What is held or asked about for a time has all of its own time to wait after it.
      text: `UPDATE control.admission SET facts = $3, charged = $4, due_at = $5, hold_until = $6::timestamptz, extended = extended OR $9::timestamptz IS NOT NULL,
          next_try_at = CASE WHEN $7 THEN 'infinity' WHEN next_try_at = 'infinity' THEN '-infinity' ELSE next_try_at END, approval_id = $10::uuid,
          valid_until = CASE WHEN $9::timestamptz IS NULL THEN valid_until ELSE greatest(valid_until, $9::timestamptz + make_interval(secs => $8::double precision)) END
        WHERE tenant = $1 AND id = $2`,
      values: [
        tx.tenant,
        at.id,
        JSON.stringify(facts),
        charged,
        dueAt,
        holdUntil,
        dueAt !== null,
        facts.validForMs / 1_000,
        extendTo,
        asked?.id ?? null,
      ],
    });
    if (state === 'queued' && preempt !== undefined) tx.afterCommit(() => this.signals.emit('preempt', at.id, preempt));
  }

  /** Opens the questions of a start that needs an answer, or may have an exception; the first of them is named. */
  private ask(tx: Tx, policies: PolicyFacts, at: AtGate, state: string): { id: string; until: Date } | undefined {
    if (state !== 'needs-approval' && state !== 'held') return undefined;
    const now = this.clock.now().getTime();
    const asked: { id: string; until: Date }[] = [];
    const about = `${at.flow} on ${at.plan.targets.slice(0, 3).join(', ') || 'no target'}${at.plan.targets.length > 3 ? ` and ${at.plan.targets.length - 3} more` : ''}`;
    for (const f of policies.freezes) {
      if (f.exceptions === undefined || f.asked === undefined || !isOpen(f.asked.state)) continue;
      const timeoutMs = Math.max(1_000, Date.parse(f.until) - now);
      const path = questionPath('exception', f.policy, f.digest);
      const title = `Start ${about} in spite of ${f.policy}?`;
      const id = this.questions.open(tx, at, at.plan, {
        path,
        policy: f.policy,
        title,
        approvers: f.exceptions,
        onTimeout: 'reject',
        timeoutMs,
      });
      asked.push({ id, until: new Date(f.until) });
    }
    for (const a of state === 'needs-approval' ? policies.approvals : []) {
      if (!isOpen(a.asked.state)) continue;
      const path = questionPath('policy', a.policy, a.digest);
      const { approvers, onTimeout, timeoutMs, remindMs, escalateTo } = a;
      const title = `Start ${about}?`;
      const id = this.questions.open(tx, at, at.plan, {
        path,
        policy: a.policy,
        title,
        approvers,
        onTimeout,
        timeoutMs,
        remindMs,
        escalateTo,
      });
      asked.push({ id, until: new Date(now + timeoutMs) });
    }
    const last = asked.map((q) => q.until.getTime());
    return asked[0] === undefined ? undefined : { id: asked[0].id, until: new Date(Math.max(...last)) };
  }

  private timesOf(
    v: PolicyVerdict | undefined,
    facts: PolicyFacts | undefined,
    state: string,
    preempt: PreemptFacts | undefined,
  ): { dueAt: Date | null; holdUntil: Date | null } {
    const none = { dueAt: null, holdUntil: null };
    const now = this.clock.now().getTime();
    if (state === 'queued' && preempt !== undefined)
      return { dueAt: new Date(now + PREEMPT_EVERY_MS), holdUntil: null };
    if (v === undefined || facts === undefined) return none;
    if (state === 'held' && v.said === 'held' && v.until !== undefined)
      return { dueAt: null, holdUntil: new Date(v.until) };
    if (state !== 'queued' || v.said !== 'queued') return none;
    const soon = facts.unknown.length > 0 || facts.behind !== undefined ? ASK_AGAIN_MS : NET_MS;
    const due = v.dueAt === undefined ? now + soon : Math.min(Date.parse(v.dueAt), now + soon);
    return { dueAt: new Date(due), holdUntil: null };
  }
}

const isOpen = (state: string): boolean => state === 'none' || state === 'open';

export const countersOf = (demand: Demand | undefined): string[] =>
  demand === undefined ? [] : [...demand.budgets.map((b) => b.counter), ...demand.storms.map((s) => s.counter)];
