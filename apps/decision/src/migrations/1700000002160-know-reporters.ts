import type { MigrationInterface, QueryRunner } from 'typeorm';

/** By whom the state of a resource was reported; of resources that are known already by the events that are still kept. */
export class KnowReporters1700000002160 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query("ALTER TABLE decision.resource ADD COLUMN reported_by text[] NOT NULL DEFAULT '{}'");
    await runner.query(
      `UPDATE decision.resource r SET reported_by = t.types
        FROM (SELECT tenant, subject, (array_agg(DISTINCT event->>'type'))[1:16] AS types FROM decision.trace
          WHERE subject IS NOT NULL AND event ? 'state' GROUP BY tenant, subject) t
        WHERE r.tenant = t.tenant AND r.path = t.subject`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE decision.resource DROP COLUMN reported_by');
  }
}
