import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import type { JsonObject } from '@opsloop/contracts';
import { messageId } from '@opsloop/contracts/ids';
import type { Logger, PlatformConfig } from '@opsloop/platform';
import { type Database, type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';

const EVERY_MS = 500;
const BATCH = 20;
/** Accepting an event is one transaction; longer means that event-ingest is in trouble, and it is sent again. */
const SEND_TIMEOUT_MS = 5_000;
/** Another process may send it after this, well above the time that sending takes. */
const CLAIM_S = 15;
/** Waits between tries: nobody is paged by hammering. */
const RETRY_MAX_S = 60;
/** After a day of refusals nobody will take it any more. */
const KEEP = '1 day';

export interface Notice {
  type: string;
  subject: string;
  data: JsonObject;
  /** What makes it one and the same event, however often it is told. */
  key: string;
}

/**
 * Events that an app tells about itself, so that rules can page people. They leave with the transaction that caused them,
 * from the table `notice` of the app's schema.
 */
export class NoticeService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loop: DueLoop | undefined;

  constructor(
    private readonly db: Database,
    private readonly logger: Logger,
    private readonly config: Pick<PlatformConfig, 'urls' | 'serviceToken'>,
    private readonly app: 'control' | 'decision',
  ) {}

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({
      name: `${this.app}.notices`,
      everyMs: EVERY_MS,
      batch: BATCH,
      logger: this.logger,
      run: (batch) => this.sendDue(batch),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
  }

  async tell(tx: Tx, notice: Notice): Promise<void> {
    const { text, values } = this.insert(tx, notice);
    await tx.query(text, values);
  }

  /** As {@link tell}, with the statements that the transaction sends anyway. */
  send(tx: Tx, notice: Notice): void {
    tx.send({ name: `${this.app}.notice`, ...this.insert(tx, notice) });
  }

  private insert(tx: Tx, { type, subject, data, key }: Notice): { text: string; values: unknown[] } {
    const id = messageId('notice', tx.tenant, type, key);
    const event = {
      specversion: '1.0',
      id,
      source: `opsloop/${this.app}`,
      type,
      subject,
      time: new Date().toISOString(),
      datacontenttype: 'application/json',
      data,
    };
    tx.afterCommit(() => this.loop?.poke());
    return {
      text: `INSERT INTO ${this.app}.notice (tenant, id, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
      values: [tx.tenant, id, JSON.stringify(event)],
    };
  }

  private async sendDue(batch: number): Promise<number> {
    const rows = await this.db.query<{ tenant: string; id: string; body: JsonObject; attempts: number }>({
      name: `${this.app}.due-notices`,
      text: `UPDATE ${this.app}.notice SET next_try_at = clock_timestamp() + make_interval(secs => $2), attempts = attempts + 1
        WHERE (tenant, id) IN (SELECT tenant, id FROM ${this.app}.notice WHERE next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING tenant, id, body, attempts`,
      values: [batch, CLAIM_S],
    });
    for (const row of rows) {
      const refused = await this.post(row.body).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      if (refused === undefined)
        await this.db.query(`DELETE FROM ${this.app}.notice WHERE tenant = $1 AND id = $2`, [row.tenant, row.id]);
      else await this.later(row, refused);
    }
    return rows.length;
  }

  private async later(row: { tenant: string; id: string; attempts: number }, reason: string): Promise<void> {
    this.logger.warn('an event about opsloop itself was not taken; it is sent again', { event: row.id, reason });
    const waitS = Math.min(RETRY_MAX_S, 2 ** Math.min(row.attempts, 6));
    await this.db.query(
      `UPDATE ${this.app}.notice SET next_try_at = clock_timestamp() + make_interval(secs => $3) WHERE tenant = $1 AND id = $2`,
      [row.tenant, row.id, waitS],
    );
    await this.db.query(`DELETE FROM ${this.app}.notice WHERE at < clock_timestamp() - interval '${KEEP}'`);
  }

  private async post(event: JsonObject): Promise<void> {
    const answer = await fetch(new URL('/v1/events', this.config.urls.ingest), {
      method: 'POST',
      headers: { authorization: `Bearer ${this.config.serviceToken}`, 'content-type': 'application/cloudevents+json' },
      body: JSON.stringify(event),
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    });
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`event-ingest answered ${answer.status}`);
  }
}
