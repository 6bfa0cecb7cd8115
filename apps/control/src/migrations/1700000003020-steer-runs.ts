import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- Acts of operators on a run, whether one of them holds it now, and the run of which it is a retry.
ALTER TABLE control.admission ADD COLUMN acts jsonb NOT NULL DEFAULT '[]', ADD COLUMN paused boolean NOT NULL DEFAULT false, ADD COLUMN retry_of uuid;
CREATE INDEX admission_retry ON control.admission (tenant, retry_of) WHERE retry_of IS NOT NULL;

-- What a run that did not succeed knew at its end, and what a retry starts with. json, not jsonb: its order is kept.
CREATE TABLE control.journal (
  tenant text NOT NULL, run_id uuid NOT NULL, kind text NOT NULL CHECK (kind IN ('end', 'start')), body json NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, run_id, kind));
CREATE INDEX journal_at ON control.journal (at);
`;

export class SteerRuns1700000003020 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.journal');
    await runner.query('ALTER TABLE control.admission DROP COLUMN acts, DROP COLUMN paused, DROP COLUMN retry_of');
  }
}
