import { Injectable } from '@nestjs/common';
import type { FiringView, ScheduleDocument } from '@opsloop/contracts';
import { Database, type Tx } from '@opsloop/postgres';

export interface ScheduleRow {
  tenant: string;
  name: string;
  digest: string;
  body: ScheduleDocument;
  next_at: Date | null;
  problem: string | null;
  paused_by: string | null;
  paused_at: Date | null;
  paused_reason: string | null;
}

export interface FiringRow {
  schedule: string;
  at: Date;
  result: FiringView['result'];
  run_id: string | null;
  reason: string | null;
}

/** Runs of a schedule that are looked at to know whether the last one still runs; with `allow` there may be several. */
const OPEN_LOOK = 50;
const OPEN = `('queued', 'held', 'needs-approval', 'admitted', 'started')`;

/** SQL of schedules and of the times at which they fired. */
@Injectable()
export class ScheduleRepository {
  constructor(private readonly db: Database) {}

  /** Due by the clock, or with a firing that waits for the run before it. */
  due(limit: number): Promise<ScheduleRow[]> {
    return this.db.query<ScheduleRow>({
      name: 'control.due-schedules',
      text: `SELECT s.* FROM control.schedule s WHERE s.tenant = 'default' AND s.paused_at IS NULL AND (s.next_at <= clock_timestamp()
          OR EXISTS (SELECT 1 FROM control.firing f WHERE f.tenant = s.tenant AND f.schedule = s.name AND f.result = 'waiting'))
        ORDER BY s.next_at NULLS LAST LIMIT $1`,
      values: [limit],
    });
  }

  /** Locks the row, unless it has changed since it was read or somebody else fires it right now. */
  async lock(tx: Tx, seen: ScheduleRow): Promise<boolean> {
    const rows = await tx.query(
      `SELECT 1 FROM control.schedule WHERE tenant = $1 AND name = $2 AND digest = $3 AND next_at IS NOT DISTINCT FROM $4 AND paused_at IS NULL
        FOR UPDATE SKIP LOCKED`,
      [tx.tenant, seen.name, seen.digest, seen.next_at],
    );
    return rows.length > 0;
  }

  async openRun(tx: Pick<Tx, 'query' | 'tenant'>, name: string): Promise<string | undefined> {
    const [row] = await tx.query<{ id: string }>(
      `SELECT a.id FROM (SELECT run_id FROM control.firing WHERE tenant = $1 AND schedule = $2 AND result = 'started' ORDER BY at DESC LIMIT ${OPEN_LOOK}) f
        JOIN control.admission a ON a.tenant = $1 AND a.id = f.run_id WHERE a.state IN ${OPEN} LIMIT 1`,
      [tx.tenant, name],
    );
    return row?.id;
  }

  async waiting(tx: Pick<Tx, 'query' | 'tenant'>, name: string): Promise<Date | undefined> {
    const [row] = await tx.query<{ at: Date }>(
      `SELECT at FROM control.firing WHERE tenant = $1 AND schedule = $2 AND result = 'waiting' ORDER BY at LIMIT 1`,
      [tx.tenant, name],
    );
    return row?.at;
  }

  async note(tx: Tx, firing: FiringRow): Promise<void> {
    await tx.query(
      `INSERT INTO control.firing (tenant, schedule, at, result, run_id, reason) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant, schedule, at) DO UPDATE SET result = excluded.result, run_id = excluded.run_id, reason = excluded.reason, noted_at = clock_timestamp()
          WHERE control.firing.result = 'waiting'`,
      [tx.tenant, firing.schedule, firing.at, firing.result, firing.run_id, firing.reason],
    );
  }

  async noteMissed(tx: Tx, name: string, ticks: readonly number[], reason: string): Promise<void> {
    if (ticks.length === 0) return;
    await tx.query(
      `INSERT INTO control.firing (tenant, schedule, at, result, reason) SELECT $1, $2, t, 'missed', $4 FROM unnest($3::timestamptz[]) t ON CONFLICT DO NOTHING`,
      [tx.tenant, name, ticks.map((at) => new Date(at)), reason],
    );
  }

  async setNext(tx: Tx, name: string, next: number | undefined): Promise<void> {
    await tx.query('UPDATE control.schedule SET next_at = $3 WHERE tenant = $1 AND name = $2', [
      tx.tenant,
      name,
      next === undefined ? null : new Date(next),
    ]);
  }

  async get(tx: Pick<Tx, 'query' | 'tenant'>, name: string, lock = false): Promise<ScheduleRow | undefined> {
    const [row] = await tx.query<ScheduleRow>(
      `SELECT * FROM control.schedule WHERE tenant = $1 AND name = $2 ${lock ? 'FOR UPDATE' : ''}`,
      [tx.tenant, name],
    );
    return row;
  }

  list(tenant: string, after: string, limit: number): Promise<(ScheduleRow & { last: FiringRow | null })[]> {
    return this.db.query(
      `SELECT s.*, (SELECT to_jsonb(f) FROM control.firing f WHERE f.tenant = s.tenant AND f.schedule = s.name AND f.result <> 'missed' ORDER BY f.at DESC LIMIT 1) AS last
        FROM control.schedule s WHERE s.tenant = $1 AND s.name > $2 ORDER BY s.name LIMIT $3`,
      [tenant, after, limit],
    );
  }

  firings(tenant: string, name: string, before: string | undefined, limit: number): Promise<FiringRow[]> {
    return this.db.query<FiringRow>(
      `SELECT schedule, at, result, run_id, reason FROM control.firing WHERE tenant = $1 AND schedule = $2 AND ($3::timestamptz IS NULL OR at < $3)
        ORDER BY at DESC LIMIT $4`,
      [tenant, name, before ?? null, limit],
    );
  }
}
