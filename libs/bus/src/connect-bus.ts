import type { INestApplication } from '@nestjs/common';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { BusStrategy } from './bus.strategy.js';

/**
 * Registers the bus handlers of an app and starts to consume. After `init`, since a handler must not run before its
 * module is ready; with the app's filter, so that errors reach the consumer as they were thrown.
 */
export async function connectBus(app: INestApplication): Promise<void> {
  await app.init();
  app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(BusStrategy) }, { inheritAppConfig: true });
  await app.startAllMicroservices();
}
