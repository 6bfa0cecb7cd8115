import type { MigrationInterface, QueryRunner } from '@opsloop/postgres';

/**
 * Planned anew for each call, as PostgreSQL does for parameters that are arrays, a statement of ours takes longer to
 * plan than to run; each has one good plan, by key.
 */
export class PlanBusOnce1700000000050 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER FUNCTION bus.publish SET plan_cache_mode = force_generic_plan;
      ALTER FUNCTION bus.take SET plan_cache_mode = force_generic_plan`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER FUNCTION bus.publish RESET plan_cache_mode;
      ALTER FUNCTION bus.take RESET plan_cache_mode`);
  }
}
