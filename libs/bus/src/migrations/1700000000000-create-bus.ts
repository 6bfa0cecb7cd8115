import type { MigrationInterface, QueryRunner } from '@opsloop/postgres';

/**
 * A partitioned log and one cursor row per (group, topic, partition). Ids of one partition are drawn under that
 * partition's advisory lock, which is held to commit, so `id > position` never skips a message that commits late,
 * and order is order of commit.
 */
export class CreateBus1700000000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE bus.message (
        id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
        topic text COLLATE "C" NOT NULL,
        part smallint NOT NULL,
        key text NOT NULL,
        msg_id uuid NOT NULL,
        tenant text NOT NULL,
        body jsonb NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (topic, part, id)
      );
      CREATE TABLE bus.cursor (
        grp text COLLATE "C",
        topic text COLLATE "C",
        part smallint,
        position bigint NOT NULL DEFAULT 0,
        attempts int NOT NULL DEFAULT 0,
        single_until bigint NOT NULL DEFAULT 0,
        retry_at timestamptz NOT NULL DEFAULT '-infinity',
        PRIMARY KEY (grp, topic, part)
      ) WITH (fillfactor = 50);
      -- Which groups exist, so that a group that code no longer declares cannot hold back the log for ever.
      CREATE TABLE bus.subscriber (
        grp text COLLATE "C",
        topic text COLLATE "C",
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (grp, topic)
      );
      CREATE TABLE bus.dead (
        grp text COLLATE "C",
        message_id bigint,
        msg_id uuid NOT NULL,
        tenant text NOT NULL,
        topic text NOT NULL,
        part smallint NOT NULL,
        key text NOT NULL,
        body jsonb NOT NULL,
        cause text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (grp, message_id)
      );

      -- 16 partitions: more than the workers of any two processes, few enough to lock all of them in one statement.
      CREATE FUNCTION bus.part(p_key text) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN (hashtext(p_key) & 15)::smallint;

      -- Locks are taken in ascending order, so publishers never deadlock; call it last, since they are held to commit.
      CREATE FUNCTION bus.publish(p_topic text, p_keys text[], p_ids uuid[], p_tenant text, p_bodies jsonb[])
        RETURNS void LANGUAGE plpgsql AS $$
      DECLARE p int;
      BEGIN
        FOR p IN SELECT DISTINCT bus.part(k) FROM unnest(p_keys) k ORDER BY 1 LOOP
          PERFORM pg_advisory_xact_lock(hashtext('bus:' || p_topic), p);
        END LOOP;
        INSERT INTO bus.message (topic, part, key, msg_id, tenant, body)
          SELECT p_topic, bus.part(u.k), u.k, u.i, p_tenant, u.b
          FROM unnest(p_keys, p_ids, p_bodies) WITH ORDINALITY u(k, i, b, o) ORDER BY o;
      END $$;

      -- Takes one partition that has something to do, for the rest of the transaction, and reads from its cursor. One
      -- message at a time after a failure. A statement sees the commits before its own snapshot, and the snapshot of
      -- the second query is younger than the lock of the first, so the position read is the last one committed.
      CREATE FUNCTION bus.take(p_grp text, p_topic text, p_limit int)
        RETURNS TABLE (id bigint, part smallint, attempts int, key text, msg_id uuid, tenant text, body jsonb, at timestamptz, more boolean)
        LANGUAGE plpgsql AS $$
      DECLARE c record; others boolean;
      BEGIN
        -- One probe of the key per partition. As EXISTS the planner joins, which reads the whole log of the last hour.
        SELECT x.part, x.position, x.attempts, x.single_until INTO c FROM bus.cursor x
          WHERE x.grp = p_grp AND x.topic = p_topic AND x.retry_at <= clock_timestamp()
            AND (SELECT m.id FROM bus.message m WHERE m.topic = x.topic AND m.part = x.part AND m.id > x.position ORDER BY m.id LIMIT 1) IS NOT NULL
          ORDER BY random() LIMIT 1 FOR UPDATE OF x SKIP LOCKED;
        IF NOT FOUND THEN RETURN; END IF;
        -- Whether it is worth looking again after this batch: else half of all looks find nothing.
        others := c.attempts > 0 OR c.position < c.single_until OR EXISTS (SELECT 1 FROM bus.cursor x WHERE x.grp = p_grp AND x.topic = p_topic AND x.part <> c.part AND x.retry_at <= clock_timestamp()
            AND (SELECT m.id FROM bus.message m WHERE m.topic = x.topic AND m.part = x.part AND m.id > x.position ORDER BY m.id LIMIT 1) IS NOT NULL);
        RETURN QUERY SELECT m.id, m.part, c.attempts, m.key, m.msg_id, m.tenant, m.body, m.at, others
          FROM bus.message m WHERE m.topic = p_topic AND m.part = c.part AND m.id > c.position ORDER BY m.id
          LIMIT CASE WHEN c.attempts > 0 OR c.position < c.single_until THEN 1 ELSE p_limit END;
      END $$;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION bus.take(text, text, int);
      DROP FUNCTION bus.publish(text, text[], uuid[], text, jsonb[]);
      DROP FUNCTION bus.part(text);
      DROP TABLE bus.dead, bus.subscriber, bus.cursor, bus.message;
    `);
  }
}
