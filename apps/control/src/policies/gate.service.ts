import { Injectable } from '@nestjs/common';
import { Clock } from '@opsloop/platform';
import type { Tx } from '@opsloop/postgres';
import { BudgetRepository, type Place } from './budget.repository.js';
import type { BudgetDemand, Demand } from './demand.pure.js';
import type { AdmissionFacts } from '../admit/verdict.pure.js';
import { decidePolicies, type PolicyFacts, type PolicyVerdict } from './policy-verdict.pure.js';

/** A start that waits for something else than room is looked at again after this, should nothing else wake it. */
const ASK_AGAIN_MS = 5_000;
/** What opens a room wakes who waits for it; the inventory grows and policies change without that. */
const NET_MS = 60_000;

/** Where the wishes of policies meet the facts: under the locks of the counters, in the transaction of the verdict. */
@Injectable()
export class PolicyGate {
  constructor(
    private readonly budgets: BudgetRepository,
    private readonly clock: Clock,
  ) {}

  async look(tx: Tx, demand: Demand, place: Place): Promise<PolicyFacts> {
    const budgets = await this.budgets.look(tx, demand.budgets, place);
    return {
      refused: demand.refused,
      unknown: demand.unknown,
      later: demand.later,
      budgets,
      freezes: demand.freezes,
      approvals: [],
      storms: [],
    };
  }

  /** Writes what the verdict came to; sent, not awaited. */
  settle(tx: Tx, demand: Demand, facts: AdmissionFacts, place: Place, state: string): void {
    const policies = facts.policies;
    const verdict = policies === undefined ? undefined : decidePolicies(policies);
    const charged = state === 'admitted' && demand.budgets.length > 0;
    if (charged) this.budgets.charge(tx, place.id, demand.budgets);
    if (state === 'queued' && policies !== undefined) this.budgets.wait(tx, place, policies.budgets);
    else this.budgets.unwait(tx, place.ticket);
    const { dueAt, holdUntil } = this.timesOf(verdict, policies, state);
    tx.send({
      name: 'control.settle',
      // What is held for a time has all of its own time to wait after it.
      text: `UPDATE control.admission SET facts = $3, charged = $4, due_at = $5, hold_until = $6::timestamptz, extended = extended OR $6::timestamptz IS NOT NULL,
          next_try_at = CASE WHEN $7 THEN 'infinity' WHEN next_try_at = 'infinity' THEN '-infinity' ELSE next_try_at END,
          valid_until = CASE WHEN $6::timestamptz IS NULL THEN valid_until ELSE greatest(valid_until, $6::timestamptz + make_interval(secs => $8::double precision)) END
        WHERE tenant = $1 AND id = $2`,
      values: [
        tx.tenant,
        place.id,
        JSON.stringify(facts),
        charged,
        dueAt,
        holdUntil,
        state === 'queued' && verdict?.said === 'queued',
        facts.validForMs / 1_000,
      ],
    });
  }

  private timesOf(
    v: PolicyVerdict | undefined,
    facts: PolicyFacts | undefined,
    state: string,
  ): { dueAt: Date | null; holdUntil: Date | null } {
    const none = { dueAt: null, holdUntil: null };
    if (v === undefined || facts === undefined) return none;
    const now = this.clock.now().getTime();
    if (state === 'held' && v.said === 'held' && v.until !== undefined)
      return { dueAt: null, holdUntil: new Date(v.until) };
    if (state !== 'queued' || v.said !== 'queued') return none;
    const soon = facts.unknown.length > 0 || facts.behind !== undefined ? ASK_AGAIN_MS : NET_MS;
    const due = v.dueAt === undefined ? now + soon : Math.min(Date.parse(v.dueAt), now + soon);
    return { dueAt: new Date(due), holdUntil: null };
  }
}

export const countersOf = (demand: Demand | undefined): string[] =>
  demand === undefined ? [] : [...demand.budgets.map((b) => b.counter), ...demand.storms.map((s) => s.counter)];

export const NO_DEMAND: Demand = {
  matched: [],
  refused: [],
  unknown: [],
  budgets: [],
  freezes: [],
  approvals: [],
  storms: [],
  later: [],
};

/** The wishes of policies and of the flow itself. */
export function withLimits(demand: Demand | undefined, limits: readonly BudgetDemand[]): Demand | undefined {
  if (limits.length === 0) return demand;
  const d = demand ?? NO_DEMAND;
  return { ...d, budgets: [...d.budgets, ...limits] };
}
