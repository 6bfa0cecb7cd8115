import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';
import { describeScope } from '../halts/halt-scope.pure.js';
import { HaltService } from '../halts/halt.service.js';

export interface StatusItem {
  level: 'stopped' | 'stuck' | 'failing' | 'waiting' | 'ok';
  title: string;
  /** The command that looks closer or mends it. */
  next?: string;
}

export interface StatusView {
  ok: boolean;
  counts: {
    queued: number;
    held: number;
    running: number;
    failed1h: number;
    succeeded1h: number;
    locks: number;
    halts: number;
  };
  items: StatusItem[];
}

/** A start that is not under way after this long has a reason that somebody should see. */
const UNSTARTED_S = 30;
/** Runs this old are shown as long, which most ops work is not. */
const LONG_S = 3_600;

interface Counts {
  queued: number;
  held: number;
  running: number;
  failed: number;
  succeeded: number;
  unstarted: number;
  long: number;
  oldest_queued: string | null;
  last_failed: string | null;
  locks: number;
  paused: number;
  undone: number;
  last_undone: string | null;
}

/** A compensation that failed; only what did not succeed is looked through. */
const UNDONE = `status <> 'succeeded' AND jsonb_path_exists(history, '$[*] ? (@.kind == "operator" && @.title starts with "needs a person")')`;

/** How things stand, worst first, each with the next command. */
@Injectable()
export class StatusService {
  constructor(
    private readonly db: Database,
    private readonly halts: HaltService,
  ) {}

  async status(tenant: string): Promise<StatusView> {
    const [[c], halts] = await Promise.all([this.counts(tenant), this.halts.live(tenant)]);
    const n = c!;
    const items: StatusItem[] = [];
    for (const h of halts)
      items.push({
        level: 'stopped',
        title: `halt on ${describeScope(h.scope)} since ${h.since} by ${h.by}: ${h.reason}`,
        next: `opsloop halts lift ${h.id} --reason "…"`,
      });
    if (n.unstarted > 0)
      items.push({
        level: 'stuck',
        title: `${n.unstarted} admitted for more than ${UNSTARTED_S} s and not started; is Temporal up?`,
        next: 'opsloop doctor',
      });
    if (n.long > 0)
      items.push({
        level: 'stuck',
        title: `${n.long} running for more than an hour`,
        next: 'opsloop runs ls --status running',
      });
    if (n.failed > 0)
      items.push({
        level: 'failing',
        title: `${n.failed} failed in the last hour`,
        next: `opsloop runs show ${n.last_failed}`,
      });
    if (n.undone > 0)
      items.push({
        level: 'failing',
        title: `${n.undone} ended in the last hour with something that could not be undone`,
        next: `opsloop runs show ${n.last_undone}`,
      });
    if (n.paused > 0)
      items.push({
        level: 'waiting',
        title: `${n.paused} paused by operators`,
        next: 'opsloop runs ls --status paused',
      });
    if (n.held > 0) items.push({ level: 'waiting', title: `${n.held} held by halts`, next: 'opsloop halts ls' });
    if (n.queued > 0)
      items.push({ level: 'waiting', title: `${n.queued} queued`, next: `opsloop runs show ${n.oldest_queued}` });
    if (items.length === 0)
      items.push({ level: 'ok', title: `nothing is in the way; ${n.running} running`, next: 'opsloop runs ls' });
    return {
      ok: items[0]!.level === 'ok' || items[0]!.level === 'waiting',
      counts: {
        queued: n.queued,
        held: n.held,
        running: n.running,
        failed1h: n.failed,
        succeeded1h: n.succeeded,
        locks: n.locks,
        halts: halts.length,
      },
      items,
    };
  }

  private counts(tenant: string): Promise<Counts[]> {
    return this.db.query<Counts>(
      `SELECT o.*, e.*, (SELECT count(DISTINCT fence)::int FROM control.claim WHERE tenant = $1) AS locks FROM
        (SELECT count(*) FILTER (WHERE state = 'queued')::int AS queued, count(*) FILTER (WHERE state = 'held')::int AS held,
          count(*) FILTER (WHERE state IN ('admitted', 'started'))::int AS running, count(*) FILTER (WHERE state = 'started' AND paused)::int AS paused,
          count(*) FILTER (WHERE state = 'admitted' AND created_at < clock_timestamp() - make_interval(secs => $2))::int AS unstarted,
          count(*) FILTER (WHERE state = 'started' AND started_at < clock_timestamp() - make_interval(secs => $3))::int AS long,
          (array_agg(id ORDER BY rank_at) FILTER (WHERE state = 'queued'))[1] AS oldest_queued
          FROM control.admission WHERE tenant = $1 AND kind = 'run' AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')) o,
        (SELECT count(*) FILTER (WHERE status = 'failed')::int AS failed, count(*) FILTER (WHERE status = 'succeeded')::int AS succeeded,
          (array_agg(id ORDER BY ended_at DESC) FILTER (WHERE status = 'failed'))[1] AS last_failed,
          count(*) FILTER (WHERE ${UNDONE})::int AS undone, (array_agg(id ORDER BY ended_at DESC) FILTER (WHERE ${UNDONE}))[1] AS last_undone
          FROM control.admission WHERE tenant = $1 AND ended_at > clock_timestamp() - interval '1 hour') e`,
      [tenant, UNSTARTED_S, LONG_S],
    );
  }
}
