import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import {
  type DocumentsMessage,
  type HaltScope,
  type HaltSnapshot,
  type HaltView,
  type JsonObject,
  OpsError,
} from '@opsloop/contracts';
import { messageId, newId } from '@opsloop/contracts/ids';
import { Clock, InternalClient, Logger, type Principal } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { AdmissionRepository, type HaltRow, haltView } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { requireRunId } from '../runs/internal-runs.service.js';
import { Signals } from '../signals.service.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { QueuedAtoms } from './queued-atoms.service.js';
import { haltsOn, inScope, ruleInScope, subjectOf } from './halt-scope.pure.js';

/** A start that was already on its way to Temporal when the halt was made takes at most its RPC deadline of 4 s. */
const IN_FLIGHT_MAX_MS = 5_000;
const IN_FLIGHT_EVERY_MS = 20;
/** Held work goes on at this rate unless the lift says otherwise. */
export const PER_MINUTE_DEFAULT = 60;
/** Signals that wake runs after a lift; each is an RPC, and the runs look for themselves anyway. */
const SIGNALS_PER_S = 20;
const EXPIRY_EVERY_MS = 250;
/** A halt in an emergency is not held up by an app that does not answer. */
const RULES_TIMEOUT_MS = 1_000;

export interface HaltRequest {
  scope: HaltScope;
  running: HaltView['running'];
  reason: string;
  until?: string | undefined;
  dryRun?: boolean | undefined;
  /** Somebody else than who made it has to lift it. */
  secondPerson?: boolean | undefined;
}

/** What a halt looks at of open work: a tenth of the row, and a thousand runs are read in a few milliseconds. */
type OpenRow = Pick<
  AdmissionRow,
  'id' | 'tenant' | 'state' | 'rule' | 'flow' | 'atoms' | 'targets' | 'tier' | 'workflow_id' | 'ir_digest'
>;
const OPEN_COLUMNS = 'id, tenant, state, rule, flow, atoms, targets, tier, workflow_id, ir_digest';

/** Stands where the name of a person stands. */
const BRAKE = 'the automatic brake';
/** From the time that a lift writes down to its commit: it frees thousands of held runs in less. */
const LIFT_MS = 2_000;

export interface BrakeOrder {
  scope: HaltScope;
  reason: string;
  brake: NonNullable<HaltView['brake']>;
  figures: JsonObject;
}

export interface HaltHits {
  /** Active rules that may start something in scope; absent when decision does not answer. */
  rules?: number;
  queued: number;
  running: number;
  targets: number;
}

/** Orders that nothing in their scope starts or goes on. They need PostgreSQL alone. */
@Injectable()
export class HaltService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private stopped = false;

  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly workflows: WorkflowClient,
    private readonly queued: QueuedAtoms,
    private readonly internal: InternalClient,
    private readonly signals: Signals,
    private readonly notices: NoticeService,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.halts',
      everyMs: EXPIRY_EVERY_MS,
      logger: this.logger,
      run: () => this.expire(),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    await this.loop?.stop();
  }

  /** When this returns, nothing in scope is admitted or started any more. */
  async make(principal: Principal, request: HaltRequest): Promise<{ id?: string; hits: HaltHits }> {
    if (request.until !== undefined && Date.parse(request.until) <= this.clock.now().getTime()) {
      throw new OpsError('validation', '/until lies in the past', {
        errors: [{ pointer: '/until', message: 'lies in the past' }],
      });
    }
    if (request.dryRun === true)
      return { hits: await this.hitsOf(request.scope, await this.openIn(principal.tenant, request.scope)) };
    const id = newId();
    await this.db.inTransaction(principal.tenant, (tx) => this.insert(tx, id, { ...request, by: principal.name }));
    await this.waitForStarts(principal.tenant, request.scope);
    const hit = await this.openIn(principal.tenant, request.scope);
    if (request.running === 'cancel')
      this.cancelAll(
        hit.filter((r) => r.state === 'started'),
        `halt ${id}: ${request.reason}`,
      );
    if (request.running === 'pause') await this.queued.settleAll(hit.filter((r) => r.state === 'started'));
    return { id, hits: await this.hitsOf(request.scope, hit) };
  }

  /**
   * Made by nobody but the brake itself, once per rule or flow. Undefined: it is in force already, or somebody lifted it
   * while the brake was looking, at what the lift forgives; the next look sees only what came after it.
   */
  async brake(tenant: string, order: BrakeOrder, lookedMs: number): Promise<string | undefined> {
    const id = newId();
    const { scope, reason, brake, figures } = order;
    const made = await this.db.inTransaction(tenant, async (tx) => {
      const inserted = await this.insert(tx, id, { scope, reason, brake, lookedMs, running: 'pause', by: BRAKE });
      if (inserted)
        await this.notices.tell(tx, {
          type: 'opsloop.brake.pulled',
          subject: `halt/${id}`,
          key: id,
          data: {
            halt: id,
            ...brake,
            reason,
            figures,
            next: `opsloop halts lift ${id} --reason "…"`,
          },
        });
      return inserted;
    });
    if (made)
      void this.openIn(tenant, scope)
        .then((rows) => this.queued.settleAll(rows.filter((r) => r.state === 'started')))
        .catch((error: unknown) => this.logger.warn('calls that wait could not be held', { halt: id, error }));
    return made ? id : undefined;
  }

  async isBraked(tenant: string, subject: string): Promise<boolean> {
    const found = await this.db.query(
      `SELECT 1 FROM control.halt WHERE tenant = $1 AND brake->>'subject' = $2 AND lifted_at IS NULL`,
      [tenant, subject],
    );
    return found.length > 0;
  }

  /** The caller holds the halts' lock, so that no lift comes between this and the halt. */
  private async isLifted(tx: Tx, subject: string, withinMs: number): Promise<boolean> {
    const found = await tx.query(
      `SELECT 1 FROM control.halt WHERE tenant = $1 AND brake->>'subject' = $2 AND lifted_at > clock_timestamp() - make_interval(secs => $3::double precision)`,
      [tx.tenant, subject, (withinMs + LIFT_MS) / 1_000],
    );
    return found.length > 0;
  }

  private async insert(
    tx: Tx,
    id: string,
    h: Omit<HaltRequest, 'dryRun'> & { by: string; brake?: BrakeOrder['brake']; lookedMs?: number },
  ): Promise<boolean> {
    // Alone: waits for every admission that may not have seen this halt.
    await tx.query('SELECT pg_advisory_xact_lock(control.halt_key($1))', [tx.tenant]);
    if (h.brake !== undefined && (await this.isLifted(tx, h.brake.subject, h.lookedMs ?? 0))) return false;
    const made = await tx.query(
      `INSERT INTO control.halt (tenant, id, scope, running, reason, made_by, until, brake, second_person) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT DO NOTHING RETURNING id`,
      [
        tx.tenant,
        id,
        JSON.stringify(h.scope),
        h.running,
        h.reason,
        h.by,
        h.until ?? null,
        h.brake === undefined ? null : JSON.stringify(h.brake),
        h.secondPerson ?? false,
      ],
    );
    if (made.length === 0) return false;
    this.tell(tx, id, 'created', {
      scope: h.scope as JsonObject,
      running: h.running,
      reason: h.reason,
      by: h.by,
      ...(h.until === undefined ? {} : { until: h.until }),
    });
    return true;
  }

  async list(tenant: string): Promise<{ items: HaltView[] }> {
    return { items: await this.live(tenant) };
  }

  /** Ends a halt. What it held goes back to the queue, most critical first, at a bounded rate, and is checked again at its turn. */
  async lift(
    principal: Principal,
    id: string,
    reason: string,
    perMinute: number,
  ): Promise<{ id: string; released: number }> {
    requireRunId(id);
    const released = await this.db.inTransaction(principal.tenant, (tx) =>
      this.liftIn(tx, id, principal.name, reason, perMinute),
    );
    return { id, released };
  }

  async snapshot(tenant: string): Promise<HaltSnapshot> {
    const [now] = await this.db.query<{ now: Date }>({ name: 'control.now', text: 'SELECT clock_timestamp() AS now' });
    return { asOf: now!.now.toISOString(), halts: await this.live(tenant) };
  }

  live(tenant: string): Promise<HaltView[]> {
    return this.repository.liveHalts({ tenant, query: (q, values) => this.db.query(q, values) });
  }

  private async liftIn(tx: Tx, id: string, by: string, reason: string, perMinute: number): Promise<number> {
    await tx.query('SELECT pg_advisory_xact_lock(control.halt_key($1))', [tx.tenant]);
    await this.requireSecond(tx, id, by);
    const [halt] = await tx.query<HaltRow>(
      'UPDATE control.halt SET lifted_at = clock_timestamp(), lifted_by = $3, lift_reason = $4 WHERE tenant = $1 AND id = $2 AND lifted_at IS NULL RETURNING *',
      [tx.tenant, id, by, reason],
    );
    if (halt === undefined) {
      const known = await tx.query('SELECT 1 FROM control.halt WHERE tenant = $1 AND id = $2', [tx.tenant, id]);
      if (known.length === 0) throw new OpsError('not-found', `There is no halt ${id}`);
      return 0;
    }
    const halts = await this.repository.liveHalts(tx);
    const held = await tx.query<AdmissionRow>(
      `SELECT * FROM control.admission WHERE tenant = $1 AND state = 'held' ORDER BY tier, rank_at, ticket FOR UPDATE`,
      [tx.tenant],
    );
    const free = held.filter((row) => haltsOn(halts, subjectOf(row)).length === 0);
    for (const [i, row] of free.entries())
      await this.release(tx, row, (i * 60) / perMinute, `halt ${id} lifted by ${by}: ${reason}`);
    this.tell(tx, id, 'lifted', { scope: halt.scope as JsonObject, running: halt.running, reason });
    tx.afterCommit(() => {
      this.signals.emit('released');
      void this.wake(tx.tenant, haltView(halt));
    });
    return free.length;
  }

  private async requireSecond(tx: Tx, id: string, by: string): Promise<void> {
    const [own] = await tx.query(
      'SELECT 1 FROM control.halt WHERE tenant = $1 AND id = $2 AND second_person AND made_by = $3 AND lifted_at IS NULL',
      [tx.tenant, id, by],
    );
    if (own !== undefined)
      throw new OpsError(
        'authorization',
        `You made the halt ${id} and asked for a second person: somebody else has to lift it`,
      );
  }

  /** Back to its old place in the queue; its turn comes `afterS` from now at the earliest. */
  async release(tx: Tx, row: AdmissionRow, afterS: number, title: string): Promise<void> {
    const entry = [{ at: this.clock.now().toISOString(), kind: 'admission', title: `queued: ${title}` }];
    await tx.query(
      `UPDATE control.admission SET state = 'queued', reason = $3, next_try_at = clock_timestamp() + make_interval(secs => $4::double precision), history = history || $5::jsonb WHERE tenant = $1 AND id = $2`,
      [tx.tenant, row.id, title, afterS, JSON.stringify(entry)],
    );
    // It enters the queue of waiters only when its turn comes, so that nobody waits behind work that is being held back.
    if (afterS === 0 && row.claims !== null) {
      await this.repository.insertWaiters(tx, {
        ticket: row.ticket,
        rankAt: row.rank_at,
        owner: row.flow,
        runId: row.id,
        claims: row.claims,
      });
    }
  }

  private tell(tx: Tx, id: string, change: DocumentsMessage['change'], body: JsonObject): void {
    tx.publish('documents', {
      id: messageId('halt', tx.tenant, id, change),
      key: `halt/${id}`,
      body: { kind: 'halt', name: id, change, body },
    });
  }

  /** Starts that began before the halt was seen come to their end. */
  private async waitForStarts(tenant: string, scope: HaltScope): Promise<void> {
    const deadline = Date.now() + IN_FLIGHT_MAX_MS;
    for (;;) {
      const rows = await this.db.query<OpenRow>({
        name: 'control.halt-starts',
        text: `SELECT ${OPEN_COLUMNS} FROM control.admission WHERE tenant = $1 AND state = 'admitted' AND kind = 'run' AND claimed_until > clock_timestamp()`,
        values: [tenant],
      });
      if (!rows.some((row) => inScope(scope, subjectOf(row))) || Date.now() > deadline) return;
      await new Promise((resolve) => setTimeout(resolve, IN_FLIGHT_EVERY_MS));
    }
  }

  private async openIn(tenant: string, scope: HaltScope): Promise<OpenRow[]> {
    const rows = await this.db.query<OpenRow>({
      name: 'control.halt-open',
      text: `SELECT ${OPEN_COLUMNS} FROM control.admission WHERE tenant = $1 AND kind = 'run' AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')`,
      values: [tenant],
    });
    return rows.filter((row) => inScope(scope, subjectOf(row)));
  }

  private async hitsOf(scope: HaltScope, rows: readonly OpenRow[]): Promise<HaltHits> {
    const answer = await this.internal
      .call('POST /internal/decision/rules', {}, {}, { timeoutMs: RULES_TIMEOUT_MS })
      .catch(() => undefined);
    const running = rows.filter((r) => r.state === 'started' || r.state === 'admitted');
    return {
      ...(answer === undefined ? {} : { rules: answer.rules.filter((rule) => ruleInScope(scope, rule)).length }),
      queued: rows.length - running.length,
      running: running.length,
      targets: new Set(rows.flatMap((r) => r.targets)).size,
    };
  }

  private cancelAll(rows: readonly OpenRow[], why: string): void {
    void this.paced(rows, async (row) => {
      await this.db.query('UPDATE control.admission SET cancel_reason = $3 WHERE tenant = $1 AND id = $2', [
        row.tenant,
        row.id,
        why,
      ]);
      await this.workflows.cancel(row.workflow_id!);
    });
  }

  /** Runs look for lifted halts by themselves; a signal makes them look at once. */
  private async wake(tenant: string, halt: HaltView): Promise<void> {
    const rows = await this.openIn(tenant, halt.scope).catch(() => []);
    const started = rows.filter((r) => r.state === 'started');
    if (halt.running === 'pause') await this.queued.settleAll(started);
    await this.paced(started, (row) =>
      this.workflows.signalHalt(row.workflow_id!, { halt: halt.id, change: 'lifted' }),
    );
  }

  private async paced(rows: readonly OpenRow[], act: (row: OpenRow) => Promise<void>): Promise<void> {
    for (const row of rows) {
      if (this.stopped) return;
      await act(row).catch((error: unknown) =>
        this.logger.warn('a run could not be told about a halt', { run: row.id, error }),
      );
      await new Promise((resolve) => setTimeout(resolve, 1_000 / SIGNALS_PER_S));
    }
  }

  /** Halts with an end are lifted when it comes, so that what they held goes on. */
  private async expire(): Promise<number> {
    const due = await this.db.query<{ tenant: string; id: string }>({
      name: 'control.due-halts',
      text: `SELECT tenant, id FROM control.halt WHERE tenant = 'default' AND lifted_at IS NULL AND until <= clock_timestamp() LIMIT 10`,
    });
    for (const { tenant, id } of due)
      await this.db.inTransaction(tenant, (tx) =>
        this.liftIn(tx, id, 'its end', 'its time is over', PER_MINUTE_DEFAULT),
      );
    return due.length;
  }
}
