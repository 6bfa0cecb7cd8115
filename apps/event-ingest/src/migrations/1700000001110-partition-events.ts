import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Events and deliveries by day of receipt: their ids begin with the time, so a day is a range of ids, and a day that is
 * too old is dropped whole instead of being deleted row by row. What stands there already becomes the first partition,
 * as it is. A unique key cannot reach across partitions: who sent what is a slim table of its own.
 */
const PARTITIONS = `
-- UUIDv7 has 48 bits of milliseconds: what lies outside of them is the first or the last id.
CREATE FUNCTION ingest.id_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (rpad(lpad(to_hex(least(greatest((extract(epoch FROM p_at) * 1000)::bigint, 0), 281474976710655)), 12, '0'), 32, '0'))::uuid;

-- The days there are. \`upper\` of one is where the next begins.
CREATE TABLE ingest.partition (
  parent text NOT NULL,
  name text NOT NULL,
  upper timestamptz NOT NULL,
  PRIMARY KEY (parent, upper));

-- One day more at the end of a table. Rows of that day that came before it was there stand in the rest: they move.
CREATE FUNCTION ingest.add_day(p_parent text, p_lower timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  p_upper timestamptz := p_lower + interval '1 day';
  p_name text := p_parent || '_' || to_char(p_lower AT TIME ZONE 'UTC', 'YYYYMMDD');
  p_key text := CASE p_parent WHEN 'event' THEN 'event_id' ELSE 'id' END;
BEGIN
  EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.%I INCLUDING ALL)', p_name, p_parent);
  EXECUTE format('WITH late AS (DELETE FROM ingest.%1$I WHERE %2$I >= $1 AND %2$I < $2 RETURNING *) INSERT INTO ingest.%3$I SELECT * FROM late',
    p_parent || '_rest', p_key, p_name) USING ingest.id_floor(p_lower), ingest.id_floor(p_upper);
  EXECUTE format('ALTER TABLE ingest.%I ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
    p_parent, p_name, ingest.id_floor(p_lower), ingest.id_floor(p_upper));
  INSERT INTO ingest.partition (parent, name, upper) VALUES (p_parent, p_name, p_upper);
END $$;

-- Makes the days up to p_ahead and drops those that end before p_oldest; answers what it did. A lock that is not there
-- soon is asked for again a minute later: whoever waits for it makes all writers wait behind it.
CREATE FUNCTION ingest.roll(p_ahead timestamptz, p_oldest timestamptz) RETURNS text[] LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE done text[] := '{}'; p record; p_parent text; p_last timestamptz;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('ingest.roll')) THEN RETURN done; END IF;
  FOREACH p_parent IN ARRAY ARRAY['event', 'delivery'] LOOP
    SELECT max(upper) INTO p_last FROM ingest.partition WHERE parent = p_parent;
    WHILE p_last < p_ahead LOOP
      PERFORM ingest.add_day(p_parent, p_last);
      done := done || ('+' || p_parent || ' ' || p_last::text);
      p_last := p_last + interval '1 day';
    END LOOP;
    FOR p IN SELECT name, upper FROM ingest.partition WHERE parent = p_parent AND upper <= p_oldest ORDER BY upper LOOP
      EXECUTE format('DROP TABLE ingest.%I', p.name);
      DELETE FROM ingest.partition WHERE parent = p_parent AND upper = p.upper;
      done := done || ('-' || p.name);
    END LOOP;
  END LOOP;
  RETURN done;
END $$;

-- Who sent what: 16 bytes of sha256 instead of two texts of up to 1,500 bytes.
CREATE TABLE ingest.identity (
  tenant text NOT NULL,
  key uuid NOT NULL,
  event_id uuid NOT NULL,
  digest bytea NOT NULL,              -- of the content, to tell a repeat from a conflict
  PRIMARY KEY (tenant, key));
CREATE INDEX identity_age ON ingest.identity (tenant, event_id);
CREATE FUNCTION ingest.identity_key(p_source text, p_id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN encode(substring(sha256(convert_to(p_source || E'\\x01' || p_id, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;
INSERT INTO ingest.identity SELECT tenant, ingest.identity_key(source, id), event_id, decode(digest, 'hex') FROM ingest.event`;

/** The table as it is becomes the first partition: no row is copied. */
const ATTACH = (table: string, key: string, indexes: readonly string[], columns: string): string => `
ALTER TABLE ingest.${table} RENAME TO ${table}_first;
${indexes.map((index) => `ALTER INDEX ingest.${index} RENAME TO ${index.replace(table, `${table}_first`)};`).join('\n')}
CREATE TABLE ingest.${table} (${columns}, PRIMARY KEY (tenant, ${key})) PARTITION BY RANGE (${key});
CREATE TABLE ingest.${table}_rest PARTITION OF ingest.${table} DEFAULT;
DO $$
DECLARE p_upper timestamptz := greatest(
  date_trunc('day', now(), 'UTC') + interval '1 day',
  (SELECT date_trunc('day', max(received_at), 'UTC') + interval '1 day' FROM ingest.${table}_first));
BEGIN
  EXECUTE format('ALTER TABLE ingest.${table} ATTACH PARTITION ingest.${table}_first FOR VALUES FROM (MINVALUE) TO (%L)', ingest.id_floor(p_upper));
  INSERT INTO ingest.partition (parent, name, upper) VALUES ('${table}', '${table}_first', p_upper);
END $$`;

const EVENT_COLUMNS = `
  tenant text NOT NULL, event_id uuid NOT NULL, source text NOT NULL, id text NOT NULL, type text NOT NULL, subject text,
  received_at timestamptz NOT NULL, bytes int NOT NULL, unmapped text, delivery uuid, message jsonb NOT NULL`;
const DELIVERY_COLUMNS = `
  tenant text NOT NULL, id uuid NOT NULL, received_at timestamptz NOT NULL, content_type text NOT NULL, body bytea NOT NULL`;
const EVENT_INDEXES = `
CREATE INDEX event_by_subject ON ingest.event (tenant, subject, event_id);
CREATE INDEX event_by_type ON ingest.event (tenant, type, event_id);
CREATE INDEX event_unmapped ON ingest.event (tenant, event_id) WHERE unmapped IS NOT NULL`;

const PARAMETERS = `p_tenant text, p_deliveries uuid[], p_types text[], p_bodies bytea[], p_ids uuid[], p_sources text[], p_source_ids text[],
    p_event_types text[], p_subjects text[], p_received timestamptz[], p_digests bytea[], p_bytes int[], p_unmapped text[], p_brought uuid[],
    p_messages jsonb[]`;

/**
 * Stores events that nobody has sent before, with the bodies that brought them; anything known already refuses the
 * whole (OP001), and the caller looks closer. Identities in the order of their keys, so that two processes with the same
 * events in another order do not deadlock. \`accept_new\` publishes them too: one statement, one round trip, one commit.
 */
const STORE_NEW = `
CREATE FUNCTION ingest.store_new(${PARAMETERS}) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE stored int;
BEGIN
  INSERT INTO ingest.identity (tenant, key, event_id, digest)
    SELECT p_tenant, ingest.identity_key(e.source, e.id), e.event_id, e.digest
      FROM unnest(p_sources, p_source_ids, p_ids, p_digests) AS e(source, id, event_id, digest) ORDER BY 2
        ON CONFLICT (tenant, key) DO NOTHING;
  GET DIAGNOSTICS stored = ROW_COUNT;
  IF stored < cardinality(p_ids) THEN RAISE EXCEPTION 'some of the events are known' USING ERRCODE = 'OP001'; END IF;
  INSERT INTO ingest.delivery (tenant, id, received_at, content_type, body)
    SELECT p_tenant, d.id, clock_timestamp(), d.content_type, d.body FROM unnest(p_deliveries, p_types, p_bodies) AS d(id, content_type, body);
  INSERT INTO ingest.event (tenant, event_id, source, id, type, subject, received_at, bytes, unmapped, delivery, message)
    SELECT p_tenant, e.* FROM unnest(p_ids, p_sources, p_source_ids, p_event_types, p_subjects, p_received, p_bytes, p_unmapped, p_brought, p_messages) AS e;
END $$;
CREATE FUNCTION ingest.accept_new(${PARAMETERS}, p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ingest.store_new(p_tenant, p_deliveries, p_types, p_bodies, p_ids, p_sources, p_source_ids, p_event_types, p_subjects, p_received,
    p_digests, p_bytes, p_unmapped, p_brought, p_messages);
  PERFORM bus.publish(array_fill('events'::text, ARRAY[cardinality(p_keys)]), p_keys, p_ids, p_tenant, p_messages);
END $$`;

/** As it was before, for \`down\`. */
const OLD_ACCEPT_NEW = `
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

export class PartitionEvents1700000001110 implements MigrationInterface {
  readonly name = 'PartitionEvents1700000001110';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION ingest.accept_new');
    await runner.query(PARTITIONS);
    await runner.query('ALTER TABLE ingest.event DROP CONSTRAINT event_identity, DROP COLUMN digest');
    const indexes = ['event_pkey', 'event_by_subject', 'event_by_type', 'event_unmapped'];
    await runner.query(ATTACH('event', 'event_id', indexes, EVENT_COLUMNS));
    // Attached to the first partition's own, which are the same.
    await runner.query(EVENT_INDEXES);
    await runner.query(ATTACH('delivery', 'id', ['delivery_pkey'], DELIVERY_COLUMNS));
    await runner.query(STORE_NEW);
    await runner.query(`SELECT ingest.roll(now() + interval '3 days', '-infinity')`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION ingest.accept_new, ingest.store_new, ingest.roll, ingest.add_day;
      CREATE TABLE ingest.event_plain (${EVENT_COLUMNS}, digest text NOT NULL);
      INSERT INTO ingest.event_plain SELECT e.*, encode(i.digest, 'hex') FROM ingest.event e
        JOIN ingest.identity i ON i.tenant = e.tenant AND i.event_id = e.event_id;
      CREATE TABLE ingest.delivery_plain (${DELIVERY_COLUMNS});
      INSERT INTO ingest.delivery_plain SELECT * FROM ingest.delivery;
      DROP TABLE ingest.event, ingest.delivery, ingest.identity, ingest.partition;
      DROP FUNCTION ingest.id_floor, ingest.identity_key;
      ALTER TABLE ingest.event_plain RENAME TO event;
      ALTER TABLE ingest.delivery_plain RENAME TO delivery;
      ALTER TABLE ingest.event ADD PRIMARY KEY (tenant, event_id), ADD CONSTRAINT event_identity UNIQUE (tenant, source, id);
      ALTER TABLE ingest.delivery ADD PRIMARY KEY (tenant, id);
      ${EVENT_INDEXES}`);
    await runner.query(OLD_ACCEPT_NEW);
  }
}
