import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Comparisons of rules over stored events: asked for by one process, shown by any. */
export class KeepBacktests1700000002200 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE decision.backtest (tenant text NOT NULL, id uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL, status text NOT NULL, done integer NOT NULL DEFAULT 0, total integer NOT NULL DEFAULT 0,
        beat timestamptz NOT NULL DEFAULT clock_timestamp(), result jsonb, problem text, PRIMARY KEY (tenant, id));
      CREATE INDEX backtest_age ON decision.backtest (at);
      -- A backtest reads what was received from a moment on, in order.
      CREATE INDEX trace_order ON decision.trace (tenant, at, event_id);`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX decision.trace_order; DROP TABLE decision.backtest');
  }
}
