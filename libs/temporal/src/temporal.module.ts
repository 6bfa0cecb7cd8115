import 'reflect-metadata';
import { Global, Module, type DynamicModule } from '@nestjs/common';
import { Logger, Readiness } from '@opsloop/platform';
import type { TemporalConfig } from './config.js';
import { TEMPORAL_CONFIG } from './temporal.tokens.js';
import { TemporalConnection } from './temporal-connection.service.js';
import { WorkerHost } from './worker-host.service.js';

/** Provides the connection and the worker host to the whole process. Imported once, at the root. */
@Global()
@Module({})
export class TemporalModule {
  static forRoot(config: TemporalConfig): DynamicModule {
    return {
      module: TemporalModule,
      global: true,
      providers: [
        { provide: TEMPORAL_CONFIG, useValue: config },
        {
          provide: TemporalConnection,
          inject: [Logger, Readiness],
          useFactory: async (log: Logger, readiness: Readiness): Promise<TemporalConnection> => {
            const temporal = await TemporalConnection.connect(config, log);
            readiness.register('temporal', () => temporal.check());
            return temporal;
          },
        },
        {
          provide: WorkerHost,
          inject: [TemporalConnection, Logger],
          useFactory: (temporal: TemporalConnection, log: Logger): WorkerHost => new WorkerHost(temporal, log),
        },
      ],
      exports: [TEMPORAL_CONFIG, TemporalConnection, WorkerHost],
    };
  }
}
