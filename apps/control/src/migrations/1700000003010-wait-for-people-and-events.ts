import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = `
-- Set when the run's flow waits for events or asks people, so that the others pay nothing at their end.
ALTER TABLE control.admission ADD COLUMN waits boolean NOT NULL DEFAULT false;

-- One row per live run that waits for events; what was published before \`since\` is not for it.
CREATE TABLE control.run_inbox (
  tenant text NOT NULL, run_id uuid NOT NULL, workflow_id text NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_try_at timestamptz NOT NULL DEFAULT '-infinity', claimed_until timestamptz NOT NULL DEFAULT '-infinity', attempts int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, run_id));

-- The types and patterns that it waits for.
CREATE TABLE control.event_wait (
  tenant text NOT NULL, type text COLLATE "C" NOT NULL, run_id uuid NOT NULL, is_pattern boolean NOT NULL,
  PRIMARY KEY (tenant, type, run_id), FOREIGN KEY (tenant, run_id) REFERENCES control.run_inbox ON DELETE CASCADE);
CREATE INDEX event_wait_run ON control.event_wait (tenant, run_id);
CREATE INDEX event_wait_pattern ON control.event_wait (tenant, type) WHERE is_pattern;

-- Events on their way into a workflow: gone once it has them.
CREATE TABLE control.event_delivery (
  tenant text NOT NULL, run_id uuid NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, body jsonb NOT NULL,
  PRIMARY KEY (tenant, run_id, seq), UNIQUE (tenant, run_id, event_id),
  FOREIGN KEY (tenant, run_id) REFERENCES control.run_inbox ON DELETE CASCADE);

CREATE TABLE control.approval (
  tenant text NOT NULL, id uuid NOT NULL, run_id uuid NOT NULL, path text NOT NULL, workflow_id text NOT NULL, flow text NOT NULL,
  title text NOT NULL, details jsonb, approvers jsonb NOT NULL, form jsonb, on_timeout text NOT NULL, initiator jsonb NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'approved', 'rejected', 'timed-out', 'withdrawn', 'cancelled')),
  opened_at timestamptz NOT NULL, expires_at timestamptz NOT NULL, escalated_at timestamptz, closed_at timestamptz, reason text,
  checked_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, id));
CREATE INDEX approval_run ON control.approval (tenant, run_id);
CREATE INDEX approval_list ON control.approval (tenant, opened_at DESC, id DESC);
CREATE INDEX approval_open ON control.approval (tenant, checked_at) WHERE status = 'open';

-- One answer per person. It is pending until the workflow has it.
CREATE TABLE control.approval_answer (
  tenant text NOT NULL, approval_id uuid NOT NULL, person text NOT NULL, who jsonb NOT NULL, answer text NOT NULL CHECK (answer IN ('approve', 'reject')),
  reason text, form jsonb, at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()), accepted_at timestamptz,
  next_try_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, approval_id, person), FOREIGN KEY (tenant, approval_id) REFERENCES control.approval ON DELETE CASCADE);
CREATE INDEX approval_answer_pending ON control.approval_answer (next_try_at) WHERE accepted_at IS NULL;
`;

export class WaitForPeopleAndEvents1700000003010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      `DROP TABLE control.approval_answer, control.approval, control.event_delivery, control.event_wait, control.run_inbox`,
    );
    await runner.query('ALTER TABLE control.admission DROP COLUMN waits');
  }
}
