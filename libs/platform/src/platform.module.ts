import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { AuthGuard, Authenticator } from './auth.guard.js';
import { Clock } from './clock.service.js';
import { DirectRoutes } from './direct-routes.service.js';
import { Failpoint } from './failpoint.service.js';
import { HealthController } from './health.controller.js';
import { InternalClient } from './internal-client.service.js';
import { Logger } from './logger.service.js';
import { Metrics } from './metrics.service.js';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';
import { ProblemFilter } from './problem.filter.js';
import { Readiness } from './readiness.service.js';
import { TokenDirectory } from './token-directory.service.js';

/** What every app stands on: configuration, log, clock, metrics, readiness, authentication, problems, internal calls. */
@Module({})
export class PlatformModule {
  static forRoot(config: PlatformConfig): DynamicModule {
    const shared = [
      Logger,
      Clock,
      Readiness,
      Metrics,
      InternalClient,
      TokenDirectory,
      Authenticator,
      DirectRoutes,
      Failpoint,
    ];
    return {
      module: PlatformModule,
      global: true,
      controllers: [HealthController],
      providers: [
        { provide: PLATFORM_CONFIG, useValue: config },
        ...shared,
        { provide: APP_GUARD, useClass: AuthGuard },
        { provide: APP_FILTER, useClass: ProblemFilter },
      ],
      exports: [PLATFORM_CONFIG, ...shared],
    };
  }
}
