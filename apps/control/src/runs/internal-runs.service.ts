import { Injectable } from '@nestjs/common';
import {
  type Claim,
  type CompiledFlow,
  type InternalCalls,
  OpsError,
  pathProblem,
  type RunOutcome,
} from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { Database } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { ownerOf } from '../admit/admit.pure.js';
import { coverPaths, isCovered, mergeClaims, runHolder } from '../lock/lock.pure.js';
import { releaseCharges } from '../policies/budget.repository.js';
import { countersOf } from '../policies/gate.service.js';
import { TurnsService } from '../policies/turns.service.js';
import { Signals } from '../signals.service.js';
import { CloseRunService } from './close-run.service.js';

const TENANT = 'default';
type ClaimAnswer = InternalCalls['POST /internal/runs/:id/claims']['answer'];

@Injectable()
export class InternalRunsService {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly closing: CloseRunService,
    private readonly turns: TurnsService,
    private readonly signals: Signals,
  ) {}

  /** The flow's own report. Idempotent; a run that is closed already stays as it is. */
  async outcome(id: string, outcome: RunOutcome): Promise<{ closed: boolean }> {
    requireRunId(id);
    const { status, output, problem, steps, targets, journal } = outcome;
    const closed = await this.closing.close(TENANT, id, {
      status,
      steps,
      targets,
      clean: true,
      by: 'the flow',
      ...(output === undefined ? {} : { output }),
      ...(problem === undefined ? {} : { problem }),
      ...(journal === undefined ? {} : { journal }),
    });
    if (!closed) await this.find(id);
    return { closed };
  }

  /** Claims of a step, by try: what the run's own claims cover is granted under its fence, the rest under a new one. */
  async claim(id: string, body: { step: string; claims: Claim[] }): Promise<ClaimAnswer> {
    requireRunId(id);
    const claims = mergeClaims(body.claims);
    for (const { path } of claims) {
      const wrong = pathProblem(path);
      if (wrong !== undefined)
        throw new OpsError('validation', `"${path}" ${wrong}`, { errors: [{ pointer: '/claims', message: wrong }] });
    }
    const demand = await this.turns.demandOf(id, claims);
    return this.db.inTransaction(TENANT, async (tx): Promise<ClaimAnswer> => {
      await this.repository.take(tx, coverPaths([...claims.map((c) => c.path), ...countersOf(demand)]));
      const row = await this.repository.lockRow(tx, id);
      if (row === undefined) throw new OpsError('not-found', `There is no run ${id}`);
      if (row.state !== 'admitted' && row.state !== 'started')
        throw new OpsError('run-closed', `The run ${id} has ended`);
      const held = await tx.query<{ path: string; exclusive: boolean; fence: string; step: string | null }>(
        'SELECT path, exclusive, fence, step FROM control.claim WHERE tenant = $1 AND run_id = $2',
        [TENANT, id],
      );
      // The same step asks again after a lost answer: what it got then still stands.
      const mine = held.filter((h) => h.step === body.step);
      const all = held.map((h): Claim => ({ path: h.path, mode: h.exclusive ? 'exclusive' : 'shared' }));
      const missing = claims.filter((c) => !isCovered(c, all));
      // Covered by the run's own locks or not: room is charged where nothing was charged for this step yet.
      const wants = demand === undefined ? undefined : await this.turns.look(tx, demand, row, body.step);
      if (wants !== undefined && wants.blockedBy.length > 0) return { granted: false, blockedBy: wants.blockedBy };
      if (missing.length === 0 && demand !== undefined) this.turns.charge(tx, row.id, demand, body.step);
      if (missing.length === 0) return { granted: true, fence: mine[0]?.fence ?? row.fence ?? held[0]?.fence ?? '0' };
      const grant = await this.repository.grant(tx, {
        claims: missing,
        holder: runHolder(id),
        owner: ownerOf(row.flow, row.initiator),
        runId: id,
        step: body.step,
      });
      if (grant.fence !== null && demand !== undefined) this.turns.charge(tx, row.id, demand, body.step);
      return grant.fence === null
        ? { granted: false, blockedBy: grant.holders }
        : { granted: true, fence: grant.fence };
    });
  }

  async release(id: string, body: { step: string }): Promise<{ released: boolean }> {
    requireRunId(id);
    const gone = await this.db.inTransaction(TENANT, async (tx) => {
      const freed = await tx.query(
        'DELETE FROM control.claim WHERE tenant = $1 AND run_id = $2 AND step = $3 RETURNING fence',
        [TENANT, id, body.step],
      );
      releaseCharges(tx, id, 0, body.step);
      return freed;
    });
    this.signals.emit('released');
    return { released: gone.length > 0 };
  }

  async ir(digest: string): Promise<CompiledFlow> {
    const [row] = await this.db.query<{ body: CompiledFlow }>(
      'SELECT body FROM control.ir WHERE tenant = $1 AND digest = $2',
      [TENANT, digest],
    );
    if (row === undefined) throw new OpsError('not-found', `There is no compiled flow ${digest}`);
    return row.body;
  }

  private async find(id: string): Promise<AdmissionRow> {
    const [row] = await this.db.query<AdmissionRow>('SELECT * FROM control.admission WHERE tenant = $1 AND id = $2', [
      TENANT,
      id,
    ]);
    if (row === undefined) throw new OpsError('not-found', `There is no run ${id}`);
    return row;
  }
}

/** Anything but a UUID is unknown, and PostgreSQL would answer it with an error of its own. */
export function requireRunId(id: string): void {
  if (!isUuid(id)) throw new OpsError('not-found', `There is no run ${id.slice(0, 100)}`);
}
