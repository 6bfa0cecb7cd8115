import { Injectable } from '@nestjs/common';
import type { EventMessage } from '@opsloop/contracts';
import type { Database, Query, Tx } from '@opsloop/postgres';
import { newId } from '@opsloop/contracts/ids';
import type { PollMemory } from './message.pure.js';
import { eventKey } from './plan-group.pure.js';
import type { AcceptRequest, GroupPlan, KnownEvent } from './plan-group.pure.js';

/** SQLSTATE of ingest.store_new. */
const SOME_KNOWN = 'OP001';

const SELECT_KNOWN = `
  SELECT i.event_id, k.source, k.id, encode(i.digest, 'hex') AS digest
    FROM unnest($2::text[], $3::text[]) AS k(source, id)
    JOIN ingest.identity i ON i.tenant = $1 AND i.key = ingest.identity_key(k.source, k.id)`;

const PARAMETERS = `$1, $2::uuid[], $3::text[], $4::bytea, $5::int[], $6::int[], $7::uuid[], $8::text[], $9::text[], $10::text[], $11::text[],
  $12::timestamptz[], $13::bytea, $14::int[], $15::text[], $16::uuid[], $17::jsonb`;

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
    const values = parametersOf(tenant, requests, inserts);
    values.push(inserts.map(({ item }) => messageKey(item.message)));
    try {
      await db.query({
        name: 'ingest-accept-new',
        text: `SELECT ingest.accept_packed(${PARAMETERS}, $18::text[])`,
        values,
      });
    } catch (error) {
      if (isKnown(error)) return false;
      throw error;
    }
    db.announce(['events']);
    return true;
  }

  /** Inserts the planned events with the bodies that brought them; false when another process was quicker. */
  async insert(tx: Tx, requests: readonly AcceptRequest[], inserts: GroupPlan['inserts']): Promise<boolean> {
    try {
      await tx.query({
        name: 'ingest-store-new',
        text: `SELECT ingest.store_packed(${PARAMETERS})`,
        values: parametersOf(tx.tenant, requests, inserts),
      });
      return true;
    } catch (error) {
      if (isKnown(error)) return false;
      throw error;
    }
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

const isKnown = (error: unknown): boolean => (error as { code?: unknown }).code === SOME_KNOWN;

/** Columns as arrays, what is large as one run of bytes or one JSON list: a message is sent once, for the table and for the bus. */
function parametersOf(tenant: string, requests: readonly AcceptRequest[], inserts: GroupPlan['inserts']): unknown[] {
  const deliveries = deliveriesOf(requests, inserts);
  const rows = [...deliveries.values()];
  const messages = inserts.map(({ item }) => item.message);
  let start = 0;
  return [
    tenant,
    rows.map((d) => d.id),
    rows.map((d) => d.contentType),
    Buffer.concat(rows.map((d) => d.body)),
    rows.map((d) => (start += d.body.length) - d.body.length),
    rows.map((d) => d.body.length),
    messages.map((m) => m.eventId),
    messages.map((m) => m.source),
    messages.map((m) => m.id),
    messages.map((m) => m.type),
    messages.map((m) => m.subject ?? null),
    messages.map((m) => m.receivedAt),
    Buffer.from(inserts.map(({ item }) => item.digest).join(''), 'hex'),
    inserts.map(({ item }) => item.bytes),
    inserts.map(({ item }) => item.unmapped ?? null),
    inserts.map(({ request }) => deliveries.get(request)?.id ?? null),
    `[${inserts.map(({ item }) => item.text).join()}]`,
  ];
}
