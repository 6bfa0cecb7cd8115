import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';

/** Secrets and poll schedule of sources; the documents themselves live in the document table. */
@Injectable()
export class SourceRepository {
  constructor(private readonly database: Database) {}

  async secrets(tenant: string, source: string, tx?: Tx): Promise<Map<string, string>> {
    const query = {
      name: 'ingest-source-secrets',
      text: 'SELECT pointer, value FROM ingest.source_secret WHERE tenant = $1 AND source = $2',
      values: [tenant, source],
    };
    const rows = await (tx ?? this.database).query<{ pointer: string; value: string }>(query);
    return new Map(rows.map((row) => [row.pointer, row.value]));
  }

  /** Replaces all secrets of a source. */
  async saveSecrets(tx: Tx, source: string, secrets: ReadonlyMap<string, string>): Promise<void> {
    await tx.query('DELETE FROM ingest.source_secret WHERE tenant = $1 AND source = $2', [tx.tenant, source]);
    for (const [pointer, value] of secrets) {
      await tx.query('INSERT INTO ingest.source_secret (tenant, source, pointer, value) VALUES ($1, $2, $3, $4)', [
        tx.tenant,
        source,
        pointer,
        value,
      ]);
    }
  }

  /** A new period starts at once; an unchanged one keeps its phase. */
  async schedulePoll(tx: Tx, source: string, everyMs: number): Promise<void> {
    await tx.query(
      `INSERT INTO ingest.poll AS p (tenant, source, every_ms, next_at) VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (tenant, source) DO UPDATE SET every_ms = excluded.every_ms,
         next_at = CASE WHEN p.every_ms = excluded.every_ms THEN p.next_at ELSE excluded.next_at END`,
      [tx.tenant, source, everyMs],
    );
  }

  async unschedulePoll(tx: Tx, source: string): Promise<void> {
    await tx.query('DELETE FROM ingest.poll WHERE tenant = $1 AND source = $2', [tx.tenant, source]);
  }
}
