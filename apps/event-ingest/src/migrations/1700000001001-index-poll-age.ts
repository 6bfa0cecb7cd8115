import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Events and deliveries are found by age through their ids, which begin with the time; poll values are not. */
export class IndexPollAge1700000001001 implements MigrationInterface {
  readonly name = 'IndexPollAge1700000001001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX poll_value_age ON ingest.poll_value (observed_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX ingest.poll_value_age');
  }
}
