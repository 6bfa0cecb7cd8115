import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { isProblem, type Json, problem } from '@opsloop/contracts';
import { Clock, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { problemOfFailure } from '@opsloop/temporal';
import { CancelledFailure } from '@temporalio/common';
import { type Described, WorkflowClient } from '../start/workflow-client.service.js';
import { DiagnoseService } from '../diagnose/diagnose.service.js';
import { type HaltedRun, QueuedAtoms } from '../halts/queued-atoms.service.js';
import { CloseRunService, type RunEnding } from './close-run.service.js';

/** A terminated or timed-out workflow is noticed within this and one pass. */
const LIST_EVERY_MS = 5_000;
/** Visibility lags and clocks differ: each pass looks two minutes further back than the last good one. */
const OVERLAP_MS = 120_000;
/** Ends of two minutes at 40 runs/s; more come with the next pass. */
const LIST_MAX = 5_000;
/**
 * The slow sweep, for what visibility never told and for runs that do not go on: 20 Describes a second, each run at most
 * twice a minute.
 */
const SWEEP_EVERY_MS = 1_000;
const SWEEP_BATCH = 20;
const SWEEP_AGE_S = 30;
/** A workflow that was started a moment ago may not be known everywhere yet. */
const LOST_AFTER_MS = 30_000;

interface OpenRun {
  id: string;
  tenant: string;
  workflow_id: string;
  started_at: Date;
}

/** Closes runs whose workflow ended without telling: terminated, timed out, or gone. Ignorance closes nothing. */
@Injectable()
export class ReconcileService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loops: DueLoop[] = [];
  private since: Date;

  constructor(
    private readonly db: Database,
    private readonly workflows: WorkflowClient,
    private readonly closing: CloseRunService,
    private readonly diagnoses: DiagnoseService,
    private readonly queued: QueuedAtoms,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    // What ended while no control was running is found by the sweep at the latest.
    this.since = new Date(clock.now().getTime() - 3_600_000);
  }

  onApplicationBootstrap(): void {
    this.loops = [
      startDueLoop({
        name: 'control.reconcile',
        everyMs: LIST_EVERY_MS,
        logger: this.logger,
        run: () => this.listClosed(),
      }),
      // Never again at once, whatever it did: the rate is the point.
      startDueLoop({
        name: 'control.sweep',
        everyMs: SWEEP_EVERY_MS,
        batch: Number.MAX_SAFE_INTEGER,
        logger: this.logger,
        run: () => this.sweep(),
      }),
    ];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  private async listClosed(): Promise<number> {
    const began = this.clock.now();
    const anyOpen = await this.db.query(
      `SELECT 1 FROM control.admission WHERE state = 'started' AND tenant = 'default' LIMIT 1`,
    );
    if (anyOpen.length > 0) {
      const ids = await this.workflows.closedSince(new Date(this.since.getTime() - OVERLAP_MS), LIST_MAX);
      const rows = await this.db.query<OpenRun>(
        `SELECT id, tenant, workflow_id, started_at FROM control.admission WHERE workflow_id = ANY($1) AND state = 'started'`,
        [ids],
      );
      for (const row of rows) await this.check(row);
    }
    this.since = began;
    return 0;
  }

  private async sweep(): Promise<number> {
    const rows = await this.db.query<OpenRun & HaltedRun>({
      name: 'control.sweep',
      text: `UPDATE control.admission SET checked_at = clock_timestamp() WHERE (tenant, id) IN (
          SELECT tenant, id FROM control.admission WHERE tenant = 'default' AND state = 'started' AND checked_at < clock_timestamp() - make_interval(secs => $1)
          ORDER BY checked_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, tenant, workflow_id, started_at, rule, flow, atoms, targets, tier, ir_digest`,
      values: [SWEEP_AGE_S, SWEEP_BATCH],
    });
    for (const row of rows) {
      const described = await this.check(row);
      // Where nothing waits for a worker there is nothing to hold or to let go.
      const { activities = [], children = 0 } = described?.facts ?? {};
      if (children > 0 || activities.some((one) => one.state !== 'started')) await this.queued.settle(row);
    }
    return rows.length;
  }

  /** How its workflow stands. Throws when Temporal cannot be asked, and then nothing happens. */
  async check(row: OpenRun): Promise<Described | undefined> {
    const described = await this.workflows.describe(row.workflow_id);
    if (described === undefined) {
      if (this.clock.now().getTime() - row.started_at.getTime() <= LOST_AFTER_MS) return undefined;
      await this.closing.close(row.tenant, row.id, {
        status: 'failed',
        problem: problem('run-lost', 'Temporal no longer knows its workflow'),
        clean: false,
        by: 'the reconciler',
      });
      return undefined;
    }
    const ending = await this.endingOf(row, described);
    if (ending !== undefined) await this.closing.close(row.tenant, row.id, ending);
    else await this.diagnoses.note(row.tenant, row.id, described);
    return described;
  }

  private async endingOf(row: OpenRun, described: Described): Promise<RunEnding | undefined> {
    const by = 'the reconciler';
    switch (described.status) {
      case 'COMPLETED': {
        const { output } = await this.workflows.result(row.workflow_id);
        return { status: 'succeeded', ...(output === undefined ? {} : { output: output as Json }), clean: true, by };
      }
      case 'FAILED': {
        const { failure } = await this.workflows.result(row.workflow_id);
        return { ...endingOfFailure(failure), clean: true, by };
      }
      case 'CANCELLED':
      case 'CANCELED':
        return { status: 'cancelled', clean: true, by };
      case 'TERMINATED':
        return {
          status: 'terminated',
          problem: problem('cancelled', 'its workflow was terminated on Temporal'),
          clean: false,
          by,
        };
      case 'TIMED_OUT':
        return {
          status: 'failed',
          problem: problem('timeout', 'its workflow ran into its time limit'),
          clean: false,
          by,
        };
      default:
        return undefined;
    }
  }
}

/**
 * How a run ended whose workflow closed as Failed and whose report nobody got. Temporal closes a workflow as Canceled
 * only when somebody asked Temporal for it; one that cancels itself, since the cause of its approval has cleared,
 * closes as Failed with a cancellation as its failure, and is no failed run.
 */
function endingOfFailure(cause: unknown): Pick<RunEnding, 'status' | 'problem'> {
  if (!(cause instanceof CancelledFailure)) return { status: 'failed', problem: problemOfFailure(cause) };
  const said = cause.details?.[0];
  return { status: 'cancelled', problem: isProblem(said) ? said : problemOfFailure(cause) };
}
