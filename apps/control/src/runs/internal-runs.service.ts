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
import { Database, type Tx } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { ownerOf } from '../admit/admit.pure.js';
import { GroupsService } from '../lock/groups.service.js';
import { conflicts, coverPaths, isCovered, mergeClaims, runHolder } from '../lock/lock.pure.js';
import { releaseCharges } from '../policies/budget.repository.js';
import { countersOf } from '../policies/gate.service.js';
import { TurnsService } from '../policies/turns.service.js';
import { Signals } from '../signals.service.js';
import { CloseRunService } from './close-run.service.js';

const TENANT = 'default';
type ClaimAnswer = InternalCalls['POST /internal/runs/:id/claims']['answer'];

interface Held {
  path: string;
  exclusive: boolean;
  fence: string;
  step: string | null;
  leased: boolean;
}

const asClaim = (h: Held): Claim => ({ path: h.path, mode: h.exclusive ? 'exclusive' : 'shared' });

/** Of an atom: its locks end with its attempt. */
export interface StepLease {
  ttlMs: number;
  /** Who renews it and gives it back. */
  principal: string;
  /** What the steps of all attempts begin with. */
  of: string;
  attempt: number;
}

/** `covered`: by what the run has anyway. */
export type Granted = ClaimAnswer & { covered?: true };

@Injectable()
export class InternalRunsService {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly closing: CloseRunService,
    private readonly turns: TurnsService,
    private readonly groups: GroupsService,
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

  /**
   * Claims of a step, by try: what the run's own claims cover is granted under its fence, the rest under a new one. With a
   * lease they are those of one attempt of an atom, and end by themselves should its worker die.
   */
  async claim(id: string, body: { step: string; claims: Claim[]; lease?: StepLease }): Promise<Granted> {
    requireRunId(id);
    const { lease } = body;
    const asked = mergeClaims(body.claims);
    for (const { path } of asked) {
      const wrong = pathProblem(path);
      if (wrong !== undefined)
        throw new OpsError('validation', `"${path}" ${wrong}`, { errors: [{ pointer: '/claims', message: wrong }] });
    }
    const { demand, claims: more = [] } = await this.turns.demandOf(id, asked);
    const claims = await this.groups.expand(mergeClaims([...asked, ...more]));
    if (claims === undefined)
      return { granted: false, blockedBy: [{ path: asked[0]!.path, owner: 'the inventory does not answer' }] };
    return this.db.inTransaction(TENANT, async (tx): Promise<Granted> => {
      await this.repository.take(tx, coverPaths([...claims.map((c) => c.path), ...countersOf(demand)]));
      const row = await this.repository.lockRow(tx, id);
      if (row === undefined) throw new OpsError('not-found', `There is no run ${id}`);
      if (row.state !== 'admitted' && row.state !== 'started')
        throw new OpsError('run-closed', `The run ${id} has ended`);
      const held = await this.heldBy(tx, id, lease);
      // The same step asks again after a lost answer: what it got then still stands.
      const mine = held.filter((h) => h.step === body.step);
      // What another atom holds for as long as it runs covers nothing.
      const all = held.filter((h) => !h.leased || h.step === body.step).map(asClaim);
      const inside = held.filter(
        (h) => h.leased && h.step !== body.step && claims.some((c) => conflicts(c, asClaim(h))),
      );
      if (inside.length > 0)
        return {
          granted: false,
          blockedBy: inside.map((h) => ({ path: h.path, owner: `another step of run ${id}`, runId: id })),
        };
      const missing = claims.filter((c) => !isCovered(c, all));
      // Covered by the run's own locks or not: room is charged where nothing was charged for this step yet.
      const wants = demand === undefined ? undefined : await this.turns.look(tx, demand, row, body.step);
      if (wants !== undefined && wants.blockedBy.length > 0) return { granted: false, blockedBy: wants.blockedBy };
      const charges = wants?.charges ?? [];
      if (missing.length === 0) this.turns.charge(tx, row.id, charges, body.step);
      if (missing.length === 0)
        return {
          granted: true,
          fence: mine[0]?.fence ?? row.fence ?? held[0]?.fence ?? '0',
          ...(lease !== undefined && mine.length === 0 ? { covered: true } : {}),
        };
      const grant = await this.repository.grant(tx, {
        claims: missing,
        holder: runHolder(id),
        owner: ownerOf(row.flow, row.initiator),
        runId: id,
        step: body.step,
        ...(lease === undefined ? {} : { ttlMs: lease.ttlMs, principal: lease.principal }),
      });
      if (grant.fence !== null) this.turns.charge(tx, row.id, charges, body.step);
      return grant.fence === null
        ? { granted: false, blockedBy: grant.holders }
        : { granted: true, fence: grant.fence };
    });
  }

  /** What the run holds now; earlier attempts of the same atom are over, and what they held with them. */
  private async heldBy(tx: Tx, id: string, lease: StepLease | undefined): Promise<Held[]> {
    if (lease !== undefined)
      await tx.query(
        `DELETE FROM control.claim WHERE tenant = $1 AND run_id = $2
          AND CASE WHEN starts_with(step, $3) THEN split_part(substr(step, length($3) + 1), '.', 1)::int < $4 ELSE false END`,
        [TENANT, id, lease.of, lease.attempt],
      );
    return tx.query<Held>(
      `SELECT path, exclusive, fence, step, expires_at < 'infinity' AS leased FROM control.claim
        WHERE tenant = $1 AND run_id = $2 AND expires_at > clock_timestamp()`,
      [TENANT, id],
    );
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
