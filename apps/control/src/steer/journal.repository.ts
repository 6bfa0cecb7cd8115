import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { JsonObject } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';

/** A run that nobody retried in a fortnight is started anew, or not at all; a journal may have a megabyte. */
export const JOURNAL_DAYS = 14;
const SWEEP_MS = 60_000;
const SWEEP_BATCH = 100;

/** What a retry starts with. */
export interface RetryStart {
  carried: JsonObject;
  epoch: number;
}

/** Journals of runs that did not succeed. */
@Injectable()
export class JournalRepository implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.journals',
      everyMs: SWEEP_MS,
      batch: SWEEP_BATCH,
      logger: this.logger,
      run: (batch) => this.sweep(batch),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  private async sweep(batch: number): Promise<number> {
    const gone = await this.db.query(
      `DELETE FROM control.journal j WHERE (tenant, run_id, kind) IN (
          SELECT tenant, run_id, kind FROM control.journal WHERE at < clock_timestamp() - make_interval(days => $2) ORDER BY at LIMIT $1)
        AND NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = j.tenant AND a.id = j.run_id
          AND a.state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')) RETURNING 1`,
      [batch, JOURNAL_DAYS],
    );
    return gone.length;
  }

  async keepEnd(tx: Pick<Tx, 'query' | 'tenant'>, id: string, body: JsonObject): Promise<void> {
    await this.keep(tx, id, 'end', body);
  }

  async keepStart(tx: Pick<Tx, 'query' | 'tenant'>, id: string, start: RetryStart): Promise<void> {
    await this.keep(tx, id, 'start', start);
  }

  private async keep(tx: Pick<Tx, 'query' | 'tenant'>, id: string, kind: 'end' | 'start', body: object): Promise<void> {
    await tx.query(
      'INSERT INTO control.journal (tenant, run_id, kind, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [tx.tenant, id, kind, JSON.stringify(body)],
    );
  }

  async end(tenant: string, id: string): Promise<JsonObject | undefined> {
    return this.read<JsonObject>(tenant, id, 'end');
  }

  async start(tenant: string, id: string): Promise<RetryStart | undefined> {
    return this.read<RetryStart>(tenant, id, 'start');
  }

  private async read<T>(tenant: string, id: string, kind: 'end' | 'start'): Promise<T | undefined> {
    const [row] = await this.db.query<{ body: T }>(
      'SELECT body FROM control.journal WHERE tenant = $1 AND run_id = $2 AND kind = $3',
      [tenant, id, kind],
    );
    return row?.body;
  }
}
