import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What rules would have started that only watch, what came of versions that are tried, and events about this app itself. */
export class TryVersions1700000003150 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE decision.would (tenant text NOT NULL, rule text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL, at timestamptz NOT NULL,
        event_id uuid NOT NULL, path text COLLATE "C" NOT NULL, ref text NOT NULL, branch text NOT NULL, tier text NOT NULL,
        PRIMARY KEY (tenant, rule, version, event_id, path));
      CREATE INDEX would_time ON decision.would (tenant, rule, at);
      CREATE INDEX would_age ON decision.would (at);
      CREATE TABLE decision.trial_result (tenant text NOT NULL, rule text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL, run_id uuid NOT NULL,
        resource text COLLATE "C" NOT NULL, fixed boolean NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, rule, version, run_id, resource));
      CREATE INDEX trial_result_time ON decision.trial_result (tenant, rule, version, at DESC);
      CREATE INDEX trial_result_age ON decision.trial_result (at);
      -- What people started by hand is looked up by its flow.
      CREATE INDEX run_flow ON decision.run (tenant, flow, at);
      CREATE TABLE decision.notice (tenant text NOT NULL, id uuid NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(), attempts int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, id));
      CREATE INDEX notice_due ON decision.notice (next_try_at);`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      'DROP INDEX decision.run_flow; DROP TABLE decision.would, decision.trial_result, decision.notice',
    );
  }
}
