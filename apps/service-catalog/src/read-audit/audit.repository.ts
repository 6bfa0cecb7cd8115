import { Injectable } from '@nestjs/common';
import { OpsError, type Page } from '@opsloop/contracts';
import { decodeCursor, encodeCursor, type PageQuery } from '@opsloop/platform';
import { Database, type Tx } from '@opsloop/postgres';

export interface Act {
  by: string;
  act: 'put' | 'publish' | 'rollback' | 'deprecate' | 'delete' | 'rotate' | 'create' | 'revoke';
  kind: string;
  name: string;
  version?: string;
  digest?: string;
  reason?: string;
}

export interface AuditEntry extends Act {
  id: string;
  at: string;
}

interface Row {
  id: string;
  at: Date;
  by: string;
  act: Act['act'];
  kind: string;
  name: string;
  version: string | null;
  digest: string | null;
  reason: string | null;
}

export interface AuditFilter extends PageQuery {
  kind?: string | undefined;
  name?: string | undefined;
}

/** Acts on documents: one insert-only row each, in the transaction of the act itself. */
@Injectable()
export class AuditRepository {
  constructor(private readonly db: Database) {}

  async record(tx: Tx, act: Act): Promise<void> {
    await tx.query({
      name: 'catalog.audit.record',
      text: `INSERT INTO catalog.audit (tenant, by, act, kind, name, version, digest, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      values: [
        tx.tenant,
        act.by,
        act.act,
        act.kind,
        act.name,
        act.version ?? null,
        act.digest ?? null,
        act.reason ?? null,
      ],
    });
  }

  /** Newest first. */
  async list(tenant: string, filter: AuditFilter): Promise<Page<AuditEntry>> {
    const before = filter.cursor === undefined ? null : cursorId(filter.cursor);
    const rows = await this.db.query<Row>(
      `SELECT id, at, by, act, kind, name, version, digest, reason FROM catalog.audit
       WHERE tenant = $1 AND ($2::bigint IS NULL OR id < $2) AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR name = $4)
       ORDER BY id DESC LIMIT $5`,
      [tenant, before, filter.kind ?? null, filter.name ?? null, filter.limit + 1],
    );
    const items = rows.slice(0, filter.limit).map(entryOf);
    const last = items.at(-1);
    return rows.length > filter.limit && last ? { items, nextCursor: encodeCursor(last.id) } : { items };
  }
}

function cursorId(cursor: string): string {
  const id = decodeCursor(cursor);
  if (typeof id === 'string' && /^\d{1,18}$/.test(id)) return id;
  throw new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}

function entryOf(row: Row): AuditEntry {
  return {
    id: row.id,
    at: row.at.toISOString(),
    by: row.by,
    act: row.act,
    kind: row.kind,
    name: row.name,
    ...(row.version === null ? {} : { version: row.version }),
    ...(row.digest === null ? {} : { digest: row.digest }),
    ...(row.reason === null ? {} : { reason: row.reason }),
  };
}
