import { Injectable } from '@nestjs/common';
import { Database, type Tx } from '@opsloop/postgres';

/** A sealed secret as it is stored. */
export interface SealedSecret {
  name: string;
  version: number;
  keyId: string;
  wrapped: Buffer;
  sealed: Buffer;
}

export interface SecretLine {
  name: string;
  version: number;
  updatedAt: string;
  updatedBy: string;
}

interface Row {
  name: string;
  version: number;
  key_id: string;
  wrapped_key: Buffer;
  sealed: Buffer;
}

const sealedOf = (row: Row): SealedSecret => ({
  name: row.name,
  version: row.version,
  keyId: row.key_id,
  wrapped: row.wrapped_key,
  sealed: row.sealed,
});

@Injectable()
export class SecretRepository {
  constructor(private readonly db: Database) {}

  /** The version that a next value gets. Locks the name. */
  async nextVersion(tx: Tx, name: string): Promise<{ version: number; kept: boolean }> {
    const [row] = await tx.query<{ version: number; kept: boolean }>(
      'SELECT version, key_id IS NOT NULL AS kept FROM catalog.secret WHERE tenant = $1 AND name = $2 FOR UPDATE',
      [tx.tenant, name],
    );
    return { version: (row?.version ?? 0) + 1, kept: row?.kept === true };
  }

  async save(tx: Tx, secret: SealedSecret, by: string): Promise<void> {
    await tx.query(
      `INSERT INTO catalog.secret (tenant, name, version, key_id, wrapped_key, sealed, updated_by)
       VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT (tenant, name) DO UPDATE SET version = excluded.version, key_id = excluded.key_id,
         wrapped_key = excluded.wrapped_key, sealed = excluded.sealed, updated_by = excluded.updated_by,
         updated_at = clock_timestamp()`,
      [tx.tenant, secret.name, secret.version, secret.keyId, secret.wrapped, secret.sealed, by],
    );
  }

  /** Drops the value; the name keeps its version. */
  async remove(tx: Tx, name: string, by: string): Promise<boolean> {
    const rows = await tx.query(
      `UPDATE catalog.secret SET key_id = NULL, wrapped_key = NULL, sealed = NULL, updated_by = $3,
         updated_at = clock_timestamp()
       WHERE tenant = $1 AND name = $2 AND key_id IS NOT NULL RETURNING name`,
      [tx.tenant, name, by],
    );
    return rows.length > 0;
  }

  async find(tenant: string, names: readonly string[]): Promise<SealedSecret[]> {
    const rows = await this.db.query<Row>({
      name: 'catalog.secret.find',
      text: `SELECT name, version, key_id, wrapped_key, sealed FROM catalog.secret
             WHERE tenant = $1 AND name = ANY($2) AND key_id IS NOT NULL`,
      values: [tenant, names],
    });
    return rows.map(sealedOf);
  }

  async list(tenant: string): Promise<SecretLine[]> {
    const rows = await this.db.query<{ name: string; version: number; updated_at: Date; updated_by: string }>(
      `SELECT name, version, updated_at, updated_by FROM catalog.secret
       WHERE tenant = $1 AND key_id IS NOT NULL ORDER BY name`,
      [tenant],
    );
    return rows.map((row) => ({
      name: row.name,
      version: row.version,
      updatedAt: row.updated_at.toISOString(),
      updatedBy: row.updated_by,
    }));
  }

  /** Every kept secret of the tenant, locked until the transaction ends. */
  async lockAll(tx: Tx): Promise<SealedSecret[]> {
    const rows = await tx.query<Row>(
      `SELECT name, version, key_id, wrapped_key, sealed FROM catalog.secret
       WHERE tenant = $1 AND key_id IS NOT NULL ORDER BY name FOR UPDATE`,
      [tx.tenant],
    );
    return rows.map(sealedOf);
  }

  async rewrap(tx: Tx, name: string, keyId: string, wrapped: Buffer): Promise<void> {
    await tx.query('UPDATE catalog.secret SET key_id = $3, wrapped_key = $4 WHERE tenant = $1 AND name = $2', [
      tx.tenant,
      name,
      keyId,
      wrapped,
    ]);
  }

  /** Of all tenants: a key serves all of them. */
  async keysInUse(): Promise<Set<string>> {
    const rows = await this.db.query<{ key_id: string }>(
      'SELECT DISTINCT key_id FROM catalog.secret WHERE key_id IS NOT NULL',
    );
    return new Set(rows.map((row) => row.key_id));
  }
}
