import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What grows with the work is deleted by age; each index lets a sweep find the oldest rows without reading the others. */
export class IndexControlByAge1700000003220 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE INDEX approval_age ON control.approval (closed_at) WHERE closed_at IS NOT NULL;
      CREATE INDEX act_age ON control.act (at);
      CREATE INDEX storm_age ON control.storm (until);
      CREATE INDEX halt_age ON control.halt (lifted_at) WHERE lifted_at IS NOT NULL;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX control.approval_age, control.act_age, control.storm_age, control.halt_age');
  }
}
