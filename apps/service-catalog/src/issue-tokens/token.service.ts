import { randomBytes, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { OpsError, type Page, type TokenAnswer } from '@opsloop/contracts';
import { Clock, hashToken, type PageQuery, type Principal } from '@opsloop/platform';
import { Database, isUniqueViolation } from '@opsloop/postgres';
import type { z } from 'zod';
import { pageOf } from '../page.pure.js';
import { AuditRepository } from '../read-audit/audit.repository.js';
import type { CreatedToken, CreateToken, TokenLine } from '../secret-shapes.pure.js';
import { takeTurn } from '../write-documents/document-writer.service.js';
import { TOKEN_ID_BYTES, TOKEN_SECRET_BYTES, tokenOf } from './token.pure.js';
import { TokenRepository, type TokenRow } from './token.repository.js';

type TokenView = z.infer<typeof TokenLine>;

const DAY_MS = 86_400_000;

/** API tokens: made here, shown once, kept as hashes. */
@Injectable()
export class TokenService {
  constructor(
    private readonly db: Database,
    private readonly tokens: TokenRepository,
    private readonly audit: AuditRepository,
    private readonly clock: Clock,
  ) {}

  async create(who: Principal, request: z.output<typeof CreateToken>): Promise<z.infer<typeof CreatedToken>> {
    const { id, token } = tokenOf(randomBytes(TOKEN_ID_BYTES), randomBytes(TOKEN_SECRET_BYTES));
    const { name, roles, groups, secrets, expiresInDays, reason } = request;
    const expiry =
      expiresInDays === undefined ? {} : { expiresAt: new Date(this.clock.now().getTime() + expiresInDays * DAY_MS) };
    const made = { id, name, hash: hashToken(token), roles: [...new Set(roles)], groups, secrets, ...expiry };
    const row = await this.db
      .inTransaction(who.tenant, async (tx) => {
        await takeTurn(tx);
        await this.tokens.releaseName(tx, name);
        const inserted = await this.tokens.insert(tx, made, who.name);
        await this.audit.record(tx, {
          by: who.name,
          act: 'create',
          kind: 'token',
          name,
          version: id,
          ...(reason === undefined ? {} : { reason }),
        });
        return inserted;
      })
      .catch((error: unknown) => {
        if (!isUniqueViolation(error, 'token_name')) throw error;
        throw new OpsError('conflict', `There is a token "${name}"; revoke it first, or choose another name`, {
          errors: [{ pointer: '/name', message: 'is the name of a living token' }],
        });
      });
    return { ...viewOf(row), token };
  }

  async list(tenant: string, page: PageQuery, revoked: boolean): Promise<Page<TokenView>> {
    return pageOf((await this.tokens.list(tenant, revoked)).map(viewOf), page, (token) => token.id);
  }

  async revoke(who: Principal, id: string): Promise<void> {
    await this.db.inTransaction(who.tenant, async (tx) => {
      await takeTurn(tx);
      const name = await this.tokens.revoke(tx, id);
      if (name !== undefined)
        await this.audit.record(tx, { by: who.name, act: 'revoke', kind: 'token', name, version: id });
      else if (!(await this.tokens.exists(tx, id))) throw new OpsError('not-found', `There is no token ${id}`);
    });
  }

  /** Who a token belongs to. Compared in constant time; an unknown id looks like a wrong secret. */
  async find(tenant: string, id: string, hash: string): Promise<TokenAnswer> {
    const row = await this.tokens.find(tenant, id);
    const given = Buffer.from(hash, 'base64url');
    if (row === undefined || given.length !== row.hash.length || !timingSafeEqual(given, row.hash)) return {};
    const { name, roles, groups, secrets, expires_at } = row;
    return {
      principal: { tenant, kind: 'token', name, roles, groups, secrets },
      ...(expires_at === null ? {} : { expiresAt: expires_at.toISOString() }),
    };
  }
}

function viewOf(row: TokenRow): TokenView {
  const { id, name, roles, groups, secrets } = row;
  return {
    id,
    name,
    roles,
    groups,
    secrets,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at.toISOString() }),
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at.toISOString() }),
  };
}
