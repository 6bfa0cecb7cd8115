import { Injectable } from '@nestjs/common';
import { type Diagnosis, type StatusView, TEMPORAL_NAMES } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { DiagnoseService } from '../diagnose/diagnose.service.js';
import { POLLER_AGE_MS } from '../diagnose/diagnosis.pure.js';
import { HaltService } from '../halts/halt.service.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { LONG_S, statusOf, UNSTARTED_S } from './status.pure.js';

/** Stuck runs that are looked through; they make a handful of lines. */
const STUCK_MAX = 500;
/** Flows with failed runs: five are named, the rest is counted. */
const FLOWS_MAX = 100;
const APPROVALS_MAX = 5;

interface Counts {
  queued: number;
  held: number;
  running: number;
  paused: number;
  unstarted: number;
  unstarted_run: string | null;
  long: number;
  long_run: string | null;
  oldest_queued: string | null;
  queued_since: Date | null;
  failed: number;
  succeeded: number;
  undone: number;
  last_undone: string | null;
  locks: number;
  approvals: number;
}

/** A compensation that failed; only what did not succeed is looked through. */
const UNDONE = `status <> 'succeeded' AND jsonb_path_exists(history, '$[*] ? (@.kind == "operator" && @.title starts with "needs a person")')`;

/** How things stand, worst first, each with the next command. */
@Injectable()
export class StatusService {
  constructor(
    private readonly db: Database,
    private readonly halts: HaltService,
    private readonly workflows: WorkflowClient,
    private readonly diagnoses: DiagnoseService,
    private readonly clock: Clock,
  ) {}

  async status(tenant: string): Promise<StatusView> {
    const [[n], halts, temporal, interpreter, stuck, failed, approvals, schedules] = await Promise.all([
      this.counts(tenant),
      this.halts.live(tenant),
      this.workflows.check().then(
        () => true,
        () => false,
      ),
      this.diagnoses.pollers(TEMPORAL_NAMES.flowQueue),
      this.stuck(tenant),
      this.failed(tenant),
      this.approvals(tenant),
      this.schedules(tenant),
    ]);
    const c = n!;
    const now = this.clock.now();
    return statusOf({
      now,
      counts: {
        queued: c.queued,
        held: c.held,
        running: c.running,
        failed1h: c.failed,
        succeeded1h: c.succeeded,
        locks: c.locks,
        halts: halts.length,
        approvals: c.approvals,
      },
      temporal,
      interpreter:
        interpreter === undefined
          ? undefined
          : interpreter.lastSeenAt !== undefined && now.getTime() - interpreter.lastSeenAt.getTime() <= POLLER_AGE_MS,
      halts,
      stuck,
      unstarted: { count: c.unstarted, run: c.unstarted_run ?? undefined },
      long: { count: c.long, run: c.long_run ?? undefined },
      failed,
      undone: { count: c.undone, run: c.last_undone ?? undefined },
      schedules,
      paused: c.paused,
      approvals,
      queued: { count: c.queued, run: c.oldest_queued ?? undefined, since: c.queued_since ?? undefined },
      held: c.held,
    });
  }

  private counts(tenant: string): Promise<Counts[]> {
    // Work that waits on purpose, for an answer or an event, is not called long: its own line says so.
    return this.db.query<Counts>({
      name: 'control.status',
      text: `SELECT o.*, e.*, (SELECT count(DISTINCT fence)::int FROM control.claim WHERE tenant = $1) AS locks,
          (SELECT count(*)::int FROM control.approval WHERE tenant = $1 AND status = 'open') AS approvals FROM
        (SELECT count(*) FILTER (WHERE state = 'queued')::int AS queued, count(*) FILTER (WHERE state = 'held')::int AS held,
          count(*) FILTER (WHERE state IN ('admitted', 'started'))::int AS running, count(*) FILTER (WHERE state = 'started' AND paused)::int AS paused,
          count(*) FILTER (WHERE state = 'admitted' AND created_at < clock_timestamp() - make_interval(secs => $2))::int AS unstarted,
          (array_agg(id ORDER BY created_at) FILTER (WHERE state = 'admitted' AND created_at < clock_timestamp() - make_interval(secs => $2)))[1] AS unstarted_run,
          count(*) FILTER (WHERE state = 'started' AND NOT paused AND NOT waits AND started_at < clock_timestamp() - make_interval(secs => $3))::int AS long,
          (array_agg(id ORDER BY started_at) FILTER (WHERE state = 'started' AND NOT paused AND NOT waits AND started_at < clock_timestamp() - make_interval(secs => $3)))[1] AS long_run,
          (array_agg(id ORDER BY rank_at) FILTER (WHERE state = 'queued'))[1] AS oldest_queued, min(created_at) FILTER (WHERE state = 'queued') AS queued_since
          FROM control.admission WHERE tenant = $1 AND kind = 'run' AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')) o,
        (SELECT count(*) FILTER (WHERE status = 'failed')::int AS failed, count(*) FILTER (WHERE status = 'succeeded')::int AS succeeded,
          count(*) FILTER (WHERE ${UNDONE})::int AS undone, (array_agg(id ORDER BY ended_at DESC) FILTER (WHERE ${UNDONE}))[1] AS last_undone
          FROM control.admission WHERE tenant = $1 AND ended_at > clock_timestamp() - interval '1 hour') e`,
      values: [tenant, UNSTARTED_S, LONG_S],
    });
  }

  private stuck(tenant: string): Promise<{ run: string; flow: string; found: Diagnosis[] }[]> {
    return this.db.query({
      name: 'control.status-stuck',
      text: `SELECT s.run_id AS run, a.flow, s.found FROM control.stuck s JOIN control.admission a ON a.tenant = s.tenant AND a.id = s.run_id
        WHERE s.tenant = $1 AND a.state = 'started' ORDER BY s.since, s.run_id LIMIT $2`,
      values: [tenant, STUCK_MAX],
    });
  }

  private failed(tenant: string): Promise<{ flow: string; count: number; run: string }[]> {
    return this.db.query({
      name: 'control.status-failed',
      text: `SELECT flow, count(*)::int AS count, (array_agg(id ORDER BY ended_at DESC))[1] AS run FROM control.admission
        WHERE tenant = $1 AND ended_at > clock_timestamp() - interval '1 hour' AND status = 'failed' GROUP BY flow ORDER BY count(*) DESC, flow LIMIT $2`,
      values: [tenant, FLOWS_MAX],
    });
  }

  private schedules(tenant: string): Promise<{ name: string; problem: string }[]> {
    return this.db.query({
      name: 'control.status-schedules',
      text: `SELECT s.name, coalesce(s.problem, f.reason, 'its start failed') AS problem FROM control.schedule s LEFT JOIN LATERAL
          (SELECT result, reason FROM control.firing f WHERE f.tenant = s.tenant AND f.schedule = s.name AND f.result IN ('started', 'failed') ORDER BY at DESC LIMIT 1) f ON true
        WHERE s.tenant = $1 AND s.paused_at IS NULL AND (s.problem IS NOT NULL OR f.result = 'failed') ORDER BY s.name LIMIT $2`,
      values: [tenant, APPROVALS_MAX],
    });
  }

  private async approvals(tenant: string): Promise<{ id: string; title: string; expiresAt: Date }[]> {
    const rows = await this.db.query<{ id: string; title: string; expires_at: Date }>({
      name: 'control.status-approvals',
      text: `SELECT id, title, expires_at FROM control.approval WHERE tenant = $1 AND status = 'open' ORDER BY expires_at, id LIMIT $2`,
      values: [tenant, APPROVALS_MAX],
    });
    return rows.map(({ id, title, expires_at: expiresAt }) => ({ id, title, expiresAt }));
  }
}
