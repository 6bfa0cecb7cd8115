import { Injectable } from '@nestjs/common';
import { Database, type Tx } from '@opsloop/postgres';

export interface NewToken {
  id: string;
  name: string;
  hash: Buffer;
  roles: string[];
  groups: string[];
  secrets: string[];
  expiresAt?: Date;
}

export interface TokenRow {
  id: string;
  name: string;
  hash: Buffer;
  roles: string[];
  groups: string[];
  secrets: string[];
  created_at: Date;
  created_by: string;
  expires_at: Date | null;
  revoked_at: Date | null;
}

const COLUMNS = 'id, name, hash, roles, groups, secrets, created_at, created_by, expires_at, revoked_at';

@Injectable()
export class TokenRepository {
  constructor(private readonly db: Database) {}

  async insert(tx: Tx, token: NewToken, by: string): Promise<TokenRow> {
    const [row] = await tx.query<TokenRow>(
      `INSERT INTO catalog.token (tenant, id, name, hash, roles, groups, secrets, created_by, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ${COLUMNS}`,
      [
        tx.tenant,
        token.id,
        token.name,
        token.hash,
        token.roles,
        token.groups,
        token.secrets,
        by,
        token.expiresAt ?? null,
      ],
    );
    return row!;
  }

  /** Frees the name of a token that has expired: nobody revokes those. */
  async releaseName(tx: Tx, name: string): Promise<void> {
    await tx.query(
      `UPDATE catalog.token SET revoked_at = expires_at
       WHERE tenant = $1 AND name = $2 AND revoked_at IS NULL AND expires_at < clock_timestamp()`,
      [tx.tenant, name],
    );
  }

  async list(tenant: string, revoked: boolean): Promise<TokenRow[]> {
    return this.db.query<TokenRow>(
      `SELECT ${COLUMNS} FROM catalog.token
       WHERE tenant = $1 AND ($2 OR revoked_at IS NULL) ORDER BY id`,
      [tenant, revoked],
    );
  }

  /** The name of a token that was alive until now. */
  async revoke(tx: Tx, id: string): Promise<string | undefined> {
    const [row] = await tx.query<{ name: string }>(
      `UPDATE catalog.token SET revoked_at = clock_timestamp()
       WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL RETURNING name`,
      [tx.tenant, id],
    );
    return row?.name;
  }

  async exists(tx: Tx, id: string): Promise<boolean> {
    return (await tx.query('SELECT 1 FROM catalog.token WHERE tenant = $1 AND id = $2', [tx.tenant, id])).length > 0;
  }

  /** A living token by its id. */
  async find(tenant: string, id: string): Promise<TokenRow | undefined> {
    const [row] = await this.db.query<TokenRow>({
      name: 'catalog.token.find',
      text: `SELECT ${COLUMNS} FROM catalog.token WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL
             AND (expires_at IS NULL OR expires_at > clock_timestamp())`,
      values: [tenant, id],
    });
    return row;
  }
}
