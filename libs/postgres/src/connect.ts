import type { Logger } from '@opsloop/platform';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { Database } from './database.service.js';
import { type MigrationSet, migrate } from './migrate.js';

/** 20 connections keep 2–8 cores busy; PostgreSQL's default limit is 100 for everybody. */
const POOL_MAX = 20;
/** A request that cannot get a connection in 5 s answers 503 instead of piling up. */
const CONNECT_TIMEOUT_MS = 5_000;
/** A stopped process must let go of its locks within the 5 s that redelivery promises. */
const IDLE_IN_TRANSACTION_MS = 5_000;
/** No statement of ours takes more than seconds; a longer one would hold locks that everybody waits for. */
const STATEMENT_MS = 30_000;

export interface PostgresOptions {
  url: string;
  /** Default 20. */
  poolMax?: number;
  migrations: MigrationSet[];
}

/** Opens the pool that TypeORM and our own statements share, and migrates. */
export async function connectDatabase(
  options: PostgresOptions,
  logger: Pick<Logger, 'warn' | 'error'>,
): Promise<Database> {
  const dataSource = new DataSource({
    type: 'postgres',
    driver: pg,
    url: options.url,
    applicationName: 'opsloop',
    poolSize: options.poolMax ?? POOL_MAX,
    connectTimeoutMS: CONNECT_TIMEOUT_MS,
    synchronize: false,
    migrationsRun: false,
    migrationsTableName: 'opsloop_migration',
    migrations: options.migrations.flatMap((set) => set.migrations),
    // Null and undefined in a condition would otherwise mean "every row".
    invalidWhereValuesBehavior: { null: 'throw', undefined: 'throw' },
    installExtensions: false,
    logging: false,
    // After our own end of the pool the server's farewell is no news.
    poolErrorHandler: (error: unknown) => {
      if (dataSource.isInitialized) logger.warn('an idle database connection failed', { error });
    },
    extra: {
      keepAlive: true,
      // Statements that are asked for together travel together; the server still runs them one after the other.
      pipeline: true,
      statement_timeout: STATEMENT_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      // A connection that the pool has just dropped can fail once more; without a listener that would end the process.
      onConnect: (client: pg.PoolClient) => void client.on('error', () => undefined),
    },
  });
  await dataSource.initialize();
  try {
    await migrate(dataSource, options.url, options.migrations);
  } catch (error) {
    await dataSource.destroy();
    throw error;
  }
  // TypeORM owns the pool; it is its driver's `master`, which the public type does not name.
  const { master } = dataSource.driver as unknown as { master: pg.Pool };
  return new Database(dataSource, master, options.url, logger);
}
