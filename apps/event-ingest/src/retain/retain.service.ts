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

/** Deletes events with their bodies, and values of polls that ended, once they are too old to be asked about. */
@Injectable()
export class RetainService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
    private readonly logger: Logger,
    @Inject(INGEST_CONFIG) private readonly config: EventIngestConfig,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'ingest retention',
      everyMs: EVERY_MS,
      batch: ROWS,
      logger: this.logger,
      run: (batch) => this.sweep(batch),
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  /** Returns the largest number of rows that one statement deleted: a full batch means more. */
  async sweep(rows: number = ROWS): Promise<number> {
    const now = this.clock.now().getTime();
    const oldest = oldestId(now - this.config.retentionMs);
    const counts = [
      await this.delete('ingest.event', 'tenant = $3 AND event_id < $1::uuid', [oldest, rows, TENANT]),
      await this.delete('ingest.delivery', 'tenant = $3 AND id < $1::uuid', [oldest, rows, TENANT]),
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

  private async delete(table: string, where: string, values: unknown[]): Promise<number> {
    const gone = await this.database.query(
      `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ${table} t WHERE ${where} LIMIT $2)) RETURNING 1`,
      values,
    );
    return gone.length;
  }
}
