import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';
import type { LastValue } from './poll.pure.js';

/** Claims due polls and moves them on by whole periods, so that the schedule neither drifts nor catches up in a burst. */
const CLAIM = `
  UPDATE ingest.poll p
     SET next_at = p.next_at + (floor(extract(epoch FROM clock_timestamp() - p.next_at) * 1000 / p.every_ms) + 1) * p.every_ms * interval '1 millisecond'
    FROM (SELECT tenant, source FROM ingest.poll WHERE next_at <= clock_timestamp() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
   WHERE p.tenant = due.tenant AND p.source = due.source
  RETURNING p.tenant, p.source`;

@Injectable()
export class PollRepository {
  constructor(private readonly database: Database) {}

  async claimDue(limit: number): Promise<{ tenant: string; source: string }[]> {
    return this.database.query({ name: 'ingest-poll-claim', text: CLAIM, values: [limit] });
  }

  async lastValues(tenant: string, source: string): Promise<Map<string, LastValue>> {
    const rows = await this.database.query<{ resource: string; sequence: string; digest: string | null }>({
      name: 'ingest-poll-last',
      text: 'SELECT resource, sequence, digest FROM ingest.poll_value WHERE tenant = $1 AND source = $2',
      values: [tenant, source],
    });
    return new Map(rows.map((row) => [row.resource, { sequence: Number(row.sequence), digest: row.digest }]));
  }

  /** A resource that is watched no more starts anew when it comes back; its sequence goes on. */
  async forget(tenant: string, source: string, resources: readonly string[]): Promise<void> {
    await this.database.query(
      'UPDATE ingest.poll_value SET digest = NULL WHERE tenant = $1 AND source = $2 AND resource = ANY($3)',
      [tenant, source, resources],
    );
  }
}
