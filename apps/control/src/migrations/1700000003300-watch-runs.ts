import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- Open runs that do not go on, as the sweep over them last found; a row goes with its reason.
CREATE TABLE control.stuck (
  tenant text NOT NULL, run_id uuid NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(), found jsonb NOT NULL,
  PRIMARY KEY (tenant, run_id));
`;

export class WatchRuns1700000003300 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.stuck');
  }
}
