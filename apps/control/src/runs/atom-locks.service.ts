import { Injectable } from '@nestjs/common';
import { type Claim, digestOf, OpsError } from '@opsloop/contracts';
import { Clock, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { claimErrors } from '../lock/lock.pure.js';
import { releaseCharges } from '../policies/budget.repository.js';
import { Signals } from '../signals.service.js';
import { InternalRunsService, requireRunId } from './internal-runs.service.js';

export interface AtomLockRequest {
  step: string;
  attempt: number;
  claims: Claim[];
  ttlMs: number;
}

export interface AtomLockAnswer {
  fence: string;
  /** The run has it anyway, until its end. */
  covered?: true;
  expiresAt?: string;
}

/** Locks that an atom takes while it runs, under the admission of its run. */
@Injectable()
export class AtomLocksService {
  constructor(
    private readonly db: Database,
    private readonly runs: InternalRunsService,
    private readonly signals: Signals,
    private readonly clock: Clock,
  ) {}

  /** By try alone: who holds locks and waits for more waits for ever when two do so. */
  async take(principal: Principal, id: string, r: AtomLockRequest): Promise<AtomLockAnswer> {
    const errors = claimErrors(r.claims);
    if (errors.length > 0)
      throw new OpsError('validation', `The claims: ${errors[0]!.pointer} ${errors[0]!.message}`, { errors });
    const of = `${r.step}#lock.`;
    const step = `${of}${r.attempt}.${digestOf(r.claims).slice(0, 12)}`;
    const asked = this.clock.now().getTime();
    const lease = { ttlMs: r.ttlMs, principal: principal.name, of, attempt: r.attempt };
    const answer = await this.runs.claim(id, { step, claims: r.claims, lease });
    if (!answer.granted) {
      const [first] = answer.blockedBy;
      const detail = first === undefined ? 'The lock is held' : `${first.path} is held by ${first.owner}`;
      throw new OpsError('lock-busy', detail, { extensions: { blockedBy: answer.blockedBy } });
    }
    const { fence, covered } = answer;
    return covered === true ? { fence, covered } : { fence, expiresAt: new Date(asked + r.ttlMs).toISOString() };
  }

  /** Gone already is fine; another's is not. */
  async release(principal: Principal, id: string, fence: string): Promise<void> {
    requireRunId(id);
    const freed = await this.db.inTransaction(principal.tenant, async (tx) => {
      const gone = await tx.query<{ step: string }>(
        `DELETE FROM control.claim WHERE tenant = $1 AND run_id = $2 AND fence = $3 AND principal = $4 RETURNING step`,
        [tx.tenant, id, fence, principal.name],
      );
      for (const step of new Set(gone.map((g) => g.step))) releaseCharges(tx, id, 0, step);
      return gone.length > 0;
    });
    if (freed) this.signals.emit('released');
  }
}
