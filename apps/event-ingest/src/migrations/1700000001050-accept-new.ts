import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Stores events that nobody has sent before, with the bodies that brought them and their bus messages: one statement,
 * which is one round trip and one commit. Anything known already refuses the whole (OP001), and the caller looks closer.
 * Ordered by the unique key, so that two processes with the same events in another order do not deadlock.
 */
const ACCEPT_NEW = `
CREATE FUNCTION ingest.accept_new(p_tenant text, p_deliveries uuid[], p_types text[], p_bodies bytea[], p_events jsonb,
    p_keys text[], p_ids uuid[], p_messages jsonb[]) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE stored int;
BEGIN
  INSERT INTO ingest.delivery (tenant, id, received_at, content_type, body)
    SELECT p_tenant, d.id, clock_timestamp(), d.content_type, d.body FROM unnest(p_deliveries, p_types, p_bodies) AS d(id, content_type, body);
  INSERT INTO ingest.event (tenant, event_id, source, id, type, subject, received_at, digest, bytes, unmapped, delivery, message)
    SELECT p_tenant, e.event_id, e.source, e.id, e.type, e.subject, e.received_at, e.digest, e.bytes, e.unmapped, e.delivery, e.message
      FROM jsonb_to_recordset(p_events) AS e(event_id uuid, source text, id text, type text, subject text, received_at timestamptz,
           digest text, bytes int, unmapped text, delivery uuid, message jsonb)
     ORDER BY e.source COLLATE "C", e.id COLLATE "C"
        ON CONFLICT (tenant, source, id) DO NOTHING;
  GET DIAGNOSTICS stored = ROW_COUNT;
  IF stored < cardinality(p_ids) THEN RAISE EXCEPTION 'some of the events are known' USING ERRCODE = 'OP001'; END IF;
  PERFORM bus.publish(array_fill('events'::text, ARRAY[cardinality(p_keys)]), p_keys, p_ids, p_tenant, p_messages);
END $$`;

export class AcceptNew1700000001050 implements MigrationInterface {
  readonly name = 'AcceptNew1700000001050';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(ACCEPT_NEW);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION ingest.accept_new');
  }
}
