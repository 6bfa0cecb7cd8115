import { Injectable } from '@nestjs/common';
import type { Json, JsonObject, Problem, RunEnd, RunOutcome, StepRecord, TimelineEntry } from '@opsloop/contracts';
import { Clock, Failpoint } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';
import { publishRuns, runsBase } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { closeApprovalsOf } from '../approvals/approval.repository.js';
import { EventWaits } from '../deliver-events/event-waits.repository.js';
import { releaseCharges } from '../policies/budget.repository.js';
import { Signals } from '../signals.service.js';
import { JournalRepository } from '../steer/journal.repository.js';

/**
 * How long the claims of a run that ended without running its own code stay taken: an activity of it may still be at
 * work until its heartbeat says otherwise.
 */
export const LOCK_DELAY_MS = 15_000;

export interface RunEnding {
  status: RunEnd;
  output?: Json;
  problem?: Problem;
  /** Absent: the last known ones stay. */
  steps?: StepRecord[];
  targets?: RunOutcome['targets'];
  /** What a retry would start with. */
  journal?: JsonObject;
  /** False when no workflow code ran at the end: claims stay for the lock delay. */
  clean: boolean;
  /** False when it ended before any workflow existed. Default true. */
  began?: boolean;
  /** Who ended it, for the story. */
  by: string;
}

/** The one way a run ends, whoever notices it first: the flow's own report, our terminate, or the reconciler. */
@Injectable()
export class CloseRunService {
  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly failpoint: Failpoint,
    private readonly waits: EventWaits,
    private readonly journals: JournalRepository,
  ) {}

  async close(tenant: string, id: string, ending: RunEnding): Promise<boolean> {
    return this.db.inTransaction(tenant, (tx) => this.closeIn(tx, id, ending));
  }

  /** Idempotent: only the first ending of a run counts; claims are freed and the end is published with it. */
  async closeIn(tx: Tx, id: string, ending: RunEnding): Promise<boolean> {
    const now = this.clock.now();
    const row = await this.finish(tx, id, ending, now);
    if (row === undefined) return false;
    if (ending.journal !== undefined) await this.journals.keepEnd(tx, id, ending.journal);
    if (ending.clean) {
      await tx.query({
        name: 'control.free',
        text: 'DELETE FROM control.claim WHERE tenant = $1 AND run_id = $2',
        values: [tx.tenant, id],
      });
    } else {
      await tx.query({
        name: 'control.free-later',
        text: `UPDATE control.claim SET releasing = true, expires_at = clock_timestamp() + make_interval(secs => $3::double precision) WHERE tenant = $1 AND run_id = $2`,
        values: [tx.tenant, id, LOCK_DELAY_MS / 1_000],
      });
    }
    if (row.charged) releaseCharges(tx, id, ending.clean ? 0 : LOCK_DELAY_MS / 1_000);
    if (row.waits) {
      this.waits.forget(tx, id);
      closeApprovalsOf(tx, id);
    }
    if (row.kind === 'run') {
      // A quick run reports before its start was noted; whoever follows the story must see both, in order.
      if (row.was_started === null && ending.began !== false) publishStarted(tx, row, now);
      publishRuns(
        tx,
        {
          ...runsBase(row, now),
          kind: 'closed',
          status: ending.status,
          outcome: outcomeOf(row, ending),
          ...(ending.problem === undefined ? {} : { problem: ending.problem }),
        },
        '0',
      );
    }
    this.failpoint.pass('close.before-commit');
    tx.afterCommit(() => {
      this.failpoint.pass('close.after-commit');
      this.signals.emit('ended', id);
      this.signals.emit('released');
    });
    return true;
  }

  private async finish(
    tx: Tx,
    id: string,
    e: RunEnding,
    now: Date,
  ): Promise<(AdmissionRow & { was_started: Date | null }) | undefined> {
    const entry: TimelineEntry = {
      at: now.toISOString(),
      kind: 'run',
      title: `${e.status}, said by ${e.by}`,
      ...(e.problem?.detail === undefined ? {} : { cause: e.problem.detail }),
    };
    const started = e.began === false ? undefined : (e.steps?.[0]?.startedAt ?? now.toISOString());
    const [row] = await tx.query<AdmissionRow & { was_started: Date | null }>({
      name: 'control.close',
      // A start that was not noted yet is noted here: it happened when its first step began, at the latest now.
      text: `UPDATE control.admission a SET state = 'closed', paused = false, status = $3, output = $4, problem = $5, steps = coalesce($6::jsonb, a.steps), outcome = $7,
          started_at = coalesce(a.started_at, $9), ended_at = clock_timestamp(), claimed_until = NULL,
          history = a.history || CASE WHEN a.started_at IS NULL THEN $10::jsonb ELSE '[]' END || $8::jsonb
        FROM (SELECT started_at AS was_started FROM control.admission WHERE tenant = $1 AND id = $2 FOR UPDATE) o
        WHERE a.tenant = $1 AND a.id = $2 AND a.state IN ('admitted', 'started') RETURNING a.*, o.was_started`,
      values: [
        tx.tenant,
        id,
        e.status,
        jsonOrNull(e.output),
        jsonOrNull(e.problem),
        jsonOrNull(e.steps),
        jsonOrNull(e.targets),
        JSON.stringify([...tasksOf(e.steps ?? [], now), entry]),
        started ?? null,
        JSON.stringify(started === undefined ? [] : [{ at: started, kind: 'run', title: 'started' }]),
      ],
    });
    return row;
  }
}

/** Above this a list helps nobody: the run itself is the place to look. */
const TASKS_MAX = 20;

/** What could not be undone is left to a person, and says so in the story. */
export function tasksOf(steps: readonly StepRecord[], now: Date): TimelineEntry[] {
  return steps
    .filter((s) => s.path.endsWith('~undo') && s.status === 'failed')
    .slice(0, TASKS_MAX)
    .map((s) => ({
      at: now.toISOString(),
      kind: 'operator',
      title: `needs a person: ${s.title ?? s.path} failed, what it was to undo is still there`,
      ref: s.path,
      ...(s.problem?.detail === undefined ? {} : { cause: s.problem.detail }),
    }));
}

const jsonOrNull = (value: unknown): string | null => (value === undefined ? null : JSON.stringify(value));

/** Every target once: what the report says of it, else how the run ended; those dropped at the turn were withdrawn. */
export function outcomeOf(
  row: Pick<AdmissionRow, 'targets' | 'withdrawn'>,
  ending: Pick<RunEnding, 'status' | 'targets'>,
): RunOutcome['targets'] {
  const said = new Map(ending.targets?.map((t) => [t.path, t.status]));
  for (const path of row.targets) if (!said.has(path)) said.set(path, ending.status);
  for (const path of row.withdrawn) if (!said.has(path)) said.set(path, 'withdrawn');
  return [...said].map(([path, status]) => ({ path, status }));
}

export function publishStarted(tx: Tx, row: AdmissionRow, at: Date): void {
  publishRuns(
    tx,
    {
      ...runsBase(row, at),
      kind: 'started',
      workflowId: row.workflow_id!,
      ...(row.fence === null ? {} : { fence: row.fence }),
    },
    '0',
  );
}
