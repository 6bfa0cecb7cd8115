import { Injectable } from '@nestjs/common';
import type { DocumentsMessage } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { TableCache } from '../facts/table-cache.service.js';
import { MaintenanceCache } from '../maintenance/maintenance-cache.service.js';
import { ConfigCache } from './config-cache.service.js';

/** Halts are noted, so that a decision made under one says so; configs are read again. */
@Injectable()
export class DocumentsService {
  constructor(
    private readonly configs: ConfigCache,
    private readonly tables: TableCache,
    private readonly maintenance: MaintenanceCache,
  ) {}

  async note(tx: Tx, message: DocumentsMessage, at: string): Promise<void> {
    if (message.kind === 'config') return this.configs.forget();
    if (message.kind === 'table') return this.tables.forget();
    if (message.kind === 'maintenance') return this.maintenance.forget();
    if (message.kind !== 'halt') return;
    if (message.change === 'lifted' || message.change === 'deleted') {
      await tx.query('DELETE FROM decision.halt WHERE tenant = $1 AND id = $2', [tx.tenant, message.name]);
      return;
    }
    await tx.query(
      'INSERT INTO decision.halt (tenant, id, body, at) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, id) DO UPDATE SET body = EXCLUDED.body',
      // Scope is what judging reads; everything else is for people and may be missing.
      [
        tx.tenant,
        message.name,
        JSON.stringify({
          scope: {},
          running: 'pause',
          reason: '',
          by: '',
          since: at,
          ...message.body,
          id: message.name,
        }),
        at,
      ],
    );
  }
}
