import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';

export interface SenderRow {
  tenant: string;
  source: string;
  every_ms: string;
  heard_at: Date | null;
  watched_since: Date;
  stale_since: Date | null;
}

/** When senders were last heard. Written every second at most, by the loop, never by a delivery. */
@Injectable()
export class SilenceRepository {
  constructor(private readonly database: Database) {}

  async heard(tenant: string, times: ReadonlyMap<string, Date>): Promise<void> {
    await this.database.query({
      name: 'ingest-heard',
      text: `INSERT INTO ingest.sender AS s (tenant, source, heard_at, watched_since)
        SELECT $1, h.source, h.at, h.at FROM unnest($2::text[], $3::timestamptz[]) AS h(source, at)
         ORDER BY h.source COLLATE "C"
            ON CONFLICT (tenant, source) DO UPDATE SET heard_at = excluded.heard_at
         WHERE s.heard_at IS NULL OR s.heard_at < excluded.heard_at`,
      values: [tenant, [...times.keys()], [...times.values()].map((at) => at.toISOString())],
    });
  }

  /** A new expectation counts from now: nobody can have kept it before. */
  async expect(tx: Tx, source: string, everyMs: number | null): Promise<void> {
    await tx.query(
      `INSERT INTO ingest.sender AS s (tenant, source, every_ms, watched_since) VALUES ($1, $2, $3, clock_timestamp())
           ON CONFLICT (tenant, source) DO UPDATE SET every_ms = excluded.every_ms,
              watched_since = CASE WHEN s.every_ms IS NULL THEN excluded.watched_since ELSE s.watched_since END,
              stale_since = CASE WHEN excluded.every_ms IS NULL THEN NULL ELSE s.stale_since END`,
      [tx.tenant, source, everyMs],
    );
  }

  async forget(tx: Tx, source: string): Promise<void> {
    await tx.query('DELETE FROM ingest.sender WHERE tenant = $1 AND source = $2', [tx.tenant, source]);
  }

  /** Those that became silent, and those that were and are heard again. */
  changed(now: Date, limit: number): Promise<SenderRow[]> {
    return this.database.query<SenderRow>({
      name: 'ingest-silence',
      text: `SELECT tenant, source, every_ms, heard_at, watched_since, stale_since FROM ingest.sender
        WHERE every_ms IS NOT NULL AND (
              (stale_since IS NULL AND greatest(heard_at, watched_since) + every_ms * interval '1 millisecond' < $1)
           OR (stale_since IS NOT NULL AND heard_at > stale_since))
        LIMIT $2`,
      values: [now.toISOString(), limit],
    });
  }

  async mark(row: SenderRow, staleSince: Date | null): Promise<void> {
    await this.database.query(
      `UPDATE ingest.sender SET stale_since = $3 WHERE tenant = $1 AND source = $2
          AND stale_since IS NOT DISTINCT FROM $4`,
      [row.tenant, row.source, staleSince?.toISOString() ?? null, row.stale_since?.toISOString() ?? null],
    );
  }

  async of(tenant: string, sources: readonly string[]): Promise<Map<string, SenderRow>> {
    const rows = await this.database.query<SenderRow>(
      'SELECT * FROM ingest.sender WHERE tenant = $1 AND source = ANY ($2)',
      [tenant, sources],
    );
    return new Map(rows.map((row) => [row.source, row]));
  }
}
