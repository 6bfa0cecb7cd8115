import { Injectable } from '@nestjs/common';
import { Clock, InternalClient, Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { RunsService } from '../runs/runs.service.js';
import { UNANSWERED_MS } from './repeat.service.js';

const TENANT = 'default';
/** Runs asked about in one turn; control answers them from one index. */
const RUNS_MAX = 256;

/**
 * The net under messages of control that our handler gave up: an episode that waits for a run of which nothing was heard
 * for minutes asks control what became of it. Runs that go on answer that they have started, which changes nothing.
 */
@Injectable()
export class MissedEndsService {
  constructor(
    private readonly db: Database,
    private readonly runs: RunsService,
    private readonly client: InternalClient,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Returns how many messages were noted that had not been heard before. */
  async run(): Promise<number> {
    const before = this.clock.now().getTime() - UNANSWERED_MS;
    const waiting = await this.db.query<{ start_id: string; state: string }>({
      name: 'decision.unheard-runs',
      // In random order: above the bound, runs that take long must not keep the others from being asked about.
      text: `SELECT start_id, max(state) AS state FROM decision.episode WHERE tenant = $1 AND live AND start_id IS NOT NULL AND state IN ('pending', 'acting')
        AND (doc->'episode'->>'changedAt')::bigint < $2 GROUP BY start_id ORDER BY random() LIMIT $3`,
      values: [TENANT, before, RUNS_MAX],
    });
    if (waiting.length === 0) return 0;
    const { messages } = await this.client.call('POST /internal/control/tell-again', {
      ids: waiting.map((row) => row.start_id),
    });
    const acting = new Set(waiting.filter(({ state }) => state === 'acting').map((row) => row.start_id));
    const unheard = messages.filter((one) => one.kind !== 'started' || !acting.has(one.id));
    if (unheard.length === 0) return 0;
    await this.db.inTransaction(TENANT, (tx) => this.runs.note(tx, unheard));
    this.logger.warn('messages of control were missed; noted from its rows', { messages: unheard.length });
    return unheard.length;
  }
}
