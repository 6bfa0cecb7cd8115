import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- How much of a run's log is kept already; its row is locked while lines are added, so that their order is that of commit.
CREATE TABLE control.run_log (
  tenant text NOT NULL, run_id uuid NOT NULL, lines int NOT NULL DEFAULT 0, chars int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, run_id));

CREATE TABLE control.log_line (
  tenant text NOT NULL, run_id uuid NOT NULL, seq int NOT NULL, at timestamptz NOT NULL, step text NOT NULL, attempt int NOT NULL,
  stream text NOT NULL, text text NOT NULL, PRIMARY KEY (tenant, run_id, seq),
  FOREIGN KEY (tenant, run_id) REFERENCES control.run_log ON DELETE CASCADE);
`;

export class KeepLogs1700000003030 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.log_line, control.run_log');
  }
}
