import { Injectable } from '@nestjs/common';
import {
  type BlockedBy,
  type Diagnosis,
  OpsError,
  type Page,
  type RunStatus,
  type RunView,
  type StepRecord,
  type Tier,
  type TimelineEntry,
} from '@opsloop/contracts';
import { Clock, decodeCursor, encodeCursor, InternalClient, IsoTime } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import { type AdmissionRow, WAITING_STATES } from '../admit/admission-row.js';
import { approvalEntries } from '../approvals/approval.pure.js';
import { ApprovalRepository } from '../approvals/approval.repository.js';
import { DiagnoseService } from '../diagnose/diagnose.service.js';
import { diagnosePaused, diagnoseWaiting, sorted } from '../diagnose/diagnosis.pure.js';
import { BudgetRepository } from '../policies/budget.repository.js';
import { freeAtOf } from '../policies/policy-verdict.pure.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { withProgress } from './progress.pure.js';
import { requireRunId } from './internal-runs.service.js';
import {
  mergeTimeline,
  type RunPhase,
  runViewOf,
  stepEntries,
  statesOfStatus,
  type ViewExtras,
} from './run-view.pure.js';

export interface RunFilter {
  limit: number;
  cursor?: string | undefined;
  status?: RunStatus | undefined;
  flow?: string | undefined;
  rule?: string | undefined;
  tier?: Tier | undefined;
  under?: string | undefined;
  since?: string | undefined;
}

/** A story with more questions than this is told in part; as many steps are shown of a run. */
const APPROVALS_MAX = 2_000;
/** The story of decision is the front part; without it the rest is still worth showing. */
const STORY_TIMEOUT_MS = 3_000;

/** Two full pages of visibility; further back, only what stands in our own rows is known: pauses by operators and open approvals. */
const PHASES_MAX = 2_000;
/** All of these are started runs, and differ in what they do. */
const isDoing = (status: RunStatus | undefined): boolean =>
  status === 'running' || status === 'paused' || status === 'waiting';

/** Reads runs: rows of our own, completed by the workflow while it runs. */
@Injectable()
export class RunReader {
  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly workflows: WorkflowClient,
    private readonly internal: InternalClient,
    private readonly approvals: ApprovalRepository,
    private readonly diagnoses: DiagnoseService,
    private readonly clock: Clock,
    private readonly budgets: BudgetRepository,
  ) {}

  async row(tenant: string, id: string): Promise<AdmissionRow> {
    requireRunId(id);
    const [row] = await this.db.query<AdmissionRow>({
      name: 'control.run',
      text: 'SELECT * FROM control.admission WHERE tenant = $1 AND id = $2',
      values: [tenant, id],
    });
    if (row === undefined) throw new OpsError('not-found', `There is no run ${id}`);
    return row;
  }

  async get(tenant: string, id: string): Promise<RunView> {
    return this.view(await this.row(tenant, id));
  }

  async view(row: AdmissionRow): Promise<RunView> {
    const extras: ViewExtras = {
      temporalUrl: row.workflow_id === null ? undefined : this.workflows.url(row.workflow_id),
    };
    if (row.state === 'queued') Object.assign(extras, await this.place(row));
    if (row.state === 'started') {
      const [live, diagnosis] = await Promise.all([this.liveSteps(row), this.diagnoses.live(row)]);
      const paused = row.paused ? [diagnosePaused(row.id, row.acts, this.clock.now())] : [];
      Object.assign(extras, live, { diagnosis: sorted([...diagnosis, ...paused]) });
    }
    if (row.state === 'started' && row.waits)
      extras.approvals = (await this.approvals.openOf(row.tenant, [row.id])).get(row.id);
    if (WAITING_STATES.includes(row.state)) extras.diagnosis = [this.waitingFor(row, extras)];
    return runViewOf(row, extras);
  }

  private waitingFor(row: AdmissionRow, { position, blockedBy }: ViewExtras): Diagnosis {
    return diagnoseWaiting({
      id: row.id,
      state: row.state as 'queued' | 'held' | 'needs-approval',
      reason: row.reason ?? undefined,
      position,
      blockedBy,
      since: row.created_at,
      validUntil: row.valid_until,
      now: this.clock.now(),
    });
  }

  async list(tenant: string, f: RunFilter): Promise<Page<RunView>> {
    const wanted = f.status === undefined ? undefined : statesOfStatus(f.status);
    const after = f.cursor === undefined ? undefined : cursorOf(f.cursor);
    const filter = isDoing(f.status) ? await this.phases(f.status) : undefined;
    const inPhase = (phase: RunPhase): string[] => [...(filter ?? [])].filter(([, p]) => p === phase).map(([id]) => id);
    const rows = await this.db.query<AdmissionRow>(
      `SELECT * FROM control.admission a WHERE tenant = $1 AND kind = 'run'
        AND ($2::text[] IS NULL OR state = ANY($2) OR (state = 'closed' AND status = ANY($3)))
        AND ($4::text IS NULL OR flow = $4) AND ($5::text IS NULL OR rule = $5) AND ($6::text IS NULL OR tier = $6)
        AND ($7::text IS NULL OR EXISTS (SELECT 1 FROM unnest(targets) t WHERE t = $7 OR starts_with(t, $7 || '/')))
        AND ($8::timestamptz IS NULL OR created_at >= $8)
        AND ($9::timestamptz IS NULL OR (created_at, id) < ($9, $10::uuid))
        AND ($12::text IS NULL OR $12 = CASE WHEN state <> 'started' THEN 'running'
          WHEN paused OR workflow_id = ANY($13::text[]) THEN 'paused'
          WHEN workflow_id = ANY($14::text[]) OR (waits AND EXISTS (SELECT 1 FROM control.approval q
            WHERE q.tenant = a.tenant AND q.run_id = a.id AND q.status = 'open')) THEN 'waiting'
          ELSE 'running' END)
        ORDER BY created_at DESC, id DESC LIMIT $11`,
      [
        tenant,
        wanted?.states ?? null,
        wanted?.ends ?? null,
        f.flow ?? null,
        f.rule ?? null,
        f.tier ?? null,
        f.under ?? null,
        f.since ?? null,
        after?.at ?? null,
        after?.id ?? null,
        f.limit + 1,
        filter === undefined ? null : f.status,
        inPhase('paused'),
        inPhase('waiting'),
      ],
    );
    const page = rows.slice(0, f.limit);
    const last = page.at(-1);
    const started = page.filter((row) => row.state === 'started');
    const asked = await this.approvals.openOf(
      tenant,
      started.filter((row) => row.waits).map((row) => row.id),
    );
    const phases = filter ?? (started.length === 0 ? undefined : await this.phases());
    return {
      // Steps, input and output of each run would make pages of megabytes; they stand in the run itself.
      items: page.map((row) => {
        const {
          steps: _steps,
          input: _input,
          output: _output,
          ...rest
        } = runViewOf(row, {
          temporalUrl: row.workflow_id === null ? undefined : this.workflows.url(row.workflow_id),
          approvals: asked.get(row.id),
          phase: row.workflow_id === null ? undefined : phases?.get(row.workflow_id),
        });
        return rest;
      }),
      ...(rows.length <= f.limit || last === undefined
        ? {}
        : { nextCursor: encodeCursor([last.created_at.toISOString(), last.id]) }),
    };
  }

  /** Who waits and who is held. A list of just these needs the answer; every other goes without, and shows more as running. */
  private async phases(status?: RunStatus): Promise<Map<string, RunPhase>> {
    try {
      return await this.workflows.phases(PHASES_MAX);
    } catch (error) {
      if (status === undefined || status === 'running') return new Map();
      throw new OpsError('unavailable', `Temporal does not say which runs are ${status}; try again`, {
        cause: error,
        retryAfterSec: 5,
      });
    }
  }

  async timeline(tenant: string, id: string): Promise<{ items: TimelineEntry[]; stale?: true }> {
    const row = await this.row(tenant, id);
    const until = row.ended_at?.toISOString();
    const [story, live] = await Promise.all([
      this.internal
        .call(
          'POST /internal/decision/story',
          {
            ...(row.decision_id === null ? {} : { decisionId: row.decision_id }),
            targets: row.targets,
            since: row.created_at.toISOString(),
            ...(until === undefined ? {} : { until }),
          },
          {},
          { timeoutMs: STORY_TIMEOUT_MS },
        )
        .catch(() => undefined),
      row.state === 'started' ? this.liveSteps(row) : Promise.resolve<ViewExtras>({}),
    ]);
    const steps = live.steps ?? row.steps ?? [];
    const items = mergeTimeline(story?.entries ?? [], row.history, stepEntries(steps), await this.asked(row));
    return { items, ...(story === undefined || live.stale === true ? { stale: true as const } : {}) };
  }

  /** What people were asked and said. */
  private async asked(row: AdmissionRow): Promise<TimelineEntry[]> {
    if (!row.waits) return [];
    const rows = await this.approvals.list(row.tenant, { run: row.id, limit: APPROVALS_MAX });
    const answers = await this.approvals.answers(
      row.tenant,
      rows.map((one) => one.id),
    );
    return rows.flatMap((one) => approvalEntries(one, answers.get(one.id)!));
  }

  /** Where a queued run stands and who is in its way, as of now. */
  async place(row: AdmissionRow): Promise<{ position: number; blockedBy: BlockedBy[]; eta?: string }> {
    const claims = row.claims ?? [];
    const [found] = await this.db.query<{ holders: BlockedBy[]; ahead: BlockedBy[] }>(
      'SELECT control.holders($1, $2, $3, NULL) AS holders, control.ahead($1, $2, $3, $4, $5) AS ahead',
      [row.tenant, claims.map((c) => c.path), claims.map((c) => c.mode === 'exclusive'), row.rank_at, row.ticket],
    );
    const { ahead } = found!;
    const rooms = row.facts === null ? undefined : await this.budgets.standing(this.db, row);
    const holders = [...(rooms?.holders ?? []), ...found!.holders];
    const db = { tenant: row.tenant, query: this.db.query.bind(this.db) };
    const eta = freeAtOf(row) ?? (await this.repository.eta(db, { holders, ahead }));
    return {
      position: Math.max(ahead.length, rooms?.ahead ?? 0) + 1,
      blockedBy: [...holders, ...ahead].slice(0, 10),
      ...(eta === undefined ? {} : { eta }),
    };
  }

  /** From the workflow within 2 s, and kept; else the last known ones, marked stale. */
  async liveSteps(row: AdmissionRow): Promise<{ steps?: StepRecord[]; stale?: boolean }> {
    try {
      const steps = await this.workflows.steps(row.workflow_id!);
      if (!steps.some((step) => step.verb === 'call' && step.status === 'running')) return { steps };
      // Without it the steps are still worth showing.
      const pending = await this.workflows.pending(row.workflow_id!).catch(() => []);
      return { steps: withProgress(steps, pending) };
    } catch {
      return { ...(row.steps === null ? {} : { steps: row.steps }), stale: true };
    }
  }
}

/** Rows keep whole milliseconds, as dates in JavaScript do, so a cursor names its row exactly. */
export function cursorOf(text: string): { at: string; id: string } {
  const value = decodeCursor(text);
  if (
    Array.isArray(value) &&
    typeof value[0] === 'string' &&
    typeof value[1] === 'string' &&
    IsoTime.safeParse(value[0]).success
  ) {
    requireRunId(value[1]);
    return { at: value[0], id: value[1] };
  }
  throw new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}
