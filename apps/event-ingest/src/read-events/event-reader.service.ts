import { Injectable } from '@nestjs/common';
import { isUuid, newId } from '@opsloop/contracts/ids';
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent, EventMessage, EventView, Page } from '@opsloop/contracts';
import { Clock, encodeCursor } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import { eventListSql } from './event-query.pure.js';
import type { EventQuery } from './event-query.pure.js';
import { replayItem } from './replay.pure.js';

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
    const item = replayItem(original.message, { eventId: newId(), now: this.clock.now(), mode });
    if (original.unmapped !== null) item.unmapped = original.unmapped;
    return this.accepting.accept({ tenant, items: [item] });
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

function view(row: EventRow): EventView {
  return {
    ...row.message,
    ...(row.cut === true ? { dataOmitted: true as const } : {}),
    ...(row.unmapped === null ? {} : { unmapped: row.unmapped }),
  };
}
