import { Injectable } from '@nestjs/common';
import { type HaltView, OpsError, type TimelineEntry } from '@opsloop/contracts';
import { Clock, Logger, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { requireRunId } from '../runs/internal-runs.service.js';
import { Signals } from '../signals.service.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { QueuedAtoms } from './queued-atoms.service.js';
import { HaltService } from './halt.service.js';
import { haltsOn, subjectOf } from './halt-scope.pure.js';

export interface AllowAnswer {
  id: string;
  /** Halts that it now passes. */
  halts: string[];
}

const OPEN = ['queued', 'held', 'needs-approval', 'admitted', 'started'];

/** Lets one run pass the halts that are in its way: the one fix that must go through while everything else stands. */
@Injectable()
export class AllowService {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly halts: HaltService,
    private readonly workflows: WorkflowClient,
    private readonly queued: QueuedAtoms,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async allow(principal: Principal, id: string, reason: string): Promise<AllowAnswer> {
    requireRunId(id);
    const { halts, row } = await this.db.inTransaction(principal.tenant, (tx) =>
      this.allowIn(tx, principal, id, reason),
    );
    // It looks by itself as well; the signal makes it look at once.
    if (row.state === 'started') await this.queued.settleAll([row]);
    if (row.state === 'started')
      await this.workflows
        .signalHalt(row.workflow_id!, { halt: halts[0]!, change: 'lifted' })
        .catch((error: unknown) =>
          this.logger.warn('a run could not be told that it may pass a halt', { run: id, error }),
        );
    return { id, halts };
  }

  private async allowIn(
    tx: Tx,
    { name }: Principal,
    id: string,
    reason: string,
  ): Promise<{ halts: string[]; row: AdmissionRow }> {
    // Before the row, as everybody takes them; shared, since no halt is made or lifted here.
    await tx.query('SELECT pg_advisory_xact_lock_shared(control.halt_key($1))', [tx.tenant]);
    const row = await this.repository.lockRow(tx, id);
    if (row === undefined) throw new OpsError('not-found', `There is no run ${id}`);
    if (!OPEN.includes(row.state)) throw new OpsError('run-closed', `The run ${id} has already ended`);
    const live = await this.repository.liveHalts(tx);
    const passed = live.filter((halt) => halt.allowed?.includes(id)).map((halt) => halt.id);
    const inWay = haltsOn(live, subjectOf(row));
    if (inWay.length === 0 && passed.length === 0)
      throw new OpsError('conflict', `No halt is in the way of the run ${id}`);
    refuseOwn(inWay, name);
    for (const halt of inWay)
      await tx.query(
        'INSERT INTO control.halt_allow (tenant, halt_id, run_id, made_by, reason) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING',
        [tx.tenant, halt.id, id, name, reason],
      );
    if (inWay.length > 0) {
      const title = `may pass halt ${inWay.map((halt) => halt.id).join(', ')} by ${name}: ${reason}`;
      const entry: TimelineEntry = { at: this.clock.now().toISOString(), kind: 'operator', title, ref: name };
      await tx.query('UPDATE control.admission SET history = history || $3::jsonb WHERE tenant = $1 AND id = $2', [
        tx.tenant,
        id,
        JSON.stringify([entry]),
      ]);
      if (row.state === 'held') {
        await this.halts.release(tx, row, 0, title);
        tx.afterCommit(() => this.signals.emit('released'));
      }
    }
    return { halts: [...passed, ...inWay.map((halt) => halt.id)], row };
  }
}

/** Who asked for a second person cannot be that person. */
function refuseOwn(halts: readonly HaltView[], name: string): void {
  const own = halts.find((halt) => halt.secondPerson === true && halt.by === name);
  if (own !== undefined)
    throw new OpsError(
      'authorization',
      `You made the halt ${own.id} and asked for a second person: somebody else has to let the run pass`,
    );
}
