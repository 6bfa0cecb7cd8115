import { Injectable } from '@nestjs/common';
import { type CompiledFlow, eventTypeMatches, type FlowEvent, workflowIdOf } from '@opsloop/contracts';
import { Database, type Query, type Tx } from '@opsloop/postgres';

/** An event with the time at which it was published: what is older than a run is not for it. */
export interface PublishedEvent {
  at: string;
  event: FlowEvent;
}

export interface Due {
  run_id: string;
  workflow_id: string;
}

export interface Delivery {
  seq: string;
  body: FlowEvent;
}

/** SQL of the events that runs wait for. */
@Injectable()
export class EventWaits {
  constructor(private readonly db: Database) {}

  /** Written together with the admission: an event that is sent after the answer to the start is not missed. */
  register(tx: Tx, run: { id: string; flow: string }, compiled: Pick<CompiledFlow, 'waitsFor' | 'asks'>): void {
    const { waitsFor = [], asks } = compiled;
    if (waitsFor.length === 0 && asks !== true) return;
    tx.send({
      name: 'control.waits',
      text: 'UPDATE control.admission SET waits = true WHERE tenant = $1 AND id = $2',
      values: [tx.tenant, run.id],
    });
    if (waitsFor.length === 0) return;
    tx.send({
      name: 'control.inbox',
      text: `INSERT INTO control.run_inbox (tenant, run_id, workflow_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
      values: [tx.tenant, run.id, workflowIdOf(run.flow, run.id)],
    });
    tx.send({
      name: 'control.event-wait',
      text: `INSERT INTO control.event_wait (tenant, type, run_id, is_pattern)
        SELECT $1, t, $2, strpos(t, '*') > 0 FROM unnest($3::text[]) t ON CONFLICT DO NOTHING`,
      values: [tx.tenant, run.id, waitsFor],
    });
  }

  /** With the end of the run everything on its way to it goes. */
  forget(tx: Tx, runId: string): void {
    tx.send({
      name: 'control.forget-inbox',
      text: 'DELETE FROM control.run_inbox WHERE tenant = $1 AND run_id = $2',
      values: [tx.tenant, runId],
    });
  }

  /** What some run waits for: these types, and all patterns. */
  waited(tx: Tx, types: readonly string[]): Promise<{ type: string }[]> {
    return tx.query<{ type: string }>({
      name: 'control.waited-types',
      text: `SELECT type FROM control.event_wait WHERE tenant = $1 AND type = ANY($2)
        UNION SELECT type FROM control.event_wait WHERE tenant = $1 AND is_pattern`,
      values: [tx.tenant, types],
    });
  }

  /** Puts the events on their way to every run that waits for one of their types. How many ways there are. */
  async put(tx: Tx, events: readonly PublishedEvent[], waited: readonly { type: string }[]): Promise<number> {
    const pairs = events.flatMap((one) =>
      waited.filter(({ type }) => eventTypeMatches(type, one.event.type)).map(({ type }) => ({ ...one, type })),
    );
    if (pairs.length === 0) return 0;
    const rows = await tx.query<{ run_id: string }>({
      name: 'control.deliver-event',
      // Messages keep whole milliseconds. The lock makes the end of a run wait, or makes us see that it has ended.
      text: `INSERT INTO control.event_delivery (tenant, run_id, event_id, body)
        SELECT $1, i.run_id, e.event_id, e.body
        FROM unnest($2::text[], $3::timestamptz[], $4::uuid[], $5::jsonb[]) WITH ORDINALITY AS e(type, at, event_id, body, n)
        JOIN control.event_wait w ON w.tenant = $1 AND w.type = e.type
        JOIN control.run_inbox i ON i.tenant = w.tenant AND i.run_id = w.run_id AND date_trunc('milliseconds', i.since) <= e.at
        ORDER BY e.n FOR KEY SHARE OF i
        ON CONFLICT (tenant, run_id, event_id) DO NOTHING RETURNING run_id`,
      values: [
        tx.tenant,
        pairs.map((p) => p.type),
        pairs.map((p) => p.at),
        pairs.map((p) => p.event.eventId),
        pairs.map((p) => JSON.stringify(p.event)),
      ],
    });
    return rows.length;
  }

  /** Started runs for which something is on its way and nobody is at it. */
  due(limit: number): Promise<Due[]> {
    return this.db.query<Due>({
      name: 'control.due-deliveries',
      text: `SELECT i.run_id, i.workflow_id FROM (SELECT DISTINCT tenant, run_id FROM control.event_delivery WHERE tenant = 'default') d
        JOIN control.run_inbox i ON i.tenant = d.tenant AND i.run_id = d.run_id AND i.next_try_at <= clock_timestamp() AND i.claimed_until <= clock_timestamp()
        JOIN control.admission a ON a.tenant = d.tenant AND a.id = d.run_id AND a.state = 'started' ORDER BY i.next_try_at LIMIT $1`,
      values: [limit],
    });
  }

  /** One process at a time speaks to a run, so that events keep their order. */
  async claim(tenant: string, runId: string, seconds: number): Promise<boolean> {
    const rows = await this.db.query({
      name: 'control.claim-inbox',
      text: `UPDATE control.run_inbox SET claimed_until = clock_timestamp() + make_interval(secs => $3)
        WHERE tenant = $1 AND run_id = $2 AND claimed_until <= clock_timestamp() AND next_try_at <= clock_timestamp() RETURNING run_id`,
      values: [tenant, runId, seconds],
    });
    return rows.length > 0;
  }

  next(tenant: string, runId: string, limit: number): Promise<Delivery[]> {
    return this.db.query<Delivery>({
      name: 'control.next-deliveries',
      text: 'SELECT seq, body FROM control.event_delivery WHERE tenant = $1 AND run_id = $2 ORDER BY seq LIMIT $3',
      values: [tenant, runId, limit],
    });
  }

  /** The workflow has them. */
  async delivered(tenant: string, runId: string, seqs: readonly string[]): Promise<void> {
    await this.db.query({
      name: 'control.delivered',
      text: 'DELETE FROM control.event_delivery WHERE tenant = $1 AND run_id = $2 AND seq = ANY($3::bigint[])',
      values: [tenant, runId, seqs],
    });
  }

  async release(tenant: string, runId: string, retryInS?: number): Promise<void> {
    await this.db.query({
      name: 'control.release-inbox',
      text: `UPDATE control.run_inbox SET claimed_until = '-infinity', attempts = CASE WHEN $3::double precision IS NULL THEN 0 ELSE attempts + 1 END,
          next_try_at = CASE WHEN $3::double precision IS NULL THEN '-infinity'
            ELSE clock_timestamp() + make_interval(secs => $3::double precision * power(2, least(attempts, 6))) END
        WHERE tenant = $1 AND run_id = $2`,
      values: [tenant, runId, retryInS ?? null],
    });
  }

  async drop(tenant: string, runId: string): Promise<void> {
    await this.db.query('DELETE FROM control.run_inbox WHERE tenant = $1 AND run_id = $2', [tenant, runId]);
  }

  /** Inboxes of what ended without ever running: withdrawn, expired, rejected at its turn. */
  async sweep(limit: number): Promise<number> {
    const gone = await this.db.query(sweepSql(limit));
    return gone.length;
  }
}

const sweepSql = (limit: number): Query => ({
  name: 'control.sweep-inboxes',
  text: `DELETE FROM control.run_inbox WHERE (tenant, run_id) IN (SELECT i.tenant, i.run_id FROM control.run_inbox i
      JOIN control.admission a ON a.tenant = i.tenant AND a.id = i.run_id
      WHERE a.state NOT IN ('queued', 'held', 'needs-approval', 'admitted', 'started') LIMIT $1) RETURNING run_id`,
  values: [limit],
});
