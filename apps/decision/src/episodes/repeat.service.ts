import { Injectable } from '@nestjs/common';
import type { StartRequest } from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { Clock, Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';

const TENANT = 'default';
/** Control answers in milliseconds, after an outage within the minute that its queue takes to empty. */
export const UNANSWERED_MS = 5 * 60_000;
/** Starts repeated in one turn; more of them are an outage, and then the bus still holds the first copies. */
const STARTS_MAX = 256;

/**
 * The net under starts that control never answered, because its handler gave one up while something it needed was away.
 * The same start goes out again under its own id: control knows it by that id and ignores what it has already.
 */
@Injectable()
export class RepeatService {
  constructor(
    private readonly db: Database,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Returns how many starts were sent again. */
  async run(): Promise<number> {
    const before = this.clock.now().getTime() - UNANSWERED_MS;
    return this.db.inTransaction(TENANT, async (tx) => {
      const rows = await tx.query<{ start: StartRequest }>(
        `SELECT d.start FROM decision.decision d WHERE d.tenant = $1 AND d.id IN (
           SELECT e.start_id FROM decision.episode e WHERE e.tenant = $1 AND e.live AND e.state = 'pending' AND e.start_id IS NOT NULL
             AND (e.doc->'episode'->>'changedAt')::bigint < $2
             AND NOT EXISTS (SELECT 1 FROM decision.run r WHERE r.tenant = e.tenant AND r.id = e.start_id))
         ORDER BY d.at LIMIT $3`,
        [tx.tenant, before, STARTS_MAX],
      );
      for (const { start } of rows)
        tx.publish('starts', { id: newId(), key: start.id, body: { kind: 'start', start } });
      if (rows.length > 0) this.logger.warn('control has not answered; starts sent again', { starts: rows.length });
      return rows.length;
    });
  }
}
