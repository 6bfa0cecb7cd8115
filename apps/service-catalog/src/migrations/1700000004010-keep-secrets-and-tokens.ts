import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Secrets, sealed one by one, and API tokens, of which only the hash is kept. A removed secret leaves its name and
 * version behind, so that a version never means two values.
 */
export class KeepSecretsAndTokens1700000004010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE catalog.secret (
        tenant text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        key_id text,                -- which key-encryption key wraps the data key
        wrapped_key bytea,
        sealed bytea,               -- nonce, ciphertext, tag
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_by text NOT NULL,
        PRIMARY KEY (tenant, name),
        -- Removed: nothing of the value is left.
        CHECK ((key_id IS NULL) = (wrapped_key IS NULL) AND (key_id IS NULL) = (sealed IS NULL))
      );

      CREATE TABLE catalog.token (
        tenant text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        hash bytea NOT NULL,        -- sha256 of the whole token, which is random: nothing to guess from it
        roles text[] NOT NULL,
        groups text[] NOT NULL,
        secrets text[] NOT NULL,    -- patterns that a worker may resolve
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        PRIMARY KEY (tenant, id)
      );
      -- The name stands in audits and timelines: while a token lives, nobody else has its name.
      CREATE UNIQUE INDEX token_name ON catalog.token (tenant, name) WHERE revoked_at IS NULL;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE catalog.token; DROP TABLE catalog.secret;');
  }
}
