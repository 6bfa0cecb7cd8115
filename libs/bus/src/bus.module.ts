import { type DynamicModule, Module } from '@nestjs/common';
import { Bus, BUS_OPTIONS, type BusOptions } from './bus.service.js';
import { BusStrategy } from './bus.strategy.js';

/** Provides the bus; `connectBus(app)` starts it once every module is ready. */
@Module({})
export class BusModule {
  static forRoot(options: BusOptions = {}): DynamicModule {
    return {
      module: BusModule,
      global: true,
      providers: [{ provide: BUS_OPTIONS, useValue: options }, Bus, BusStrategy],
      exports: [Bus, BusStrategy],
    };
  }
}
