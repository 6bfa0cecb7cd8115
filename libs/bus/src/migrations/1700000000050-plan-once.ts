import type { MigrationInterface, QueryRunner } from '@opsloop/postgres';

/**
 * Publishes messages of several topics in one statement, and plans once: anew for each call, as PostgreSQL does for
 * parameters that are arrays, a statement of ours takes longer to plan than to run, and each has one good plan, by key.
 */
export class PlanBusOnce1700000000050 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION bus.publish(text, text[], uuid[], text, jsonb[]);
      -- Locks are taken in ascending order, so publishers never deadlock; call it last, since they are held to commit.
      CREATE FUNCTION bus.publish(p_topics text[], p_keys text[], p_ids uuid[], p_tenant text, p_bodies jsonb[])
        RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
      DECLARE r record;
      BEGIN
        FOR r IN SELECT DISTINCT u.t, bus.part(u.k) AS p FROM unnest(p_topics, p_keys) u(t, k) ORDER BY 1, 2 LOOP
          PERFORM pg_advisory_xact_lock(hashtext('bus:' || r.t), r.p);
        END LOOP;
        INSERT INTO bus.message (topic, part, key, msg_id, tenant, body)
          SELECT u.t, bus.part(u.k), u.k, u.i, p_tenant, u.b
          FROM unnest(p_topics, p_keys, p_ids, p_bodies) WITH ORDINALITY u(t, k, i, b, o) ORDER BY o;
      END $$;
      ALTER FUNCTION bus.take SET plan_cache_mode = force_generic_plan`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP FUNCTION bus.publish(text[], text[], uuid[], text, jsonb[]);
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
      ALTER FUNCTION bus.take RESET plan_cache_mode`);
  }
}
