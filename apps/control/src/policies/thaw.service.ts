import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';
import { DEBT_PER_MINUTE } from './policy.pure.js';

const EVERY_MS = 1_000;
/** Once a minute is often enough for what never happens unless a process died at a bad moment. */
const TIDY_MS = 60_000;
const TIDY_ROWS = 5_000;

/** Takes up what a freeze or a storm has held when it is over, and tidies counters. */
@Injectable()
export class ThawService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private tidiedAt = Date.now();

  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({ name: 'control.thaw', everyMs: EVERY_MS, logger: this.logger, run: () => this.pass() });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  private async pass(): Promise<number> {
    await this.thaw();
    if (Date.now() - this.tidiedAt >= TIDY_MS) {
      this.tidiedAt = Date.now();
      await this.tidy();
    }
    return 0;
  }

  /** The debt goes back to the queue, most critical first, at the pace of its freeze; each is checked again at its turn. */
  private async thaw(): Promise<void> {
    const rows = await this.db.query<{ id: string }>({
      name: 'control.thaw',
      text: `WITH due AS (SELECT tenant, id, (row_number() OVER (ORDER BY tier, rank_at, ticket) - 1) * 60.0
            / coalesce((facts #>> '{policies,freezes,0,perMinute}')::int, $1) AS after_s
          FROM control.admission WHERE tenant = 'default' AND state = 'held' AND hold_until <= clock_timestamp())
        UPDATE control.admission a SET state = 'queued', hold_until = NULL, reason = 'what held it is over',
          next_try_at = clock_timestamp() + make_interval(secs => due.after_s::double precision),
          history = history || jsonb_build_array(jsonb_build_object('kind', 'admission', 'title', 'queued: what held it is over',
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
        FROM due WHERE a.tenant = due.tenant AND a.id = due.id AND a.state = 'held' RETURNING a.id`,
      values: [DEBT_PER_MINUTE],
    });
    if (rows.length > 0) this.signals.emit('released');
  }

  /** Charges that no window counts any more, and those of starts whose end did not give them back. */
  private async tidy(): Promise<void> {
    await this.db.query({
      name: 'control.tidy-charges',
      text: `DELETE FROM control.charge WHERE (tenant, counter, unit, run_id, step) IN (SELECT tenant, counter, unit, run_id, step FROM control.charge
        WHERE greatest(live_until, keep_until) <= clock_timestamp() LIMIT $1)`,
      values: [TIDY_ROWS],
    });
    await this.db.query({
      name: 'control.free-charges',
      text: `UPDATE control.charge c SET live_until = clock_timestamp() WHERE live_until = 'infinity' AND NOT EXISTS (SELECT 1 FROM control.admission a
        WHERE a.tenant = c.tenant AND a.id = c.run_id AND a.state IN ('admitted', 'started'))`,
    });
    await this.db.query({
      name: 'control.tidy-budget-waits',
      text: `DELETE FROM control.budget_wait w WHERE NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = w.tenant AND a.id = w.run_id AND a.state = 'queued')`,
    });
  }
}
