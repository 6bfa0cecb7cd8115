import pg from 'pg';
import type { DataSource, MigrationInterface } from 'typeorm';

/** The migrations of one app or lib; `schema` is created before they run. Class names end in a 13-digit timestamp. */
export interface MigrationSet {
  schema: string;
  migrations: (new () => MigrationInterface)[];
}

/** Any fixed number: every process that migrates this database takes the same advisory lock. */
const MIGRATION_LOCK = 7_300_001;

/** Migrates under an advisory lock on a connection of its own, so that processes that start together take turns. */
export async function migrate(dataSource: DataSource, url: string, sets: readonly MigrationSet[]): Promise<void> {
  const lock = new pg.Client({ connectionString: url, application_name: 'opsloop migrate' });
  // The statement that fails reports it; without a listener a lost server would end the process.
  lock.on('error', () => undefined);
  await lock.connect();
  try {
    await lock.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    for (const { schema } of sets) await lock.query(`CREATE SCHEMA IF NOT EXISTS ${pg.escapeIdentifier(schema)}`);
    await dataSource.runMigrations({ transaction: 'each' });
  } finally {
    // Ending the session frees the lock, also after an error.
    await lock.end();
  }
}
