import { Injectable } from '@nestjs/common';
import { OpsError, sha256Hex } from '@opsloop/contracts';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';

/** Where a secret of a source is: its version in the secret store, or its value from before there was one. */
export interface StoredSecret {
  pointer: string;
  value: string | null;
  version: number | null;
}

/** Secrets and poll schedule of sources; the documents themselves live in the document table. */
@Injectable()
export class SourceRepository {
  constructor(private readonly database: Database) {}

  async secrets(tenant: string, source: string, tx?: Tx): Promise<StoredSecret[]> {
    return (tx ?? this.database).query<StoredSecret>({
      name: 'ingest-source-secrets',
      text: 'SELECT pointer, value, version FROM ingest.source_secret WHERE tenant = $1 AND source = $2',
      values: [tenant, source],
    });
  }

  /** Replaces all secrets of a source: pointer → version in the secret store. */
  async saveSecrets(tx: Tx, source: string, versions: ReadonlyMap<string, number>): Promise<void> {
    await tx.query('DELETE FROM ingest.source_secret WHERE tenant = $1 AND source = $2', [tx.tenant, source]);
    for (const [pointer, version] of versions) {
      await tx.query('INSERT INTO ingest.source_secret (tenant, source, pointer, version) VALUES ($1, $2, $3, $4)', [
        tx.tenant,
        source,
        pointer,
        version,
      ]);
    }
  }

  /** Replaces the routing keys of a source. One that another source has is refused: a call could be either's. */
  async saveRoutingKeys(tx: Tx, source: string, keys: readonly string[]): Promise<void> {
    await tx.query('DELETE FROM ingest.routing_key WHERE tenant = $1 AND source = $2', [tx.tenant, source]);
    for (const key of keys) {
      const stored = await tx.query<{ source: string }>(
        `INSERT INTO ingest.routing_key (digest, tenant, source) VALUES ($1, $2, $3)
           ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest RETURNING source`,
        [digestOfKey(key), tx.tenant, source],
      );
      if (stored[0]?.source !== source)
        throw new OpsError('conflict', 'this routing key belongs to another source already; each needs its own', {
          errors: [{ pointer: '/auth/key', message: 'is taken' }],
        });
    }
  }

  async sourceOfRoutingKey(key: string): Promise<string | undefined> {
    const rows = await this.database.query<{ source: string }>({
      name: 'ingest-routing-key',
      text: 'SELECT source FROM ingest.routing_key WHERE digest = $1',
      values: [digestOfKey(key)],
    });
    return rows[0]?.source;
  }

  ofType(tenant: string, type: string, most: number): Promise<{ name: string }[]> {
    return this.database.query<{ name: string }>({
      name: 'ingest-sources-of-type',
      text: `SELECT name FROM ingest.document WHERE tenant = $1 AND kind = 'source' AND live AND deleted_at IS NULL
        AND body->>'type' = $2 ORDER BY name LIMIT $3`,
      values: [tenant, type, most],
    });
  }

  /** The value is in the store now. */
  async moved(tx: Tx, source: string, pointer: string, version: number): Promise<void> {
    await tx.query(
      `UPDATE ingest.source_secret SET value = NULL, version = $4
       WHERE tenant = $1 AND source = $2 AND pointer = $3 AND value IS NOT NULL`,
      [tx.tenant, source, pointer, version],
    );
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

/** Looked up by its digest, so that neither the table nor the time a look-up takes tells anything of the key. */
const digestOfKey = (key: string): string => sha256Hex(`routing-key\n${key}`);
