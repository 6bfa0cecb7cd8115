import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- What was observed after runs of rules, and what people thought of them. One row per run and resource.
CREATE TABLE control.verified (
  tenant text NOT NULL, run_id uuid NOT NULL, resource text COLLATE "C" NOT NULL, rule text NOT NULL, flow text NOT NULL,
  result text NOT NULL CHECK (result IN ('fixed', 'not-fixed', 'overridden')), at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant, run_id, resource));
CREATE INDEX verified_rule ON control.verified (tenant, rule, at DESC);
CREATE INDEX verified_flow ON control.verified (tenant, flow, at DESC);
CREATE INDEX verified_at ON control.verified (tenant, at);

-- Of a halt that the automatic brake made: for what, why, and the figures. And who may end a halt.
ALTER TABLE control.halt ADD COLUMN brake jsonb, ADD COLUMN second_person boolean NOT NULL DEFAULT false;
-- One brake on one rule or flow, however many processes see the same.
CREATE UNIQUE INDEX halt_brake ON control.halt (tenant, (brake->>'subject')) WHERE brake IS NOT NULL AND lifted_at IS NULL;

-- Runs that a person let pass a halt.
CREATE TABLE control.halt_allow (
  tenant text NOT NULL, halt_id uuid NOT NULL, run_id uuid NOT NULL, made_by text NOT NULL, reason text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, halt_id, run_id));

-- Events of control itself on their way to event-ingest: gone once it has them.
CREATE TABLE control.notice (
  tenant text NOT NULL, id uuid NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(), attempts int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, id));
CREATE INDEX notice_due ON control.notice (next_try_at);
`;

export class Brake1700000003310 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE control.notice, control.halt_allow, control.verified');
    await runner.query('DROP INDEX control.halt_brake');
    await runner.query('ALTER TABLE control.halt DROP COLUMN brake, DROP COLUMN second_person');
  }
}
