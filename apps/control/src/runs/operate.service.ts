import { Injectable } from '@nestjs/common';
import { OpsError, problem, type StepRecord } from '@opsloop/contracts';
import { Clock, type Principal } from '@opsloop/platform';
import { VerifiedService } from '../brake/verified.service.js';
import { Database, type Tx } from '@opsloop/postgres';
import { WAITING_STATES } from '../admit/admission-row.js';
import { EndWaitingService } from '../queue/end-waiting.service.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { CloseRunService } from './close-run.service.js';
import { RunReader } from './run-reader.service.js';

export interface ActAnswer {
  id: string;
  status: string;
  /** Of terminate: steps that had begun and whose effects stay, since neither compensation nor finally runs. */
  undone?: string[];
  /** The workflow did not answer, so these are the last steps known. */
  stale?: boolean;
}

/** What people on call do to a run. Every act takes a reason, is idempotent and stands in the run's story. */
@Injectable()
export class OperateService {
  constructor(
    private readonly db: Database,
    private readonly reader: RunReader,
    private readonly ends: EndWaitingService,
    private readonly closing: CloseRunService,
    private readonly workflows: WorkflowClient,
    private readonly verified: VerifiedService,
    private readonly clock: Clock,
  ) {}

  /** Waiting work ends at once; a running one gets a cancellation, so compensation and finally run. */
  async cancel(principal: Principal, id: string, reason: string): Promise<ActAnswer> {
    const row = await this.reader.row(principal.tenant, id);
    if (row.state === 'cancelled' || (row.status === 'cancelled' && row.cancel_reason !== null))
      return { id, status: 'cancelled' };
    if (WAITING_STATES.includes(row.state)) {
      const ended = await this.db.inTransaction(principal.tenant, (tx) =>
        this.ends.end(tx, id, 'cancelled', reason, principal.name),
      );
      // Admitted in between: then it is cancelled as a running one.
      return ended === undefined ? this.cancel(principal, id, reason) : { id, status: 'cancelled' };
    }
    const [open] = await this.note(principal, id, 'cancellation asked for', reason, true);
    if (open === undefined) throw closed(id);
    await this.verified.overridden(this.on(principal.tenant), id);
    // One that is only admitted is cancelled by the starter, right after the start.
    if (open.state === 'started') await this.workflows.cancel(open.workflow_id);
    return { id, status: 'running' };
  }

  /** Ends it without running anything of it; its locks stay for the lock delay, since an activity may still be at work. */
  async terminate(principal: Principal, id: string, reason: string): Promise<ActAnswer> {
    const row = await this.reader.row(principal.tenant, id);
    if (row.status === 'terminated') return { id, status: 'terminated', undone: undoneOf(row.steps ?? []) };
    // What never began has nothing to undo.
    if (WAITING_STATES.includes(row.state) || row.state === 'cancelled')
      return { ...(await this.cancel(principal, id, reason)), undone: [] };
    if (row.state !== 'admitted' && row.state !== 'started') throw closed(id);
    const { steps, stale } = row.state === 'started' ? await this.reader.liveSteps(row) : { steps: [], stale: false };
    await this.note(principal, id, 'termination asked for', reason, true);
    await this.verified.overridden(this.on(principal.tenant), id);
    await this.workflows.terminate(row.workflow_id!, `${principal.name}: ${reason}`);
    await this.closing.close(principal.tenant, id, {
      status: 'terminated',
      ...(steps === undefined ? {} : { steps }),
      problem: problem('cancelled', `terminated by ${principal.name}: ${reason}`),
      clean: false,
      began: row.state === 'started',
      by: principal.name,
    });
    return { id, status: 'terminated', undone: undoneOf(steps ?? []), ...(stale === true ? { stale } : {}) };
  }

  private on(tenant: string): Pick<Tx, 'query' | 'tenant'> {
    return { tenant, query: (q, values) => this.db.query(q, values) };
  }

  private note(
    principal: Principal,
    id: string,
    title: string,
    reason: string,
    cancel: boolean,
  ): Promise<{ state: string; workflow_id: string }[]> {
    const entry = [
      {
        at: this.clock.now().toISOString(),
        kind: 'operator',
        title: `${title} by ${principal.name}: ${reason}`,
        ref: principal.name,
      },
    ];
    return this.db.query(
      `UPDATE control.admission SET history = CASE WHEN cancel_reason IS NOT DISTINCT FROM $3 THEN history ELSE history || $4::jsonb END,
          cancel_reason = CASE WHEN $5 THEN $3 ELSE cancel_reason END
        WHERE tenant = $1 AND id = $2 AND state IN ('admitted', 'started') RETURNING state, workflow_id`,
      [principal.tenant, id, reason, JSON.stringify(entry), cancel],
    );
  }
}

const closed = (id: string): OpsError => new OpsError('run-closed', `The run ${id} has already ended`);

/** Calls and sub-flows that had begun, finished or not: whatever they did stays. */
function undoneOf(steps: readonly StepRecord[]): string[] {
  return steps.filter((s) => (s.atom ?? s.workflowId) !== undefined && s.status !== 'skipped').map((s) => s.path);
}
