import type { MigrationInterface, QueryRunner } from '@opsloop/postgres';

/** What came from Kafka and is none of our messages: nobody's cursor stands at it, so it has a table of its own. */
export class CarryOnKafka1700000000100 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE bus.unreadable (
        grp text COLLATE "C",
        topic text COLLATE "C",
        partition int,
        "offset" bigint,
        cause text NOT NULL,
        bytes int NOT NULL,
        -- The first 16 KB of it.
        value bytea NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (grp, topic, partition, "offset")
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE bus.unreadable');
  }
}
