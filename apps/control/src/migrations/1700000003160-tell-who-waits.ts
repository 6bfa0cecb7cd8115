import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whether people were told that a question waits for long. Those that are open now have been for as long as they have. */
export class TellWhoWaits1700000003160 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE control.approval ADD COLUMN waiting_told boolean NOT NULL DEFAULT false;
      CREATE INDEX approval_untold ON control.approval (tenant, opened_at) WHERE status = 'open' AND NOT waiting_told;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX control.approval_untold; ALTER TABLE control.approval DROP COLUMN waiting_told');
  }
}
