import { Injectable } from '@nestjs/common';
import type { EpisodesMessage } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';

/** Keeps what was observed after runs of rules, and which of them people took out of the rule's hands. */
@Injectable()
export class VerifiedService {
  constructor(private readonly signals: Signals) {}

  async note(tx: Tx, messages: readonly EpisodesMessage[]): Promise<void> {
    const found = messages.flatMap(({ resource, verified }) =>
      verified === undefined ? [] : [{ run: verified.run, resource, result: verified.fixed ? 'fixed' : 'not-fixed' }],
    );
    if (found.length === 0) return;
    await tx.query({
      name: 'control.verified',
      text: `INSERT INTO control.verified (tenant, run_id, resource, rule, flow, result)
        SELECT $1, x.run, x.resource, a.rule, a.flow, x.result FROM jsonb_to_recordset($2::jsonb) x(run uuid, resource text, result text)
          JOIN control.admission a ON a.tenant = $1 AND a.id = x.run WHERE a.rule IS NOT NULL AND NOT a.dry_run ON CONFLICT DO NOTHING`,
      values: [tx.tenant, JSON.stringify(found)],
    });
    tx.afterCommit(() => this.signals.emit('verified'));
  }

  /** A person ended or changed a run that a rule had started: it was not what they wanted. */
  async overridden(tx: Pick<Tx, 'query' | 'tenant'>, run: string): Promise<void> {
    await tx.query(
      `INSERT INTO control.verified (tenant, run_id, resource, rule, flow, result)
        SELECT tenant, id, '', rule, flow, 'overridden' FROM control.admission
        WHERE tenant = $1 AND id = $2 AND rule IS NOT NULL AND NOT dry_run ON CONFLICT DO NOTHING`,
      [tx.tenant, run],
    );
  }
}
