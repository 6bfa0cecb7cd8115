import { documentTableSql } from '@opsloop/postgres';
import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Documents, and one insert-only row per operator or configuration act. The audit rows are also the change log by
 * which every process catches up its picture of the catalog: their ids grow in order of commit, since writers of one
 * tenant take turns.
 */
export class CreateCatalog1700000004000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(documentTableSql('catalog'));
    await runner.query(`
      CREATE TABLE catalog.audit (
        tenant text COLLATE "C" NOT NULL,
        id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL,
        act text NOT NULL,
        kind text NOT NULL,
        name text NOT NULL,
        version text,
        digest text,
        reason text,
        PRIMARY KEY (tenant, id)
      );
      CREATE INDEX audit_name ON catalog.audit (tenant, kind, name, id);

      -- Nobody edits the past: not the app, not a person with its password.
      CREATE FUNCTION catalog.audit_is_insert_only() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'catalog.audit is insert-only'; END $$;
      CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog.audit
        FOR EACH STATEMENT EXECUTE FUNCTION catalog.audit_is_insert_only();
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE catalog.audit;
      DROP FUNCTION catalog.audit_is_insert_only();
      DROP TABLE catalog.document;
    `);
  }
}
