import { Inject, Injectable } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { Clock, Logger } from '@opsloop/platform';
import { Database, startDueLoop } from '@opsloop/postgres';
import type { DueLoop } from '@opsloop/postgres';
import { INGEST_CONFIG } from '../config.js';
import type { EventIngestConfig } from '../config.js';
import { oldestId } from './retain.pure.js';

const TENANT = 'default';
/** Rows per statement: some 20 ms of locks, so that accepting never waits for a sweep. */
const ROWS = 1_000;
/** 1,000 rows a minute keep pace with 16 events a second; full batches follow each other at once. */
const EVERY_MS = 60_000;

/** Days that stand ready: longer than a process that cannot make one goes unseen. */
const AHEAD_MS = 3 * 86_400_000;

/** Drops days of events with their bodies, and what else is too old to be asked about. */
@Injectable()
export class RetainService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly logger: Logger,
    @Inject(INGEST_CONFIG) private readonly config: EventIngestConfig,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    // Before the first event: after weeks of rest there is no day for today. Without one it would go to the rest.
    await this.roll().catch((error: unknown) => this.logger.warn('the days of events could not be made', { error }));
    this.loop = startDueLoop({
      name: 'ingest retention',
      everyMs: EVERY_MS,
      batch: ROWS,
      logger: this.logger,
      run: async (batch) => {
        await this.roll();
        return this.sweep(batch);
      },
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** Makes days ahead and drops old ones whole. */
  async roll(): Promise<string[]> {
    const now = this.clock.now().getTime();
    const [row] = await this.database.query<{ done: string[] }>('SELECT ingest.roll($1, $2) AS done', [
      new Date(now + AHEAD_MS).toISOString(),
      new Date(now - this.config.retentionMs).toISOString(),
    ]);
    if (row!.done.length > 0) this.logger.info('days of events', { done: row!.done });
    return row!.done;
  }

  /** Returns the largest number of rows that one statement deleted: a full batch means more. */
  async sweep(rows: number = ROWS): Promise<number> {
    const now = this.clock.now().getTime();
    const oldest = oldestId(now - this.config.retentionMs);
    const counts = [
      // Not by day: what stood there before there were days, and what came with a wrong clock.
      ...(await this.deleteOld('event', 'event_id', oldest, rows)),
      ...(await this.deleteOld('delivery', 'id', oldest, rows)),
      await this.delete('ingest.identity', 'tenant = $3 AND event_id < $1::uuid', [oldest, rows, TENANT]),
      await this.delete('ingest.dead', 'tenant = $3 AND last_at < $1', [
        new Date(now - this.config.retentionMs).toISOString(),
        rows,
        TENANT,
      ]),
      // The sequence is part of event ids: it may begin anew only when the last event of the row is gone for long.
      await this.delete(
        'ingest.poll_value',
        `observed_at < $1 AND tenant = $3 AND (digest IS NULL
           OR NOT EXISTS (SELECT 1 FROM ingest.poll p WHERE p.tenant = t.tenant AND p.source = t.source))`,
        [new Date(now - 2 * this.config.retentionMs).toISOString(), rows, TENANT],
      ),
    ];
    return Math.max(...counts);
  }

  private async deleteOld(table: string, key: string, oldest: string, rows: number): Promise<number[]> {
    const counts: number[] = [];
    for (const part of ['first', 'rest']) {
      const [{ there } = { there: false }] = await this.database.query<{ there: boolean }>(
        'SELECT to_regclass($1) IS NOT NULL AS there',
        [`ingest.${table}_${part}`],
      );
      if (!there) continue;
      counts.push(
        await this.delete(`ingest.${table}_${part}`, `tenant = $3 AND ${key} < $1::uuid`, [oldest, rows, TENANT]),
      );
    }
    return counts;
  }

  private async delete(table: string, where: string, values: unknown[]): Promise<number> {
    const gone = await this.database.query(
      `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ${table} t WHERE ${where} LIMIT $2)) RETURNING 1`,
      values,
    );
    return gone.length;
  }
}
