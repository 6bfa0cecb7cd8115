import { Injectable } from '@nestjs/common';
import type { BlockedBy, Claim } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import type { AdmissionRow } from '../admit/admission-row.js';
import { BudgetRepository } from './budget.repository.js';
import { type Demand, weigh, type Weighed } from './demand.pure.js';
import { NO_DEMAND } from './gate.service.js';
import { decidePolicies } from './policy-verdict.pure.js';
import { PolicyService } from './policy.service.js';

type TurnRow = Pick<
  AdmissionRow,
  'id' | 'tenant' | 'flow' | 'effect' | 'atoms' | 'tier' | 'rule' | 'initiator' | 'request'
>;

/** Targets that a run takes on its way: each is under the policies when its turn comes, and charged for as long as it lasts. */
@Injectable()
export class TurnsService {
  constructor(
    private readonly db: Database,
    private readonly policies: PolicyService,
    private readonly budgets: BudgetRepository,
    private readonly clock: Clock,
  ) {}

  /** What the policies want of these targets. Undefined without policies, and then nothing was read. */
  async demandOf(id: string, claims: readonly Claim[]): Promise<Demand | undefined> {
    const targets = claims.filter((c) => c.mode === 'exclusive').map((c) => c.path);
    const policies = (await this.policies.inForce()).filter((p) => p.type === 'blast-radius' || p.type === 'freeze');
    if (targets.length === 0 || policies.length === 0) return undefined;
    const [row] = await this.db.query<TurnRow>({
      name: 'control.turn-of',
      text: 'SELECT id, tenant, flow, effect, atoms, tier, rule, initiator, request FROM control.admission WHERE tenant = $1 AND id = $2::uuid',
      values: ['default', id],
    });
    if (row === undefined) return undefined;
    const subject = weighed(row, targets);
    const effect = weigh(policies, subject, await this.policies.worldOf(policies, subject), this.clock.now());
    return effect?.demand;
  }

  /** Under the locks of the counters: who is in the way of this turn. It is tried again, so that a refusal waits too. */
  async look(
    tx: Tx,
    demand: Demand,
    row: { id: string; ticket: string; rank_at: Date },
    step: string,
  ): Promise<{ blockedBy: BlockedBy[] }> {
    const { refused, unknown, freezes } = demand;
    // The same step asks again after a lost answer: what it was let then still stands.
    const [mine] = await tx.query<{ there: boolean }>({
      name: 'control.turn-charged',
      text: `SELECT EXISTS (SELECT 1 FROM control.charge WHERE tenant = $1 AND run_id = $2::uuid AND step = $3 AND live_until = 'infinity') AS there`,
      values: [tx.tenant, row.id, step],
    });
    if (mine!.there) return { blockedBy: [] };
    const budgets = await this.budgets.look(tx, demand.budgets, { ticket: row.ticket, rankAt: row.rank_at });
    const verdict = decidePolicies({ ...NO_DEMAND, refused, unknown, freezes, budgets, approvals: [], storms: [] });
    if (verdict.said === 'ok') return { blockedBy: [] };
    const path = demand.budgets[0]?.counter ?? 'policy';
    return { blockedBy: [{ path, owner: verdict.reason ?? verdict.said }, ...verdict.blockedBy] };
  }

  charge(tx: Tx, id: string, demand: Demand, step: string): void {
    if (demand.budgets.length === 0) return;
    this.budgets.charge(tx, id, demand.budgets, step);
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
