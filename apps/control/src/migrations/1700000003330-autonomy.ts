import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- How far a rule may act by itself with a flow. No row: it acts. What was verified before \`since\` does not count.
CREATE TABLE control.autonomy (
  tenant text NOT NULL, rule text NOT NULL, flow text NOT NULL, level text NOT NULL CHECK (level IN ('auto', 'approval', 'shadow')),
  since timestamptz NOT NULL DEFAULT clock_timestamp(), why text, changed_by text NOT NULL, PRIMARY KEY (tenant, rule, flow));
`;

export class Autonomy1700000003330 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.autonomy');
  }
}
