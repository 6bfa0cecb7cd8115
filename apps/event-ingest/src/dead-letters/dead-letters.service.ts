import { Inject, Injectable } from '@nestjs/common';
import { ERRORS, OpsError } from '@opsloop/contracts';
import type { AcceptedEvent, DeadLetterView, EventMessage, Page, RequeueResult } from '@opsloop/contracts';
import { isUuid } from '@opsloop/contracts/ids';
import { Clock, encodeCursor, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import { messageKey } from '../accept/event.repository.js';
import { SourceService } from '../manage-sources/source.service.js';
import { formatOf } from '../receive-hook/formats/formats.js';
import { readDelivery } from '../receive-hook/map-delivery.js';
import { DeadLetterRepository } from './dead-letter.repository.js';
import type { DeadRow } from './dead-letter.repository.js';
import { deadWhere } from './dead-query.pure.js';
import type { DeadFilter, DeadQuery } from './dead-query.pure.js';

/** Of a body in an answer; people look for what is wrong, and the start of it shows that. */
const BODY_CHARS_MAX = 64 * 1024;

interface HandlerRow {
  message_id: string;
  grp: string;
  msg_id: string;
  key: string;
  body: EventMessage;
  cause: string;
  at: Date;
}

/**
 * What could not be worked on, with its cause: deliveries that no event could be made of, and events that an app could
 * not handle. Both wait here until somebody has repaired the cause and sends them on, or until they are too old.
 */
@Injectable()
export class DeadLettersService {
  constructor(
    private readonly database: Database,
    private readonly repository: DeadLetterRepository,
    private readonly sources: SourceService,
    private readonly accepting: AcceptService,
    private readonly clock: Clock,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  async list(query: DeadQuery): Promise<Page<DeadLetterView>> {
    const { limit } = query;
    if (query.kind === 'handler') return this.listHandlers(query);
    const rows = await this.repository.list(this.config.tenant, deadWhere(query, this.clock.now()), limit + 1);
    const items = rows.slice(0, limit).map(view);
    const last = items.at(-1);
    return { items, ...(rows.length > limit && last !== undefined ? { nextCursor: encodeCursor(last.id) } : {}) };
  }

  async get(id: string): Promise<DeadLetterView> {
    const handler = handlerKey(id);
    if (handler !== undefined) return handlerView(await this.handlerRow(handler));
    return view(await this.row(id));
  }

  async remove(id: string): Promise<void> {
    const handler = handlerKey(id);
    if (handler !== undefined) {
      await this.handlerRow(handler);
      await this.database.query('DELETE FROM bus.dead WHERE grp = $1 AND message_id = $2', handler);
    } else if (!isUuid(id) || !(await this.repository.remove(this.config.tenant, id))) throw unknown(id);
  }

  /** Once more through the source as it is today. It was authenticated when it came. */
  async requeue(id: string): Promise<AcceptedEvent[]> {
    const handler = handlerKey(id);
    if (handler !== undefined) return [await this.publishAgain(handler)];
    const row = await this.row(id);
    try {
      const accepted = await this.acceptAgain(row);
      await this.repository.remove(this.config.tenant, id);
      return accepted;
    } catch (error) {
      if (error instanceof OpsError && ERRORS[error.code].http < 429)
        await this.repository.failedAgain(this.config.tenant, id, {
          code: error.code,
          cause: error.detail,
          errors: error.options.errors ?? [],
        });
      throw error;
    }
  }

  /** All that fit, at most a hundred at a time, oldest last; those that fail again stay, with their new cause. */
  async requeueAll(filter: DeadFilter, limit: number): Promise<RequeueResult> {
    const { items, nextCursor } = await this.list({ ...filter, limit });
    const result: RequeueResult = { requeued: 0, failed: [], more: nextCursor !== undefined };
    for (const { id } of items) {
      try {
        await this.requeue(id);
        result.requeued += 1;
      } catch (error) {
        if (!(error instanceof OpsError) || ERRORS[error.code].http >= 429) throw error;
        result.failed.push({ id, code: error.code, cause: error.detail });
      }
    }
    return result;
  }

  private async acceptAgain(row: DeadRow): Promise<AcceptedEvent[]> {
    const { tenant } = this.config;
    const source = await this.sources.live(tenant, row.source);
    const format = source === undefined ? undefined : formatOf(source);
    if (source === undefined || format === undefined)
      throw new OpsError(
        'not-found',
        `the source "${row.source}" of this delivery is gone; put it again, or delete the dead letter`,
      );
    const proof = row.signed === null ? {} : { signed: row.signed };
    const message = { headers: row.headers, rawBody: row.body! };
    const { items } = readDelivery(source, format, message, proof, row.received_at, this.clock.now());
    const contentType = row.headers['content-type'] ?? '';
    return this.accepting.accept({ tenant, items, raw: { contentType, body: row.body! } });
  }

  private async publishAgain([group, id]: [string, string]): Promise<AcceptedEvent> {
    const row = await this.handlerRow([group, id]);
    await this.database.inTransaction(this.config.tenant, async (tx) => {
      const gone = await tx.query('DELETE FROM bus.dead WHERE grp = $1 AND message_id = $2 RETURNING 1', [group, id]);
      // To every group under the same id: those that have handled it take it for a repeat.
      if (gone.length > 0) tx.publish('events', { id: row.msg_id, key: messageKey(row.body), body: row.body });
    });
    const { id: eventOwnId, source, eventId } = row.body;
    return { id: eventOwnId, source, eventId, duplicate: false };
  }

  private async listHandlers(query: DeadQuery): Promise<Page<DeadLetterView>> {
    const rows = await this.database.query<HandlerRow>(
      `SELECT * FROM bus.dead WHERE tenant = $1 AND topic = 'events' AND ($2::text IS NULL OR body->>'source' = $2)
        ORDER BY at DESC, message_id DESC LIMIT $3`,
      [this.config.tenant, query.source ?? null, query.limit],
    );
    return { items: rows.map(handlerView) };
  }

  private async handlerRow(key: [string, string]): Promise<HandlerRow> {
    const rows = await this.database.query<HandlerRow>(
      `SELECT * FROM bus.dead WHERE grp = $1 AND message_id = $2 AND topic = 'events' AND tenant = $3`,
      [...key, this.config.tenant],
    );
    if (rows[0] === undefined) throw unknown(`${key[0]}:${key[1]}`);
    return rows[0];
  }

  private async row(id: string): Promise<DeadRow> {
    const row = isUuid(id) ? await this.repository.get(this.config.tenant, id) : undefined;
    if (row === undefined) throw unknown(id);
    return row;
  }
}

/** `<consumer group>:<number>` names an event that an app could not handle. */
function handlerKey(id: string): [string, string] | undefined {
  const [, group, number] = /^([a-z0-9-]{1,100}):(\d{1,18})$/.exec(id) ?? [];
  return group === undefined ? undefined : [group, number!];
}

function view(row: DeadRow): DeadLetterView {
  const text = row.body?.subarray(0, BODY_CHARS_MAX).toString('utf8');
  return {
    id: row.id,
    kind: 'delivery',
    source: row.source,
    code: row.code,
    cause: row.cause,
    errors: row.errors,
    receivedAt: row.received_at.toISOString(),
    lastAt: row.last_at.toISOString(),
    times: row.times,
    bytes: row.bytes,
    headers: row.headers,
    ...(text === undefined ? {} : { body: text }),
  };
}

function handlerView(row: HandlerRow): DeadLetterView {
  return {
    id: `${row.grp}:${row.message_id}`,
    kind: 'handler',
    source: row.body.source,
    code: 'handler',
    cause: row.cause,
    errors: [],
    receivedAt: row.at.toISOString(),
    lastAt: row.at.toISOString(),
    times: 1,
    handler: row.grp,
    eventId: row.body.eventId,
  };
}

function unknown(id: string): OpsError {
  return new OpsError('not-found', `there is no dead letter ${id.slice(0, 100)}; GET /v1/dead-letters lists them`);
}
