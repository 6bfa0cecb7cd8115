import { Injectable } from '@nestjs/common';
import {
  type AdmissionView,
  digestOf,
  type Json,
  OpsError,
  type Problem,
  type RunStatus,
  type RunView,
  type StartRequest,
  type Tier,
} from '@opsloop/contracts';
import { newId, runIdOfKey } from '@opsloop/contracts/ids';
import { Clock, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { type AdmitResult, AdmitService } from '../admit/admit.service.js';
import { OfferingService } from '../admit/offering.service.js';
import { checkedInput } from '../admit/plan.pure.js';
import { RunReader } from '../runs/run-reader.service.js';
import { isFinalStatus } from '../runs/run-view.pure.js';
import { RunWaiter } from './run-waiter.service.js';

export interface RunRequest {
  input: Json;
  version?: string | undefined;
  waitMs: number;
  dryRun: boolean;
  timeScale?: number | undefined;
  coalesce: boolean;
}

export interface StartAnswer {
  id: string;
  status: RunStatus;
  admission: AdmissionView;
}

export interface HttpAnswer {
  status: number;
  body: StartAnswer | RunView | Problem;
  location?: string;
  replayed?: boolean;
}

/** Starts by people and services have the tier that rules without one have. */
const API_TIER: Tier = 'P3';

interface Kept {
  body_digest: string;
  status: number | null;
  answer: HttpAnswer['body'] | null;
}

/** Starts of flows and atoms through the service catalog: the same admission as for everything else. */
@Injectable()
export class CatalogRunsService {
  constructor(
    private readonly db: Database,
    private readonly offerings: OfferingService,
    private readonly admission: AdmitService,
    private readonly reader: RunReader,
    private readonly waiter: RunWaiter,
    private readonly clock: Clock,
  ) {}

  /** `name` is `domain/name`, or `atom/word.word` for an atom. */
  async start(principal: Principal, name: string, request: RunRequest, key: string | undefined): Promise<HttpAnswer> {
    const { waitMs, ...what } = request;
    const bodyDigest = digestOf(JSON.parse(JSON.stringify({ ...what, waitMs })) as Json);
    const id =
      key === undefined ? newId() : runIdOfKey(principal.tenant, `${principal.kind}:${principal.name}`, name, key);
    if (key !== undefined) {
      const kept = await this.kept(principal.tenant, id);
      if (kept !== undefined) return this.replay(principal, id, kept, bodyDigest);
    }
    const ref = refOf(name, request.version);
    const offering = await this.offerings.resolve(ref);
    const input = checkedInput(offering.inputSchema, request.input);
    const prepared = await this.admission.prepare({
      request: this.startRequest(principal, id, ref, input, request),
      kind: 'run',
      dryRun: request.dryRun,
    });
    if (prepared.refused !== undefined)
      throw new OpsError('validation', prepared.refused, {
        errors: [{ pointer: '/input', message: prepared.refused }],
      });
    const outcome = await this.db.inTransaction(
      principal.tenant,
      async (tx): Promise<{ result: AdmitResult } | { kept: Kept }> => {
        if (key !== undefined && !(await this.reserve(tx, id, bodyDigest)))
          return { kept: (await this.keptIn(tx, id))! };
        const [result] = await this.admission.admit(tx, [prepared]);
        return { result: result! };
      },
    );
    if ('kept' in outcome) return this.replay(principal, id, outcome.kept, bodyDigest);
    const answer = await this.answer(principal, outcome.result, waitMs);
    if (key !== undefined) await this.keep(principal.tenant, id, answer);
    return answer;
  }

  private startRequest(principal: Principal, id: string, ref: string, input: Json, request: RunRequest): StartRequest {
    return {
      id,
      tenant: principal.tenant,
      ref,
      input,
      targets: [],
      tier: API_TIER,
      initiator: { kind: principal.kind, name: principal.name },
      coalesce: request.coalesce && !request.dryRun,
      ...(request.dryRun && request.timeScale !== undefined ? { timeScale: request.timeScale } : {}),
      correlationId: id,
      hops: 0,
      at: this.clock.now().toISOString(),
    };
  }

  private async answer(principal: Principal, result: AdmitResult, waitMs: number): Promise<HttpAnswer> {
    if (result.verdict === 'rejected') {
      const policies = result.consulted.filter((c) => c.said === 'reject');
      return {
        status: 409,
        body: new OpsError('admission-rejected', result.reason ?? 'A policy rejected it', {
          extensions: { policies },
        }).toProblem(),
      };
    }
    // Joined work is the other run, from the first answer on.
    const id = result.into ?? result.id;
    if (waitMs > 0) {
      const ended = await this.waiter.until(id, waitMs, async () => {
        const view = await this.reader
          .row(principal.tenant, id)
          .then((row) => (isEnded(row.state) ? this.reader.view(row) : undefined));
        return view !== undefined && isFinalStatus(view.status) ? view : undefined;
      });
      if (ended !== undefined) return { status: 200, body: ended };
    }
    const status =
      result.into !== undefined || waitMs > 0
        ? (await this.reader.get(principal.tenant, id)).status
        : result.verdict === 'admitted'
          ? 'running'
          : 'queued';
    const { verdict, position, blockedBy, consulted, reason } = result;
    const eta =
      verdict === 'queued'
        ? (await this.reader.place(await this.reader.row(principal.tenant, result.id))).eta
        : undefined;
    const admission: AdmissionView = {
      verdict,
      consulted,
      ...(position === undefined ? {} : { position }),
      ...(blockedBy === undefined ? {} : { blockedBy }),
      ...(eta === undefined ? {} : { eta }),
      ...(reason === undefined ? {} : { reason }),
    };
    return { status: 202, body: { id, status, admission }, location: `/v1/runs/${id}` };
  }

  private async replay(principal: Principal, id: string, kept: Kept, bodyDigest: string): Promise<HttpAnswer> {
    if (kept.body_digest !== bodyDigest)
      throw new OpsError('idempotency-conflict', 'This Idempotency-Key was used with another body');
    if (kept.answer !== null && kept.status !== null) {
      return {
        status: kept.status,
        body: kept.answer,
        replayed: true,
        ...(kept.status === 202 ? { location: `/v1/runs/${(kept.answer as StartAnswer).id}` } : {}),
      };
    }
    // The first request is still under way: as of now.
    const view = await this.reader.get(principal.tenant, id);
    return {
      status: 202,
      body: { id, status: view.status, admission: view.admission },
      location: `/v1/runs/${id}`,
      replayed: true,
    };
  }

  private async reserve(tx: Tx, id: string, bodyDigest: string): Promise<boolean> {
    const rows = await tx.query(
      'INSERT INTO control.idempotency (tenant, run_id, body_digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING run_id',
      [tx.tenant, id, bodyDigest],
    );
    return rows.length > 0;
  }

  private async keptIn(tx: Tx, id: string): Promise<Kept | undefined> {
    const [row] = await tx.query<Kept>(
      'SELECT body_digest, status, answer FROM control.idempotency WHERE tenant = $1 AND run_id = $2',
      [tx.tenant, id],
    );
    return row;
  }

  private async kept(tenant: string, id: string): Promise<Kept | undefined> {
    const [row] = await this.db.query<Kept>(
      'SELECT body_digest, status, answer FROM control.idempotency WHERE tenant = $1 AND run_id = $2',
      [tenant, id],
    );
    return row;
  }

  private async keep(tenant: string, id: string, answer: HttpAnswer): Promise<void> {
    await this.db.query('UPDATE control.idempotency SET status = $3, answer = $4 WHERE tenant = $1 AND run_id = $2', [
      tenant,
      id,
      answer.status,
      JSON.stringify(answer.body),
    ]);
  }
}

const isEnded = (state: string): boolean =>
  ['closed', 'rejected', 'withdrawn', 'cancelled', 'expired', 'coalesced'].includes(state);

export const refOf = (name: string, version: string | undefined): string =>
  version === undefined ? name : `${name}@${version}`;
