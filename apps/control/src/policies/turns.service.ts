import { Injectable } from '@nestjs/common';
import type { BlockedBy, Claim } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import type { AdmissionRow } from '../admit/admission-row.js';
import { BudgetRepository } from './budget.repository.js';
import { carefully } from './defaults.pure.js';
import { type BudgetDemand, type Demand, NO_DEMAND, type PolicyEffect, weigh, type Weighed } from './demand.pure.js';
import { decidePolicies } from './policy-verdict.pure.js';
import type { Policy } from './policy.pure.js';
import { PolicyService } from './policy.service.js';

type TurnRow = Pick<
  AdmissionRow,
  'id' | 'tenant' | 'flow' | 'effect' | 'atoms' | 'targets' | 'tier' | 'rule' | 'initiator' | 'request'
>;

/** Targets that a run takes on its way: each is under the policies when its turn comes, and charged for as long as it lasts. */
const AT_A_TURN: ReadonlySet<Policy['type']> = new Set(['blast-radius', 'freeze', 'quota', 'mutex']);

@Injectable()
export class TurnsService {
  constructor(
    private readonly db: Database,
    private readonly policies: PolicyService,
    private readonly budgets: BudgetRepository,
    private readonly clock: Clock,
  ) {}

  /**
   * What the policies want of these targets: room, no freeze, further locks. People were asked about the run as a whole, and
   * storms look at its causes. Nothing where nobody asks for anything.
   */
  async demandOf(id: string, claims: readonly Claim[]): Promise<Pick<Partial<PolicyEffect>, 'claims' | 'demand'>> {
    const targets = claims.filter((c) => c.mode === 'exclusive').map((c) => c.path);
    const policies = (await this.policies.inForce()).filter((p) => AT_A_TURN.has(p.type));
    if (targets.length === 0) return {};
    const [row] = await this.db.query<TurnRow>({
      name: 'control.turn-of',
      text: 'SELECT id, tenant, flow, effect, atoms, targets, tier, rule, initiator, request FROM control.admission WHERE tenant = $1 AND id = $2::uuid',
      values: ['default', id],
    });
    if (row === undefined) return {};
    const subject = weighed(row, targets);
    const world = await this.policies.worldOf(policies, subject);
    const effect = weigh(policies, subject, world, this.clock.now());
    // What a step locks besides the targets of its run is not destroyed.
    const own = { ...subject, targets: targets.filter((t) => row.targets.includes(t)) };
    return carefully(effect, policies, own, world) ?? {};
  }

  /** Under the locks of the counters: who is in the way of this turn. It is tried again, so that a refusal waits too. */
  async look(
    tx: Tx,
    demand: Demand,
    row: { id: string; ticket: string; rank_at: Date },
    step: string,
  ): Promise<{ blockedBy: BlockedBy[]; charges: BudgetDemand[] }> {
    const { refused, unknown, freezes } = demand;
    const mine = await tx.query<{ counter: string; step: string }>({
      name: 'control.turn-charged',
      text: `SELECT counter, step FROM control.charge WHERE tenant = $1 AND run_id = $2::uuid AND live_until = 'infinity' AND (step = $3 OR counter = ANY($4::text[]))`,
      values: [tx.tenant, row.id, step, demand.budgets.map((b) => b.counter)],
    });
    // The same step asks again after a lost answer: what it was let then still stands.
    if (mine.some((c) => c.step === step)) return { blockedBy: [], charges: [] };
    // A run counts once, however many of its steps come here.
    const counted = new Set(mine.map((c) => c.counter));
    const charges = demand.budgets.filter((b) => b.noun === 'targets' || !counted.has(b.counter));
    const budgets = await this.budgets.look(tx, charges, { ticket: row.ticket, rankAt: row.rank_at });
    const verdict = decidePolicies({ ...NO_DEMAND, refused, unknown, freezes, budgets, approvals: [], storms: [] });
    if (verdict.said === 'ok') return { blockedBy: [], charges };
    const path = demand.budgets[0]?.counter ?? 'policy';
    return { blockedBy: [{ path, owner: verdict.reason ?? verdict.said }, ...verdict.blockedBy], charges: [] };
  }

  charge(tx: Tx, id: string, charges: readonly BudgetDemand[], step: string): void {
    if (charges.length === 0) return;
    this.budgets.charge(tx, id, charges, step);
    tx.send({
      name: 'control.charged',
      text: 'UPDATE control.admission SET charged = true WHERE tenant = $1 AND id = $2 AND NOT charged',
      values: [tx.tenant, id],
    });
  }
}

function weighed(row: TurnRow, targets: string[]): Weighed {
  const { id, tenant, flow, atoms, tier, initiator, request } = row;
  return {
    id,
    tenant,
    flow,
    effect: row.effect ?? 'mutate',
    atoms,
    targets,
    tier,
    rule: row.rule ?? undefined,
    initiator,
    input: request.input,
    caused: false,
    turns: false,
  };
}
