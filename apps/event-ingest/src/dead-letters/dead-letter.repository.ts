import { Injectable } from '@nestjs/common';
import type { FieldError } from '@opsloop/contracts';
import { Database } from '@opsloop/postgres';

/** Of one source. A mapping that fits nothing fails on every delivery; a thousand of them show what is wrong. */
const PER_SOURCE_MAX = 1_000;

export interface DeadLetter {
  id: string;
  source: string;
  digest: string;
  at: Date;
  code: string;
  cause: string;
  errors: FieldError[];
  headers: Record<string, string>;
  signed?: string;
  body: Buffer;
}

export interface DeadRow {
  id: string;
  source: string;
  received_at: Date;
  last_at: Date;
  times: number;
  code: string;
  cause: string;
  errors: FieldError[];
  bytes: number;
  headers: Record<string, string>;
  signed: string | null;
  body: Buffer | null;
}

const COLUMNS = 'id, source, received_at, last_at, times, code, cause, errors, length(body) AS bytes, headers, signed';

@Injectable()
export class DeadLetterRepository {
  constructor(private readonly database: Database) {}

  /** Answers the id under which it is kept, or nothing when the source has too many already. */
  async keep(tenant: string, dead: DeadLetter): Promise<string | undefined> {
    const rows = await this.database.query<{ id: string }>(
      `INSERT INTO ingest.dead AS d (tenant, id, source, digest, received_at, last_at, code, cause, errors, headers, signed, body)
       SELECT $1, $2, $3, $4, $5, $5, $6, $7, $8::jsonb, $9::jsonb, $10, $11
        WHERE (SELECT count(*) FROM (SELECT 1 FROM ingest.dead o WHERE o.tenant = $1 AND o.source = $3 LIMIT $12) x) < $12
           OR EXISTS (SELECT 1 FROM ingest.dead o WHERE o.tenant = $1 AND o.source = $3 AND o.digest = $4)
       ON CONFLICT (tenant, source, digest) DO UPDATE
         SET times = d.times + 1, last_at = excluded.last_at, code = excluded.code, cause = excluded.cause, errors = excluded.errors
       RETURNING id`,
      [
        tenant,
        dead.id,
        dead.source,
        dead.digest,
        dead.at.toISOString(),
        dead.code,
        dead.cause,
        JSON.stringify(dead.errors),
        JSON.stringify(dead.headers),
        dead.signed ?? null,
        dead.body,
        PER_SOURCE_MAX,
      ],
    );
    return rows[0]?.id;
  }

  /** Newest first; `limit` + 1 rows tell whether there are more. */
  list(tenant: string, where: { sql: string[]; values: unknown[] }, limit: number): Promise<DeadRow[]> {
    const values = [tenant, ...where.values, limit];
    const sql = ['tenant = $1', ...where.sql].join(' AND ');
    return this.database.query<DeadRow>(
      `SELECT ${COLUMNS}, NULL AS body FROM ingest.dead WHERE ${sql} ORDER BY id DESC LIMIT $${values.length}`,
      values,
    );
  }

  async get(tenant: string, id: string): Promise<DeadRow | undefined> {
    const rows = await this.database.query<DeadRow>(
      `SELECT ${COLUMNS}, body FROM ingest.dead WHERE tenant = $1 AND id = $2`,
      [tenant, id],
    );
    return rows[0];
  }

  async remove(tenant: string, id: string): Promise<boolean> {
    const gone = await this.database.query('DELETE FROM ingest.dead WHERE tenant = $1 AND id = $2 RETURNING 1', [
      tenant,
      id,
    ]);
    return gone.length > 0;
  }

  /** Why it could not be requeued either. */
  async failedAgain(tenant: string, id: string, failure: Pick<DeadLetter, 'code' | 'cause' | 'errors'>): Promise<void> {
    await this.database.query(
      'UPDATE ingest.dead SET code = $3, cause = $4, errors = $5::jsonb WHERE tenant = $1 AND id = $2',
      [tenant, id, failure.code, failure.cause, JSON.stringify(failure.errors)],
    );
  }
}
