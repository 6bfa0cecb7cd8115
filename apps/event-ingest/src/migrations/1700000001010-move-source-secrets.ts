import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Secrets of sources live in the secret store of service-catalog; here stays which version of it counts. A value from
 * before is moved at its next use, since sealing it takes the store's keys.
 */
export class MoveSourceSecrets1700000001010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE ingest.source_secret ADD COLUMN version integer, ALTER COLUMN value DROP NOT NULL,
        ADD CHECK ((value IS NULL) <> (version IS NULL))
    `);
  }

  /** Values that were moved do not come back: whoever goes back puts those sources again. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM ingest.source_secret WHERE value IS NULL;
      ALTER TABLE ingest.source_secret DROP COLUMN version, ALTER COLUMN value SET NOT NULL
    `);
  }
}
