import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is known of senders besides their documents: when they were heard, their routing keys, what could not be read. */
export class WatchSenders1700000001100 implements MigrationInterface {
  readonly name = 'WatchSenders1700000001100';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- One row per source that has been heard, or that is expected to be (every_ms).
      CREATE TABLE ingest.sender (
        tenant text NOT NULL,
        source text NOT NULL,
        every_ms bigint,                   -- NULL: may be silent for ever
        heard_at timestamptz,              -- NULL: not yet
        watched_since timestamptz NOT NULL,
        stale_since timestamptz,
        PRIMARY KEY (tenant, source));
      CREATE INDEX sender_expected ON ingest.sender (heard_at) WHERE every_ms IS NOT NULL;
      -- Finds the source of a call to /v2/enqueue. Digests: whoever reads the table cannot send.
      CREATE TABLE ingest.routing_key (
        digest text PRIMARY KEY,
        tenant text NOT NULL,
        source text NOT NULL);
      CREATE INDEX routing_key_source ON ingest.routing_key (tenant, source);
      -- Deliveries of known senders that could not be made into events, as they came, until somebody looks.
      CREATE TABLE ingest.dead (
        tenant text NOT NULL,
        id uuid NOT NULL,                  -- UUIDv7: its order is the order of the first receipt
        source text NOT NULL,
        digest text NOT NULL,              -- of the body: a sender that repeats makes no second row
        received_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        times int NOT NULL DEFAULT 1,
        code text NOT NULL,
        cause text NOT NULL,
        errors jsonb NOT NULL,
        headers jsonb NOT NULL,            -- without credentials
        signed text,                       -- digest of the signed text
        body bytea NOT NULL,
        PRIMARY KEY (tenant, id),
        UNIQUE (tenant, source, digest))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE ingest.dead, ingest.routing_key, ingest.sender');
  }
}
