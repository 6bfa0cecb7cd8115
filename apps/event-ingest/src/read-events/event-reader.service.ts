import { Injectable } from '@nestjs/common';
import { isUuid, newId } from '@opsloop/contracts/ids';
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent, EventMessage, EventView, Page, ReplayResult } from '@opsloop/contracts';
import { Clock, encodeCursor } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import type { AcceptItem } from '../accept/message.pure.js';
import { eventListSql } from './event-query.pure.js';
import type { EventQuery } from './event-query.pure.js';
import { replayItem } from './replay.pure.js';
import { countSql, cursorOf, replaySql } from './replay-query.pure.js';
import type { ReplayBody } from './replay-query.pure.js';

interface EventRow {
  event_id: string;
  unmapped: string | null;
  cut?: boolean;
  message: EventMessage;
}

/** Stored events: list, one, again. */
@Injectable()
export class EventReader {
  constructor(
    private readonly database: Database,
    private readonly accepting: AcceptService,
    private readonly clock: Clock,
  ) {}

  async list(tenant: string, query: EventQuery): Promise<Page<EventView>> {
    const { text, values } = eventListSql(tenant, query, this.clock.now());
    const rows = await this.database.query<EventRow>(text, values);
    const items = rows.slice(0, query.limit);
    const last = items.at(-1);
    return {
      items: items.map(view),
      ...(rows.length > query.limit && last !== undefined ? { nextCursor: encodeCursor(last.event_id) } : {}),
    };
  }

  async get(tenant: string, eventId: string): Promise<EventView> {
    return view(await this.row(tenant, eventId));
  }

  /** As it travels, for the other apps. */
  async message(tenant: string, eventId: string): Promise<EventMessage> {
    return (await this.row(tenant, eventId)).message;
  }

  async replay(tenant: string, eventId: string, mode: 'shadow' | 'active'): Promise<AcceptedEvent[]> {
    const original = await this.row(tenant, eventId);
    return this.accepting.accept({ tenant, items: [replayOf(original, this.clock.now(), mode)] });
  }

  /**
   * Sends all that fit again, a page at a time and oldest first. The cursor holds the moment of the first call, so that
   * a replay of "since 1h" ends although time goes on.
   */
  async replayMany(tenant: string, body: ReplayBody): Promise<ReplayResult> {
    const now = this.clock.now();
    const from = body.cursor === undefined ? undefined : cursorOf(body.cursor);
    const asOf = from === undefined ? now : new Date(from.until);
    const matched = from === undefined ? await this.countMatches(tenant, body, asOf) : undefined;
    if (body.dryRun) return { matched: matched ?? 0, replayed: 0, items: [] };
    if (body.expectedCount !== undefined && matched !== undefined && matched !== body.expectedCount)
      throw new OpsError(
        'conflict',
        `the filter fits ${matched} events now, not ${body.expectedCount}; look again with dryRun`,
        {
          errors: [{ pointer: '/expectedCount', message: `is ${matched} now` }],
          extensions: { matched },
        },
      );
    const { text, values } = replaySql(tenant, body, asOf, asOf);
    const rows = await this.database.query<EventRow>(text, values);
    const page = rows.slice(0, body.limit);
    const items = page.map((row) => replayOf(row, this.clock.now(), body.mode));
    const accepted = await this.accepting.accept({ tenant, items });
    const last = page.at(-1);
    return {
      ...(matched === undefined ? {} : { matched }),
      replayed: accepted.length,
      items: accepted,
      ...(rows.length > body.limit && last !== undefined
        ? { nextCursor: encodeCursor({ after: last.event_id, until: asOf.toISOString() }) }
        : {}),
    };
  }

  private async countMatches(tenant: string, body: ReplayBody, asOf: Date): Promise<number> {
    const { text, values } = countSql(tenant, body, asOf, asOf);
    return (await this.database.query<{ n: number }>(text, values))[0]!.n;
  }

  private async row(tenant: string, eventId: string): Promise<EventRow> {
    const rows = isUuid(eventId)
      ? await this.database.query<EventRow>({
          name: 'ingest-event',
          text: 'SELECT event_id, unmapped, message FROM ingest.event WHERE tenant = $1 AND event_id = $2',
          values: [tenant, eventId],
        })
      : [];
    if (rows[0] === undefined)
      throw new OpsError(
        'not-found',
        `there is no event ${eventId.slice(0, 100)}; routes take the eventId of the answer, not the sender's id`,
      );
    return rows[0];
  }
}

function replayOf(row: EventRow, now: Date, mode: 'shadow' | 'active'): AcceptItem {
  const item = replayItem(row.message, { eventId: newId(), now, mode });
  if (row.unmapped !== null) item.unmapped = row.unmapped;
  return item;
}

function view(row: EventRow): EventView {
  return {
    ...row.message,
    ...(row.cut === true ? { dataOmitted: true as const } : {}),
    ...(row.unmapped === null ? {} : { unmapped: row.unmapped }),
  };
}
