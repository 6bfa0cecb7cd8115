import type { MigrationInterface, QueryRunner } from 'typeorm';
import { documentTableSql } from '@opsloop/postgres';

/** Events with the bodies that brought them, sources with their secrets, and what polls last saw. */
export class CreateIngest1700000001000 implements MigrationInterface {
  readonly name = 'CreateIngest1700000001000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The request as it came, one row per delivery that brought at least one new event.
      CREATE TABLE ingest.delivery (
        tenant text NOT NULL,
        id uuid NOT NULL,
        received_at timestamptz NOT NULL,
        content_type text NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (tenant, id))`);
    await runner.query(`
      CREATE TABLE ingest.event (
        tenant text NOT NULL,
        event_id uuid NOT NULL,            -- UUIDv7: its order is the order of receipt
        source text NOT NULL,
        id text NOT NULL,
        type text NOT NULL,
        subject text,                      -- NULL: unmapped
        received_at timestamptz NOT NULL,
        digest text NOT NULL,              -- of the content, to tell a repeat from a conflict
        bytes int NOT NULL,
        unmapped text,                     -- why no resource could be found
        delivery uuid,
        message jsonb NOT NULL,
        PRIMARY KEY (tenant, event_id),
        CONSTRAINT event_identity UNIQUE (tenant, source, id))`);
    await runner.query(`CREATE INDEX event_by_subject ON ingest.event (tenant, subject, event_id)`);
    await runner.query(`CREATE INDEX event_by_type ON ingest.event (tenant, type, event_id)`);
    await runner.query(`CREATE INDEX event_unmapped ON ingest.event (tenant, event_id) WHERE unmapped IS NOT NULL`);
    await runner.query(documentTableSql('ingest'));
    await runner.query(`
      -- Literal secrets of sources. No route reads this table.
      CREATE TABLE ingest.source_secret (
        tenant text NOT NULL,
        source text NOT NULL,
        pointer text NOT NULL,             -- where in the document: /auth/token
        value text NOT NULL,
        PRIMARY KEY (tenant, source, pointer))`);
    await runner.query(`
      CREATE TABLE ingest.poll (
        tenant text NOT NULL,
        source text NOT NULL,
        every_ms bigint NOT NULL,
        next_at timestamptz NOT NULL,
        PRIMARY KEY (tenant, source))`);
    await runner.query('CREATE INDEX poll_due ON ingest.poll (next_at)');
    await runner.query(`
      -- Last value per (source, resource). Rows outlive their source: the sequence is part of event ids.
      CREATE TABLE ingest.poll_value (
        tenant text NOT NULL,
        source text NOT NULL,
        resource text NOT NULL,
        sequence bigint NOT NULL,
        digest text,                       -- NULL: forgotten, the next value counts as a change
        observed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant, source, resource))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP SCHEMA ingest CASCADE');
  }
}
