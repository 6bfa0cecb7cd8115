import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { InternalCalls, ScheduleDocument } from '@opsloop/contracts';
import { Clock, InternalClient, Logger } from '@opsloop/platform';
import { Database, type DueLoop, startDueLoop } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';
import { nextTick, whenProblem } from './ticks.pure.js';

const TENANT = 'default';
/** The net under the hints of the bus. */
const EVERY_MS = 15_000;

type Known = InternalCalls['POST /internal/catalog/schedules']['answer']['schedules'];

/** Keeps control's list of schedules as the catalog has it. Without an answer the list of before counts. */
@Injectable()
export class SyncSchedules implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;
  private off: (() => void) | undefined;

  constructor(
    private readonly db: Database,
    private readonly internal: InternalClient,
    private readonly signals: Signals,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: 'control.sync-schedules',
      everyMs: EVERY_MS,
      logger: this.logger,
      run: () => this.sync().then(() => 0),
    });
    this.off = this.signals.on('documents', (kinds) => {
      if (kinds.includes('schedule')) this.loop?.poke();
    });
    this.loop.poke();
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    await this.loop?.stop();
  }

  async sync(): Promise<void> {
    const answer = await this.internal.call('POST /internal/catalog/schedules', {}).catch(() => undefined);
    if (answer === undefined) return;
    await this.take(answer.schedules);
  }

  /** A new or changed one fires from now on; what was due before the change is over. */
  private async take(known: Known): Promise<void> {
    const now = this.clock.now().getTime();
    const rows = known.map(({ name, digest, body }) => {
      const problem = problemOf(body);
      const next = problem === undefined && body.enabled !== false ? nextTick(body, now) : undefined;
      return {
        name,
        digest,
        body,
        problem: problem ?? null,
        next: next === undefined ? null : new Date(next).toISOString(),
      };
    });
    await this.db.inTransaction(TENANT, async (tx) => {
      await tx.query(
        `INSERT INTO control.schedule (tenant, name, digest, body, next_at, problem)
          SELECT $1, x.name, x.digest, x.body, x.next, x.problem FROM jsonb_to_recordset($2::jsonb) x(name text, digest text, body jsonb, next timestamptz, problem text)
          ORDER BY x.name
          ON CONFLICT (tenant, name) DO UPDATE SET digest = excluded.digest, body = excluded.body, next_at = excluded.next_at, problem = excluded.problem
            WHERE control.schedule.digest <> excluded.digest`,
        [TENANT, JSON.stringify(rows)],
      );
      await tx.query('DELETE FROM control.schedule WHERE tenant = $1 AND NOT (name = ANY ($2::text[]))', [
        TENANT,
        rows.map(({ name }) => name),
      ]);
    });
  }
}

function problemOf(body: ScheduleDocument): string | undefined {
  try {
    return whenProblem(body);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
