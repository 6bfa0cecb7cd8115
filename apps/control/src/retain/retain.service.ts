import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { CONTROL_CONFIG, type ControlConfig } from '../config.js';

/** Old rows are in nobody's way; a minute more of them does not matter. */
const EVERY_MS = 60_000;
/** Rows per statement: some 20 ms of locks, so that admission never waits for a sweep. */
const ROWS = 2_000;

/** What goes by age; `$1` is how old in seconds, `$2` how many at most. Nothing that is open goes, however old it is. */
const SWEEPS: readonly { table: string; where: string }[] = [
  // Its lines go with it.
  {
    table: 'control.run_log',
    where: `(t.tenant, t.run_id) IN (SELECT a.tenant, a.id FROM control.admission a WHERE a.tenant = 'default' AND a.ended_at < clock_timestamp() - make_interval(secs => $1))`,
  },
  {
    table: 'control.journal',
    where:
      't.at < clock_timestamp() - make_interval(secs => $1) AND NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = t.tenant AND a.id = t.run_id AND a.ended_at IS NULL)',
  },
  {
    table: 'control.admission',
    where: `t.tenant = 'default' AND t.ended_at < clock_timestamp() - make_interval(secs => $1) AND NOT EXISTS (SELECT 1 FROM control.run_log l WHERE l.tenant = t.tenant AND l.run_id = t.id)`,
  },
  // Questions of runs that are gone, with their answers.
  {
    table: 'control.approval',
    where: `t.closed_at < clock_timestamp() - make_interval(secs => $1) AND NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = t.tenant AND a.id = t.run_id)`,
  },
  { table: 'control.act', where: 't.at < clock_timestamp() - make_interval(secs => $1)' },
  { table: 'control.storm', where: 't.until < clock_timestamp() - make_interval(secs => $1)' },
  { table: 'control.verified', where: `t.tenant = 'default' AND t.at < clock_timestamp() - make_interval(secs => $1)` },
  { table: 'control.firing', where: `t.at < clock_timestamp() - make_interval(secs => $1) AND t.result <> 'waiting'` },
  {
    table: 'control.halt_allow',
    where:
      't.at < clock_timestamp() - make_interval(secs => $1) AND EXISTS (SELECT 1 FROM control.halt h WHERE h.tenant = t.tenant AND h.id = t.halt_id AND h.lifted_at IS NOT NULL)',
  },
  {
    table: 'control.halt',
    where:
      't.lifted_at < clock_timestamp() - make_interval(secs => $1) AND NOT EXISTS (SELECT 1 FROM control.halt_allow w WHERE w.tenant = t.tenant AND w.halt_id = t.id)',
  },
  // Closed while it was stuck: nobody looks at it again.
  {
    table: 'control.stuck',
    where: `$1 >= 0 AND NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = t.tenant AND a.id = t.run_id AND a.state = 'started')`,
  },
];

/** Deletes what is too old to be asked about, a bounded number of rows at a time. */
@Injectable()
export class RetainService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly logger: Logger,
    @Inject(CONTROL_CONFIG) private readonly config: ControlConfig,
  ) {}

  onApplicationBootstrap(): void {
    const { retentionMs } = this.config;
    if (retentionMs === undefined) return;
    this.loop = startDueLoop({
      name: 'control.retain',
      everyMs: EVERY_MS,
      batch: ROWS,
      logger: this.logger,
      run: (rows) => this.sweep(retentionMs, rows),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** One statement per table. Returns the largest number of rows that one of them deleted: a full batch means more. */
  async sweep(retentionMs: number, rows: number = ROWS): Promise<number> {
    let most = 0;
    for (const { table, where } of SWEEPS) {
      const gone = await this.db.query(
        `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ${table} t WHERE ${where} LIMIT $2)) RETURNING 1`,
        [retentionMs / 1_000, rows],
      );
      most = Math.max(most, gone.length);
    }
    return most;
  }
}
