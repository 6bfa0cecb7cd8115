import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What grows with the work is deleted by age; each index lets a sweep find the oldest rows without reading the others. */
export class IndexByAge1700000002001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE INDEX trace_age ON decision.trace (at);
      CREATE INDEX decision_age ON decision.decision (at);
      CREATE INDEX state_change_age ON decision.state_change (at);
      CREATE INDEX budget_use_age ON decision.budget_use (at);
      CREATE INDEX run_age ON decision.run (closed_at) WHERE closed_at IS NOT NULL;
      CREATE INDEX episode_age ON decision.episode (opened_at) WHERE NOT live;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP INDEX decision.trace_age, decision.decision_age, decision.state_change_age, decision.budget_use_age,
        decision.run_age, decision.episode_age`);
  }
}
