import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { type LogBatch, type LogEntry, OpsError, type Page } from '@opsloop/contracts';
import { decodeCursor, encodeCursor } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { requireRunId } from '../runs/internal-runs.service.js';
import { Signals } from '../signals.service.js';
import { fittingLines, type LogSize } from './log.pure.js';

export interface LogFilter {
  step?: string | undefined;
  cursor?: string | undefined;
  limit: number;
}

/** Lines of another process's control are found this late; those of this one wake the reader at once. */
const LOOK_MS = 1_000;
/** Proxies close a connection that says nothing for a minute. */
const ALIVE_MS = 15_000;
/** Each follower asks once a second: above this, watching would be most of what the database does. */
const FOLLOWERS_MAX = 200;
const PAGE_LINES = 500;

/** The lines of runs: bounded, in order, to read and to follow. */
@Injectable()
export class LogsService implements BeforeApplicationShutdown {
  private followers = 0;
  private stopping = false;

  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
  ) {}

  beforeApplicationShutdown(): void {
    this.stopping = true;
    this.signals.emit('logged', '');
  }

  /** Keeps lines as far as the log of the run has room. Not worth a wait for the disk: a crash may cost the last second. */
  async append(tenant: string, run: string, batch: LogBatch): Promise<{ kept: number }> {
    requireRunId(run);
    const kept = await this.db.inTransaction(
      tenant,
      async (tx) => {
        const [size] = await tx.query<LogSize>({
          name: 'control.run-log',
          text: `INSERT INTO control.run_log AS l (tenant, run_id) SELECT $1, id FROM control.admission WHERE tenant = $1 AND id = $2
                 ON CONFLICT (tenant, run_id) DO UPDATE SET lines = l.lines RETURNING lines, chars`,
          values: [tenant, run],
        });
        if (size === undefined) throw new OpsError('not-found', `There is no run ${run}`);
        const lines = fittingLines(size, batch.lines);
        if (lines.length === 0) return 0;
        await tx.query({
          name: 'control.add-lines',
          text: `WITH added AS (
              INSERT INTO control.log_line (tenant, run_id, seq, at, step, attempt, stream, text)
              SELECT $1, $2, $3::int + n, u.at, $4, $5, u.stream, u.text
                FROM unnest($6::timestamptz[], $7::text[], $8::text[]) WITH ORDINALITY u(at, stream, text, n))
            UPDATE control.run_log SET lines = lines + $9, chars = chars + $10 WHERE tenant = $1 AND run_id = $2`,
          values: [
            tenant,
            run,
            size.lines,
            batch.step,
            batch.attempt,
            lines.map((l) => l.at),
            lines.map((l) => l.stream),
            lines.map((l) => l.text),
            lines.length,
            lines.reduce((sum, l) => sum + l.text.length, 0),
          ],
        });
        return lines.length;
      },
      { durable: false },
    );
    if (kept > 0) this.signals.emit('logged', run);
    return { kept };
  }

  async page(tenant: string, run: string, filter: LogFilter): Promise<Page<LogEntry>> {
    await this.requireRun(tenant, run);
    const items = await this.lines(tenant, run, { ...filter, after: seqOf(filter.cursor), limit: filter.limit + 1 });
    const page = items.slice(0, filter.limit);
    const last = page.at(-1);
    return {
      items: page,
      ...(items.length <= filter.limit || last === undefined ? {} : { nextCursor: encodeCursor(last.seq) }),
    };
  }

  /** The lines so far and those to come, as NDJSON; an empty line now and then says that nothing is lost. Ends with the run. */
  async follow(tenant: string, run: string, filter: LogFilter): Promise<AsyncGenerator<string>> {
    await this.requireRun(tenant, run);
    const after = seqOf(filter.cursor);
    if (this.followers >= FOLLOWERS_MAX)
      throw new OpsError('overload', `${FOLLOWERS_MAX} logs are followed already`, { retryAfterSec: 10 });
    return this.stream(tenant, run, filter.step, after);
  }

  private async *stream(tenant: string, run: string, step: string | undefined, from: number): AsyncGenerator<string> {
    this.followers += 1;
    let alive = Date.now();
    try {
      for (let after = from; !this.stopping;) {
        const woken = this.nextLines(run);
        // Asked before the lines are read: what is written before the end is read after it.
        const ended = await this.hasEnded(tenant, run);
        const lines = await this.lines(tenant, run, { step, after, limit: PAGE_LINES });
        for (const line of lines) yield `${JSON.stringify(line)}\n`;
        after = lines.at(-1)?.seq ?? after;
        if (lines.length < PAGE_LINES && ended) return;
        if (lines.length > 0) alive = Date.now();
        if (lines.length === PAGE_LINES) continue;
        if (Date.now() - alive >= ALIVE_MS) {
          alive = Date.now();
          yield '\n';
        }
        await woken;
      }
    } finally {
      this.followers -= 1;
    }
  }

  /** Settles when lines of the run were stored here, when it has ended, or after a second. */
  private nextLines(run: string): Promise<void> {
    return new Promise((resolve) => {
      const wake = (id: string): void => {
        if (id !== run && !this.stopping) return;
        clearTimeout(timer);
        for (const off of offs) off();
        resolve();
      };
      const offs = [this.signals.on('logged', wake), this.signals.on('ended', wake)];
      const timer = setTimeout(() => wake(run), LOOK_MS);
    });
  }

  private async lines(
    tenant: string,
    run: string,
    { step, after, limit }: { step?: string | undefined; after: number; limit: number },
  ): Promise<LogEntry[]> {
    const rows = await this.db.query<Omit<LogEntry, 'at'> & { at: Date }>({
      name: 'control.log-lines',
      text: `SELECT seq, at, step, attempt, stream, text FROM control.log_line
              WHERE tenant = $1 AND run_id = $2 AND seq > $3 AND ($4::text IS NULL OR step = $4) ORDER BY seq LIMIT $5`,
      values: [tenant, run, after, step ?? null, limit],
    });
    return rows.map((row) => ({ ...row, at: row.at.toISOString() }));
  }

  private async hasEnded(tenant: string, run: string): Promise<boolean> {
    const [row] = await this.db.query<{ ended: boolean }>({
      name: 'control.run-ended',
      text: `SELECT state NOT IN ('queued', 'held', 'needs-approval', 'admitted', 'started') AS ended
               FROM control.admission WHERE tenant = $1 AND id = $2`,
      values: [tenant, run],
    });
    return row?.ended ?? true;
  }

  private async requireRun(tenant: string, run: string): Promise<void> {
    requireRunId(run);
    const rows = await this.db.query('SELECT 1 FROM control.admission WHERE tenant = $1 AND id = $2', [tenant, run]);
    if (rows.length === 0) throw new OpsError('not-found', `There is no run ${run}`);
  }
}

function seqOf(cursor: string | undefined): number {
  if (cursor === undefined) return 0;
  const value = decodeCursor(cursor);
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw new OpsError('validation', 'The cursor is not one of this list', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this list' }],
  });
}
