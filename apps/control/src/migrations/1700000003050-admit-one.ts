import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Planned anew for each call, as PostgreSQL does for parameters that are arrays, the functions of the mutex took 3 of 4
 * ms to plan; each of their statements has one good plan, by key. The settings hold for what they call as well.
 */
const PLANNED_ONCE = ['take', 'try_grant', 'acquire', 'ready', 'admit_one'];

/**
 * Most starts come alone, are new, meet no halt and have no twin: then their claims are granted in the same round trip
 * that takes the locks and looks for all that. `tried` is false when any of it is there; then nothing was granted, the
 * locks are held and the caller judges. Each statement of the function has a snapshot younger than the locks.
 */
const ADMIT_ONE = `
CREATE FUNCTION control.admit_one(p_tenant text, p_id uuid, p_key text, p_own text[], p_paths text[], p_x boolean[], p_holder text, p_owner text,
    p_ttl interval, p_rank timestamptz, OUT tried boolean, OUT ticket bigint, OUT fence bigint, OUT holders jsonb, OUT ahead jsonb, OUT expires timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(control.halt_key(p_tenant));
  PERFORM control.take(p_tenant, p_own, CASE WHEN p_key IS NULL THEN '{}' ELSE ARRAY[p_key] END);
  ticket := nextval('control.ticket');
  tried := cardinality(p_paths) > 0
    AND NOT EXISTS (SELECT 1 FROM control.halt h WHERE h.tenant = p_tenant AND h.lifted_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = p_tenant AND a.id = p_id)
    AND (p_key IS NULL OR NOT EXISTS (SELECT 1 FROM control.admission a WHERE a.tenant = p_tenant AND a.coalesce_key = p_key
      AND a.state IN ('queued', 'held', 'needs-approval', 'admitted', 'started')));
  IF NOT tried THEN RETURN; END IF;
  SELECT g.fence, g.holders, g.ahead, g.expires INTO fence, holders, ahead, expires
    FROM control.try_grant(p_tenant, p_paths, p_x, p_holder, p_owner, NULL, p_id, NULL, p_ttl, p_rank, ticket) g;
END $$;`;

export class AdmitOne1700000003050 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(ADMIT_ONE);
    for (const name of PLANNED_ONCE)
      await runner.query(`ALTER FUNCTION control.${name} SET plan_cache_mode = force_generic_plan`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP FUNCTION control.admit_one');
    for (const name of PLANNED_ONCE)
      if (name !== 'admit_one') await runner.query(`ALTER FUNCTION control.${name} RESET plan_cache_mode`);
  }
}
