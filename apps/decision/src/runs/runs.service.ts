import { Injectable } from '@nestjs/common';
import type { JsonObject, RunsMessage, Verdict } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import type { World } from '../decide/world.pure.js';
import type { EpisodeInput } from '../episodes/machine.pure.js';
import type { EpisodeRow } from '../store/model.js';
import { WorldRepository } from '../store/world.repository.js';
import { WorldService } from '../store/world.service.js';
import type { RunRow } from './run-view.pure.js';
import { endFor, foldRun, holdsAfter, isFinalVerdict } from './run-view.pure.js';

interface RunJson {
  id: string;
  flow: string;
  verdict: Verdict | null;
  doc: JsonObject;
  targets: string[];
  started_at: Date | null;
  closed_at: Date | null;
  status: string | null;
  at: Date;
}

/** What control tells of runs: moves the episodes that wait for them, keeps who holds what, notes when runs ended. */
@Injectable()
export class RunsService {
  constructor(
    private readonly worlds: WorldService,
    private readonly repository: WorldRepository,
  ) {}

  async note(tx: Tx, messages: readonly RunsMessage[]): Promise<void> {
    const ids = [
      ...new Set(messages.flatMap((m) => (m.kind === 'verdict' && m.into !== undefined ? [m.id, m.into] : [m.id]))),
    ];
    await this.repository.lockRuns(tx, ids);
    const [runs, paths] = await Promise.all([this.runsOf(tx, ids), this.waitingFor(tx, ids)]);
    const world = await this.worlds.load(tx, { paths });
    for (const message of messages) {
      runs.set(message.id, foldRun(runs.get(message.id), message));
      if (message.kind === 'closed') noteEnd(world, message);
      for (const row of waiting(world, message.id)) this.move(world, row, message, runs);
    }
    const told = new Set(messages.map((m) => m.id));
    await this.saveRuns(
      tx,
      [...runs.values()].filter((run) => told.has(run.id)),
    );
    await this.saveHolds(tx, messages);
    await this.worlds.save(tx, world);
  }

  private move(world: World, row: EpisodeRow, message: RunsMessage, runs: ReadonlyMap<string, RunRow>): void {
    const moved = world.apply(row, inputOf(world, row, message));
    if (message.kind !== 'verdict' || message.verdict !== 'coalesced' || message.into === undefined) return;
    // The run that we now follow may have told its story before we listened.
    const other = runs.get(message.into);
    if (other?.startedAt !== undefined) world.apply(moved, { kind: 'started' });
    if (other?.closedAt === undefined) return;
    const latest = world.openEpisode(row.episode.rule, row.episode.resource);
    if (latest === undefined || latest.episode.id !== row.episode.id) return;
    const goal = world.goalInput(latest.episode);
    if (other.startedAt === undefined && other.verdict !== undefined && isFinalVerdict(other.verdict)) {
      world.apply(latest, {
        kind: 'verdict',
        verdict: other.verdict,
        ...goal,
        ...(other.verdict === 'coalesced' ? { into: String(other.doc['into']) } : {}),
      });
    } else {
      world.apply(latest, {
        kind: 'closed',
        status: other.status as 'succeeded',
        at: Date.parse(other.closedAt),
        ...goal,
      });
    }
  }

  /** Resources whose episodes wait for one of these runs. */
  private async waitingFor(tx: Tx, ids: readonly string[]): Promise<string[]> {
    const rows = await tx.query<{ resource: string }>({
      name: 'decision.waiting-for',
      text: 'SELECT resource FROM decision.episode WHERE tenant = $1 AND start_id = ANY ($2::uuid[]) AND live',
      values: [tx.tenant, ids],
    });
    return rows.map((row) => row.resource);
  }

  private async runsOf(tx: Tx, ids: readonly string[]): Promise<Map<string, RunRow>> {
    const rows = await tx.query<RunJson>({
      name: 'decision.runs',
      text: 'SELECT id, flow, verdict, doc, targets, started_at, closed_at, status, at FROM decision.run WHERE tenant = $1 AND id = ANY ($2::uuid[])',
      values: [tx.tenant, ids],
    });
    return new Map(rows.map((row) => [row.id, runOf(row)]));
  }

  private async saveRuns(tx: Tx, runs: readonly RunRow[]): Promise<void> {
    tx.send({
      name: 'decision.save-runs',
      text: `INSERT INTO decision.run (tenant, id, flow, verdict, doc, targets, started_at, closed_at, status, at)
        SELECT $1, x.id, x.flow, x.verdict, x.doc, x.targets, x."startedAt", x."closedAt", x.status, x.at
        FROM jsonb_to_recordset($2::jsonb) x(id uuid, flow text, verdict text, doc jsonb, targets text[], "startedAt" timestamptz, "closedAt" timestamptz, status text, at timestamptz)
        ON CONFLICT (tenant, id) DO UPDATE SET verdict = EXCLUDED.verdict, doc = EXCLUDED.doc, targets = EXCLUDED.targets, started_at = EXCLUDED.started_at,
          closed_at = EXCLUDED.closed_at, status = EXCLUDED.status, at = EXCLUDED.at`,
      values: [tx.tenant, JSON.stringify(runs)],
    });
  }

  /** Exclusive claims in flight; when they end, the goals of what they covered are looked at once. */
  private async saveHolds(tx: Tx, messages: readonly RunsMessage[]): Promise<void> {
    const { freed: ids, taken } = holdsAfter(messages);
    const freed =
      ids.length === 0
        ? []
        : await tx.query<{ path: string }>({
            name: 'decision.free-holds',
            text: 'DELETE FROM decision.hold WHERE tenant = $1 AND run_id = ANY ($2::uuid[]) RETURNING path',
            values: [tx.tenant, ids],
          });
    if (taken.length > 0) {
      await tx.query({
        name: 'decision.take-holds',
        text: `INSERT INTO decision.hold (tenant, path, run_id, at) SELECT $1, x.path, x.run, x.at
          FROM jsonb_to_recordset($2::jsonb) x(path text, run uuid, at timestamptz) ON CONFLICT DO NOTHING`,
        values: [tx.tenant, JSON.stringify(taken)],
      });
    }
    const closed = messages.filter((m) => m.kind === 'closed');
    const ended = new Set(closed.flatMap((m) => m.targets));
    const paths = [...new Set([...freed.map((row) => row.path), ...ended])].sort();
    if (paths.length === 0) return;
    await tx.query({
      name: 'decision.run-ended',
      // Locked in order of path: two batches that end runs on the same hosts must not wait in a circle. A claim that was
      // given up before anything ran ends no run, but the events that it kept from opening an episode are looked at now.
      text: `WITH hit AS (SELECT r.tenant, r.path FROM decision.resource r WHERE r.tenant = $1 AND (r.path = ANY ($2)
            OR EXISTS (SELECT 1 FROM unnest($2::text[]) p WHERE r.path >= p || '/' AND r.path < p || '0')
            OR r.depends_on && $2::text[] OR r.member_of && $2::text[]) ORDER BY r.path FOR UPDATE)
        UPDATE decision.resource r SET last_run_end = greatest(r.last_run_end, $3::timestamptz), check_at = clock_timestamp()
        FROM hit WHERE r.tenant = hit.tenant AND r.path = hit.path`,
      values: [tx.tenant, paths, closed.at(-1)?.at ?? null],
    });
  }
}

function waiting(world: World, id: string): EpisodeRow[] {
  return world.allLive().filter((row) => row.episode.startId === id);
}

function noteEnd(world: World, message: RunsMessage): void {
  for (const row of waiting(world, message.id)) world.noteRunEnd(row.episode.resource, message.at);
}

function inputOf(world: World, row: EpisodeRow, message: RunsMessage): EpisodeInput {
  switch (message.kind) {
    case 'started':
      return { kind: 'started' };
    case 'closed':
      return {
        kind: 'closed',
        status: endFor(message, row.episode.resource),
        at: Date.parse(message.at),
        ...world.goalInput(row.episode),
      };
    case 'verdict':
      return {
        kind: 'verdict',
        verdict: message.verdict,
        ...world.goalInput(row.episode),
        ...(message.retryAt === undefined ? {} : { retryAt: Date.parse(message.retryAt) }),
        ...(message.into === undefined ? {} : { into: message.into }),
        ...(message.reason === undefined ? {} : { reason: message.reason }),
      };
  }
}

export function runOf(row: RunJson): RunRow {
  return {
    id: row.id,
    flow: row.flow,
    doc: row.doc,
    targets: row.targets,
    at: row.at.toISOString(),
    ...(row.verdict === null ? {} : { verdict: row.verdict }),
    ...(row.status === null ? {} : { status: row.status }),
    ...(row.started_at === null ? {} : { startedAt: row.started_at.toISOString() }),
    ...(row.closed_at === null ? {} : { closedAt: row.closed_at.toISOString() }),
  };
}
