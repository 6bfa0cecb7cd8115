import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import {
  type CompiledFlow,
  digestOf,
  OpsError,
  problem,
  TEMPORAL_NAMES,
  type TimelineEntry,
  workflowIdOf,
} from '@opsloop/contracts';
import { Clock, Failpoint, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import type { AdmissionRow, StartableRow } from '../admit/admission-row.js';
import { OfferingService } from '../admit/offering.service.js';
import { haltsOn, subjectOf } from '../halts/halt-scope.pure.js';
import { CloseRunService, publishStarted } from '../runs/close-run.service.js';
import { type FreshAdmission, Signals } from '../signals.service.js';
import { JournalRepository } from '../steer/journal.repository.js';
import { HoldService } from './hold.service.js';
import { contextOf, runInputOf, workflowOf } from './start.pure.js';
import { WorkflowClient } from './workflow-client.service.js';

/** Starts in flight: each is one RPC of some 6 ms; more only queue inside the server. */
const PARALLEL_MAX = 16;
/** A start that another process took and did not finish by then is anybody's; well above the RPC deadline of 4 s. */
const CLAIM_S = 15;
/** A fresh admission that waited longer for its turn here looks at the halts again; far below its claim of 5 s. */
const FRESH_MS = 1_000;
/** Waits between tries while Temporal refuses or is away. */
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 10_000;
/** Crash recovery looks each second. */
const SWEEP_MS = 1_000;
const SWEEP_BATCH = 64;
/** Compiled flows of 10–100 KB; the ones of a busy minute. */
const IR_CACHE_MAX = 200;

/** Starts workflows of admitted runs: right after the commit in this process, else by the loop of any process. */
@Injectable()
export class StarterService implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly waiting: { id: string; fresh?: FreshAdmission | undefined }[] = [];
  private readonly queued = new Set<string>();
  private readonly running = new Set<Promise<void>>();
  private readonly irs = new Map<string, CompiledFlow>();
  private loop: DueLoop | undefined;
  private off: (() => void) | undefined;

  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly offerings: OfferingService,
    private readonly workflows: WorkflowClient,
    private readonly closing: CloseRunService,
    private readonly holds: HoldService,
    private readonly failpoint: Failpoint,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly journals: JournalRepository,
  ) {}

  onApplicationBootstrap(): void {
    this.off = this.signals.on('admitted', (id, fresh) => {
      this.failpoint.pass('control.after-commit');
      this.enqueue(id, fresh);
    });
    this.loop = startDueLoop({
      name: 'control.starter',
      everyMs: SWEEP_MS,
      batch: SWEEP_BATCH,
      logger: this.logger,
      run: (batch) => this.sweep(batch),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    await this.loop?.stop();
    this.waiting.length = 0;
    await Promise.all(this.running);
  }

  private enqueue(id: string, fresh?: FreshAdmission): void {
    if (this.queued.has(id)) return;
    this.queued.add(id);
    this.waiting.push({ id, fresh });
    this.fill();
  }

  private fill(): void {
    while (this.running.size < PARALLEL_MAX) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      const { id, fresh } = next;
      const work = this.start(id, fresh)
        .catch((error: unknown) => this.logger.warn('a start failed; it is tried again', { run: id, error }))
        .finally(() => {
          this.running.delete(work);
          this.queued.delete(id);
          this.fill();
        });
      this.running.add(work);
    }
  }

  /** Admitted runs that nobody is starting: their process died, or Temporal was away. */
  private async sweep(batch: number): Promise<number> {
    const rows = await this.db.query<{ id: string }>({
      name: 'control.unstarted',
      text: `SELECT id FROM control.admission WHERE state = 'admitted' AND kind = 'run' AND next_try_at <= clock_timestamp()
        AND coalesce(claimed_until, created_at + interval '1 second') <= clock_timestamp() ORDER BY created_at LIMIT $1`,
      values: [batch],
    });
    for (const { id } of rows) this.enqueue(id);
    // A full batch is already in hand; asking again at once would find the same rows.
    return 0;
  }

  private async start(id: string, fresh: FreshAdmission | undefined): Promise<void> {
    const row =
      fresh !== undefined && performance.now() - fresh.at < FRESH_MS ? this.known(fresh) : await this.take(id, fresh);
    if (row === undefined) return;
    // Its first step may begin before the answer is here.
    const began = this.clock.now();
    try {
      await this.startWorkflow(row);
    } catch (error) {
      return this.failed(row, error);
    }
    const answered = this.clock.now();
    this.failpoint.pass('control.after-start');
    await this.markStarted(row.tenant, id, began, answered);
  }

  /** Admitted a moment ago by this process: claimed by its admission, which has seen every halt. */
  private known({ row, compiled }: FreshAdmission): StartableRow {
    this.remember(row.ir_digest!, compiled);
    return row;
  }

  /** Claims a start and looks at the halts. */
  private async take(id: string, fresh: FreshAdmission | undefined): Promise<StartableRow | undefined> {
    const [row] = await this.db.query<AdmissionRow>({
      name: 'control.claim-start',
      // The claim of an admission may be turned into one of the start by its own process alone.
      text: `UPDATE control.admission SET claimed_until = clock_timestamp() + make_interval(secs => $2), start_attempts = start_attempts + 1
        WHERE tenant = 'default' AND id = $1 AND state = 'admitted' AND kind = 'run'
          AND (coalesce(claimed_until, '-infinity') <= clock_timestamp() OR ($3 AND start_attempts = 0)) RETURNING *`,
      values: [id, CLAIM_S, fresh !== undefined],
    });
    if (row === undefined) return undefined;
    // After the claim is visible: whoever makes a halt now either sees the claim and waits for it, or we see the halt.
    const halts = haltsOn(
      await this.repository.liveHalts({ tenant: row.tenant, query: (q, v) => this.db.query(q, v) }),
      subjectOf(row),
    );
    if (halts.length === 0) return row;
    await this.holds.hold(row, halts[0]!);
    return undefined;
  }

  private async startWorkflow(row: StartableRow): Promise<void> {
    const compiled = await this.ir(row);
    const { type, ir, input, summary } = workflowOf(row, compiled);
    const { retryOf } = row.request;
    const retry = retryOf === undefined ? undefined : await this.journals.start(row.tenant, row.id);
    const context = {
      ...contextOf(row, this.clock.now()),
      ...(retryOf === undefined ? {} : { retryOf, epoch: retry?.epoch ?? 1 }),
    };
    const irDigest = ir === compiled ? row.ir_digest! : digestOf(ir);
    const run = runInputOf({ context, ir, irDigest, input, config: await this.offerings.config() });
    if (!run.inline && ir !== compiled)
      await this.repository.keepIr({ tenant: row.tenant, query: (q, v) => this.db.query(q, v) }, irDigest, ir);
    const started = retry === undefined ? run.input : { ...run.input, carried: retry.carried };
    await this.workflows.start({ type, workflowId: workflowIdOf(row.flow, row.id), input: started, summary });
  }

  private async ir(row: StartableRow): Promise<CompiledFlow> {
    const digest = row.ir_digest!;
    const known = this.irs.get(digest);
    if (known !== undefined) return known;
    const [found] = await this.db.query<{ body: CompiledFlow }>(
      'SELECT body FROM control.ir WHERE tenant = $1 AND digest = $2',
      [row.tenant, digest],
    );
    if (found === undefined) throw new OpsError('internal', `the compiled flow ${digest} is gone`);
    this.remember(digest, found.body);
    return found.body;
  }

  private remember(digest: string, compiled: CompiledFlow): void {
    if (this.irs.size >= IR_CACHE_MAX) this.irs.clear();
    this.irs.set(digest, compiled);
  }

  /** Notes the start. Not durable: after a crash the starter finds the workflow already started and notes it again. */
  private async markStarted(tenant: string, id: string, began: Date, answered: Date): Promise<void> {
    const cancel = await this.db.inTransaction(
      tenant,
      async (tx) => {
        const entry: TimelineEntry = { at: began.toISOString(), kind: 'run', title: 'started' };
        const [row] = await tx.query<AdmissionRow>({
          name: 'control.started',
          // The moment of Temporal's answer; never before the admission, should the two clocks differ.
          text: `UPDATE control.admission SET state = 'started', started_at = greatest(created_at, $4::timestamptz), claimed_until = NULL, checked_at = clock_timestamp(),
              history = history || $3::jsonb WHERE tenant = $1 AND id = $2 AND state = 'admitted' RETURNING *`,
          values: [tx.tenant, id, JSON.stringify([entry]), answered],
        });
        if (row === undefined) return undefined;
        publishStarted(tx, row, answered);
        return row.cancel_reason === null ? undefined : row;
      },
      { durable: false },
    );
    if (cancel !== undefined) await this.workflows.cancel(cancel.workflow_id!);
  }

  /** What a repeat cannot mend ends the run; everything else is tried again. */
  private async failed(row: StartableRow, error: unknown): Promise<void> {
    if (this.workflows.isPermanent(error)) {
      const detail = `Temporal refused to start it: ${this.workflows.reasonOf(error)}`;
      await this.closing.close(row.tenant, row.id, {
        status: 'failed',
        problem: problem('validation', detail),
        clean: true,
        began: false,
        by: 'the starter',
      });
      return;
    }
    const delay = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(row.start_attempts, 10));
    await this.db.query(
      `UPDATE control.admission SET claimed_until = NULL, next_try_at = clock_timestamp() + make_interval(secs => $3)
        WHERE tenant = $1 AND id = $2 AND state = 'admitted'`,
      [row.tenant, row.id, delay / 1_000],
    );
    this.logger.warn('a start failed; it is tried again', { run: row.id, queue: TEMPORAL_NAMES.flowQueue, error });
  }
}
