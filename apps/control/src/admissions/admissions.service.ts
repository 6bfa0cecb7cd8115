import { Injectable } from '@nestjs/common';
import {
  type AdmissionView,
  type BlockedBy,
  type Claim,
  type Json,
  OpsError,
  type Page,
  type StartRequest,
  type Tier,
} from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Clock, encodeCursor, type Principal } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import { type AdmissionRow, WAITING_STATES } from '../admit/admission-row.js';
import { AdmitService } from '../admit/admit.service.js';
import { checkedInput } from '../admit/plan.pure.js';
import { refOf } from '../catalog-runs/catalog-runs.service.js';
import { RunWaiter } from '../catalog-runs/run-waiter.service.js';
import { freeAtOf } from '../policies/policy-verdict.pure.js';
import { forecastText } from './forecast.pure.js';
import { OfferingService } from '../admit/offering.service.js';
import { claimErrors } from '../lock/lock.pure.js';
import { EndWaitingService } from '../queue/end-waiting.service.js';
import { CloseRunService } from '../runs/close-run.service.js';
import { requireRunId } from '../runs/internal-runs.service.js';
import { cursorOf, RunReader } from '../runs/run-reader.service.js';
import { admissionViewOf } from '../runs/run-view.pure.js';

export interface LockAdmissionRequest {
  claims: Claim[];
  owner: string;
  ttlMs: number;
  tier: Tier;
  validFor?: string | undefined;
  heartbeatMs?: number;
}

export interface AdmissionDetail extends AdmissionView {
  id: string;
  state: string;
  kind: 'run' | 'lock';
  flow: string;
  targets: string[];
  claims: Claim[];
  tier: Tier;
  fence?: string;
  /** When the lease of a granted lock for work outside ends. */
  expiresAt?: string;
  createdAt: string;
  validUntil: string;
}

/** Thrown to leave a forecast's transaction without a trace. */
class Forecast extends Error {
  constructor(readonly view: AdmissionView) {
    super('forecast');
  }
}

/** Admissions themselves: locks for work outside, the queue, and what would happen to a start. */
@Injectable()
export class AdmissionsService {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly admission: AdmitService,
    private readonly offerings: OfferingService,
    private readonly ends: EndWaitingService,
    private readonly closing: CloseRunService,
    private readonly reader: RunReader,
    private readonly waiter: RunWaiter,
    private readonly clock: Clock,
  ) {}

  /** A lock for work that opsloop does not start: queued, halted and shown like any other, held until it is deleted or its ttl ends. */
  async lock(principal: Principal, r: LockAdmissionRequest): Promise<{ status: number; body: AdmissionDetail }> {
    const errors = claimErrors(r.claims);
    if (errors.length > 0)
      throw new OpsError('validation', `The claims: ${errors[0]!.pointer} ${errors[0]!.message}`, { errors });
    const request: StartRequest = {
      ...this.request(principal, `outside/${slug(r.owner)}`, {}, r.tier),
      targets: r.claims.filter((c) => c.mode === 'exclusive').map((c) => c.path),
      ...(r.validFor === undefined ? {} : { validFor: r.validFor }),
    };
    const prepared = await this.admission.prepare({
      request,
      kind: 'lock',
      claims: r.claims,
      ttlMs: r.ttlMs,
      ...(r.heartbeatMs === undefined ? {} : { heartbeatMs: r.heartbeatMs }),
    });
    const [result] = await this.db.inTransaction(principal.tenant, (tx) => this.admission.admit(tx, [prepared]));
    return { status: result!.verdict === 'admitted' ? 201 : 202, body: await this.get(principal.tenant, request.id) };
  }

  /** What admission would say now, without doing it. */
  async forecast(
    principal: Principal,
    r: { name: string; version?: string | undefined; input: Json; tier: Tier; coalesce: boolean },
  ): Promise<AdmissionView> {
    const ref = refOf(r.name, r.version);
    const offering = await this.offerings.resolve(ref);
    const request = {
      ...this.request(principal, ref, checkedInput(offering.inputSchema, r.input), r.tier),
      coalesce: r.coalesce,
    };
    const prepared = await this.admission.prepare({ request, kind: 'run' });
    if (prepared.refused !== undefined) throw new OpsError('validation', prepared.refused);
    try {
      await this.db.inTransaction(principal.tenant, async (tx) => {
        const [result] = await this.admission.admit(tx, [prepared]);
        const { verdict, consulted, position, blockedBy, reason } = result!;
        const view = {
          verdict,
          consulted,
          ...(position === undefined ? {} : { position }),
          ...(blockedBy === undefined ? {} : { blockedBy }),
          ...(reason === undefined ? {} : { reason }),
          ...(await this.timesOf(tx, request.id, blockedBy ?? [])),
        };
        throw new Forecast({ ...view, forecast: forecastText(view) });
      });
    } catch (error) {
      if (error instanceof Forecast) return error.view;
      throw error;
    }
    throw new OpsError('internal', 'a forecast gave no verdict');
  }

  /** When it may have its turn, read in the transaction that is about to be undone. */
  private async timesOf(
    tx: Tx,
    id: string,
    blockedBy: readonly BlockedBy[],
  ): Promise<Pick<AdmissionView, 'eta' | 'heldUntil'>> {
    const [row] = await tx.query<Pick<AdmissionRow, 'state' | 'facts' | 'hold_until'>>(
      'SELECT state, facts, hold_until FROM control.admission WHERE tenant = $1 AND id = $2',
      [tx.tenant, id],
    );
    if (row?.state === 'held' && row.hold_until !== null) return { heldUntil: row.hold_until.toISOString() };
    if (row?.state !== 'queued') return {};
    const holders = blockedBy.filter((b) => b.since !== undefined);
    const ahead = blockedBy.filter((b) => b.since === undefined);
    const eta = freeAtOf(row) ?? (await this.repository.eta(tx, { holders, ahead }));
    return eta === undefined ? {} : { eta };
  }

  async list(
    tenant: string,
    f: { limit: number; cursor?: string | undefined; state?: string | undefined },
  ): Promise<Page<AdmissionDetail>> {
    const after = f.cursor === undefined ? undefined : cursorOf(f.cursor);
    const rows = await this.db.query<AdmissionRow>(
      `SELECT * FROM control.admission WHERE tenant = $1 AND ($2::text IS NULL OR state = $2)
        AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid)) ORDER BY created_at DESC, id DESC LIMIT $5`,
      [tenant, f.state ?? null, after?.at ?? null, after?.id ?? null, f.limit + 1],
    );
    const page = rows.slice(0, f.limit);
    const last = page.at(-1);
    return {
      items: page.map((row) => detailOf(row)),
      ...(rows.length <= f.limit || last === undefined
        ? {}
        : { nextCursor: encodeCursor([last.created_at.toISOString(), last.id]) }),
    };
  }

  async get(tenant: string, id: string): Promise<AdmissionDetail> {
    const row = await this.reader.row(tenant, id);
    if (row.state === 'queued') return detailOf(row, await this.reader.place(row));
    return detailOf(row, row.kind === 'lock' && row.state === 'admitted' ? await this.lease(row) : {});
  }

  /** As soon as it no longer waits, at the latest after `waitMs`. Whoever asks wants it still: that is its heartbeat. */
  async await(tenant: string, id: string, waitMs: number): Promise<AdmissionDetail> {
    await this.beat(tenant, id);
    if (waitMs > 0)
      await this.waiter.until(id, waitMs, async () => {
        const { state } = await this.reader.row(tenant, id);
        return WAITING_STATES.includes(state) ? undefined : state;
      });
    return this.get(tenant, id);
  }

  private async beat(tenant: string, id: string): Promise<void> {
    requireRunId(id);
    await this.db.query({
      name: 'control.beat',
      text: `UPDATE control.admission SET alive_until = clock_timestamp() + heartbeat WHERE tenant = $1 AND id = $2 AND heartbeat IS NOT NULL AND state = ANY($3)`,
      values: [tenant, id, WAITING_STATES],
    });
  }

  private async lease(row: AdmissionRow): Promise<{ expiresAt?: string }> {
    const [claim] = await this.db.query<{ expires_at: Date | number }>(
      'SELECT expires_at FROM control.claim WHERE tenant = $1 AND run_id = $2 LIMIT 1',
      [row.tenant, row.id],
    );
    return claim?.expires_at instanceof Date ? { expiresAt: claim.expires_at.toISOString() } : {};
  }

  /** Cancels what waits, and gives a lock for work outside back. A run that has begun is cancelled as a run. */
  async remove(principal: Principal, id: string): Promise<void> {
    const row = await this.reader.row(principal.tenant, id);
    if (row.kind === 'lock' && row.state === 'admitted') {
      if (row.initiator.name !== principal.name)
        throw new OpsError(
          'authorization',
          `The lock ${row.fence} is with ${row.initiator.name}; it can only be broken, with a reason`,
        );
      await this.closing.close(principal.tenant, id, { status: 'succeeded', clean: true, by: principal.name });
      return;
    }
    if (WAITING_STATES.includes(row.state)) {
      if (row.kind === 'lock' && row.initiator.name !== principal.name && !mayBreak(principal))
        throw new OpsError(
          'authorization',
          `${row.initiator.name} waits for this lock; only the role expert takes another's place away`,
        );
      const ended = await this.db.inTransaction(principal.tenant, (tx) =>
        this.ends.end(tx, id, 'cancelled', `cancelled by ${principal.name}`, principal.name),
      );
      return ended === undefined ? this.remove(principal, id) : undefined;
    }
    if (row.state === 'admitted' || row.state === 'started')
      throw new OpsError('conflict', `${id} has begun; cancel it with POST /v1/runs/${id}/cancel`);
  }

  private request(principal: Principal, ref: string, input: Json, tier: Tier): StartRequest {
    const id = newId();
    return {
      id,
      tenant: principal.tenant,
      ref,
      input,
      targets: [],
      tier,
      initiator: { kind: principal.kind, name: principal.name },
      coalesce: false,
      correlationId: id,
      hops: 0,
      at: this.clock.now().toISOString(),
    };
  }
}

/** As who may break a lock that is held. */
const mayBreak = ({ roles }: Principal): boolean => roles.some((role) => role === 'expert' || role === 'admin');

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 60) || 'work';

function detailOf(
  row: AdmissionRow,
  extras: Pick<AdmissionView, 'position' | 'blockedBy' | 'eta'> & { expiresAt?: string } = {},
): AdmissionDetail {
  return {
    id: row.id,
    state: row.state,
    kind: row.kind,
    flow: row.flow,
    targets: row.targets,
    claims: row.claims ?? [],
    tier: row.tier,
    ...admissionViewOf(row, extras),
    ...(row.fence === null ? {} : { fence: row.fence }),
    ...(extras.expiresAt === undefined ? {} : { expiresAt: extras.expiresAt }),
    createdAt: row.created_at.toISOString(),
    validUntil: row.valid_until.toISOString(),
  };
}
