import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Planned anew for each call, as PostgreSQL does for parameters that are arrays, these take longer to plan than to run;
 * each has one good plan, by key.
 */
export class PlanDecisionOnce1700000002050 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER FUNCTION decision.load SET plan_cache_mode = force_generic_plan;
      ALTER FUNCTION decision.save SET plan_cache_mode = force_generic_plan`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER FUNCTION decision.load RESET plan_cache_mode;
      ALTER FUNCTION decision.save RESET plan_cache_mode`);
  }
}
