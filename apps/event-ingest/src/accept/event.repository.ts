import { Injectable } from '@nestjs/common';
import type { EventMessage } from '@opsloop/contracts';
import type { Database, Query, Tx } from '@opsloop/postgres';
import { newId } from '@opsloop/contracts/ids';
import type { AcceptItem, PollMemory } from './message.pure.js';
import { eventKey } from './plan-group.pure.js';
import type { AcceptRequest, GroupPlan, KnownEvent } from './plan-group.pure.js';

/** SQLSTATE of ingest.accept_new. */
const SOME_KNOWN = 'OP001';

const SELECT_KNOWN = `
  SELECT e.event_id, e.source, e.id, e.digest
    FROM unnest($2::text[], $3::text[]) AS k(source, id)
    JOIN ingest.event e ON e.tenant = $1 AND e.source = k.source AND e.id = k.id`;

const INSERT_DELIVERIES = `
  INSERT INTO ingest.delivery (tenant, id, received_at, content_type, body)
  SELECT $1, d.id, clock_timestamp(), d.content_type, d.body
    FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS d(id, content_type, body)`;

/** Ordered by the unique key, so that two processes with the same events in another order do not deadlock. */
const INSERT_EVENTS = `
  INSERT INTO ingest.event (tenant, event_id, source, id, type, subject, received_at, digest, bytes, unmapped, delivery, message)
  SELECT $1, e.event_id, e.source, e.id, e.type, e.subject, e.received_at, e.digest, e.bytes, e.unmapped, e.delivery, e.message
    FROM jsonb_to_recordset($2::jsonb) AS e(event_id uuid, source text, id text, type text, subject text, received_at timestamptz,
         digest text, bytes int, unmapped text, delivery uuid, message jsonb)
   ORDER BY e.source COLLATE "C", e.id COLLATE "C"
      ON CONFLICT (tenant, source, id) DO NOTHING
  RETURNING event_id`;

const REMEMBER = `
  INSERT INTO ingest.poll_value AS v (tenant, source, resource, sequence, digest, observed_at)
  SELECT $1, p.source, p.resource, p.sequence, p.digest, p."observedAt"
    FROM jsonb_to_recordset($2::jsonb) AS p(source text, resource text, sequence bigint, digest text, "observedAt" timestamptz)
   ORDER BY p.source COLLATE "C", p.resource COLLATE "C"
      ON CONFLICT (tenant, source, resource) DO UPDATE
     SET sequence = excluded.sequence, digest = excluded.digest, observed_at = excluded.observed_at
   WHERE v.sequence < excluded.sequence`;

/** The statements of the accept path; named, since they run for every group. */
@Injectable()
export class EventRepository {
  /** What is stored already under the (source, id) of these requests. */
  async known(tx: Tx, requests: readonly AcceptRequest[]): Promise<Map<string, KnownEvent>> {
    const messages = requests.flatMap((request) => request.items.map((item) => item.message));
    const query: Query = {
      name: 'ingest-known',
      text: SELECT_KNOWN,
      values: [tx.tenant, messages.map((m) => m.source), messages.map((m) => m.id)],
    };
    const rows = await tx.query<{ event_id: string; source: string; id: string; digest: string }>(query);
    return new Map(rows.map((row) => [eventKey(row.source, row.id), { eventId: row.event_id, digest: row.digest }]));
  }

  /**
   * Stores events that are expected to be new, in one statement: false when any of them is known, and then nothing was
   * stored.
   */
  async insertNew(
    db: Database,
    tenant: string,
    requests: readonly AcceptRequest[],
    inserts: GroupPlan['inserts'],
  ): Promise<boolean> {
    const deliveries = deliveriesOf(requests, inserts);
    const rows = [...deliveries.values()];
    const messages = inserts.map(({ item }) => item.message);
    try {
      await db.query({
        name: 'ingest-accept-new',
        text: 'SELECT ingest.accept_new($1, $2::uuid[], $3::text[], $4::bytea[], $5::jsonb, $6::text[], $7::uuid[], $8::jsonb[])',
        values: [
          tenant,
          rows.map((d) => d.id),
          rows.map((d) => d.contentType),
          rows.map((d) => d.body),
          JSON.stringify(inserts.map(({ item, request }) => eventRow(item, deliveries.get(request)?.id))),
          messages.map(messageKey),
          messages.map((m) => m.eventId),
          messages.map((m) => JSON.stringify(m)),
        ],
      });
    } catch (error) {
      if ((error as { code?: unknown }).code === SOME_KNOWN) return false;
      throw error;
    }
    db.announce(['events']);
    return true;
  }

  /** Inserts the planned events with the bodies that brought them; answers how many were really new. */
  async insert(tx: Tx, requests: readonly AcceptRequest[], inserts: GroupPlan['inserts']): Promise<number> {
    const deliveries = deliveriesOf(requests, inserts);
    if (deliveries.size > 0) {
      const rows = [...deliveries.values()];
      tx.send({
        name: 'ingest-deliveries',
        text: INSERT_DELIVERIES,
        values: [tx.tenant, rows.map((d) => d.id), rows.map((d) => d.contentType), rows.map((d) => d.body)],
      });
    }
    const events = inserts.map(({ item, request }) => eventRow(item, deliveries.get(request)?.id));
    const stored = await tx.query({
      name: 'ingest-events',
      text: INSERT_EVENTS,
      values: [tx.tenant, JSON.stringify(events)],
    });
    return stored.length;
  }

  /** Saves the last values of polls together with the events that report them. */
  remember(tx: Tx, values: readonly PollMemory[]): void {
    if (values.length === 0) return;
    tx.send({ name: 'ingest-remember', text: REMEMBER, values: [tx.tenant, JSON.stringify(values)] });
  }
}

/** Events of one subject keep their order. */
export const messageKey = ({ subject, eventId }: EventMessage): string => subject ?? eventId;

/** The bodies that brought something new, by request. */
function deliveriesOf(
  requests: readonly AcceptRequest[],
  inserts: GroupPlan['inserts'],
): Map<number, { id: string; contentType: string; body: Buffer }> {
  const deliveries = new Map<number, { id: string; contentType: string; body: Buffer }>();
  for (const { request } of inserts) {
    const raw = requests[request]!.raw;
    if (raw !== undefined && !deliveries.has(request)) deliveries.set(request, { id: newId(), ...raw });
  }
  return deliveries;
}

function eventRow(item: AcceptItem, delivery: string | undefined): Record<string, unknown> {
  const { message } = item;
  return {
    event_id: message.eventId,
    source: message.source,
    id: message.id,
    type: message.type,
    subject: message.subject,
    received_at: message.receivedAt,
    digest: item.digest,
    bytes: item.bytes,
    unmapped: item.unmapped,
    delivery,
    message,
  };
}
