import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- What the catalog has, and when each fires next. The row is locked while it fires.
CREATE TABLE control.schedule (
  tenant text NOT NULL, name text COLLATE "C" NOT NULL, digest text NOT NULL, body jsonb NOT NULL, next_at timestamptz,
  problem text, paused_by text, paused_at timestamptz, paused_reason text, PRIMARY KEY (tenant, name));
CREATE INDEX schedule_due ON control.schedule (next_at) WHERE next_at IS NOT NULL AND paused_at IS NULL;

-- One row per time at which a schedule fired, and what became of it.
CREATE TABLE control.firing (
  tenant text NOT NULL, schedule text COLLATE "C" NOT NULL, at timestamptz NOT NULL,
  result text NOT NULL CHECK (result IN ('started', 'waiting', 'skipped', 'missed', 'failed')),
  run_id uuid, reason text, noted_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, schedule, at));
CREATE INDEX firing_waiting ON control.firing (tenant, schedule, at) WHERE result = 'waiting';
CREATE INDEX firing_age ON control.firing (at);
`;

export class Schedules1700000003320 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.firing, control.schedule');
  }
}
