import { type DynamicModule, Injectable, Module, type OnApplicationShutdown } from '@nestjs/common';
import { Logger, Metrics, Readiness } from '@opsloop/platform';
import { DataSource } from 'typeorm';
import { connectDatabase, type PostgresOptions } from './connect.js';
import { Database } from './database.service.js';

/** Closes the pool after everything that uses it has stopped, and says whether the database answers. */
@Injectable()
class DatabaseLifecycle implements OnApplicationShutdown {
  constructor(
    private readonly db: Database,
    readiness: Readiness,
    metrics: Metrics,
  ) {
    readiness.register('database', async () => {
      await db.query('SELECT 1');
    });
    // Migrations have run before anybody could be given the database.
    readiness.register('migrations', () => undefined);
    const gauge = metrics.gauge('opsloop_db_pool', 'Connections of the pool by state', ['state']);
    Object.assign(gauge, {
      collect: () => {
        gauge.set({ state: 'total' }, db.pool.totalCount);
        gauge.set({ state: 'idle' }, db.pool.idleCount);
        gauge.set({ state: 'waiting' }, db.pool.waitingCount);
      },
    });
  }

  async onApplicationShutdown(): Promise<void> {
    if (this.db.dataSource.isInitialized) await this.db.dataSource.destroy();
  }
}

/** Provides {@link Database}; whoever injects it gets a migrated one. */
@Module({})
export class PostgresModule {
  static forRoot(options: PostgresOptions): DynamicModule {
    return {
      module: PostgresModule,
      global: true,
      providers: [
        { provide: Database, inject: [Logger], useFactory: (logger: Logger) => connectDatabase(options, logger) },
        { provide: DataSource, inject: [Database], useFactory: (db: Database) => db.dataSource },
        DatabaseLifecycle,
      ],
      exports: [Database, DataSource],
    };
  }
}
