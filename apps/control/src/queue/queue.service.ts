import { NO_DEMAND } from '../policies/demand.pure.js';
import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import {
  type Claim,
  type CompiledFlow,
  type Consulted,
  digestOf,
  type StartRequest,
  type TimelineEntry,
} from '@opsloop/contracts';
import { Clock, InternalClient, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { AdmissionRepository, publishRuns, runsBase } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { AdmitService } from '../admit/admit.service.js';
import { exclusivePaths, ownerOf, validityOf, weighedOf } from '../admit/admit.pure.js';
import type { StartPlan } from '../admit/plan.pure.js';
import { type AdmissionFacts, decideVerdict } from '../admit/verdict.pure.js';
import { EventWaits } from '../deliver-events/event-waits.repository.js';
import { planOf as approvedPlanOf } from '../approvals/policy-plan.pure.js';
import { haltsOn, subjectOf } from '../halts/halt-scope.pure.js';
import { GroupsService } from '../lock/groups.service.js';
import { coverPaths, mergeClaims, runHolder } from '../lock/lock.pure.js';
import type { Demand, PolicyEffect } from '../policies/demand.pure.js';
import { type AtGate, countersOf, PolicyGate } from '../policies/gate.service.js';
import { passes } from '../policies/policy-verdict.pure.js';
import { LimitService } from '../policies/limit.service.js';
import { PolicyService } from '../policies/policy.service.js';
import { Signals } from '../signals.service.js';
import { EndWaitingService } from './end-waiting.service.js';
import { freeExpired } from './free-expired.js';
import { narrow } from './narrow.pure.js';

/** A net below the pokes: covers a crash between a release and the turn of the next one. */
const SWEEP_MS = 1_000;
/** Below the second of the loop, so that a turn which comes a little early is not left out. */
const EXPIRE_MS = 900;
const BATCH = 64;
/** Turns at a time: a re-check may observe a target for seconds, and others should not wait for it. */
const TURNS_MAX = 8;
/** When nobody can say whether the cause still stands, or the catalog is away, it is asked again after this. */
const ASK_AGAIN_MS = 1_000;
/** Observing a target that answers slowly; the queue is not held up, see TURNS_MAX. */
const RECHECK_TIMEOUT_MS = 10_000;

/** Of a lock for work outside whose asker has gone. */
const SILENT = 'nobody asked for it within its heartbeat';

interface Turn {
  row: AdmissionRow;
  /** New when it was resolved or narrowed only now. */
  request: StartRequest;
  plan?: StartPlan;
  ownClaims?: Claim[];
  policy?: PolicyEffect;
  demand?: Demand;
  irDigest?: string;
  compiled?: CompiledFlow;
  withdrawn: string[];
  recheck: Consulted[];
}

const asks = (demand: Demand): boolean =>
  demand.approvals.length > 0 || demand.freezes.some((f) => f.exceptions !== undefined);

function atGate(turn: Turn, row: AdmissionRow): AtGate {
  const { id, tier, initiator, flow, ticket, rank_at: rankAt } = row;
  const ir = turn.irDigest ?? row.ir_digest;
  const plan = approvedPlanOf(
    { flow, version: turn.plan?.version ?? row.version ?? '', targets: turn.plan?.targets ?? row.targets },
    turn.request.input,
    ir === null ? undefined : { digest: ir, ...(turn.compiled === undefined ? {} : { compiled: turn.compiled }) },
  );
  const { incidentId } = turn.request;
  return { id, tier, initiator, incidentId, flow, ticket, rankAt, plan, isNew: false };
}

/** A row as it was planned when it came. */
const planOf = (row: AdmissionRow): StartPlan => ({
  flow: row.flow,
  version: row.version ?? '',
  effect: row.effect ?? 'mutate',
  atoms: row.atoms,
  targets: row.targets,
  claims: row.claims ?? [],
});

/** What the turn of a queued or held admission came to. */
interface TurnResult {
  state: 'admitted' | 'held' | 'queued' | 'needs-approval';
  consulted: Consulted[];
  reason?: string | undefined;
  fence?: string | undefined;
  blockedBy?: unknown;
}

/** pg's interval; `make_interval(secs)` has no days or months. */
const msOf = (i: NonNullable<AdmissionRow['lock_ttl']>): number =>
  ((i.hours ?? 0) * 60 + (i.minutes ?? 0)) * 60_000 + (i.seconds ?? 0) * 1_000 + (i.milliseconds ?? 0);

function turnEntries(r: TurnResult, at: string): TimelineEntry[] {
  const entries: TimelineEntry[] = [
    { at, kind: 'admission', title: r.reason === undefined ? r.state : `${r.state}: ${r.reason}` },
  ];
  if (r.fence !== undefined)
    entries.push({ at, kind: 'lock', title: `locks granted under fence ${r.fence}`, ref: r.fence });
  return entries;
}

function tellVerdict(tx: Tx, saved: AdmissionRow, r: TurnResult, now: Date): void {
  publishRuns(
    tx,
    {
      ...runsBase(saved, now),
      kind: 'verdict',
      verdict: r.state,
      consulted: r.consulted,
      ...(r.reason === undefined ? {} : { reason: r.reason }),
      ...(r.fence === undefined ? {} : { fence: r.fence }),
      ...(r.state === 'admitted' ? { exclusive: exclusivePaths(saved.claims ?? []) } : {}),
    },
    String(saved.history.length),
  );
}

/** Gives queued work its turn: after every release and each second, in the order of the queue. */
@Injectable()
export class QueueService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private expiredAt = 0;
  private off: (() => void) | undefined;

  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly admission: AdmitService,
    private readonly policies: PolicyService,
    private readonly limits: LimitService,
    private readonly groups: GroupsService,
    private readonly gate: PolicyGate,
    private readonly ends: EndWaitingService,
    private readonly waits: EventWaits,
    private readonly internal: InternalClient,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.queue',
      everyMs: SWEEP_MS,
      batch: BATCH,
      logger: this.logger,
      run: (batch) => this.pass(batch),
    });
    const offs = (['released', 'freed'] as const).map((name) => this.signals.on(name, () => this.loop?.poke()));
    this.off = () => offs.forEach((off) => off());
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    await this.loop?.stop();
  }

  private async pass(batch: number): Promise<number> {
    // A release only wakes those in the queue; what ran out by the clock is looked for each second.
    if (Date.now() - this.expiredAt >= EXPIRE_MS) {
      this.expiredAt = Date.now();
      await this.expire(batch);
      await this.free();
    }
    const ready = await this.db.query<{ ready: string }>({
      name: 'control.ready',
      text: `SELECT control.ready('default', $1) AS ready UNION ALL SELECT control.budget_ready('default', $1)`,
      values: [batch],
    });
    const ids = ready.map((r) => r.ready);
    const worker = async (): Promise<void> => {
      for (let id = ids.shift(); id !== undefined; id = ids.shift()) await this.turnOf(id);
    };
    await Promise.all(Array.from({ length: Math.min(TURNS_MAX, ids.length) }, worker));
    return ready.length;
  }

  private async turnOf(id: string): Promise<void> {
    try {
      await this.turn(id);
    } catch (error) {
      this.logger.warn('the turn of a queued start failed; it is tried again', { run: id, error });
      await this.later(id).catch(() => undefined);
    }
  }

  /** Asks first whether the work is still wanted, then admits it in one transaction of its own. */
  async turn(id: string): Promise<void> {
    const [row] = await this.db.query<AdmissionRow>({
      name: 'control.read',
      text: `SELECT * FROM control.admission WHERE tenant = 'default' AND id = $1`,
      values: [id],
    });
    if (row === undefined || row.state !== 'queued') return;
    const turn = await this.recheck(row);
    if (turn === undefined) return;
    if (row.claims === null || turn.withdrawn.length > 0) {
      if (!(await this.plan(turn))) return;
    } else if (!row.dry_run && !(await this.readPolicies(turn))) return this.later(row.id);
    // What people approved is compared with what would run now, so it is planned anew.
    if (turn.compiled === undefined && row.kind === 'run' && turn.demand !== undefined && asks(turn.demand))
      if (!(await this.plan(turn))) return;
    await this.db.inTransaction(row.tenant, (tx) => this.admit(tx, turn));
  }

  /** Resolves it now, or anew for fewer targets: then to the version that was pinned. False: not at this turn. */
  private async plan(turn: Turn): Promise<boolean> {
    const { row, request } = turn;
    const pinned = row.version === null ? request : { ...request, ref: `${row.flow}@${row.version}` };
    const prepared = await this.admission.prepare({ request: pinned, kind: row.kind, dryRun: row.dry_run });
    if (prepared.refused !== undefined || prepared.plan === undefined || prepared.offering === undefined) {
      await (prepared.refused === undefined ? this.later(row.id) : this.refuse(row, prepared.refused));
      return false;
    }
    turn.plan = prepared.plan;
    turn.irDigest = prepared.offering.irDigest;
    turn.compiled = prepared.offering.compiled;
    if (prepared.ownClaims !== undefined) turn.ownClaims = prepared.ownClaims;
    if (prepared.policy !== undefined) turn.policy = prepared.policy;
    if (prepared.demand !== undefined) turn.demand = prepared.demand;
    return true;
  }

  /** Policies may have come, changed or gone while it waited, as members of groups: those of now count. False: nobody can tell. */
  private async readPolicies(turn: Turn): Promise<boolean> {
    const { claims, own_claims } = turn.row;
    const plan = planOf(turn.row);
    const policy = await this.policies.apply(weighedOf(turn.request, plan));
    if (policy !== undefined) turn.policy = policy;
    const limits = await this.limits.demandsOf(turn.row, own_claims ?? claims ?? []);
    const demand = this.gate.demandOf(policy?.demand, limits, turn.row.tier);
    if (demand !== undefined) turn.demand = demand;
    const now = await this.groups.expand(mergeClaims([...(own_claims ?? claims ?? []), ...(policy?.claims ?? [])]));
    if (now === undefined) return false;
    if (digestOf(now) !== digestOf(mergeClaims(claims ?? []))) turn.plan = { ...plan, claims: now };
    return true;
  }

  /** Undefined when it ended or must wait. */
  private async recheck(row: AdmissionRow): Promise<Turn | undefined> {
    const { request } = row;
    if (request.cause === undefined)
      return {
        row,
        request,
        withdrawn: [],
        recheck: [{ policy: 'recheck', saw: 'started by a person: no cause to check', said: 'ok' }],
      };
    const answer = await this.internal
      .call(
        'POST /internal/decision/recheck',
        { id: row.id, cause: request.cause, targets: row.targets },
        {},
        { timeoutMs: RECHECK_TIMEOUT_MS },
      )
      .catch(() => undefined);
    if (answer === undefined || answer.verdict === 'unknown') {
      await this.later(row.id);
      return undefined;
    }
    if (answer.verdict === 'cleared') {
      await this.db.inTransaction(row.tenant, (tx) => this.ends.end(tx, row.id, 'withdrawn', answer.reason));
      return undefined;
    }
    const cleared = new Set(answer.targets.filter((t) => t.verdict === 'cleared').map((t) => t.path));
    const narrowed = narrow(request, cleared);
    return {
      row,
      request: narrowed ?? request,
      withdrawn: narrowed === undefined ? [] : [...cleared],
      recheck: [
        {
          policy: 'recheck',
          saw: narrowed === undefined ? answer.reason : `${answer.reason}; cleared: ${[...cleared].join(', ')}`,
          said: 'ok',
        },
      ],
    };
  }

  private async admit(tx: Tx, turn: Turn): Promise<void> {
    const claims = turn.plan?.claims ?? turn.row.claims ?? [];
    await this.repository.take(tx, coverPaths([...claims.map((c) => c.path), ...countersOf(turn.demand)]));
    const row = await this.repository.lockRow(tx, turn.row.id);
    if (row === undefined || row.state !== 'queued') return;
    const now = this.clock.now();
    const lasts = row.valid_until.getTime() - row.created_at.getTime();
    const validForMs = row.extended ? lasts : Math.min(lasts, validityOf(row.request, turn.policy));
    if (row.created_at.getTime() + validForMs <= now.getTime())
      return void (await this.ends.end(tx, row.id, 'expired', 'waited longer than it stays valid'));
    if (row.alive_until !== null && row.alive_until <= now)
      return void (await this.ends.end(tx, row.id, 'expired', SILENT));
    const place = atGate(turn, row);
    const facts = await this.look(tx, turn, row, place, validForMs);
    const result = decideVerdict(facts);
    // After what is written of the row below, in the same transaction.
    const settle = (): void => {
      if (turn.demand !== undefined || row.facts !== null)
        this.gate.settle(tx, turn.demand ?? NO_DEMAND, facts, place, result.verdict);
    };
    if (result.verdict === 'rejected' || result.verdict === 'coalesced')
      return this.refuseIn(tx, row, result.reason!, result.consulted, result.into).then(settle);
    await this.save(
      tx,
      turn,
      row,
      {
        state: result.verdict as TurnResult['state'],
        consulted: [...turn.recheck, ...result.consulted],
        reason: result.reason,
        fence: facts.fence,
        blockedBy: result.blockedBy,
      },
      now,
    );
    settle();
  }

  /** Under the locks of its claims and counters: what its verdict follows from, the grant included. */
  private async look(
    tx: Tx,
    turn: Turn,
    row: AdmissionRow,
    place: AtGate,
    validForMs: number,
  ): Promise<AdmissionFacts> {
    const claims = turn.plan?.claims ?? row.claims ?? [];
    const flow = turn.plan === undefined ? row : { ...row, atoms: turn.plan.atoms, targets: turn.plan.targets };
    const halts = haltsOn(await this.repository.liveHalts(tx), subjectOf(flow));
    const policies = turn.demand === undefined ? undefined : await this.gate.look(tx, turn.demand, place);
    const grant =
      halts.length > 0 || claims.length === 0 || !passes(policies)
        ? undefined
        : await this.repository.grant(tx, {
            claims,
            holder: runHolder(row.id),
            owner: ownerOf(row.flow, row.initiator),
            runId: row.id,
            rankAt: row.rank_at,
            ticket: row.ticket,
            ...(row.lock_ttl === null ? {} : { ttlMs: msOf(row.lock_ttl) }),
          });
    const found = grant ?? (passes(policies) ? undefined : await this.repository.inTheWay(tx, claims, place));
    return {
      coalesce: row.coalesce_key !== null,
      halts,
      claims: claims.length,
      fence: grant?.fence ?? undefined,
      holders: found?.holders ?? [],
      ahead: found?.ahead ?? [],
      validForMs,
      onConflict: turn.policy?.onConflict,
      limit: await this.limits.look(tx, {
        flow: row.flow,
        claims,
        grant,
        rankAt: row.rank_at,
        ticket: row.ticket,
        act: turn.plan?.onLimit,
        irDigest: row.ir_digest,
      }),
      policies,
      preempt: grant?.fence === null ? await this.gate.preempt(tx, turn.demand, row.tier, grant.holders) : undefined,
    };
  }

  private async save(tx: Tx, turn: Turn, row: AdmissionRow, r: TurnResult, now: Date): Promise<void> {
    const plan = turn.plan;
    // Somebody was quicker. It stands in the queue (again, when a halt had taken it out); there is nothing new to tell.
    if (r.state === 'queued' && plan === undefined) {
      return this.repository.insertWaiters(tx, {
        ticket: row.ticket,
        rankAt: row.rank_at,
        owner: ownerOf(row.flow, row.initiator),
        runId: row.id,
        claims: row.claims ?? [],
      });
    }
    if (turn.compiled !== undefined) {
      await this.repository.keepIr(tx, turn.irDigest!, turn.compiled);
      this.waits.register(tx, row, turn.compiled);
    }
    const [saved] = await tx.query<AdmissionRow>({
      name: 'control.turn',
      text: `UPDATE control.admission SET state = $3, consulted = $4, reason = $5, fence = $6, history = history || $7::jsonb, request = $8, targets = $9,
          claims = $10, version = coalesce($11, version), effect = coalesce($12, effect), ir_digest = coalesce($13, ir_digest), atoms = coalesce($14, atoms),
          withdrawn = withdrawn || $15::text[], own_claims = coalesce($16, own_claims),
          started_at = CASE WHEN $3 = 'admitted' AND kind = 'lock' THEN clock_timestamp() ELSE started_at END WHERE tenant = $1 AND id = $2 RETURNING *`,
      values: [
        tx.tenant,
        row.id,
        r.state,
        JSON.stringify(r.consulted),
        r.reason ?? null,
        r.fence ?? null,
        JSON.stringify(turnEntries(r, now.toISOString())),
        JSON.stringify(turn.request),
        plan?.targets ?? row.targets,
        JSON.stringify(plan?.claims ?? row.claims ?? []),
        plan?.version ?? null,
        plan?.effect ?? null,
        turn.irDigest ?? null,
        plan?.atoms ?? null,
        turn.withdrawn,
        turn.ownClaims === undefined ? null : JSON.stringify(turn.ownClaims),
      ],
    });
    await this.repository.dropWaiters(tx, row.ticket);
    if (r.state === 'queued')
      await this.repository.insertWaiters(tx, {
        ticket: row.ticket,
        rankAt: row.rank_at,
        owner: ownerOf(row.flow, row.initiator),
        runId: row.id,
        claims: plan!.claims,
      });
    if (row.kind === 'run') tellVerdict(tx, saved!, r, now);
    if (r.state === 'admitted')
      tx.afterCommit(() => this.signals.emit(row.kind === 'run' ? 'admitted' : 'granted', row.id));
    // One that is held or asked about no longer stands in anybody's way, and neither do targets that were dropped.
    if (r.state === 'held' || r.state === 'needs-approval' || turn.withdrawn.length > 0)
      tx.afterCommit(() => this.signals.emit('released'));
  }

  private refuse(row: AdmissionRow, reason: string): Promise<void> {
    const consulted = [{ policy: 'catalog', saw: reason, said: 'reject' }];
    return this.db.inTransaction(row.tenant, (tx) => this.refuseIn(tx, row, reason, consulted));
  }

  /** Ends it without a start: rejected, or joined to the run `into`. */
  private async refuseIn(
    tx: Tx,
    row: AdmissionRow,
    reason: string,
    consulted: Consulted[],
    into?: string,
  ): Promise<void> {
    const now = this.clock.now();
    const verdict = into === undefined ? 'rejected' : 'coalesced';
    const entry: TimelineEntry = { at: now.toISOString(), kind: 'admission', title: `${verdict}: ${reason}` };
    const changed = await tx.query(
      `UPDATE control.admission SET state = $6, into_id = $7::uuid, reason = $3, consulted = $5, ended_at = clock_timestamp(), history = history || $4::jsonb
        WHERE tenant = $1 AND id = $2 AND state = 'queued' RETURNING id`,
      [tx.tenant, row.id, reason, JSON.stringify([entry]), JSON.stringify(consulted), verdict, into ?? null],
    );
    if (changed.length === 0) return;
    await this.repository.dropWaiters(tx, row.ticket);
    publishRuns(
      tx,
      {
        ...runsBase(row, now),
        kind: 'verdict',
        verdict,
        consulted,
        reason,
        ...(into === undefined ? {} : { into }),
      },
      String(row.history.length),
    );
    tx.afterCommit(() => {
      this.signals.emit('ended', row.id);
      // Others may have waited behind it.
      this.signals.emit('released');
    });
  }

  private async later(id: string): Promise<void> {
    await this.db.query(
      `UPDATE control.admission SET next_try_at = clock_timestamp() + make_interval(secs => $2) WHERE tenant = 'default' AND id = $1 AND state = 'queued'`,
      [id, ASK_AGAIN_MS / 1_000],
    );
  }

  /** Ends what waited longer than it stays valid, also under a halt, and locks that nobody asks for any more. */
  private async expire(batch: number): Promise<void> {
    const rows = await this.db.query<{ id: string; silent: boolean }>({
      name: 'control.overdue',
      text: `SELECT id, valid_until > clock_timestamp() AS silent FROM control.admission WHERE tenant = 'default' AND state IN ('queued', 'held', 'needs-approval')
        AND (valid_until <= clock_timestamp() OR alive_until <= clock_timestamp()) ORDER BY valid_until LIMIT $1`,
      values: [batch],
    });
    for (const { id, silent } of rows)
      await this.db.inTransaction('default', (tx) =>
        this.ends.end(tx, id, 'expired', silent ? SILENT : 'waited longer than it stays valid'),
      );
  }

  private async free(): Promise<void> {
    if (await freeExpired(this.db)) this.signals.emit('released');
  }
}
